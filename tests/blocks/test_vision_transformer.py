"""Evidence of ``VisionTransformer``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

import math
from typing import Any

import oracles
from evidence import Fault, inside
from test_patch_embedding import oracle as patch_embedding

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 16


def oracle(
    w: dict, image: list, *, patch: int, channels: int, width: int, num_layers: int, num_heads: int, activation: str,
    class_token: bool, positions: bool, norm_first: bool | None, final_norm: bool, eps: float, pooling: str,
    num_classes: int | None, **_: Any,
) -> list:  # fmt: skip
    """The class token first, positions added to all, the layers, a norm, what is pooled, the head."""
    own = oracles.below(w, "patch_embedding")
    x = patch_embedding(own, image, patch=patch, channels=channels, width=width)
    if class_token:
        x = [[w["class_token"][0], *tokens] for tokens in x]
    if positions:
        x = [oracles.add(tokens, w["position.embedding"]) for tokens in x]
    for n in range(num_layers):
        own = oracles.below(w, f"layers.{n}")
        options: dict = {"num_heads": num_heads, "activation": activation, "norm_first": norm_first, "eps": eps}
        x = oracles.encoder_layer(own, x, **options)
    if final_norm:
        x = [[oracles.normed(w, "final_norm", vector, eps) for vector in tokens] for tokens in x]
    if pooling == "none":
        return [[oracles.dense(w, "head", v) for v in tokens] for tokens in x] if num_classes else x
    if pooling == "class":
        pooled = [tokens[0] for tokens in x]
    else:
        patches = [tokens[1:] if class_token else tokens for tokens in x]
        pooled = [[math.fsum(v[c] for v in tokens) / len(tokens) for c in range(width)] for tokens in patches]
    return [oracles.dense(w, "head", vector) for vector in pooled] if num_classes else pooled


FAULTS = [
    Fault(
        "class token at the end",
        "with_class",
        torch=(
            "torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)",
            "torch.cat([x, self.class_token.expand(x.shape[0], -1, -1)], dim=1)",
        ),
        keras=("ops.concatenate([first, x], axis=1)", "ops.concatenate([x, first], axis=1)"),
    ),
    Fault(
        "the class token takes no position",
        "positioned",
        torch=('tap("positioned", x + self.position.weight', 'tap("positioned", x + self.position.weight.roll(-1, 0)'),
        keras=(
            'tap("positioned", x + self.position(ops.arange(self.length))',
            'tap("positioned", x + self.position(ops.roll(ops.arange(self.length), -1))',
        ),
    ),
    Fault(
        "positions not added to the class token",
        "positioned",
        torch=(
            'tap("positioned", x + self.position.weight',
            'tap("positioned", x + self.position.weight * (torch.arange(x.shape[1]) > 0)[:, None]',
        ),
        keras=(
            "self.position(ops.arange(self.length))",
            "self.position(ops.arange(self.length)) * ops.cast(ops.arange(self.length) > 0, x.dtype)[:, None]",
        ),
    ),
    Fault(
        "final norm missing",
        "final_norm",
        torch=('tap("final_norm", self.final_norm(x)', 'tap("final_norm", x'),
        keras=('tap("final_norm", self.final_norm(x)', 'tap("final_norm", x'),
    ),
    Fault(
        "the mean includes the class token",
        "pooled",
        torch=("0 if self.class_token is None else 1 :", "0:"),
        keras=("x if self.class_token is None else x[:, 1:]", "x"),
    ),
    Fault(
        "the last token for the class token",
        "pooled",
        torch=('tap("pooled", x[:, 0]', 'tap("pooled", x[:, -1]'),
        reference=('tap("pooled", x[:, 0]', 'tap("pooled", x[:, -1]'),
        keras=('tap("pooled", x[:, 0]', 'tap("pooled", x[:, -1]'),
    ),
    inside("PatchEmbedding", "the kernel flipped", "patch_embedding"),
]
