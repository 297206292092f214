"""Small cases in which traps show: blocks, and seeded inputs for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.blocks.cbam import CBAM
from attn_ref.blocks.cbam_residual import CBAMResidual
from attn_ref.blocks.channel_attention import ChannelAttention
from attn_ref.blocks.channel_self_attention import ChannelSelfAttention
from attn_ref.blocks.efficient_channel_attention import EfficientChannelAttention
from attn_ref.blocks.encoder_layer import EncoderLayer
from attn_ref.blocks.feed_forward import FeedForward
from attn_ref.blocks.gated_feed_forward import GatedFeedForward
from attn_ref.blocks.layer_norm import LayerNorm
from attn_ref.blocks.linear_position_bias import LinearPositionBias
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.blocks.multi_head_attention2d import MultiHeadAttention2d
from attn_ref.blocks.non_local import NonLocal
from attn_ref.blocks.patch_embedding import PatchEmbedding
from attn_ref.blocks.relative_position_bias import RelativePositionBias
from attn_ref.blocks.rms_norm import RMSNorm
from attn_ref.blocks.rotary_embedding import RotaryEmbedding
from attn_ref.blocks.scaled_dot_product_attention import ScaledDotProductAttention
from attn_ref.blocks.selective_kernel import SelectiveKernel
from attn_ref.blocks.spatial_attention import SpatialAttention
from attn_ref.blocks.spatial_self_attention import SpatialSelfAttention
from attn_ref.blocks.squeeze_excitation import SqueezeExcitation
from attn_ref.blocks.transformer_layer import TransformerLayer
from attn_ref.models.text_encoder import TextEncoder
from attn_ref.models.vision_transformer import VisionTransformer
from attn_ref.traps.definition import Example
from attn_ref.weights import uniform


def real(name: str, *shape: int, width: float = 1.75) -> np.ndarray:
    """Numbers between −width and width."""
    return uniform(shape, "trap", name) * width


def mask(*shape: int) -> np.ndarray:
    """True for two thirds, and nowhere in the last row."""
    keep = uniform(shape, "trap", "mask") > -0.4
    keep[..., -1, :] = False
    return keep


# scaled dot product -----------------------------------------------------------------------------------------------


def products(h: int = 2, g: int = 2, t: int = 5, s: int = 5, b: int = 2, d: int = 6, e: int = 6) -> dict[str, Any]:
    """Queries, keys and values."""
    return {"query": real("query", b, h, t, d), "key": real("key", b, g, s, d), "value": real("value", b, g, s, e)}


def square() -> Example:
    """As many samples, heads, queries and keys: nothing is told apart by its size."""
    return Example(ScaledDotProductAttention(), products(4, 4, 4, 4, 4))


def oblong() -> Example:
    """Fewer queries than keys, values of another width."""
    return Example(ScaledDotProductAttention(), products(t=4, s=7, e=3))


def grouped() -> Example:
    return Example(ScaledDotProductAttention(), products(h=4, g=2))


def causal() -> Example:
    return Example(ScaledDotProductAttention(causal="top_left"), products(t=5, s=7))


def last_queries() -> Example:
    """Causal, the last query seeing all keys."""
    return Example(ScaledDotProductAttention(causal="bottom_right"), products(t=4, s=7))


def window() -> Example:
    return Example(ScaledDotProductAttention(window_left=2, window_right=1), products(t=8, s=8))


def causal_window() -> Example:
    return Example(ScaledDotProductAttention(causal="top_left", window_left=2), products(t=8, s=8))


def masked() -> Example:
    """Causal, with a mask for every head and a row in which nothing is kept."""
    return Example(ScaledDotProductAttention(causal="top_left"), products() | {"attention_mask": mask(2, 2, 5, 5)})


def side_mask() -> Example:
    """A mask for every sample, of as many samples as heads."""
    return Example(ScaledDotProductAttention(), products() | {"attention_mask": mask(2, 1, 5, 5)})


def padded() -> Example:
    """The last keys of every sample are padding."""
    keys = np.arange(5) < np.array([3, 4])[:, None, None, None]
    return Example(ScaledDotProductAttention(), products() | {"attention_mask": keys})


def biased() -> Example:
    bias = real("bias", 2, 2, 5, 5)
    return Example(ScaledDotProductAttention(causal="top_left"), products() | {"bias": bias})


def capped() -> Example:
    inputs = products() | {"bias": real("bias", 2, 2, 5, 5)}
    return Example(ScaledDotProductAttention(causal="top_left", softcap=1.5), inputs)


def cached() -> Example:
    """Queries behind a cache, of which not all is filled."""
    inputs = products(t=3, s=8) | {"query_offset": np.array([2, 4]), "key_lengths": np.array([5, 7])}
    return Example(ScaledDotProductAttention(causal="top_left"), inputs)


def lengths() -> Example:
    """A cache of which not all is filled."""
    inputs = products(t=3, s=8) | {"key_lengths": np.array([5, 7])}
    return Example(ScaledDotProductAttention(), inputs)


def sinking() -> Example:
    return Example(ScaledDotProductAttention(), products() | {"sinks": real("sinks", 2)})


def dropping() -> Example:
    return Example(ScaledDotProductAttention(dropout=0.5), products())


# multi-head attention ---------------------------------------------------------------------------------------------


def tokens(width: int = 8, b: int = 2, t: int = 5) -> np.ndarray:
    return real("tokens", b, t, width)


def heads(**options: Any) -> Example:
    """Self-attention; as many heads as samples, and as features of a head."""
    return Example(MultiHeadAttention(width=9, num_heads=3, **options), {"query": tokens(9, 3, 3)})


def cross() -> Example:
    """Attention to another sequence, of as many tokens."""
    inputs = {"query": tokens(), "key": real("key", 2, 5, 8), "value": real("value", 2, 5, 8)}
    return Example(MultiHeadAttention(width=8, num_heads=2), inputs)


def padded_heads() -> Example:
    keys = np.arange(5) < np.array([3, 4])[:, None, None, None]
    return Example(MultiHeadAttention(width=8, num_heads=2), {"query": tokens(), "attention_mask": keys})


def normed_heads(kind: str = "rms") -> Example:
    return Example(MultiHeadAttention(width=8, num_heads=2, qk_norm=kind), {"query": tokens()})


def turned_heads() -> Example:
    return Example(MultiHeadAttention(width=12, num_heads=3, rotary="half"), {"query": tokens(12)})


def pixels(**options: Any) -> Example:
    block = MultiHeadAttention2d(channels=8, num_heads=2, **options)
    return Example(block, {"x": real("map", 2, 3, 4, 8)})


# positions --------------------------------------------------------------------------------------------------------


def rotary(**options: Any) -> Example:
    return Example(RotaryEmbedding(**{"width": 8, **options}), {"x": real("x", 2, 3, 5, 8)})


def rotary_cached() -> Example:
    inputs = {"x": real("x", 2, 3, 5, 8), "positions": np.arange(5) + np.array([[3], [7]])}
    return Example(RotaryEmbedding(width=8), inputs)


def slopes(heads: int = 6) -> Example:
    return Example(LinearPositionBias(num_heads=heads), {"query_positions": np.arange(6)})


def distances() -> Example:
    block = RelativePositionBias(num_heads=2, num_buckets=8, max_distance=20)
    return Example(block, {"query_positions": np.arange(12)})


# norms, networks, layers ------------------------------------------------------------------------------------------


def layer_norm() -> Example:
    return Example(LayerNorm(width=8), {"x": tokens() + 0.5})


def rms_norm(**options: Any) -> Example:
    return Example(RMSNorm(width=8, **options), {"x": tokens() + 0.5})


def network(activation: str = "gelu", **options: Any) -> Example:
    return Example(FeedForward(width=8, hidden_width=12, activation=activation, **options), {"x": tokens()})


def gated() -> Example:
    return Example(GatedFeedForward(width=8, hidden_width=12), {"x": tokens()})


def encoder(**options: Any) -> Example:
    return Example(EncoderLayer(width=8, num_heads=2, hidden_width=12, **options), {"x": tokens()})


def layer(**options: Any) -> Example:
    """A layer of parts, with learned factors."""
    parts: dict[str, Block] = {
        "attention": MultiHeadAttention(width=8, num_heads=2),
        "feed_forward": FeedForward(width=8, hidden_width=12),
        "norm": LayerNorm(width=8),
    }
    return Example(TransformerLayer(width=8, **{**parts, **options}), {"x": tokens()})


# images and texts -------------------------------------------------------------------------------------------------


def patches() -> Example:
    return Example(PatchEmbedding(patch=3, channels=2, width=8), {"image": real("image", 2, 6, 9, 2)})


def vision(**options: Any) -> Example:
    sizes = {"patch": 4, "image_height": 8, "image_width": 12, "width": 8, "num_layers": 1, "num_heads": 2}
    block = VisionTransformer(**{**sizes, "hidden_width": 12, "num_classes": 5, "pooling": "mean", **options})
    return Example(block, {"image": real("image", 2, 8, 12, 3)})


def text(**options: Any) -> Example:
    """Two sequences, one of them padded, of two segments; more positions than tokens."""
    sizes = {"vocab_size": 11, "max_length": 7, "num_segments": 2, "width": 8, "num_layers": 1, "num_heads": 2}
    inputs = {
        "token_ids": np.array([[1, 5, 3, 9, 2], [4, 4, 8, 0, 0]]),
        "padding_mask": np.array([[True] * 5, [True] * 3 + [False] * 2]),
        "segment_ids": np.array([[0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]),
    }
    return Example(TextEncoder(**{**sizes, "hidden_width": 12, "pooling": "mean", **options}), inputs)


# attention over channels and pixels -------------------------------------------------------------------------------


def image(channels: int = 8, height: int = 5, width: int = 6) -> dict[str, np.ndarray]:
    return {"x": real("map", 2, height, width, channels)}


def squeezing() -> Example:
    return Example(SqueezeExcitation(channels=8, reduction=2), image())


def channel_gate() -> Example:
    return Example(ChannelAttention(channels=8, reduction=2), image())


def pixel_gate(**options: Any) -> Example:
    return Example(SpatialAttention(kernel_size=3, **options), image())


def both_gates() -> Example:
    return Example(CBAM(channels=8, reduction=2, kernel_size=3), image())


def residual_gates() -> Example:
    return Example(CBAMResidual(channels=3, output_channels=8), image(3, 6, 8))


def neighbours() -> Example:
    return Example(EfficientChannelAttention(channels=8), image())


def kernels(**options: Any) -> Example:
    sizes = {"channels": 8, "groups": 2, "reduction": 4, "min_width": 5, "branches": 3}
    return Example(SelectiveKernel(**{**sizes, **options}), image())


def pixel_map(**options: Any) -> Example:
    """As many pixels as channels, and as many samples."""
    block = SpatialSelfAttention(channels=4, head_width=3, **options)
    return Example(block, {"x": real("map", 4, 2, 2, 4)})


def pooled_map() -> Example:
    return Example(SpatialSelfAttention(channels=4, head_width=3, sub_sample=True), image(4, 4, 6))


def channel_map(**options: Any) -> Example:
    return Example(ChannelSelfAttention(channels=4, **options), {"x": real("map", 4, 2, 3, 4, width=0.8)})


def non_local(**options: Any) -> Example:
    return Example(NonLocal(channels=4, **options), {"x": real("map", 2, 4, 4, 4)})
