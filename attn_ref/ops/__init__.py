"""The primitives of the definitions. Complex-safe, so that derivatives pass through as imaginary parts.

Blocks use these for everything that is not + − × ÷ or indexing.
"""

from attn_ref.ops.activation import ACTIVATIONS, erf, gelu, gelu_tanh, relu, tanh
from attn_ref.ops.linear import embedding, linear, matmul
from attn_ref.ops.norm import layer_norm, mean, rms_norm, sqrt
from attn_ref.ops.positions import (
    bias_slopes,
    cos,
    distance_buckets,
    merge_pairs,
    power,
    quotient,
    rotary_angles,
    sin,
    split_pairs,
)
from attn_ref.ops.shape import dropout, merge_heads, repeat_heads, split_heads
from attn_ref.ops.softmax import exp, softmax

__all__ = [
    "ACTIVATIONS", "bias_slopes", "cos", "distance_buckets", "dropout", "embedding", "erf", "exp", "gelu",
    "gelu_tanh", "layer_norm", "linear", "matmul", "mean", "merge_heads", "merge_pairs", "power", "quotient", "relu",
    "repeat_heads", "rms_norm", "rotary_angles", "sin", "softmax", "split_heads", "split_pairs", "sqrt", "tanh",
]  # fmt: skip
