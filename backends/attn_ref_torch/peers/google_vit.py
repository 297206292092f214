"""ViT's original ``.npz``, as Google published them: the parameters of a Flax model, heads as axes of their own.

Source: ``vit_jax/models_vit.py`` of google-research/vision_transformer. Its GELU is Flax's, by tanh, and so is its eps,
1e-6. Flax is not needed: a file is run by transformers' ``ViTModel`` or ``ViTForImageClassification``, under the names
and in the layouts that timm's loader of such files gives the weights.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.rules import Rule
from attn_ref_torch.peers import hf_vit

HERE, THERE = "Transformer/encoderblock_{i}", "layers.{i}"
ATTENTION = f"{HERE}/MultiHeadDotProductAttention_1"


def rules() -> Iterator[Rule]:
    """The rules. The layouts that cut heads are those of any number of heads, which only go inward."""
    yield Rule("cls", "class_token", "batch")
    yield Rule("Transformer/posembed_input/pos_embedding", "position.embedding", "batch")
    yield Rule("embedding/kernel", "patch_embedding.project.kernel")
    yield Rule("embedding/bias", "patch_embedding.project.bias")
    for name in ("query", "key", "value"):
        yield Rule(f"{ATTENTION}/{name}/kernel", f"{THERE}.attention.{name}.kernel", "heads")
        yield Rule(f"{ATTENTION}/{name}/bias", f"{THERE}.attention.{name}.bias", "flat")
    yield Rule(f"{ATTENTION}/out/kernel", f"{THERE}.attention.project.kernel", "heads first")
    yield Rule(f"{ATTENTION}/out/bias", f"{THERE}.attention.project.bias")
    for here, there in {"Dense_0": "expand", "Dense_1": "reduce"}.items():
        yield Rule(f"{HERE}/MlpBlock_3/{here}/kernel", f"{THERE}.feed_forward.{there}.kernel")
        yield Rule(f"{HERE}/MlpBlock_3/{here}/bias", f"{THERE}.feed_forward.{there}.bias")
    norms = {
        f"{HERE}/LayerNorm_0": f"{THERE}.attention_norm", f"{HERE}/LayerNorm_2": f"{THERE}.feed_forward_norm",
        "Transformer/encoder_norm": "final_norm",
    }  # fmt: skip
    for here, there in norms.items():
        yield Rule(f"{here}/scale", f"{there}.scale")
        yield Rule(f"{here}/bias", f"{there}.offset")
    yield Rule("head/kernel", "head.kernel")
    yield Rule("head/bias", "head.bias")


NAMES = replace(
    hf_vit.MAP,
    name="google.ViT",
    summary="ViT's original .npz, with or without its head",
    formats=("npz",),
    rules=tuple(rules()),
    unused={},
    spellings={},
    by_name=True,
    fields=replace(
        hf_vit.FIELDS,
        raw={"num_heads": ("layers.0.attention.query.kernel", 1)},
        always={"activation": "gelu_tanh", "eps": 1e-6},
    ),
)
#: a layout that only goes inward -> the same for a number of heads
CUT = {"heads": "heads {}", "heads first": "heads first {}", "flat": "flat {}"}


def derive(block: Any) -> Iterator[Rule]:
    """The rules of ``block``, which says how many heads there are."""
    for rule in NAMES.rules_for(block):
        yield replace(rule, layout=CUT.get(rule.layout, rule.layout).format(block.num_heads))


MAP: Map = replace(NAMES, derive=derive)
MAPS = (MAP,)

#: the names below a layer, and transformers'
BELOW = {
    "LayerNorm_0": "layernorm_before", "LayerNorm_2": "layernorm_after",
    "MultiHeadDotProductAttention_1/query": "attention.attention.query",
    "MultiHeadDotProductAttention_1/key": "attention.attention.key",
    "MultiHeadDotProductAttention_1/value": "attention.attention.value",
    "MultiHeadDotProductAttention_1/out": "attention.output.dense",
    "MlpBlock_3/Dense_0": "intermediate.dense", "MlpBlock_3/Dense_1": "output.dense",
}  # fmt: skip
AROUND = {
    "embedding": "embeddings.patch_embeddings.projection", "Transformer/encoder_norm": "layernorm",
    "head": "classifier",
}  # fmt: skip


def torch_state(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) as ``ViTModel`` has them; the head, which is not its, is ``classifier``."""
    for name, array in arrays.items():
        if name == "cls":
            yield "embeddings.cls_token", array
        elif name.endswith("/pos_embedding"):
            yield "embeddings.position_embeddings", array
        else:
            path, _, leaf = name.rpartition("/")
            match = re.fullmatch(r"Transformer/encoderblock_(\d+)/(.+)", path)
            there = f"encoder.layer.{match[1]}.{BELOW[match[2]]}" if match else AROUND[path]
            if leaf == "kernel":
                if array.ndim == 4:
                    array = array.transpose(3, 2, 0, 1)
                elif path.endswith("/out"):
                    array = array.reshape(-1, array.shape[-1]).T
                else:
                    array = array.reshape(array.shape[0], -1).T
            elif "DotProduct" in path:
                array = array.reshape(-1)
            yield f"{there}.{'bias' if leaf == 'bias' else 'weight'}", array


def run_file(job: Job) -> Outcome:
    """Run the ``.npz`` of ``job``."""
    from safetensors.numpy import save_file

    with np.load(job.path, allow_pickle=False) as file:
        state = dict(torch_state(file))
    if "classifier.weight" in state:
        state = {name if name.startswith("classifier") else f"vit.{name}": value for name, value in state.items()}
    with tempfile.TemporaryDirectory(prefix="attn_ref-") as folder:
        path = Path(folder, "model.safetensors")
        save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, path, {"format": "pt"})
        return hf_vit.run_file(replace(job, path=str(path), prefix=""))
