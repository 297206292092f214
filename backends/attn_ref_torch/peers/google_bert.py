"""BERT under TensorFlow's names: Google's checkpoints of 2018, and ``tf_model.h5`` of Hugging Face's ``TFBertModel``.

Source: ``google-research/bert/modeling.py``; ``modeling_tf_bert.py`` of transformers up to 4. Neither program runs on
today's TensorFlow. So a file is run by ``BertModel``, under the names that transformers gave such weights
(``load_tf_weights_in_bert``): a dense layer's kernel is (in, out) here and (out, in) there.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.rules import Rule
from attn_ref_torch.peers import hf_bert

#: a dense layer's name below a layer -> the canonical one
DENSE = {
    "attention/self/query": "attention.query",
    "attention/self/key": "attention.key",
    "attention/self/value": "attention.value",
    "attention/output/dense": "attention.project",
    "intermediate/dense": "feed_forward.expand",
    "output/dense": "feed_forward.reduce",
}
NORMS = {"attention/output/LayerNorm": "attention_norm", "output/LayerNorm": "feed_forward_norm"}


def rules(layer: str, words: str, others: str) -> Iterator[Rule]:
    """The rules, where the layers are called ``layer`` and the tables of embeddings end so."""
    yield Rule(f"embeddings/word_embeddings{words}", "token.embedding")
    yield Rule(f"embeddings/position_embeddings{others}", "position.embedding")
    yield Rule(f"embeddings/token_type_embeddings{others}", "segment.embedding")
    dense = {f"encoder/{layer}/{here}": f"layers.{{i}}.{there}" for here, there in DENSE.items()}
    for here, there in {**dense, "pooler/dense": "pool"}.items():
        yield Rule(f"{here}/kernel", f"{there}.kernel")
        yield Rule(f"{here}/bias", f"{there}.bias")
    norms = {f"encoder/{layer}/{here}": f"layers.{{i}}.{there}" for here, there in NORMS.items()}
    for here, there in {**norms, "embeddings/LayerNorm": "embedding_norm"}.items():
        yield Rule(f"{here}/gamma", f"{there}.scale")
        yield Rule(f"{here}/beta", f"{there}.offset")


HEADS = "the heads of pre-training, which come after the encoder"
TASK = "a task's head, which comes after the encoder"

GOOGLE = replace(
    hf_bert.MAP,
    name="google.BertModel",
    summary="Google's TensorFlow checkpoints of BERT, with bert_config.json",
    formats=("tf_checkpoint",),
    rules=tuple(rules("layer_{i}", "", "")),
    unused={"cls/*": HEADS, "output_weights": TASK, "output_bias": TASK},
    prefixes=("bert/", ""),
    spellings={},
)

#: the classes of models in whose files the encoder is
MODELS = ("model", "for_pre_training", "for_masked_lm", "for_sequence_classification", "for_question_answering")
TF = replace(
    GOOGLE,
    name="hf.TFBertModel",
    summary="tf_model.h5 of Hugging Face's TFBertModel, with or without its pooler",
    formats=("keras_legacy",),
    rules=tuple(rules("layer_._{i}", "/weight", "/embeddings")),
    unused={"mlm___cls/*": HEADS, "nsp___cls/*": HEADS, "classifier/*": TASK, "qa_outputs/*": TASK},
    prefixes=tuple(f"bert/tf_bert_{model}/bert/" for model in MODELS),
)

MAPS: tuple[Map, ...] = (GOOGLE, TF)

#: TensorFlow's leaves, and torch's
LEAVES = {"kernel": "weight", "gamma": "weight", "beta": "bias", "embeddings": "weight"}


def torch_name(name: str) -> str:
    """``encoder/layer_0/output/dense/kernel`` → ``encoder.layer.0.output.dense.weight``."""
    *path, leaf = re.sub(r"/layer_(?:\._)?(\d+)/", r"/layer/\1/", name).split("/")
    if leaf.endswith("_embeddings"):  # Google's tables have no leaf
        path, leaf = [*path, leaf], "weight"
    return ".".join([*path, LEAVES.get(leaf, leaf)])


def run_file(job: Job) -> Outcome:
    """Run the tensors of ``job``, a safetensors file under the names of its map."""
    from safetensors.torch import load_file, save_file

    state = {}
    for name, value in load_file(job.path).items():
        turned = value.T if name.endswith("/kernel") else value
        state[torch_name(name.removeprefix(job.prefix))] = turned.contiguous()
    with tempfile.TemporaryDirectory(prefix="attn_ref-") as folder:
        path = Path(folder, "model.safetensors")
        save_file(state, path, {"format": "pt"})
        return hf_bert.run_file(replace(job, path=str(path), prefix=""))
