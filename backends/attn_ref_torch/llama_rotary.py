"""What ``config.json`` says of rotary positions in the families that followed Llama, and what is written of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from attn_ref.blocks.rotary_embedding import RotaryEmbedding
from attn_ref.foreign.entry import Entry, Values, said
from attn_ref_torch.llama_config import ATTENTION, FULL, SLIDING, alternating

#: the key that a growing base is counted by, and nothing else
LENGTH = "max_position_embeddings"
#: rope_type -> what makes slow pairs slower, and the keys for how many turns are slow and fast, with their defaults
RAMPS: Mapping[str, tuple[str, tuple[str, Any], tuple[str, Any]]] = {
    "llama3": ("turns", ("low_freq_factor", None), ("high_freq_factor", None)),
    "yarn": ("whole_pairs", ("beta_slow", 1), ("beta_fast", 32)),
}


def rope(base: float = 10000.0, theta: str = "rope_theta", partial: str = "", share: float = 1.0) -> Entry:
    """Rotary positions: ``rope_parameters``, and ``rope_scaling`` and ``theta`` of older files.

    ``partial``: the key of older files for the share of a head's features that turn, ``share`` where nothing says it;
    without it a family turns all.
    """
    keys = ("rope_parameters", "rope_scaling", theta, *([partial] if partial else []), LENGTH)

    def read(config: Values) -> Values:
        told = parameters(config) or {}
        part = told.get("partial_rotary_factor", config.get(partial, share))
        if part != 1 and not partial:
            raise ValueError(f"partial_rotary_factor is {said(part)}; 1.0 can be expressed")
        return turning(config, told, float(told.get("rope_theta", config.get(theta, base))), part)

    def write(held: Values) -> Values:
        told = turned(held)
        if partial:
            width, rotation = held[f"{ATTENTION}.head_width"], held.get(f"{ATTENTION}.rotation")
            own = held[f"{ATTENTION}.rotary_width"] if rotation is None else rotation.rotary_width
            part = 1.0 if own is None else own / width
            # the share is multiplied again, and what is left is cut off
            told["partial_rotary_factor"] = part if int(width * part) == (own or width) else (own + 0.25) / width
        return {"rope_parameters": told, **grows(held)}

    return Entry(keys, read, write)


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
    if kind in ("longrope", "su"):
        return {f"{at}.rotary": None, f"{at}.rotation": longrope(config, told, base, width, own)}
    if kind == "dynamic":
        rotation = RotaryEmbedding(
            width=width, rotary_width=own, base=base, base_growth=float(told["factor"]), original_length=config[LENGTH]
        )
        return {f"{at}.rotary": None, f"{at}.rotation": rotation}
    if kind not in RAMPS:
        words = ", ".join(map(said, ("default", "linear", "dynamic", *RAMPS, "longrope")))
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


def longrope(
    config: Values, told: Mapping[str, Any], base: float, width: int, features: int | None
) -> RotaryEmbedding:  # fmt: skip
    """Phi-3's: a divisor for each pair, and others where a position is beyond the length of before."""
    length = config.get("original_max_position_embeddings") or told["original_max_position_embeddings"]
    grown = told.get("attention_factor")
    if grown is None:
        factor = told.get("factor") or config["max_position_embeddings"] / length
        grown = math.sqrt(1.0 + math.log(factor) / math.log(length)) if factor > 1.0 else 1.0
    return RotaryEmbedding(
        width=width, rotary_width=features, base=base, original_length=length,
        attention_factor=float(grown),
        factors=tuple(map(float, told["short_factor"])), long_factors=tuple(map(float, told["long_factor"])),
    )  # fmt: skip


def factor_of(told: Mapping[str, Any], factor: float) -> float:
    """YaRN's attention factor: as it is said, or 0.1 ln(factor) + 1, of which "mscale" weighs the logarithm."""
    if told.get("attention_factor") is not None:
        return float(told["attention_factor"])

    def grown(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    weights = told.get("mscale"), told.get("mscale_all_dim")
    return grown(weights[0]) / grown(weights[1]) if weights[0] and weights[1] else grown(1.0)


def grows(held: Values, at: str = ATTENTION) -> dict[str, Any]:
    """The length beyond which the base of the attention at ``at`` grows, if it does."""
    rotation: Any = held.get(f"{at}.rotation")
    return {} if getattr(rotation, "base_growth", None) is None else {LENGTH: rotation.original_length}


def turned(held: Values, at: str = ATTENTION) -> dict[str, Any]:
    """Rotary parameters of the fields of the attention at ``at``."""
    rotation = held.get(f"{at}.rotation")
    if rotation is None:
        factor = held[f"{at}.rotary_scaling"]
        kind: dict[str, Any] = {"rope_type": "default"} if factor == 1.0 else {"rope_type": "linear", "factor": factor}
        return {**kind, "rope_theta": held[f"{at}.rotary_base"]}
    if rotation.base_growth is not None:
        return {"rope_type": "dynamic", "rope_theta": rotation.base, "factor": rotation.base_growth}
    if rotation.factors is not None:
        return {
            "rope_type": "longrope", "rope_theta": rotation.base, "short_factor": list(rotation.factors),
            "long_factor": list(rotation.long_factors), "attention_factor": rotation.attention_factor,
            "original_max_position_embeddings": rotation.original_length,
        }  # fmt: skip
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


def angles(default: Mapping[str, float], old: Mapping[str, str], period: int) -> Entry:
    """Rotary parameters of either kind of layers, the full ones and those with windows.

    ``default``: the base of each kind where nothing says it; ``old``: the key that said it in older files. Of those,
    what is said of no kind is the full layers'. ``period`` is as in ``alternating``.
    """

    def read(config: Values) -> Values:
        told, types = parameters(config) or {}, alternating(config, period)
        nested = any(kind in told for kind in default)
        found: dict[str, Any] = {}
        for kind in sorted({FULL, SLIDING} & set(types)):
            own = (told.get(kind) or {}) if nested else told if kind == FULL else {}
            base = own.get("rope_theta", config.get(old[kind], default[kind]))
            at = f"other_{ATTENTION}" if kind == SLIDING and FULL in types else ATTENTION
            found |= turning(config, own, float(base or 0.0), 1.0, at)
        return found

    def write(held: Values) -> Values:
        other = f"other_{ATTENTION}"
        same = {name.removeprefix("other_"): value for name, value in held.items() if name.startswith(f"{other}.")}
        first, second = turned(held), turned({**held, **same})
        only = held[f"{ATTENTION}.window_left"] is not None
        told = {FULL: second if only else first, SLIDING: first if only else second}
        return {"rope_parameters": told, **grows(held), **grows(held, other)}

    return Entry(("rope_parameters", "rope_scaling", *old.values(), LENGTH), read, write)
