"""Traps of convolutions: kernels, padding, pooling, and the residual block around gates."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from attn_ref import ops
from attn_ref.traps import examples
from attn_ref.traps.definition import Here, Value, row

CONVS = "CBAMResidual SpatialAttention PatchEmbedding SelectiveKernel EfficientChannelAttention"
TAPS = "convolved|convolved.*|projected|mixed"
RESIDUAL = "CBAMResidual"


class Conv(NamedTuple):
    """A convolution of a block: (b, spatial…, c) and its kernel."""

    x: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray | None
    stride: int
    padding: int
    groups: int


def convolution(here: Here) -> Conv:
    """The convolution at this tap."""
    block, index = here.block, here.name.rpartition(".")[2]
    title = type(block).__name__
    if title == "PatchEmbedding":
        return Conv(here.given("image"), here.weight("project.kernel"), here.weight("project.bias"), block.patch, 0, 1)
    if title == "SelectiveKernel":
        bias = here.weight(f"convs.{index}.bias") if block.use_bias else None
        kernel, padding = here.weight(f"convs.{index}.kernel"), 1 + int(index)
        return Conv(here.given("x"), kernel, bias, block.stride, padding, block.groups)
    kernel, padding = here.weight("conv.kernel"), block.kernel_size // 2
    if title == "EfficientChannelAttention":
        here.need(not block.circular)
        return Conv(here["squeezed"][..., None], kernel, None, 1, padding, 1)
    if title == "SpatialAttention":
        return Conv(here["pooled"], kernel, None, 1, padding, 1)
    return Conv(here.given("x"), kernel, here.weight("conv.bias"), block.stride, padding, 1)


def done(here: Here, with_: Conv) -> np.ndarray:
    """What a convolution gives, in the layout of the tap."""
    x, kernel, bias, stride, padding, groups = with_
    y = np.asarray(ops.conv(x, kernel, bias, stride=stride, padding=padding, groups=groups))
    return y[..., 0] if here.name == "mixed" else y


def flipped(here: Here) -> np.ndarray:
    """A convolution as mathematics has it."""
    own = convolution(here)
    axes = tuple(range(own.kernel.ndim - 2))
    return done(here, own._replace(kernel=np.flip(own.kernel, axes)))


def transposed(here: Here) -> np.ndarray:
    """Rows and columns of the kernel exchanged."""
    own = convolution(here)
    here.need(own.kernel.ndim == 4)
    return done(here, own._replace(kernel=own.kernel.swapaxes(0, 1)))


def padded(mode: str, before: int | None = None) -> Value:
    """Another padding: a mode of ``np.pad``, or one with so many more places behind than before."""

    def value(here: Here) -> np.ndarray:
        own = convolution(here)
        here.need(own.padding > 0)
        p, space = own.padding, own.x.ndim - 2
        sides = [(0, 0), *[(p, p) if before is None else (p - before, p + before)] * space, (0, 0)]
        how: dict[str, Any] = {"mode": mode}
        y = done(here, own._replace(x=np.pad(own.x, sides, **how), padding=0))
        return y[tuple(slice(n) for n in here.right.shape)]

    return value


def dilated(here: Here) -> np.ndarray:
    """The kernel's places twice as far apart."""
    own = convolution(here)
    size = own.kernel.shape[:-2]
    here.need(own.padding > 0 and max(size) > 1)
    wide = np.zeros((*[2 * n - 1 for n in size], *own.kernel.shape[-2:]))
    wide[tuple(slice(None, None, 2) for _ in size)] = own.kernel
    return done(here, own._replace(kernel=wide, padding=2 * own.padding))


def biasless(here: Here) -> np.ndarray:
    """The convolution without its bias."""
    own = convolution(here)
    here.need(own.bias is not None and type(here.block).__name__ == RESIDUAL)
    return done(here, own._replace(bias=None))


def pooled(here: Here, outside: float, mean: bool = False) -> np.ndarray:
    """The shortcut's pooling: a maximum where ``outside`` is what pads, or a mean that counts the padding."""
    x, step = here.given("x"), here.block.stride
    wide = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=outside)
    cut = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(1, 2))[:, ::step, ::step]
    return np.asarray(cut.mean((-2, -1)) if mean else cut.max((-2, -1)))


ROWS = (
    row(CONVS, TAPS, "kernel-flipped", "the kernel is flipped: a convolution as mathematics has it",
        symptom="a checkpoint loads and is wrong; symmetric kernels are right",
        fix="correlate, as every framework does",
        evidence="scipy.signal.convolve, np.convolve flip", value=flipped, shows=examples.pixel_gate),
    row(CONVS, TAPS, "kernel-transposed", "rows and columns of the kernel are exchanged",
        symptom="no shape check can see it", fix="(H, W, in, out) ↔ (out, in, H, W): transpose(3, 2, 0, 1)",
        evidence="PINTO0309/onnx2tf#317", value=transposed, shows=examples.pixel_gate),
    row(CONVS, TAPS, "padding-shifted", "one place less is padded before, and one more behind",
        symptom="the map is shifted by one pixel", fix="kernel // 2 on both sides",
        evidence='pytorch/pytorch#3867: padding="same" of TensorFlow at stride 2, measured',
        value=padded("constant", 1),
        shows=examples.residual_gates),
    row(CONVS, TAPS, "padding-reflected", "the border is reflected, not filled with zeros",
        symptom="off at the border alone", fix='padding_mode="zeros"', evidence="slip: padding_mode of a style network",
        value=padded("reflect"), shows=examples.pixel_gate),
    row(CONVS, TAPS, "padding-repeated", "the border is repeated, not filled with zeros",
        symptom="off at the border alone", fix='padding_mode="zeros"', evidence='slip: padding_mode="replicate"',
        value=padded("edge"), shows=examples.pixel_gate),
    row(CONVS, TAPS, "kernel-dilated", "the kernel's places lie twice as far apart",
        symptom="neighbours have no effect", fix="dilation=1",
        evidence="measured: timm's selective kernels dilate 3 × 3 in the place of 5 × 5", value=dilated,
        shows=examples.pixel_gate),
    row(RESIDUAL, "convolved", "conv-bias-left-out", "the first convolution has no bias",
        symptom="none in training, since a batch norm follows; a checkpoint is wrong",
        fix="add it, or fold it into the norm",
        evidence="slip: bias=False before a batch norm", value=biasless, shows=examples.residual_gates),
    row(RESIDUAL, "active", "residual-relu-left-out", "there is no ReLU after the batch norm",
        symptom="negative values reach the attention", fix="ReLU after the norm",
        evidence="slip: ReLU is a layer of its own in Keras and torch",
        value=lambda here: here["normed"], shows=examples.residual_gates),
    row(RESIDUAL, "pooled", "pool-padded-with-zeros", "zeros pad the maximum, and win over negative values",
        symptom="no value at the border is negative", fix="pad with −∞", evidence="slip: F.pad before the pooling",
        value=lambda here: pooled(here, 0.0), shows=examples.residual_gates),
    row(RESIDUAL, "pooled", "pool-by-mean", "the shortcut is pooled by the mean",
        symptom="the shortcut is blurred", fix="max pooling",
        evidence="measured: average pooling that counts its padding", value=lambda here: pooled(here, 0.0, mean=True),
        shows=examples.residual_gates),
    row(RESIDUAL, "added", "shortcut-left-out", "the shortcut is not added",
        symptom="deep models do not train", fix="add it", evidence="e-lab/pytorch-linknet#10: one of two is missing",
        value=lambda here: here.right - here["shortcut"], shows=examples.residual_gates),
    row(RESIDUAL, "rectified", "last-relu-left-out", "there is no ReLU after the sum",
        symptom="values below 0 come out", fix="ReLU after the sum",
        evidence="TanyaChutani/Squeeze-and-Excitation-Networks-ResNet50-Tf2.0#1: where it belongs",
        value=lambda here: here["added"], shows=examples.residual_gates),
)  # fmt: skip
