"""The primitives of the definitions. Complex-safe, so that derivatives pass through as imaginary parts.

Blocks use these for everything that is not + − × ÷ or indexing.
"""

from attn_ref.ops.activation import (
    ACTIVATIONS,
    GATED,
    GATES,
    erf,
    gelu,
    gelu_tanh,
    hard_sigmoid,
    quick_gelu,
    relu,
    sigmoid,
    silu,
    tanh,
)
from attn_ref.ops.conv import conv, max_pool
from attn_ref.ops.linear import embedding, linear, matmul
from attn_ref.ops.norm import batch_norm, layer_norm, mean, rms_norm, sqrt, standardised
from attn_ref.ops.positions import (
    bias_slopes,
    cos,
    distance_buckets,
    merge_pairs,
    power,
    quotient,
    reach,
    rotary_angles,
    rotary_frequencies,
    sin,
    split_pairs,
)
from attn_ref.ops.reduce import among_largest, at_most, bounded, largest
from attn_ref.ops.shape import dropout, merge_heads, repeat_heads, split_heads
from attn_ref.ops.softmax import exp, masked, softmax

__all__ = [
    "ACTIVATIONS", "GATED", "GATES", "among_largest", "at_most", "batch_norm", "bias_slopes", "bounded", "conv",
    "cos", "distance_buckets", "dropout", "embedding", "erf", "exp", "gelu", "gelu_tanh", "hard_sigmoid", "largest",
    "layer_norm", "linear", "masked", "matmul", "max_pool", "mean", "merge_heads", "merge_pairs", "power",
    "quick_gelu", "quotient", "reach", "relu", "repeat_heads", "rms_norm", "rotary_angles", "rotary_frequencies",
    "sigmoid", "silu", "sin", "softmax", "split_heads", "split_pairs", "sqrt", "standardised", "tanh",
]  # fmt: skip
