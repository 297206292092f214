"""Traps of projections and heads: how they are split, normed and merged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attn_ref import ops
from attn_ref.traps import examples
from attn_ref.traps.definition import Here, Value, row

MHA = "MultiHeadAttention"
#: the attentions with heads that are split and merged
BOTH = f"{MHA} MultiHeadAttention2d"


def joined(x: np.ndarray) -> np.ndarray:
    """(b, h, t, d) → (b, t, h·d)."""
    return np.asarray(ops.merge_heads(x))


def split(order: Value) -> Mapping[str, Value]:
    """Queries, keys and values, split in another way."""
    return {"query": order, "key": order, "value": order}


def across(here: Here) -> np.ndarray:
    """(b, t, d·h) → (b, h, t, d): a head has every h-th feature."""
    b, h, t, d = here.right.shape
    here.need(h > 1)
    return joined(here.right).reshape(b, t, d, h).transpose(0, 3, 1, 2)


def untransposed(here: Here) -> np.ndarray:
    """(b, t, h·d) reshaped to (b, h, t, d) as it lies."""
    here.need(here.right.shape[1] > 1)
    return joined(here.right).reshape(here.right.shape)


def merged(order: tuple[int, ...]) -> Value:
    """The context's axes in another order, then reshaped."""

    def value(here: Here) -> np.ndarray:
        here.need(here.option("num_heads") > 1)
        return here["attention.context"].transpose(order).reshape(here.right.shape)

    return value


def projection(name: str) -> Value:
    """The query, key or value without its bias."""

    def value(here: Here) -> np.ndarray:
        here.need(here.option("use_bias"))
        _, h, _, d = here.right.shape
        return here.right - here.weight(f"{name}.bias").reshape(h, 1, d)

    return value


def from_query(name: str) -> Value:
    """The key or value, of the query's sequence."""

    def value(here: Here) -> np.ndarray:
        here.need(not np.array_equal(here.given(name), here.given("query")))
        y = here.given("query") @ here.weight(f"{name}.kernel")
        y = y + here.weight(f"{name}.bias") if here.block.use_bias else y
        return np.asarray(ops.split_heads(y, here.block.kv_heads))

    return value


def exchanged(name: str, other: str) -> Value:
    """The key or value, of the other's sequence."""

    def value(here: Here) -> np.ndarray:
        here.need(not np.array_equal(here.given(name), here.given(other)))
        here.need(not np.array_equal(here.given(name), here.given("query")))
        y = here.given(other) @ here.weight(f"{name}.kernel")
        y = y + here.weight(f"{name}.bias") if here.block.use_bias else y
        return np.asarray(ops.split_heads(y, here.block.kv_heads))

    return value


def normed_over_all(name: str) -> Value:
    """The norm over all heads at once, every head with the same scale."""

    def value(here: Here) -> np.ndarray:
        x, kind = here[name], here.option("qk_norm")
        here.need(kind and x.shape[1] > 1)
        flat = joined(x)
        plain = ops.rms_norm if kind == "rms" else ops.layer_norm
        y = ops.split_heads(plain(flat, eps=here.block.qk_norm_eps), x.shape[1]) * here.weight(f"{name}_norm.scale")
        return np.asarray(y if kind == "rms" else y + here.weight(f"{name}_norm.offset"))

    return value


def rotated_value(here: Here) -> np.ndarray:
    """The values, turned by their positions as keys are."""
    turn = here.option("turn")
    here.need(turn is not None and turn.width == here.right.shape[-1])
    return np.asarray(turn.forward({}, here.right))


def padded_zero(here: Here) -> np.ndarray:
    """Zeros where the query itself is padding."""
    mask = here.given("attention_mask")
    here.need(mask.shape[1:3] == (1, 1) and mask.shape[-1] == here.right.shape[1])
    return np.where(mask[:, 0, 0, :, None], here.right, 0.0)


def flattened_channels_first(here: Here) -> np.ndarray:
    """(b, c, H, W) reshaped to (b, H·W, c)."""
    flat = joined(here.right)
    return np.asarray(ops.split_heads(flat.swapaxes(1, 2).reshape(flat.shape), here.right.shape[1]))


def column_by_column(here: Here) -> np.ndarray:
    """The pixels laid back as (b, W, H, c), and turned."""
    b, height, width, c = here.right.shape
    return here.right.reshape(b, width, height, c).swapaxes(1, 2)


ROWS = (
    row(BOTH, "query", "heads-across", "heads are every h-th feature, not neighbours",
        symptom="a checkpoint of another library loads and is wrong",
        fix="reshape to (…, heads, width) in this order, then move the heads forward",
        evidence="tests/wild; keras-team/keras#18488: kernels (d, h, hd)", value=across, then=split(across),
        shows=examples.cross),
    row(BOTH, "query", "split-without-transposing", "heads are split by a reshape alone, which mixes tokens into heads",
        symptom="a head sees features of a few tokens",
        fix="reshape to (b, t, heads, width), then exchange the axes 1 and 2",
        evidence="reczoo/FuxiCTR#30", value=untransposed, then=split(untransposed), shows=examples.cross),
    row(MHA, "query", "projection-bias-left-out", "the projections of query, key and value have no bias",
        symptom="their biases get no gradient", fix="add the bias, or use_bias=False if none is meant",
        evidence="timm: qkv_bias=False was the default of its Attention; Whisper's keys have none",
        value=projection("query"), then={name: projection(name) for name in ("key", "value")}, shows=examples.cross),
    row(MHA, "key", "self-for-cross", "keys and values are of the queries' sequence, not of the other one",
        symptom="the other sequence has no effect", fix="project the keys and values of what is attended to",
        evidence="tests/test_conform.py: a layer that takes key and value and reads only query",
        value=from_query("key"), then={"value": from_query("value")}, shows=examples.cross),
    row(MHA, "key", "key-value-arguments", "the arguments for key and value are exchanged",
        symptom="it is right where key and value are one", fix="pass them by name",
        evidence="S17: its layer takes (value, key, query, mask)",
        value=exchanged("key", "value"), then={"value": exchanged("value", "key")}, shows=examples.cross),
    row(MHA, "value", "rotary-of-values", "values are turned by their positions, too",
        symptom="a token's value depends on where it stands", fix="turn queries and keys only",
        evidence="slip: one rotation for a packed qkv", value=rotated_value, shows=examples.turned_heads),
    row(MHA, "normed_query", "qk-norm-over-all-heads", "query and key are normed over all heads at once",
        symptom="a head's norm depends on the other heads", fix="norm every head over its own width",
        evidence="OLMo 2 means it, Qwen 3 and Gemma 3 norm every head: measured 0.45 to 7.7 apart",
        value=normed_over_all("query"), then={"normed_key": normed_over_all("key")}, shows=examples.normed_heads),
    row(MHA, "normed_query", "qk-norm-left-out", "query and key are not normed",
        symptom="scores grow in training", fix="norm every head's query and key before the scores",
        evidence="a loader that skips q_norm and k_norm: unexpected keys", value=lambda here: here["query"],
        then={"normed_key": lambda here: here["key"]}, shows=examples.normed_heads),
    row(MHA, "normed_key", "key-norm-left-out", "the keys are not normed, the queries are",
        symptom="scores are as large as keys are", fix="norm the keys as well",
        evidence="facebookresearch/xformers#233: a wrapper that normed its first input alone",
        value=lambda here: here["key"],
        shows=examples.normed_heads),
    row(BOTH, "merged", "merged-without-transposing", "heads are merged by a reshape alone, which mixes tokens",
        symptom="features of one head come from several tokens",
        fix="move the heads back beside their features before the reshape: y.transpose(1, 2).reshape(b, t, -1)",
        evidence="jsbaan/transformer-from-scratch#6; ajhalthor/Transformer-Neural-Network#4",
        value=merged((0, 1, 2, 3)), shows=examples.cross),
    row(BOTH, "merged", "heads-merged-inside-out", "heads are merged in the order (width, head)",
        symptom="a checkpoint of another library loads and is wrong",
        fix="keep the features of a head together: (b, t, head, width) → (b, t, head · width)",
        evidence="keras-team/keras#18488: kernels (h, hd, d)", value=merged((0, 2, 3, 1)), shows=examples.cross),
    row(MHA, "projected", "output-projection-left-out", "the output is not projected",
        symptom="the output projection gets no gradient", fix="project the merged heads",
        evidence="heykeetae/Self-Attention-GAN#50: no last convolution; tests/wild",
        value=lambda here: here["merged"], shows=examples.cross),
    row(MHA, "projected", "output-bias-left-out", "the output projection has no bias",
        symptom="its bias gets no gradient", fix="add it, or output_bias=False if none is meant",
        evidence="timm: proj_bias is an option; Llama has none, GPT-2 has one",
        value=lambda here: here.right - here.weight("project.bias"), shows=examples.cross),
    row(MHA, "projected", "padded-queries-zeroed", "what comes out of padded queries is zeroed",
        symptom="padded positions are exactly 0", fix="leave them, or mask the loss",
        evidence="measured: x-transformers, torch's fast path; pytorch/pytorch#97111",
        value=padded_zero, shows=examples.padded_heads),
    row(MHA, "output", "attention-residual-inside", "the query is added to what comes out",
        symptom="with the layer's own there are two residuals", fix="add it once, in the layer",
        evidence="nlpyang/hiersumm#28: such a one in the network; tests/wild",
        value=lambda here: here.right + here.given("query"), shows=examples.cross),
    row("MultiHeadAttention2d", "query", "flattened-channels-first",
        "pixels are flattened from an array with its channels first, without moving them",
        symptom="a token mixes channels of several pixels", fix="x.flatten(2).transpose(1, 2), not x.reshape(b, -1, c)",
        evidence="gzuidhof/nn-transfer#11; gupta-abhay/pytorch-vit#7", value=flattened_channels_first,
        then=split(flattened_channels_first), shows=examples.pixels),
    row("MultiHeadAttention2d", "merged", "map-turned", "tokens are laid back column by column",
        symptom="the map comes out mirrored at its diagonal", fix="reshape to (b, H, W, c)",
        evidence="huggingface/diffusers#11309", value=column_by_column, shows=examples.pixels),
    row("MultiHeadAttention2d", "output", "map-residual-left-out", "the map that comes in is not added",
        symptom="gradients reach it through the attention only", fix="add it",
        evidence="S5 has none, other blocks of attention over pixels add it",
        value=lambda here: here.right - here.given("x") if here.option("residual") else None,
        shows=lambda: examples.pixels(residual=True)),
)  # fmt: skip
