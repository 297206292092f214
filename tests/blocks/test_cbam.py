"""Evidence of ``CBAM``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault, inside, norm_faults
from oracles_conv import cbam as oracle

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 16

FAULTS = [
    Fault(
        "height and width of the map exchanged",
        "spatial_attention.scaled",
        torch=("x * gate", "x * (gate.mT if gate.shape[2] == gate.shape[3] else gate)"),
        keras=("x * gate", "x * (ops.swapaxes(gate, 1, 2) if gate.shape[1] == gate.shape[2] else gate)"),
        module="blocks.spatial_attention",
    ),
    Fault(
        "spatial attention first",
        "order",
        torch=(
            "self.spatial_attention(self.channel_attention(x))",
            "self.channel_attention(self.spatial_attention(x))",
        ),
        reference=(
            'self.spatial_attention(w["spatial_attention"], self.channel_attention(w["channel_attention"], x))',
            'self.channel_attention(w["channel_attention"], self.spatial_attention(w["spatial_attention"], x))',
        ),
        keras=(
            "self.spatial_attention(self.channel_attention(x), training=training)",
            "self.channel_attention(self.spatial_attention(x, training=training))",
        ),
    ),
    Fault(
        "side by side",
        "spatial_attention.pooled",
        torch=(
            "self.spatial_attention(self.channel_attention(x))",
            "self.channel_attention(x) * self.spatial_attention(x) / x",
        ),
        keras=(
            "self.spatial_attention(self.channel_attention(x), training=training)",
            "self.channel_attention(x) * self.spatial_attention(x, training=training) / x",
        ),
    ),
    Fault(
        "a residual around channel attention",
        "spatial_attention.pooled",
        torch=("self.channel_attention(x)", "x + self.channel_attention(x)"),
        keras=("self.channel_attention(x)", "x + self.channel_attention(x)"),
    ),
    Fault(
        "the framework's own eps",
        "spatial_attention.normed",
        torch=("eps=eps, momentum", "eps=1e-3 if batch_norm else eps, momentum"),
        keras=("eps=eps", "eps=1e-3 if batch_norm else eps"),
    ),
    Fault(
        "channel attention's bias dropped",
        "missing|raised",
        torch=("reduced_width=reduced_width, use_bias=use_bias", "reduced_width=reduced_width"),
        keras=("            use_bias=use_bias,\n", ""),
    ),
    *norm_faults("spatial_attention.norm"),
    inside("SpatialAttention", "the kernel flipped", "spatial_attention"),
]
