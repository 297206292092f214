"""Evidence of ``MultiHeadAttention2d``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles_maps import multi_head_attention2d as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "no activation of the value",
        "value",
        torch=("self.heads(self.value(pixels))", "self.value(pixels).flatten(2).unflatten(1, (self.num_heads, -1)).mT"),
        keras=(
            "self.heads(self.value(pixels))",
            "ops.swapaxes(ops.reshape(self.value(pixels), (b, height * width, self.num_heads, self.e)), 1, 2)",
        ),
    ),
    Fault(
        "channels first read as channels last",
        "query|key|value|raised",
        torch=(
            "active.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)",
            ("active.reshape(len(x), x.shape[2] * x.shape[3], self.num_heads, -1 if len(x) else 0).transpose(1, 2)"),
        ),
        keras=("ops.reshape(active, split)", "ops.reshape(ops.transpose(active, (0, 3, 1, 2)), split)"),
    ),
    Fault(
        "heads interleaved",
        "query|key|value",
        torch=(
            "unflatten(1, (self.num_heads, -1)).transpose(2, 3)",
            "unflatten(1, (x.shape[1] // self.num_heads, self.num_heads)).permute(0, 2, 3, 1)",
        ),
        keras=(
            (
                "split = (b, height * width, self.num_heads, x.shape[-1] // self.num_heads)\n"
                "        return ops.swapaxes(ops.reshape(active, split), 1, 2)"
            ),
            (
                "split = (b, height * width, x.shape[-1] // self.num_heads, self.num_heads)\n"
                "        return ops.transpose(ops.reshape(active, split), (0, 3, 1, 2))"
            ),
        ),
    ),
    Fault(
        "position without its ReLU",
        "positioned",
        torch=("F.relu(self.position(x))", "self.position(x)"),
        keras=("ops.relu(self.position(x))", "self.position(x)"),
    ),
    Fault(
        "the residual after the position",
        "output",
        torch=("return y + x if", "return y + pixels if"),
        reference=("return y + x if", "return y + pixels if"),
        keras=("return y + x if", "return y + pixels if"),
    ),
]
