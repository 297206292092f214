"""Faults planted in the torch and in the Keras mirror: each must be caught, and reported at the right tap."""

from __future__ import annotations

from collections import Counter

import pytest
import test_attention_cnn
import test_conv_faults
import test_map_faults
import test_positions
import test_vit
from planting import Fault, assert_caught, differing, on_engines

import attn_ref as ar
from attn_ref.catalogue import module_name

SDPA, MHA = "blocks.scaled_dot_product_attention", "blocks.multi_head_attention"
FFN, TEXT = "blocks.feed_forward", "models.text_encoder"
FUSED_ONLY = "output (taps off, so in the fused path only)"


FAULTS = [
    Fault(
        "scale by the total width", SDPA, "MultiHeadAttention", "attention.scores",
        torch=("return width**-0.5", "return (heads * width) ** -0.5"),
        keras=("return width**-0.5", "return (heads * width) ** -0.5"),
    ),
    Fault(
        "mask polarity: True = drop", SDPA, "MultiHeadAttention", "attention.masked",
        torch=("None else [attention_mask]", "None else [~attention_mask]"),
        keras=("None else [attention_mask]", "None else [ops.logical_not(attention_mask)]"),
    ),
    Fault(
        "softmax over the queries", SDPA, "MultiHeadAttention", "attention.weights",
        torch=("(nothing, 0.0).softmax(dim=-1)", "(nothing, 0.0).softmax(dim=-2)"),
        keras=("ops.where(nothing, 0.0, scores), axis=-1)", "ops.where(nothing, 0.0, scores), axis=-2)"),
    ),
    Fault(
        "heads merged as (d, h)", MHA, "MultiHeadAttention", "merged",
        torch=("context.transpose(1, 2).flatten(2)", "context.permute(0, 2, 3, 1).flatten(2)"),
        keras=("ops.swapaxes(x, 1, 2), (b, t, self", "ops.transpose(x, (0, 2, 3, 1)), (b, t, self"),
    ),
    Fault(
        "grouped heads tiled instead of repeated", SDPA, "MultiHeadAttention", "attention.scores",
        torch=("key.repeat_interleave(groups, dim=1), value.rep", "key.repeat(1, groups, 1, 1), value.rep"),
        keras=("ops.repeat(key, groups, axis=1)", "ops.tile(key, (1, groups, 1, 1))"),
    ),
    Fault(
        "the framework's own eps", "blocks.encoder_layer", "EncoderLayer", "attention_norm",
        torch=("self.attention_norm = nn.LayerNorm(width, eps=eps)", "self.attention_norm = nn.LayerNorm(width)"),
        keras=("self.attention_norm = keras.layers.LayerNormalization(epsilon=eps, ",
               "self.attention_norm = keras.layers.LayerNormalization("),
    ),
    Fault(
        "GELU by tanh", FFN, "FeedForward", "active",
        torch=('"tanh" if self.activation == "gelu_tanh" else "none"', '"tanh"'),
        keras=('if self.activation == "gelu_tanh":', "if True:"),
    ),
    Fault(
        "bias of the first layer dropped", FFN, "FeedForward", "hidden",
        torch=("self.expand(x)", "F.linear(x, self.expand.weight)"),
        keras=("self.expand(x)", "ops.matmul(x, self.expand.kernel)"),
    ),
    Fault(
        "no activation", FFN, "FeedForward", "active",
        torch=("self.activate(hidden)", "hidden"), keras=("self.activate(hidden)", "hidden"),
    ),
    Fault(
        "activation of the second layer too", FFN, "FeedForward", "reduced",
        torch=("self.reduce(active)", "self.activate(self.reduce(active))"),
        keras=("self.reduce(active)", "self.activate(self.reduce(active))"),
    ),
    Fault(
        "a residual of its own", FFN, "FeedForward", "reduced",
        torch=("self.reduce(active)", "x + self.reduce(active)"),
        keras=("self.reduce(active)", "x + self.reduce(active)"),
    ),
    Fault(
        "square kernels transposed", "codec", "MultiHeadAttention", "query|key|value|projected",  # whichever is square
        torch=("    return x.T\n", "    return x if x.shape[0] == x.shape[-1] else x.T\n"),
        keras=("variable.assign)", "lambda x: variable.assign(x.T if x.shape[0] == x.shape[-1] else x))"),
    ),
    Fault(
        "bias of the key projection dropped", MHA, "MultiHeadAttention", "key",
        torch=("self.key(key)", "nn.functional.linear(key, self.key.weight)"),
        keras=("self.key(key)", "ops.matmul(key, self.key.kernel)"),
    ),
    Fault(
        "causal aligned at the bottom right", SDPA, "MultiHeadAttention", "attention.masked|query_rotary.angles",
        torch=('if self.causal == "bottom_right":', "if self.causal:"),
        keras=('if self.causal == "bottom_right":', "if self.causal:"),
    ),
    Fault(
        "a window's left bound is exclusive", SDPA, "ScaledDotProductAttention", "masked",
        torch=("ahead >= -self.window_left", "ahead > -self.window_left"),
        keras=("ahead >= -self.window_left", "ahead > -self.window_left"),
    ),
    Fault(
        "a window has its left bound on both sides", SDPA, "ScaledDotProductAttention", "masked",
        torch=("ahead <= self.window_right", "ahead <= (self.window_left or 0)"),
        keras=("ahead <= self.window_right", "ahead <= (self.window_left or 0)"),
    ),
    Fault(
        "scores capped without the division", SDPA, "ScaledDotProductAttention", "capped",
        torch=("torch.tanh(scores / self.softcap)", "torch.tanh(scores)"),
        keras=("ops.tanh(scores / self.softcap)", "ops.tanh(scores)"),
    ),
    Fault(
        "sinks take no weight", SDPA, "ScaledDotProductAttention", "weights",
        torch=(".softmax(dim=-1)[..., :-1]", "[..., :-1].softmax(dim=-1).nan_to_num(0.0)"),
        keras=("ops.softmax(ops.concatenate([scores, column], axis=-1), axis=-1)[..., :-1]",
               "ops.nan_to_num(ops.softmax(scores, axis=-1))"),
    ),
    Fault(
        "one key more than there are", SDPA, "ScaledDotProductAttention", "masked",
        torch=("at < key_lengths", "at <= key_lengths"),
        keras=("at < key_lengths", "at <= key_lengths"),
    ),
    Fault(
        "query offset ignored", SDPA, "ScaledDotProductAttention", "masked",
        torch=("else positions + query_offset[:, None]", "else positions"),
        keras=("else positions + query_offset[:, None]", "else positions"),
    ),
    Fault(
        "aligned with the padded length", SDPA, "ScaledDotProductAttention", "masked",
        torch=("(s if key_lengths is None else key_lengths[:, None])", "s"),
        keras=("(s if key_lengths is None else key_lengths[:, None])", "s"),
    ),
    Fault(
        "the key's norm for the query", MHA, "MultiHeadAttention", "normed_query",
        torch=("self.query_norm(q)", "self.key_norm(q)"),
        keras=("self.query_norm(q)", "self.key_norm(q)"),
    ),
    Fault(
        "queries turned as if there were no cache", MHA, "MultiHeadAttention", "query_rotary.angles",
        torch=("self.query_rotary(q, positions)", "self.query_rotary(q)"),
        keras=("self.query_rotary(q, self.attention.positions(t, s, query_offset, key_lengths))",
               "self.query_rotary(q)"),
    ),
    Fault(
        "a row with nothing to attend to is uniform", SDPA, "MultiHeadAttention", "attention.weights",
        torch=(".softmax(dim=-1).masked_fill(nothing, 0.0)", ".softmax(dim=-1)"),
        keras=("ops.where(nothing, 0.0, ops.softmax(ops.where(nothing, 0.0, scores), axis=-1))",
               "ops.softmax(ops.where(nothing, 0.0, scores), axis=-1)"),
    ),
    Fault(
        "-1e9 in place of −∞", SDPA, "MultiHeadAttention", "attention.masked",
        torch=("masked_fill(~keep, -torch.inf)", "masked_fill(~keep, -1e9)"),
        keras=("ops.where(keep, scores, -math.inf)", "ops.where(keep, scores, -1e9)"),
    ),
    Fault(
        "-1e9 added in place of −∞", SDPA, "MultiHeadAttention", "attention.masked",
        torch=("scores.masked_fill(~keep, -torch.inf)", "scores + (~keep).to(scores.dtype) * -1e9"),
        keras=("ops.where(keep, scores, -math.inf)", "scores + ops.cast(ops.logical_not(keep), scores.dtype) * -1e9"),
    ),
    Fault(
        "the smallest number in place of −∞", SDPA, "ScaledDotProductAttention", "masked",
        torch=("masked_fill(~keep, -torch.inf)", "masked_fill(~keep, torch.finfo(scores.dtype).min)"),
        keras=("ops.where(keep, scores, -math.inf)", "ops.where(keep, scores, -1.7976931348623157e308)"),
    ),
    Fault(
        "+∞ in place of −∞", SDPA, "ScaledDotProductAttention", "masked",
        torch=("masked_fill(~keep, -torch.inf)", "masked_fill(~keep, torch.inf)"),
        keras=("ops.where(keep, scores, -math.inf)", "ops.where(keep, scores, math.inf)"),
    ),
    Fault(
        "every mask inverted", SDPA, "ScaledDotProductAttention", "masked",
        torch=("masked_fill(~keep, -torch.inf)", "masked_fill(keep, -torch.inf)"),
        keras=("ops.where(keep, scores, -math.inf)", "ops.where(keep, -math.inf, scores)"),
    ),
    Fault(
        "a window's right bound is one key short", SDPA, "ScaledDotProductAttention", "masked",
        torch=("ahead <= self.window_right", "ahead < self.window_right"),
        keras=("ahead <= self.window_right", "ahead < self.window_right"),
    ),
    Fault(
        "bias added before scaling", SDPA, "MultiHeadAttention", "attention.biased",
        torch=('tap("biased", scores + bias', 'tap("biased", scores + bias * self.factor(1, query.shape[-1])'),
        keras=('tap("biased", scores + bias', 'tap("biased", scores + bias * self.factor(1, query.shape[-1])'),
    ),
    Fault(
        "pre-norm residual taken after the norm", "blocks.encoder_layer", "EncoderLayer", "attended",
        torch=("x + self.attend(normed", "normed + self.attend(normed"),
        keras=("x + self.attend(normed", "normed + self.attend(normed"),
    ),
    Fault(
        "mean over padding too", TEXT, "TextEncoder", "mean",
        torch=("real.sum(dim=1).clamp(min=1)", "x.shape[1]"),
        keras=("ops.maximum(ops.sum(real, axis=1), 1.0)[:, None]", "x.shape[1]"),
    ),
    Fault(
        "positions counted from the end", TEXT, "TextEncoder", "embedded",
        torch=("self.position(positions)", "self.position(positions.flip(0))"),
        keras=("self.position(positions)", "self.position(ops.flip(positions))"),
    ),
    Fault(
        "tokens times the root of the width", TEXT, "TextEncoder", "embedded",
        torch=("self.token(token_ids)", "self.token(token_ids) * self.block.width**0.5"),
        keras=("self.token(token_ids)", "self.token(token_ids) * self.block.width**0.5"),
    ),
    Fault(
        "no scale in the fused call", SDPA, "MultiHeadAttention", FUSED_ONLY,
        torch=("            scale=scale,\n", "            scale=1.0,\n"),
        keras=("mask=keep, scale=1.0)", "mask=keep, scale=0.5)"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "engine"), on_engines(FAULTS))
def test_fault_is_caught_at_its_tap(fault: Fault, engine: str) -> None:
    assert_caught(fault, engine)


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_nothing_is_left_of_a_planted_fault(engine: str) -> None:
    assert differing(engine, "MultiHeadAttention", 10) == []


# how many there are ---------------------------------------------------------------------------------------------------

#: findings that name no tap
PLACELESS = {"raised", "missing", "order", "accepted", FUSED_ONLY}
LISTS = (
    FAULTS, test_attention_cnn.FAULTS, test_conv_faults.FAULTS, test_conv_faults.TRAINING, test_map_faults.FAULTS,
    test_positions.FAULTS, test_vit.FAULTS,
)  # fmt: skip


def test_every_block_has_three_faults_of_its_own() -> None:
    """Planted in its own mirror, run on it, and reported at a tap whatever the case."""
    own = Counter(
        fault.block
        for faults in LISTS
        for fault in faults
        if fault.module.endswith(f".{module_name(fault.block)}") and not PLACELESS & set(fault.tap.split("|"))
    )
    assert {name: own[name] for name in ar.blocks() if own[name] < 3} == {}
