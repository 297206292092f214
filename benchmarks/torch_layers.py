"""The torch mirrors against torch's own layers and one by hand, with the same weights, in training and inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from attn_ref_torch import foreign
from attn_ref_torch.peers import multihead_attention, transformer_encoder_layer
from torch import Tensor, nn
from torch.nn import functional as F

import attn_ref as ar
from attn_ref.block import Block
from attn_ref.blocks.encoder_layer import EncoderLayer
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from benchmarks.timing import Call, Effort, Row, ratios, same

#: batch, length, width, heads; the first shows what Python costs
SIZES = [(1, 8, 32, 2), (8, 128, 256, 8), (8, 128, 512, 8), (2, 512, 512, 8)]
Layer = Callable[..., Tensor]


def rows(effort: Effort, tiny: bool) -> Iterator[Row]:
    """Both blocks in every size; attention with a mask, and against one written by hand, in the smaller ones."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for b, t, width, heads in SIZES[:1] if tiny else SIZES:
        x = torch.randn(b, t, width, generator=torch.Generator().manual_seed(0))
        size = f"b={b} t={t} width={width} heads={heads}"
        for rate in (0.0, 0.1):
            attention = MultiHeadAttention(width=width, num_heads=heads, dropout=rate)
            encoder = EncoderLayer(
                width=width, num_heads=heads, hidden_width=4 * width, dropout=rate, attention_dropout=rate
            )
            for block in (attention, encoder):
                yield from layers(block, rate, x, size, effort)
        if width <= 256:
            attention = MultiHeadAttention(width=width, num_heads=heads)
            mine, theirs, call, against = pair(attention)
            hand = Packed(attention, attention.init(seed=0))
            yield from both(mine, mine, hand, hand, "MultiHeadAttention", Packed.NAME, x, size, effort)
            keep = torch.arange(t) < torch.linspace(t, t / 2, b)[:, None]
            masked, name = {"attention_mask": keep[:, None, None]}, "MultiHeadAttention, padding mask,"
            yield from both(mine, lambda x, m=mine, given=masked: m(x, **given),
                            theirs, lambda x, call=call, drop=~keep: call(x, key_padding_mask=drop),
                            name, against, x, size, effort)  # fmt: skip


def both(
    mine: nn.Module, ours: Layer, theirs: nn.Module, other: Layer, name: str, against: str, x: Tensor, size: str,
    effort: Effort,
) -> Iterator[Row]:  # fmt: skip
    """Inference, and forward + backward, of two modules that are called thus."""
    mine.eval(), theirs.eval()
    with torch.inference_mode():
        same(name, ours(x), other(x))
        figures = ratios(lambda: ours(x), lambda: other(x), effort)
        yield Row("torch", f"{name} inference", against, size, None, **figures)
    mine.train(), theirs.train()
    back, forth = step(mine, ours, x), step(theirs, other, x)
    for got, wanted in zip(back(), forth(), strict=True):
        same(f"{name}, output and gradient of the input", got, wanted)
    yield Row("torch", f"{name} forward + backward", against, size, None, **ratios(back, forth, effort))


class Packed(nn.Module):
    """Self-attention as one writes it by hand, with one projection for query, key and value."""

    NAME = "by hand, one projection"

    def __init__(self, block: MultiHeadAttention, weights: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.heads = block.num_heads
        self.qkv, self.project = nn.Linear(block.width, 3 * block.width), nn.Linear(block.width, block.width)
        parts = ("query", "key", "value")
        with torch.no_grad():
            for linear, names in ((self.qkv, parts), (self.project, ("project",))):
                kernels, biases = ([weights[f"{name}.{leaf}"] for name in names] for leaf in ("kernel", "bias"))
                linear.weight.copy_(torch.from_numpy(np.concatenate(kernels, axis=1).T))
                linear.bias.copy_(torch.from_numpy(np.concatenate(biases)))

    def forward(self, x: Tensor) -> Tensor:
        b, t, width = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.project(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, width))


def layers(block: Block, rate: float, x: Tensor, size: str, effort: Effort) -> Iterator[Row]:
    """One block in one size: the mirror and the layer, whose values are compared before they are timed."""
    mine, theirs, call, against = pair(block)
    name = type(block).__name__

    def row(case: str, aim: float | None, ours: Call, other: Call) -> Row:
        return Row("torch", f"{name} {case}", against, size, aim, **ratios(ours, other, effort))

    mine.eval(), theirs.eval()
    with torch.inference_mode():
        same(name, mine(x), call(x))
        if not rate:
            yield row("inference", None, lambda: mine(x), lambda: call(x))
            native = ratios(lambda: call(x), lambda: ordinary(call, x), effort)
            yield Row("torch", f"{against}'s native path", "without it", size, None, **native)
    mine.train(), theirs.train()
    ours, other = step(mine, mine, x), step(theirs, call, x)
    if rate:  # random from here on, so there are no values to compare
        yield row(f"forward + backward, dropout {rate}", 1.05, ours, other)
        return
    kinks = (
        0.02 if isinstance(block, EncoderLayer) else 0.0
    )  # few of a million values round to the other side of ReLU's
    for got, wanted in zip(ours(), other(), strict=True):
        same(f"{name}, output and gradient of the input", got, wanted, but=kinks)
    yield row("forward, training", None, lambda: mine(x), lambda: call(x))
    yield row("forward + backward", 1.05, ours, other)
    if isinstance(block, MultiHeadAttention):
        yield Row("torch", "control: forward + backward", "itself", size, None, **ratios(other, other, effort))


def pair(block: Block) -> tuple[nn.Module, nn.Module, Layer, str]:
    """The mirror, torch's layer with the same weights, how that is called on x, and its name."""
    weights = block.init(seed=0)
    backend = ar.backend("torch")
    mine = backend.build(block, "float32")
    backend.load(mine, {name: value.astype("float32") for name, value in weights.items()})
    if isinstance(block, EncoderLayer):
        encoder = foreign.build(transformer_encoder_layer.PEER, block, weights, "float32").layer
        return mine, encoder, encoder, "nn.TransformerEncoderLayer"
    assert isinstance(block, MultiHeadAttention)
    attention = foreign.build(multihead_attention.PEER, block, weights, "float32").layer
    return mine, attention, lambda x, **how: attention(x, x, x, need_weights=False, **how)[0], "nn.MultiheadAttention"


def step(module: nn.Module, call: Layer, x: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    """Output and gradient of the input; those of the parameters are computed too."""
    leaf = x.clone().requires_grad_()
    cotangent = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))

    def run() -> tuple[Tensor, Tensor]:
        y = call(leaf)
        return y.detach(), torch.autograd.grad(y, [leaf, *module.parameters()], cotangent)[0]

    return run


def ordinary(call: Layer, x: Tensor) -> Tensor:
    """``call(x)`` off the native path."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        return call(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
