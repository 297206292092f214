"""What the families that followed Llama share: names, what ``config.json`` says, and where taps are.

A family is one file in ``peers``: it takes what is here, and adds or changes what is its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attn_ref.blocks.rotary_embedding import RotaryEmbedding
from attn_ref.foreign.entry import Entry, Values, key, letters, said, spread
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Spot, of_layers
from attn_ref.foreign.rules import Rule, linear

HERE, THERE = "layers.{i}", "layers.{i}"
ATTENTION, FEED = "layer.attention", "layer.feed_forward"
WIDTHS = ("width", "layer.width", f"{ATTENTION}.width", f"{FEED}.width", "layer.norm.width", "final_norm.width")
ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu": "gelu",
    "relu": "relu", "sigmoid": "sigmoid",
}  # fmt: skip
BLOCKS = {
    "layer": "TransformerLayer", ATTENTION: "MultiHeadAttention", FEED: "GatedFeedForward", "layer.norm": "RMSNorm",
    "final_norm": "RMSNorm",
}  # fmt: skip
ALWAYS: Mapping[str, Any] = {
    f"{ATTENTION}.causal": "bottom_right", f"{ATTENTION}.rotary": "half", "layer.norm_place": "before",
    f"{ATTENTION}.use_bias": False, f"{ATTENTION}.output_bias": False, f"{FEED}.use_bias": False,
}  # fmt: skip
ASKED = (f"{ATTENTION}.num_heads", f"{ATTENTION}.rotary_base", f"{FEED}.activation", "layer.norm.eps", "final_norm.eps")
SIZES = {
    "vocab_size": ("token.embedding", 0),
    **dict.fromkeys(WIDTHS, ("token.embedding", 1)),
    f"{FEED}.hidden_width": ("layers.0.feed_forward.reduce.kernel", 0),
}
#: the layer's own names of its norms -> ours
NORMS = {"input_layernorm": "attention_norm", "post_attention_layernorm": "feed_forward_norm"}


def rules(norms: Mapping[str, str] = NORMS) -> tuple[Rule, ...]:
    """The rules of Llama's names, below ``model.``."""
    names = {
        "self_attn.q_proj": "attention.query", "self_attn.k_proj": "attention.key",
        "self_attn.v_proj": "attention.value", "self_attn.o_proj": "attention.project",
        "mlp.gate_proj": "feed_forward.gate", "mlp.up_proj": "feed_forward.expand",
        "mlp.down_proj": "feed_forward.reduce",
    }  # fmt: skip
    return (
        Rule("embed_tokens.weight", "token.embedding"),
        *[rule for own, our in names.items() for rule in linear(f"{HERE}.{own}", f"{THERE}.{our}")],
        *[Rule(f"{HERE}.{own}.weight", f"{THERE}.{our}.scale") for own, our in norms.items()],
        Rule("norm.weight", "final_norm.scale"),
        Rule("lm_head.weight", "head.kernel", "transpose"),
    )  # fmt: skip


def entries(activation: str = "hidden_act", **defaults: Any) -> tuple[Entry, ...]:
    """What Llama's config says; ``defaults``: what a family takes where its own is silent.

    ``activation``: the key that says it.
    """
    told = {"rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": False, **defaults}
    return (
        key("vocab_size", "vocab_size"),
        key("hidden_size", *WIDTHS),
        key("num_hidden_layers", "num_layers"),
        key("num_attention_heads", f"{ATTENTION}.num_heads"),
        key("num_key_value_heads", f"{ATTENTION}.num_kv_heads"),
        key("head_dim", f"{ATTENTION}.head_width"),
        key("intermediate_size", f"{FEED}.hidden_width"),
        key(activation, f"{FEED}.activation", default=told["hidden_act"], values=ACTIVATIONS),
        key("rms_norm_eps", "layer.norm.eps", "final_norm.eps", default=told["rms_norm_eps"]),
        key("attention_dropout", f"{ATTENTION}.dropout", default=0.0),
        tied(told["tie_word_embeddings"]),
    )


def tied(default: bool) -> Entry:
    """The head: that it is tied, or nothing, since a model without one says the same as one with its own."""

    def read(config: Values) -> Values:
        value = config.get("tie_word_embeddings", default)
        if not isinstance(value, bool):
            raise ValueError(f"tie_word_embeddings is {said(value)}; true or false can be expressed")
        return {"head": "tied"} if value else {}

    return Entry(("tie_word_embeddings",), read, lambda held: {"tie_word_embeddings": held["head"] == "tied"})


def rope(base: float = 10000.0, theta: str = "rope_theta", partial: str = "", share: float = 1.0) -> Entry:
    """Rotary positions: ``rope_parameters``, and ``rope_scaling`` and ``theta`` of older files.

    ``partial``: the key of older files for the share of a head's features that turn, ``share`` where nothing says it;
    without it a family turns all.
    """
    keys = ("rope_parameters", "rope_scaling", theta, *([partial] if partial else []))

    def read(config: Values) -> Values:
        told = parameters(config) or {}
        part = told.get("partial_rotary_factor", config.get(partial, share))
        if part != 1 and not partial:
            raise ValueError(f"partial_rotary_factor is {said(part)}; 1.0 can be expressed")
        return turning(config, told, float(told.get("rope_theta", config.get(theta, base))), part)

    def write(held: Values) -> Values:
        told = turned(held)
        if partial:
            width, own = held[f"{ATTENTION}.head_width"], held[f"{ATTENTION}.rotary_width"]
            part = 1.0 if own is None else own / width
            # the share is multiplied again, and what is left is cut off
            told["partial_rotary_factor"] = part if int(width * part) == (own or width) else (own + 0.25) / width
        return {"rope_parameters": told}

    return Entry(keys, read, write)


#: rope_type -> what makes slow pairs slower, and the keys for how many turns are slow and fast, with their defaults
RAMPS: Mapping[str, tuple[str, tuple[str, Any], tuple[str, Any]]] = {
    "llama3": ("turns", ("low_freq_factor", None), ("high_freq_factor", None)),
    "yarn": ("whole_pairs", ("beta_slow", 1), ("beta_fast", 32)),
}


def turning(config: Values, told: Mapping[str, Any], base: float, part: float, at: str = ATTENTION) -> dict[str, Any]:
    """The fields of the attention at ``at`` that rotary parameters are."""
    kind = told.get("rope_type", told.get("type", "default"))
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    features = int(width * part)
    own = None if features == width else features
    if kind in ("default", "linear"):
        factor = float(told["factor"]) if kind == "linear" else 1.0
        plain = {"rotary": "half", "rotary_base": base, "rotary_scaling": factor, "rotary_width": own}
        return {f"{at}.{name}": value for name, value in plain.items()}
    if kind not in RAMPS:
        words = ", ".join(map(said, ("default", "linear", *RAMPS)))
        raise ValueError(f"rope_type is {said(kind)}; {words} can be expressed")
    ramp, slow, fast = RAMPS[kind]
    turns = [float(told[name] if default is None else told.get(name) or default) for name, default in (slow, fast)]
    length = config.get("original_max_position_embeddings") or told.get("original_max_position_embeddings")
    length = length or config["max_position_embeddings"]
    given = told.get("factor")
    factor = float(config["max_position_embeddings"] / length if given is None else given)
    rotation = RotaryEmbedding(
        width=width, rotary_width=own, base=base, scaling=factor, original_length=length, slow_turns=turns[0],
        fast_turns=turns[1], ramp="pairs" if kind == "yarn" and told.get("truncate") is False else ramp,
        attention_factor=factor_of(told, factor) if kind == "yarn" else 1.0,
    )  # fmt: skip
    return {f"{at}.rotary": None, f"{at}.rotation": rotation}


def factor_of(told: Mapping[str, Any], factor: float) -> float:
    """YaRN's attention factor: as it is said, or 0.1 ln(factor) + 1, of which "mscale" weighs the logarithm."""
    if told.get("attention_factor") is not None:
        return float(told["attention_factor"])

    def grown(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    weights = told.get("mscale"), told.get("mscale_all_dim")
    return grown(weights[0]) / grown(weights[1]) if weights[0] and weights[1] else grown(1.0)


def turned(held: Values, at: str = ATTENTION) -> dict[str, Any]:
    """Rotary parameters of the fields of the attention at ``at``."""
    rotation = held.get(f"{at}.rotation")
    if rotation is None:
        factor = held[f"{at}.rotary_scaling"]
        kind: dict[str, Any] = {"rope_type": "default"} if factor == 1.0 else {"rope_type": "linear", "factor": factor}
        return {**kind, "rope_theta": held[f"{at}.rotary_base"]}
    told = {
        "rope_theta": rotation.base, "factor": rotation.scaling,
        "original_max_position_embeddings": rotation.original_length,
    }  # fmt: skip
    if rotation.ramp == "turns":
        slow = {"low_freq_factor": rotation.slow_turns, "high_freq_factor": rotation.fast_turns}
        return {**told, **slow, "rope_type": "llama3"}
    turns = {"beta_slow": rotation.slow_turns, "beta_fast": rotation.fast_turns}
    how = {"attention_factor": rotation.attention_factor, "truncate": rotation.ramp == "whole_pairs"}
    return {**told, **turns, **how, "rope_type": "yarn"}


def parameters(config: Values) -> Mapping[str, Any] | None:
    """What is said of rotary positions, under whichever name."""
    told = config.get("rope_parameters") or config.get("rope_scaling")
    if told is not None and not isinstance(told, Mapping):
        raise ValueError(f"rope_parameters is {said(told)}; names and numbers can be expressed")
    return told


def window(default: int | None) -> Entry:
    """The window of every layer, which counts the query's own key."""
    return key(
        "sliding_window",
        f"{ATTENTION}.window_left",
        default=default,
        inward=lambda size: None if size is None else size - 1,
        outward=lambda left: None if left is None else left + 1,
    )


def follows(field: str, of: Callable[[Values], Any], *keys: str) -> Entry:
    """A field that follows from keys which say other fields too."""
    return Entry(keys, lambda config: {field: of(config)}, lambda held: {})


def scale() -> Entry:
    """The scale of the scores: one over the root of a number, which may be the head width."""
    here, width = f"{ATTENTION}.scale", f"{ATTENTION}.head_width"

    def read(config: Values) -> Values:
        number, own = config.get("query_pre_attn_scalar", 256), config.get("head_dim", 256)
        return {here: "head" if number == own else float(number) ** -0.5}

    def write(held: Values) -> Values:
        return {"query_pre_attn_scalar": held[width] if held[here] == "head" else round(held[here] ** -2)}

    return Entry(("query_pre_attn_scalar",), read, write)


SLIDING, FULL = "sliding_attention", "full_attention"


def alternating(config: Values, period: int) -> list[Any]:
    """The kinds of the layers: as they are said, or all with windows but each ``period``-th."""
    types = config.get("layer_types")
    if isinstance(types, list):
        return types
    period = config.get("sliding_window_pattern") or period
    return [SLIDING if (i + 1) % period else FULL for i in range(min(config["num_hidden_layers"], 10_000))]


def windows(*, switch: bool = False, period: int = 0) -> Entry:
    """Which layers have windows: ``layer_types``, and ``sliding_window``, which counts the query's own key.

    With ``switch`` a config may say ``use_sliding_window`` and ``max_window_layers`` instead, as Qwen's does. Without
    ``layer_types`` every layer but each ``period``-th has a window.
    """
    keys = ("layer_types", "sliding_window", *(("use_sliding_window", "max_window_layers") if switch else ()))
    here = f"{ATTENTION}.window_left"

    def read(config: Values) -> Values:
        count, window = config["num_hidden_layers"], config.get("sliding_window")
        if switch and not config.get("use_sliding_window", False):
            window = None
        types = config.get("layer_types")
        if not isinstance(types, list):
            first = config.get("max_window_layers", 28) if switch else 0
            types = alternating(config, period) if period else None
            types = types or [SLIDING if window is not None and i >= first else FULL for i in range(min(count, 10_000))]
        if strange := sorted({str(kind) for kind in types} - {SLIDING, FULL}):
            raise ValueError(f"layer_types has {', '.join(strange)}; {SLIDING} or {FULL} can be expressed")
        if SLIDING not in types:
            return {here: None}
        if window is None:
            raise ValueError(f"layer_types has {SLIDING}, and sliding_window is {said(config.get('sliding_window'))}")
        if FULL in types:
            return {"pattern": letters(types, SLIDING), f"other_{here}": window - 1}
        return {here: window - 1}

    def write(held: Values) -> Values:
        own, other = held[here], held.get(f"other_{here}")
        kinds = {"l": FULL if own is None else SLIDING, "o": FULL if other is None else SLIDING}
        types = [kinds[letter] for letter in spread(held["pattern"], held["num_layers"])]
        window = own if own is not None else other
        told: dict[str, Any] = {"sliding_window": None if window is None else window + 1, "layer_types": types}
        return told | ({"use_sliding_window": window is not None, "max_window_layers": 0} if switch else {})

    return Entry(keys, read, write)


def llama_map(name: str, summary: str, model_type: str, **changes: Any) -> Map:
    """A map like Llama's; ``changes`` are of its rules of fields, or ``rules``."""
    own = changes.pop("rules", rules())
    derive = changes.pop("derive", None)
    allowed = {"model_type": (model_type,), **changes.pop("allowed", {})}
    told = {"sizes": SIZES, "blocks": BLOCKS, "always": ALWAYS, "asked": ASKED, "entries": entries(), **changes}
    return Map(
        name=name,
        summary=summary,
        formats=("safetensors", "torch_pt"),
        needs=("torch", "transformers"),
        extra="port",
        block="LanguageModel",
        rules=own,
        derive=derive,
        unused={"*.rotary_emb.inv_freq": "a buffer of older versions: the frequencies of the angles"},
        prefixes=("model.", ""),
        outside=("lm_head.weight",),
        twins={"lm_head.weight": "embed_tokens.weight"},
        inputs=("token_ids", "padding_mask"),
        fields=FieldRules(unsaid={"head": ("head.kernel", "own", None)}, allowed=allowed, **told),
    )


#: module of a layer -> tap, of what comes out, or what goes in, or is read there
LAYER = [
    ("self_attn.o_proj", "in", "attention.merged", "b t c"),
    ("self_attn.o_proj", "out", "attention.projected", "b t c"),
    ("mlp.gate_proj", "out", "feed_forward.gate", "b t f"),
    ("mlp.act_fn", "out", "feed_forward.active", "b t f"),
    ("mlp.up_proj", "out", "feed_forward.hidden", "b t f"),
    ("mlp.down_proj", "in", "feed_forward.gated", "b t f"),
    ("mlp.down_proj", "out", "feed_forward.reduced", "b t c"),
]
BEFORE = [
    ("input_layernorm", "out", "attention_norm.scaled", "b t c"),
    ("post_attention_layernorm", "read", "attended", "b t c"),
    ("post_attention_layernorm", "out", "feed_forward_norm.scaled", "b t c"),
]


#: of layers with norms behind the sub-layers
INSIDE = {"post_attention_layernorm": "attention_norm", "post_feedforward_layernorm": "feed_forward_norm"}
#: the rules of norms of query and key
QK_NORM = tuple(
    Rule(f"{HERE}.self_attn.{own}_norm.weight", f"{THERE}.attention.{our}_norm.scale")
    for own, our in {"q": "query", "k": "key"}.items()
)


def spots_inside(block: Any) -> Iterator[Spot]:
    """Where the taps of layers with norms behind the sub-layers are."""
    return spots(block, [*LAYER, *[(own, "out", f"{our}.scaled", "b t c") for own, our in INSIDE.items()]])


#: of layers with norms before and behind both sub-layers
FOUR = {
    "input_layernorm": "attention_norm", "post_attention_layernorm": "attention_post_norm",
    "pre_feedforward_layernorm": "feed_forward_norm", "post_feedforward_layernorm": "feed_forward_post_norm",
}  # fmt: skip
AROUND = [
    *[(own, "out", f"{our}.scaled", "b t c") for own, our in FOUR.items()],
    ("pre_feedforward_layernorm", "read", "attended", "b t c"),
]


def spots_around(block: Any) -> Iterator[Spot]:
    """Where the taps of such layers are."""
    return spots(block, [*LAYER, *AROUND])


def spots(block: Any, layer: list[tuple[str, str, str, str]] | None = None, apart: bool = True) -> Iterator[Spot]:
    """Where the taps are; ``apart``: have query, key and value a layer each?"""
    inside = "model." if block.head else ""
    yield Spot(f"{inside}embed_tokens", "out", "embedded", "b t c")
    for i, own in enumerate(block.layers if apart else ()):
        here, there = f"{inside}layers.{i}.self_attn", f"layers.{i}.attention"
        heads, groups = own.attention.num_heads, own.attention.kv_heads
        yield Spot(f"{here}.q_proj", "heads", f"{there}.query", "b h t d", heads)
        yield Spot(f"{here}.k_proj", "heads", f"{there}.key", "b g s d", groups)
        yield Spot(f"{here}.v_proj", "heads", f"{there}.value", "b g s e", groups)
    yield from of_layers(f"{inside}layers", block.num_layers, [*LAYER, *BEFORE] if layer is None else layer)
    yield Spot(f"{inside}norm", "out", "final_norm.scaled", "b t c")
    if block.head:
        yield Spot("lm_head", "out", "logits", "b t v")
