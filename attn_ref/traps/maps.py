"""Traps of attention over pixels and channels: SAGAN, DANet, non-local blocks."""

from __future__ import annotations

import numpy as np

from attn_ref import ops
from attn_ref.traps import examples
from attn_ref.traps.definition import Here, Value, by_option, row
from attn_ref.traps.weights import soft

SAGAN, DANET, NONLOCAL = "SpatialSelfAttention", "ChannelSelfAttention", "NonLocal"
GATED = f"{SAGAN} {DANET}"


def branch(here: Here) -> np.ndarray:
    """What comes out of the attention, before γ or the residual."""
    return here.last("context", "projected", "normed")


def shortcut(here: Here) -> np.ndarray:
    """What is added."""
    return here["shortcut"] if "shortcut" in here.taps else here.given("x")


def ungated(here: Here) -> np.ndarray:
    """Without γ."""
    return branch(here) + shortcut(here)


def residual_scaled(here: Here) -> np.ndarray:
    """γ on the shortcut."""
    return branch(here) + here.weight("gate") * shortcut(here)


def residual_left_out(here: Here) -> np.ndarray:
    """The attention's result alone."""
    return here.weight("gate") * branch(here) if type(here.block).__name__ in GATED.split() else branch(here)


def unprojected(here: Here) -> np.ndarray:
    """x itself as the shortcut."""
    here.need("shortcut" in here.taps)
    return here.weight("gate") * here["context"] + here.given("x")


def by_root_of_width(here: Here) -> np.ndarray:
    """Scores over √d, in blocks that do not scale."""
    here.need(getattr(here.block, "scale", None) is None)
    width = here.last("query", "theta").shape[-1]
    here.need(width > 1)
    return np.asarray(here.right / width**0.5)


def by_root_of_pixels(here: Here) -> np.ndarray:
    """Scores over √n."""
    return np.asarray(here.right / here["query"].shape[1] ** 0.5)


def other_sign(here: Here) -> np.ndarray:
    """The softmax of the scores where max − score is meant, or the other way round."""
    scores = here["scores"]
    return soft(scores if here.block.invert else -scores, -1)


def transposed_map(here: Here) -> np.ndarray:
    """The map applied transposed."""
    value, weights = here["g" if type(here.block).__name__ == NONLOCAL else "value"], here["weights"]
    if type(here.block).__name__ == DANET:
        return np.asarray(value @ weights).reshape(here.right.shape)
    return np.asarray(weights.swapaxes(1, 2) @ value).reshape(here.right.shape)


def mean_pooled(name: str, size: int = 2) -> Value:
    """Keys or values pooled by the mean."""

    def value(here: Here) -> np.ndarray:
        x = here.given("x")
        here.need(here.block.sub_sample and x.ndim == 4)
        y = np.asarray(ops.conv(x, here.weight(f"{name}.kernel"), here.weight(f"{name}.bias")))
        b, height, width, c = y.shape
        cut = y[:, : height // size * size, : width // size * size]
        cut = cut.reshape(b, height // size, size, width // size, size, c)
        return np.asarray(cut.mean((2, 4)).reshape(here.right.shape))

    return value


def pixels_turned(here: Here) -> np.ndarray:
    """The map laid back column by column."""
    b, height, width, c = here.right.shape
    return here.right.reshape(b, width, height, c).swapaxes(1, 2)


ROWS = (
    row(GATED, "output", "gamma-left-out", "the result is added without γ",
        symptom="a new block is not the identity", fix="γ · result + x",
        evidence="slip: a parameter that is made and not used; γ = 0 hides it, heykeetae/Self-Attention-GAN#7",
        value=ungated,
        shows=examples.pixel_map),
    row(GATED, "output", "gamma-on-residual", "γ multiplies what is added, not the result",
        symptom="a new block loses its input", fix="γ · result + x", evidence="slip: a factor at the wrong term",
        value=residual_scaled, shows=examples.pixel_map),
    row(f"{GATED} {NONLOCAL}", "output", "map-shortcut-left-out", "what goes in is not added",
        symptom="a new block gives zeros", fix="result + x",
        evidence="tests/wild; Non-local_pytorch#19: what its initial zeros hide",
        value=residual_left_out, shows=examples.pixel_map),
    row(DANET, "output", "shortcut-unprojected", "the shortcut is not projected",
        symptom="a new block is the identity, where it should be a convolution", fix="add the convolution of x",
        evidence="DANet has no convolutions, S13 has", shows=examples.channel_map,
        value=unprojected),
    row(f"{GATED} {NONLOCAL}", "scores", "map-scores-scaled", "scores are divided by the root of the width",
        symptom="the map is flatter than it should be", fix="no scale, as the paper has it",
        evidence="timm's non-local block scales by the input's channels, measured", value=by_root_of_width,
        shows=examples.pixel_map),
    row(DANET, "scores", "channel-scores-scaled", "scores are divided by the root of the number of pixels",
        symptom="the map is flatter than it should be", fix="no scale, as the paper has it",
        evidence="slip: the width of what is summed; scores grow with the map", value=by_root_of_pixels,
        shows=examples.channel_map),
    row(DANET, "weights",
        "energy-sign", "the softmax is of max − score where the score is meant, or of the score where max − score is",
        symptom="the channels that are least alike weigh most, or the other way round",
        fix="invert=True is DANet's code, invert=False its paper", evidence="junfu1115/DANet#106", value=other_sign,
        shows=examples.channel_map),
    row(f"{GATED} {NONLOCAL}", "context", "map-transposed", "the map is applied transposed",
        symptom="weights that are applied to a place do not sum to 1",
        fix="result = weights · values, a row for every query",
        evidence="brain-research/self-attention-gan#17 asks whether it should be", value=transposed_map,
        shows=examples.pixel_map),
    row(f"{GATED} {NONLOCAL}", "context", "pixels-turned", "the result is laid back column by column",
        symptom="the map comes out mirrored at its diagonal", fix="reshape to (b, H, W, c)",
        evidence="huggingface/diffusers#11309: W and H exchanged",
        value=lambda here: pixels_turned(here) if here.right.ndim == 4 else None, shows=examples.non_local),
    row(SAGAN, "key", "keys-pooled-by-mean", "keys and values are pooled by the mean",
        symptom="the map is smoother", fix="max pooling", evidence="slip: average pooling",
        value=mean_pooled("key"), then={"value": mean_pooled("value")}, shows=examples.pooled_map),
    row(NONLOCAL, "phi", "phi-pooled-by-mean", "φ and g are pooled by the mean",
        symptom="the map is smoother", fix="max pooling", evidence="slip: average pooling",
        value=mean_pooled("phi"), then={"g": mean_pooled("g")}, shows=lambda: examples.non_local(sub_sample=True)),
    row(NONLOCAL, "weights", "pairing-by-count", "scores are divided by the number of keys, where the softmax is meant",
        symptom="weights are negative, and do not sum to 1", fix='softmax over the keys: pairing="softmax"',
        evidence="AlexHex7/Non-local_pytorch#19", value=by_option(pairing="dot"), shows=examples.non_local),
    row(NONLOCAL, "weights", "pairing-by-softmax", "a softmax weighs, where scores over the number of keys are meant",
        symptom="weights are never negative", fix='scores / number of keys: pairing="dot"',
        evidence="AlexHex7/Non-local_pytorch#19", value=by_option(pairing="softmax"),
        shows=lambda: examples.non_local(pairing="dot")),
    row(NONLOCAL, "weights", "softmax-and-count", "the softmax is divided by the number of keys, too",
        symptom="rows sum to 1/N", fix="one of the two", evidence="slip: both pairings in one line",
        value=lambda here: here.right / here.right.shape[-1] if here.block.pairing == "softmax" else None,
        shows=examples.non_local),
    row(NONLOCAL, "scores", "non-local-scale-left-out", "the scores of the map are not scaled",
        symptom="the map is steeper than it should be", fix="multiply by the scale",
        evidence="timm scales, the paper does not: measured", value=by_option(scale=None),
        shows=lambda: examples.non_local(scale="inner")),
)  # fmt: skip
