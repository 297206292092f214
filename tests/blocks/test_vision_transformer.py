"""Evidence of ``VisionTransformer``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

import math
from typing import Any

import oracles
from evidence import Fault, inside
from test_attention_pooling import oracle as attention_pooling
from test_patch_embedding import oracle as patch_embedding

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 16


def oracle(
    w: dict, image: list, *, patch: int, channels: int, width: int, num_layers: int, num_heads: int, activation: str,
    class_token: bool, distilled_token: bool, register_tokens: int, patch_bias: bool, positions: bool,
    class_position: bool, embedding_norm: bool, norm_first: bool | None, layer_scale: float | None, final_norm: bool,
    eps: float, pooling: str, pooled_norm: bool, num_classes: int | None, **_: Any,
) -> list:  # fmt: skip
    """Class token, distilled token, registers, patches; positions of all but the registers; layers, pooling, head."""
    own = oracles.below(w, "patch_embedding")
    x = patch_embedding(own, image, patch=patch, channels=channels, width=width, use_bias=patch_bias)
    first = [*(w["class_token"] if class_token else []), *(w["distilled_token"] if distilled_token else [])]
    zeros = [[0.0] * width for _ in first]
    places = w["position.embedding"] if positions else [[0.0] * width for _ in (*first, *x[0])]
    places = places if class_position else zeros + places
    x = [oracles.add([*first, *tokens], places) for tokens in x]
    n = len(first)
    x = [[*tokens[:n], *(w["register_tokens"] if register_tokens else []), *tokens[n:]] for tokens in x]
    if embedding_norm:
        x = [[oracles.normed(w, "embedding_norm", vector, eps) for vector in tokens] for tokens in x]
    for i in range(num_layers):
        own = oracles.below(w, f"layers.{i}")
        if layer_scale is None:
            options: dict = {"num_heads": num_heads, "activation": activation, "norm_first": norm_first, "eps": eps}
            x = oracles.encoder_layer(own, x, **options)
        else:
            x = scaled_layer(own, x, num_heads, activation, norm_first, eps)
    if final_norm:
        x = [[oracles.normed(w, "final_norm", vector, eps) for vector in tokens] for tokens in x]
    if pooling == "none":
        return [[oracles.dense(w, "head", v) for v in tokens] for tokens in x] if num_classes else x
    if pooling == "distilled":
        both = [(oracles.dense(w, "head", t[0]), oracles.dense(w, "distilled_head", t[1])) for t in x]
        return [[(one[k] + two[k]) / 2 for k in range(len(one))] for one, two in both]
    patches = [tokens[n + register_tokens :] for tokens in x]
    if pooling == "attention":
        own = oracles.below(w, "pool")
        pooled = attention_pooling(own, patches, num_heads=num_heads, activation=activation, eps=eps)
    elif pooling == "class":
        pooled = [tokens[0] for tokens in x]
    else:
        pooled = [[math.fsum(v[c] for v in tokens) / len(tokens) for c in range(width)] for tokens in patches]
    if pooled_norm:
        pooled = [oracles.normed(w, "pooled_norm", vector, eps) for vector in pooled]
    return [oracles.dense(w, "head", vector) for vector in pooled] if num_classes else pooled


def scaled_layer(w: dict, x: list, num_heads: int, activation: str, norm_first: bool | None, eps: float) -> list:
    """A layer with factors of what its sub-layers give."""
    parts: dict = {
        "attention": {"block": "MultiHeadAttention", "fields": {"num_heads": num_heads}},
        "feed_forward": {"block": "FeedForward", "fields": {"activation": activation}},
        "norm": None if norm_first is None else {"block": "LayerNorm", "fields": {"eps": eps}},
    }
    return oracles.transformer_layer(w, x, **parts, norm_place="after" if norm_first is False else "before")


FAULTS = [
    Fault(
        "class token at the end",
        "with_class",
        torch=("torch.cat([tokens, x], dim=1)", "torch.cat([x, tokens], dim=1)"),
        keras=("ops.concatenate([tokens, x], axis=1)", "ops.concatenate([x, tokens], axis=1)"),
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
        torch=("x[:, self.prefix :].mean", "x.mean"),
        keras=("self.mean(x[:, self.prefix :])", "self.mean(x)"),
    ),
    Fault(
        "the last token for the class token",
        "pooled",
        torch=('tap("pooled", x[:, 0]', 'tap("pooled", x[:, -1]'),
        reference=('tap("pooled", x[:, 0]', 'tap("pooled", x[:, -1]'),
        keras=('tap("pooled", x[:, 0]', 'tap("pooled", x[:, -1]'),
    ),
    Fault(
        "registers behind the patches",
        "with_registers",
        torch=("[x[:, :at], registers, x[:, at:]]", "[x[:, :at], x[:, at:], registers]"),
        keras=("[x[:, :at], registers, x[:, at:]]", "[x[:, :at], x[:, at:], registers]"),
    ),
    Fault(
        "the logits of both heads added and not averaged",
        "logits",
        torch=("self.distilled_head(x[:, 1])) / 2", "self.distilled_head(x[:, 1]))"),
        reference=("(logits[0] + logits[1]) / 2.0", "logits[0] + logits[1]"),
        keras=("self.distilled_head(x[:, 1])) / 2", "self.distilled_head(x[:, 1]))"),
    ),
    inside("PatchEmbedding", "the kernel flipped", "patch_embedding"),
]
