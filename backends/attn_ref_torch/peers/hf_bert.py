"""Hugging Face's ``BertModel``: BERT, MiniLM and their like, and the encoder inside ``BertFor…`` checkpoints.

Source: ``transformers/models/bert/modeling_bert.py``; the names are those of its ``state_dict``. Files are loaded by
``from_pretrained``, from the files they were published in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Peer, Spot, of_layers
from attn_ref.foreign.rules import Rule, linear, norm
from attn_ref.models.text_encoder import TextEncoder
from attn_ref_torch.hugging_face import ACTIVATIONS, outcome, pretrained

HERE, THERE = "encoder.layer.{i}", "layers.{i}"

MAP = Map(
    name="hf.BertModel",
    summary="Hugging Face BertModel, with or without its pooler",
    formats=("safetensors", "torch_pt"),
    needs=("torch", "transformers"),
    extra="port",
    block="TextEncoder",
    rules=(
        Rule("embeddings.word_embeddings.weight", "token.embedding"),
        Rule("embeddings.position_embeddings.weight", "position.embedding"),
        Rule("embeddings.token_type_embeddings.weight", "segment.embedding"),
        *norm("embeddings.LayerNorm", "embedding_norm"),
        *linear(f"{HERE}.attention.self.query", f"{THERE}.attention.query"),
        *linear(f"{HERE}.attention.self.key", f"{THERE}.attention.key"),
        *linear(f"{HERE}.attention.self.value", f"{THERE}.attention.value"),
        *linear(f"{HERE}.attention.output.dense", f"{THERE}.attention.project"),
        *norm(f"{HERE}.attention.output.LayerNorm", f"{THERE}.attention_norm"),
        *linear(f"{HERE}.intermediate.dense", f"{THERE}.feed_forward.expand"),
        *linear(f"{HERE}.output.dense", f"{THERE}.feed_forward.reduce"),
        *norm(f"{HERE}.output.LayerNorm", f"{THERE}.feed_forward_norm"),
        *linear("pooler.dense", "pool"),
    ),
    unused={
        "embeddings.position_ids": "the numbers 0, 1, 2 …, a buffer of older versions and not a weight",
        "cls.*": "the heads of pre-training, which come after the encoder",
        "classifier.*": "a task's head, which comes after the encoder",
        "qa_outputs.*": "a task's head, which comes after the encoder",
    },
    heads=("classifier", "qa_outputs"),
    prefixes=("", "bert."),
    spellings={"gamma, beta": {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}},
    beside=("pooling",),
    fields=FieldRules(
        sizes={
            "vocab_size": ("token.embedding", 0),
            "max_length": ("position.embedding", 0),
            "num_segments": ("segment.embedding", 0),
            "width": ("token.embedding", 1),
            "hidden_width": ("layers.0.feed_forward.expand.kernel", 1),
        },
        present={"pooler": "pool.kernel"},
        config={
            "vocab_size": "vocab_size",
            "max_length": "max_position_embeddings",
            "num_segments": "type_vocab_size",
            "width": "hidden_size",
            "num_layers": "num_hidden_layers",
            "num_heads": "num_attention_heads",
            "hidden_width": "intermediate_size",
            "activation": "hidden_act",
            "eps": "layer_norm_eps",
            "dropout": "hidden_dropout_prob",
            "attention_dropout": "attention_probs_dropout_prob",
        },
        values={
            "activation": {
                "gelu": "gelu",
                "gelu_new": "gelu_tanh",
                "gelu_pytorch_tanh": "gelu_tanh",
                "relu": "relu",
                "quick_gelu": "quick_gelu",
            },
        },
        allowed={
            "model_type": ("bert",),
            "position_embedding_type": ("absolute",),
            "is_decoder": (False,),
            "is_encoder_decoder": (False,),
            "add_cross_attention": (False,),
            "pruned_heads": ({}, None),
        },
        # what BertConfig takes where config.json is silent
        defaults={"activation": "gelu", "eps": 1e-12, "dropout": 0.1, "attention_dropout": 0.1},
        asked=("activation", "eps"),
    ),
)

MAPS = (MAP,)

EMBEDDINGS = [
    ("embeddings.LayerNorm", "in", "embedded", "b t c"),
    ("embeddings.LayerNorm", "out", "embedding_norm", "b t c"),
]
LAYER = [
    ("attention.self.query", "heads", "attention.query", "b h t d"),
    ("attention.self.key", "heads", "attention.key", "b g s d"),
    ("attention.self.value", "heads", "attention.value", "b g s e"),
    ("attention.self", "out", "attention.merged", "b t c"),
    ("attention.output.dense", "out", "attention.projected", "b t c"),
    ("attention.output.LayerNorm", "in", "attended", "b t c"),
    ("attention.output.LayerNorm", "out", "attention_norm", "b t c"),
    ("intermediate.dense", "out", "feed_forward.hidden", "b t f"),
    ("intermediate", "out", "feed_forward.active", "b t f"),
    ("output.dense", "out", "feed_forward.reduced", "b t c"),
    ("output.LayerNorm", "in", "fed", "b t c"),
    ("output.LayerNorm", "out", "feed_forward_norm", "b t c"),
]


def spots(block: TextEncoder) -> Iterator[Spot]:
    """Where the taps are."""
    yield from (Spot(*spot) for spot in EMBEDDINGS)
    yield from of_layers("encoder.layer", block.num_layers, LAYER)
    if block.pooler:
        yield Spot("pooler", "out", "pooler", "b c")


def config(block: TextEncoder) -> Any:
    """The configuration of a ``BertModel`` that computes ``block``."""
    import transformers

    return transformers.BertConfig(
        vocab_size=block.vocab_size,
        max_position_embeddings=block.max_length,
        type_vocab_size=block.num_segments,
        hidden_size=block.width,
        num_hidden_layers=block.num_layers,
        num_attention_heads=block.num_heads,
        intermediate_size=block.hidden_width,
        hidden_act=ACTIVATIONS[block.activation],
        layer_norm_eps=block.eps,
        hidden_dropout_prob=block.dropout,
        attention_probs_dropout_prob=block.attention_dropout,
        pad_token_id=None,
    )


def make(block: TextEncoder, dtype: str) -> Any:
    """A new model."""
    import torch
    import transformers

    told = config(block)
    told._attn_implementation = "eager"
    return transformers.BertModel(told, add_pooling_layer=block.pooler).to(getattr(torch, dtype))


def call(model: Any, block: TextEncoder, given: Mapping[str, Any]) -> Any:
    """The model on canonical inputs."""
    mask = given.get("padding_mask")
    result = model(
        input_ids=given["token_ids"],
        attention_mask=None if mask is None else mask.long(),
        token_type_ids=given.get("segment_ids"),
    )
    return result.pooler_output if block.pooling == "pooler" else result.last_hidden_state


def hidden(block: TextEncoder, inputs: Mapping[str, np.ndarray]) -> bool:
    """Is a row all padding?"""
    return "padding_mask" in inputs and not inputs["padding_mask"].any(axis=1).all()


PEER = Peer(
    name="hf.BertModel",
    block="TextEncoder",
    engine="torch",
    needs=("torch", "transformers"),
    refuses=lambda block: [
        *MAP.inexpressible(block),
        *(["it takes no mean over tokens"] if block.pooling == "mean" else []),
    ],
    inputs=("token_ids", "padding_mask", "segment_ids"),
    weights=MAP.rules_for,
    make=make,
    call=call,
    spots=spots,
    deviates={"in a row of padding every token attends to all of it alike": hidden},
)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job`` and read the values that the block taps. It takes no mean, so then there is no output."""
    import transformers

    block = cast(TextEncoder, job.block)  # the map that names this function holds no other
    model = pretrained(transformers.BertModel, job, config(block), attention="eager", add_pooling_layer=block.pooler)
    seen = replace(block, pooling="none") if block.pooling == "mean" else block
    made = outcome(PEER, seen, model, job)
    return made if seen is block else replace(made, output=None)
