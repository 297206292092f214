"""Evidence of ``MultiHeadAttention``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles import multi_head_attention as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "only what is too large is clipped",
        "query|key|value",
        torch=("x.clamp(-self.clip, self.clip)", "x.clamp(max=self.clip)"),
        reference=("ops.bounded(x, self.clip)", "np.minimum(x, self.clip)"),
        keras=("ops.clip(x, -self.clip, self.clip)", "ops.minimum(x, self.clip)"),
    ),
    Fault(
        "γ for γ − 1 in the norm of query and key",
        "normed_query",
        torch=("norm.weight + 1", "norm.weight"),
        reference=('1.0 + w[f"{name}.scale"]', 'w[f"{name}.scale"]'),
        keras=("ops.cast(norm.scale, x.dtype) + 1", "ops.cast(norm.scale, x.dtype)"),
    ),
    Fault(
        "scale by the total width",
        "attention.scores",
        torch=("return width**-0.5", "return (heads * width) ** -0.5"),
        keras=("return width**-0.5", "return (heads * width) ** -0.5"),
        module="blocks.scaled_dot_product_attention",
    ),
    Fault(
        "mask polarity: True = drop",
        "attention.masked|attention.masked (a later call, same sizes)",
        torch=("None else [attention_mask]", "None else [~attention_mask]"),
        keras=("None else [attention_mask]", "None else [ops.logical_not(attention_mask)]"),
        module="blocks.scaled_dot_product_attention",
    ),
    Fault(
        "softmax over the queries",
        "attention.weights",
        torch=("(nothing, 0.0).softmax(dim=-1)", "(nothing, 0.0).softmax(dim=-2)"),
        keras=("ops.where(nothing, 0.0, scores), axis=-1)", "ops.where(nothing, 0.0, scores), axis=-2)"),
        module="blocks.scaled_dot_product_attention",
    ),
    Fault(
        "heads merged as (d, h)",
        "merged",
        torch=("context.transpose(1, 2).flatten(2)", "context.permute(0, 2, 3, 1).flatten(2)"),
        reference=(
            "ops.merge_heads(context)",
            "context.transpose(0, 2, 3, 1).reshape(*context.shape[::2], context.shape[1] * context.shape[3])",
        ),
        keras=("ops.swapaxes(x, 1, 2), (b, t, self", "ops.transpose(x, (0, 2, 3, 1)), (b, t, self"),
    ),
    Fault(
        "grouped heads tiled instead of repeated",
        "attention.scores",
        torch=("key.repeat_interleave(groups, dim=1), value.rep", "key.repeat(1, groups, 1, 1), value.rep"),
        keras=("ops.repeat(key, groups, axis=1)", "ops.tile(key, (1, groups, 1, 1))"),
        module="blocks.scaled_dot_product_attention",
    ),
    Fault(
        "square kernels transposed",
        "query|key|value|projected",
        torch=("    return x.T\n", "    return x if x.shape[0] == x.shape[-1] else x.T\n"),
        keras=("variable.assign)", "lambda x: variable.assign(x.T if x.shape[0] == x.shape[-1] else x))"),
        module="codec",
    ),
    Fault(
        "bias of the key projection dropped",
        "key",
        torch=("self.key(key)", "nn.functional.linear(key, self.key.weight)"),
        keras=("self.key(key)", "ops.matmul(key, self.key.kernel)"),
    ),
    Fault(
        "causal aligned at the bottom right",
        "attention.masked|query_rotary.angles",
        torch=('if self.causal == "bottom_right":', "if self.causal:"),
        keras=('if self.causal == "bottom_right":', "if self.causal:"),
        module="blocks.scaled_dot_product_attention",
    ),
    Fault(
        "the key's norm for the query",
        "normed_query|raised",
        torch=("self.normed(self.query_norm, q)", "self.normed(self.key_norm, q)"),
        keras=("self.normed(self.query_norm, q)", "self.normed(self.key_norm, q)"),
    ),
    Fault(
        "queries turned as if there were no cache",
        "query_rotary.angles",
        torch=("self.query_rotary(q, positions)", "self.query_rotary(q)"),
        keras=(
            "self.query_rotary(q, self.attention.positions(t, s, query_offset, key_lengths))",
            "self.query_rotary(q)",
        ),
    ),
    Fault(
        "a row with nothing to attend to is uniform",
        "attention.weights",
        torch=(".softmax(dim=-1).masked_fill(nothing, 0.0)", ".softmax(dim=-1)"),
        keras=(
            "ops.where(nothing, 0.0, ops.softmax(ops.where(nothing, 0.0, scores), axis=-1))",
            "ops.softmax(ops.where(nothing, 0.0, scores), axis=-1)",
        ),
        module="blocks.scaled_dot_product_attention",
    ),
    Fault(
        "-1e9 in place of −∞",
        "attention.masked",
        torch=("masked_fill(~keep, -torch.inf)", "masked_fill(~keep, -1e9)"),
        keras=("ops.where(keep, scores, -math.inf)", "ops.where(keep, scores, -1e9)"),
        module="blocks.scaled_dot_product_attention",
    ),
    Fault(
        "-1e9 added in place of −∞",
        "attention.masked",
        torch=("scores.masked_fill(~keep, -torch.inf)", "scores + (~keep).to(scores.dtype) * -1e9"),
        keras=("ops.where(keep, scores, -math.inf)", "scores + ops.cast(ops.logical_not(keep), scores.dtype) * -1e9"),
        module="blocks.scaled_dot_product_attention",
    ),
    Fault(
        "bias added before scaling",
        "attention.biased",
        torch=('tap("biased", scores + bias', 'tap("biased", scores + bias * self.factor(1, query.shape[-1])'),
        keras=('tap("biased", scores + bias', 'tap("biased", scores + bias * self.factor(1, query.shape[-1])'),
        module="blocks.scaled_dot_product_attention",
    ),
    Fault(
        "no scale in the fused call",
        "output (taps off, so in the fused path only)",
        torch=("            scale=scale,\n", "            scale=1.0,\n"),
        keras=("mask=keep, scale=1.0)", "mask=keep, scale=0.5)"),
        module="blocks.scaled_dot_product_attention",
    ),
]
