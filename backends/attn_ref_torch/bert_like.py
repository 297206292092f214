"""What the encoders of the BERT family share: BERT, RoBERTa, ELECTRA, ALBERT and DistilBERT.

A family is a table from what a ``TextEncoder`` holds to the module that holds it in transformers. Rules of files and
places of taps both follow from it. torch and transformers are not imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from attn_ref.foreign.entry import Entry
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule, linear, norm
from attn_ref.models.text_encoder import TextEncoder
from attn_ref_torch.hugging_face import ACTIVATIONS, WORDS

TABLES = {
    "token": "embeddings.word_embeddings", "position": "embeddings.position_embeddings",
    "segment": "embeddings.token_type_embeddings",
}  # fmt: skip
EMBEDDINGS = {**TABLES, "embedding_norm": "embeddings.LayerNorm"}
#: a layer of BERT, RoBERTa and ELECTRA
LAYER = {
    "attention.query": "attention.self.query", "attention.key": "attention.self.key",
    "attention.value": "attention.self.value", "attention.project": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm", "feed_forward.expand": "intermediate.dense",
    "feed_forward.reduce": "output.dense", "feed_forward_norm": "output.LayerNorm",
}  # fmt: skip
#: field -> key of config.json
CONFIG = {
    "vocab_size": "vocab_size", "max_length": "max_position_embeddings", "num_segments": "type_vocab_size",
    "width": "hidden_size", "num_layers": "num_hidden_layers", "num_heads": "num_attention_heads",
    "hidden_width": "intermediate_size", "activation": "hidden_act", "eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob", "attention_dropout": "attention_probs_dropout_prob",
}  # fmt: skip
#: what their configurations take where config.json is silent
DEFAULTS = {"activation": "gelu", "eps": 1e-12, "dropout": 0.1, "attention_dropout": 0.1}
ALLOWED: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute",), "is_decoder": (False,), "is_encoder_decoder": (False,),
    "add_cross_attention": (False,), "pruned_heads": ({}, None),
}  # fmt: skip
#: what no file of theirs means, unless its family says so
NEUTRAL = {"padding_id": (None,), "embedding_width": (None,), "shared_layers": (False,)}
TASK = "a task's head, which comes after the encoder"
PRE_TRAINING = "the head of pre-training, which comes after the encoder"
#: what any of their files may hold beside the encoder
UNUSED = {
    "embeddings.position_ids": "the numbers 0, 1, 2 …, a buffer of older versions and not a weight",
    "embeddings.token_type_ids": "zeros, a buffer of older versions and not a weight",
    "classifier.*": TASK, "qa_outputs.*": TASK,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of encoders: its map, its names, and the classes of transformers that run its files."""

    map: Map
    #: what a block holds -> its module
    names: Mapping[str, str]
    #: ``model_type`` -> class; the first is the default
    classes: Mapping[str, str]
    #: the module that gives the pooler's value; empty if such models have none
    pooler: str = ""

    def config(self, block: TextEncoder) -> dict[str, Any]:
        """The arguments of the configuration of a model that computes ``block``."""
        rules, fields = self.map.fields or FieldRules(), block.fields()
        found = {key: fields[name] for name, key in rules.config.items()}
        found[rules.config["activation"]] = ACTIVATIONS[block.activation]
        for entry in rules.entries:
            found |= entry.write(fields)
        return {"pad_token_id": None, **found}

    def spots(self, block: TextEncoder) -> Iterator[Spot]:
        """Where the taps are."""
        norm = self.names["embedding_norm"]
        yield Spot(norm, "in", "embedded", "b t u")
        yield Spot(norm, "out", "embedding_norm", "b t u")
        if block.embedding_width is not None:
            yield Spot(self.names["embedding_project"], "out", "embedding_projected", "b t c")
        if block.shared_layers:
            yield from self.of_layer("layer", "layers.{n}.layer", "layer_{n}", "")
        else:
            for i in range(block.num_layers):
                yield from self.of_layer("layers.{i}", f"layers.{i}", f"layer_{i}", str(i))
        if block.pooler:
            yield Spot(self.pooler, "out", "pooler", "b c")

    def of_layer(self, canonical: str, path: str, last: str, i: str) -> Iterator[Spot]:
        """The places in the layer called ``canonical``; their taps are below ``path``, and its result is ``last``."""
        for name, what, tap, labels in INSIDE:
            yield Spot(self.names[f"{canonical}.{name}"].replace("{i}", i), what, f"{path}.{tap}", labels)
        yield Spot(self.names[canonical].replace("{i}", i), "out", last, "b t c")


#: module of a layer, what of it is the tap, the tap's name and labels
INSIDE = [
    ("attention.query", "heads", "attention.query", "b h t d"),
    ("attention.key", "heads", "attention.key", "b g s d"),
    ("attention.value", "heads", "attention.value", "b g s e"),
    ("attention.project", "in", "attention.merged", "b t c"),
    ("attention.project", "out", "attention.projected", "b t c"),
    ("attention_norm", "in", "attended", "b t c"),
    ("attention_norm", "out", "attention_norm", "b t c"),
    ("feed_forward.expand", "out", "feed_forward.hidden", "b t f"),
    ("feed_forward.reduce", "in", "feed_forward.active", "b t f"),
    ("feed_forward.reduce", "out", "feed_forward.reduced", "b t c"),
    ("feed_forward_norm", "in", "fed", "b t c"),
    ("feed_forward_norm", "out", "feed_forward_norm", "b t c"),
]


def rules_of(names: Mapping[str, str]) -> Iterator[Rule]:
    """The rules of every module in a table."""
    for ours, theirs in names.items():
        if ours in TABLES:
            yield Rule(f"{theirs}.weight", f"{ours}.embedding")
        elif ours.endswith("norm"):
            yield from norm(theirs, ours)
        elif ours not in ("layer", "layers.{i}"):  # the layer itself
            yield from linear(theirs, ours)


def in_layer(ours: str, theirs: str, names: Mapping[str, str]) -> dict[str, str]:
    """A layer and what it holds: ``names`` below ``ours`` and ``theirs``."""
    return {ours: theirs, **{f"{ours}.{here}": f"{theirs}.{there}" for here, there in names.items()}}


def family(
    name: str,
    summary: str,
    names: Mapping[str, str],
    classes: Mapping[str, str],
    *,
    prefixes: tuple[str, ...],
    pooler: str = "",
    unused: Mapping[str, str] = {},
    config: Mapping[str, str] = CONFIG,
    entries: tuple[Entry, ...] = (),
    sizes: Mapping[str, tuple[str, int]] = {},
    only: Mapping[str, tuple[Any, ...]] = {},
    defaults: Mapping[str, Any] = {},
    allowed: Mapping[str, tuple[Any, ...]] = {},
    raw: Mapping[str, tuple[str, int]] = {},
    always: Mapping[str, Any] = {},
    asked: Iterable[str] = ("activation", "eps"),
    **more: Any,
) -> Family:
    """A family; what is left out is as BERT has it."""
    told = {name for entry in entries for name in entry.fields}
    layer = "layer" if "layer" in names else "layers.0"
    every = {
        "vocab_size": ("token.embedding", 0), "max_length": ("position.embedding", 0),
        "num_segments": ("segment.embedding", 0), "width": ("token.embedding", 1),
        "hidden_width": (f"{layer}.feed_forward.expand.kernel", 1), **sizes,
    }  # fmt: skip
    without = {} if pooler else {"pooler": (False,), "pooling": ("none", "mean")}
    neutral = {name: values for name, values in NEUTRAL.items() if name not in {*told, *config, *raw}}
    return Family(
        names=names, classes=classes, pooler=pooler,
        map=Map(
            name=name, summary=summary, formats=("safetensors", "torch_pt"), needs=("torch", "transformers"),
            extra="port", block="TextEncoder", rules=tuple(rules_of(names)), unused={**UNUSED, **unused},
            prefixes=prefixes, beside=("pooling",), only={**neutral, **without, **only},
            fields=FieldRules(
                sizes={name: place for name, place in every.items() if name not in {*told, *only}},
                present={"pooler": "pool.kernel"} if pooler else {},
                kinds={"shared_layers": {"layer.attention.query.kernel": True}} if "layer" in names else {},
                config=config, values={"activation": WORDS}, entries=entries, raw=raw, always=always,
                allowed={"model_type": tuple(classes), **ALLOWED, **allowed}, defaults={**DEFAULTS, **defaults},
                asked=tuple(asked),
            ),
            **more,
        ),
    )  # fmt: skip
