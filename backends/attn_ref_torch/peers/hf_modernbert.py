"""Hugging Face's ModernBERT: an encoder that turns queries and keys, with windows in most layers and gated networks.

Source: ``transformers/models/modernbert/modeling_modernbert.py``. One kernel has query, key and value, another gate and
expansion. The first layer's attention has no norm, since the embeddings have one. A window is as wide on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attn_ref.foreign.entry import Entry, Values, key, letters, said, spread
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.part import Part
from attn_ref.foreign.peer import Spot, of_layers
from attn_ref.foreign.rules import Rule, linear, norm, packed
from attn_ref_torch.gpt_like import PREFIXED, thirds
from attn_ref_torch.llama_config import ACTIVATIONS, ATTENTION, FEED, FULL, SLIDING, WIDTHS, alternating
from attn_ref_torch.llama_rotary import angles

HERE, THERE = "layers.{i}", "layers.{i}"
NORMS = ("layer.norm", "final_norm", "embedding_norm")
HEAD = "a task's head, which comes after the encoder"


def kinds(config: Values) -> list[Any]:
    """Of every layer, has it a window? All have one but every third, from the first on, where nothing else is said."""
    if isinstance(config.get("layer_types"), list):
        return alternating(config, 1)
    period = config.get("global_attn_every_n_layers", 3)
    return [SLIDING if i % period else FULL for i in range(min(config["num_hidden_layers"], 10_000))]


def windows() -> Entry:
    """Which layers have windows, and how wide both sides are together."""
    sides = (f"{ATTENTION}.window_left", f"{ATTENTION}.window_right")

    def read(config: Values) -> Values:
        types, half = kinds(config), config.get("local_attention", 128) // 2
        if strange := sorted({str(kind) for kind in types} - {SLIDING, FULL}):
            raise ValueError(f"layer_types has {', '.join(map(said, strange))}; {SLIDING} or {FULL} can be expressed")
        if SLIDING not in types:
            return dict.fromkeys(sides)
        if FULL in types:
            return {"pattern": letters(types, SLIDING), **dict.fromkeys([f"other_{side}" for side in sides], half)}
        return dict.fromkeys(sides, half)

    def write(held: Values) -> Values:
        own, other = held[sides[0]], held.get(f"other_{sides[0]}")
        names = {"l": FULL if own is None else SLIDING, "o": FULL if other is None else SLIDING}
        half = own if own is not None else other
        types = [names[letter] for letter in spread(held["pattern"], held["num_layers"])]
        return {"layer_types": types, "local_attention": 128 if half is None else 2 * half}

    return Entry(("layer_types", "local_attention", "global_attn_every_n_layers"), read, write)


def by_kind() -> Entry:
    """The angles of either kind of layers."""
    bases = {FULL: 160_000.0, SLIDING: 10_000.0}
    inner = angles(bases, {FULL: "global_rope_theta", SLIDING: "local_rope_theta"}, 1)
    return Entry(inner.keys, lambda config: inner.read({**config, "layer_types": kinds(config)}), inner.write)


MAP = Map(
    name="hf.ModernBert",
    summary="Hugging Face ModernBertModel",
    rules=(
        Rule("embeddings.tok_embeddings.weight", "token.embedding"),
        *norm("embeddings.norm", "embedding_norm"),
        *norm(f"{HERE}.attn_norm", f"{THERE}.attention_norm"),
        *thirds(f"{HERE}.attn.Wqkv", f"{THERE}.attention"),
        *linear(f"{HERE}.attn.Wo", f"{THERE}.attention.project"),
        *norm(f"{HERE}.mlp_norm", f"{THERE}.feed_forward_norm"),
        *packed(
            f"{HERE}.mlp.Wi", (f"{THERE}.feed_forward.gate", f"{THERE}.feed_forward.expand"),
            (Part(0, 1, 2), Part(1, 1, 2)),
        ),
        *linear(f"{HERE}.mlp.Wo", f"{THERE}.feed_forward.reduce"),
        *norm("final_norm", "final_norm"),
    ),
    unused={"head.*": HEAD, "decoder.*": HEAD, "classifier.*": HEAD},
    heads=("classifier",),
    prefixes=("", "model."),
    fields=FieldRules(
        sizes={
            "vocab_size": ("token.embedding", 0),
            **dict.fromkeys((*WIDTHS, "embedding_norm.width"), ("token.embedding", 1)),
            f"{FEED}.hidden_width": ("layers.0.feed_forward.expand.kernel", 1),
        },
        blocks={
            "layer": "TransformerLayer", ATTENTION: "MultiHeadAttention", FEED: "GatedFeedForward",
            **dict.fromkeys(NORMS, "LayerNorm"),
        },
        entries=(
            key("vocab_size", "vocab_size"),
            key("hidden_size", *WIDTHS, "embedding_norm.width"),
            key("num_hidden_layers", "num_layers"),
            key("num_attention_heads", f"{ATTENTION}.num_heads"),
            key("intermediate_size", f"{FEED}.hidden_width"),
            key("hidden_activation", f"{FEED}.activation", default="gelu", values=ACTIVATIONS),
            key("norm_eps", *(f"{path}.eps" for path in NORMS), default=1e-5),
            key("norm_bias", *(f"{path}.use_offset" for path in NORMS), default=False),
            key("attention_bias", f"{ATTENTION}.use_bias", f"{ATTENTION}.output_bias", default=False),
            key("mlp_bias", f"{FEED}.use_bias", default=False),
            key("mlp_dropout", f"{FEED}.dropout", default=0.0),
            key("embedding_dropout", "dropout", default=0.0),
            windows(),
            by_kind(),
        ),
        # which drops of the weights and of what attention gives, and the block has no place for the second
        allowed={"model_type": ("modernbert",), "attention_dropout": (0.0,)},
        always={"head": None, "first_norm": False, "layer.norm_place": "before"},
        asked=(
            f"{ATTENTION}.num_heads", f"{ATTENTION}.rotary_base", f"{FEED}.activation", "layer.norm.eps",
            f"{ATTENTION}.rotary",
        ),
    ),
    **PREFIXED,
)  # fmt: skip
MAPS = (MAP,)

LAYER = [
    ("attn.Wo", "in", "attention.merged", "b t c"),
    ("attn.Wo", "out", "attention.projected", "b t c"),
    ("mlp_norm", "read", "attended", "b t c"),
    ("mlp.act", "out", "feed_forward.active", "b t f"),
    ("mlp.Wo", "in", "feed_forward.gated", "b t f"),
    ("mlp.Wo", "out", "feed_forward.reduced", "b t c"),
]


def spots(block: Any) -> Iterator[Spot]:
    """Where the taps are."""
    last = "shifted" if block.final_norm.use_offset else "scaled"
    yield Spot("embeddings.norm", "in", "embedded", "b t c")
    yield Spot("embeddings.norm", "out", f"embedding_norm.{last}", "b t c")
    yield from of_layers(
        "layers", block.num_layers, [*LAYER, ("mlp_norm", "out", f"feed_forward_norm.{last}", "b t c")]
    )
    for i in range(1, block.num_layers):
        yield Spot(f"layers.{i}.attn_norm", "out", f"layers.{i}.attention_norm.{last}", "b t c")
    yield Spot("final_norm", "out", f"final_norm.{last}", "b t c")


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run

    return run(MAP, spots, job)
