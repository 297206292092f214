"""What ``config.json`` says of the families that followed Llama: sizes, windows, the head.

Each entry reads keys into fields of the block, and writes the keys that the fields mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attn_ref.foreign.entry import Entry, Values, key, letters, said, spread

ATTENTION, FEED = "layer.attention", "layer.feed_forward"
WIDTHS = ("width", "layer.width", f"{ATTENTION}.width", f"{FEED}.width", "layer.norm.width", "final_norm.width")
ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu": "gelu",
    "relu": "relu", "sigmoid": "sigmoid",
}  # fmt: skip


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
