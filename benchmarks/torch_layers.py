"""The torch mirrors against torch's own layers, with the same weights: training, and inference with its native path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from attn_ref_torch.peers import multihead_attention, transformer_encoder_layer
from torch import Tensor, nn

import attn_ref as ar
from attn_ref.block import Block
from attn_ref.blocks.encoder_layer import EncoderLayer
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from benchmarks.timing import Call, Effort, Row, ratios, same

#: batch, length, width, heads; the first shows what Python costs
SIZES = [(1, 8, 32, 2), (8, 128, 256, 8), (8, 128, 512, 8), (2, 512, 512, 8)]
Layer = Callable[[Tensor], Tensor]


def rows(effort: Effort, tiny: bool) -> Iterator[Row]:
    """Both blocks in every size."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for b, t, width, heads in SIZES[:1] if tiny else SIZES:
        x = torch.randn(b, t, width)
        size = f"b={b} t={t} width={width} heads={heads}"
        for rate in (0.0, 0.1):
            attention = MultiHeadAttention(width=width, num_heads=heads, dropout=rate)
            encoder = EncoderLayer(
                width=width, num_heads=heads, hidden_width=4 * width, dropout=rate, attention_dropout=rate
            )
            for block in (attention, encoder):
                yield from layers(block, rate, x, size, effort)


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
    for got, wanted in zip(ours(), other(), strict=True):
        same(f"{name}, output and gradient of the input", got, wanted)
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
        encoder = transformer_encoder_layer.build(block, weights, "float32").layer
        return mine, encoder, encoder, "nn.TransformerEncoderLayer"
    assert isinstance(block, MultiHeadAttention)
    attention = multihead_attention.build(block, weights, "float32").layer
    return mine, attention, lambda x: attention(x, x, x, need_weights=False)[0], "nn.MultiheadAttention"


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
