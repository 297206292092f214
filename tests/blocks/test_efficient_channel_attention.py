"""Evidence of ``EfficientChannelAttention``: a scalar loop, faults that must be caught, and timm's layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evidence import Fault
from oracles_conv import average, scaled, sigmoid
from timm_layers import timm_layer

import attn_ref as ar
from attn_ref.weights import uniform

CASES = 16

FAULTS = [
    Fault(
        "the kernel flipped",
        "mixed",
        reference=('w["conv.kernel"]', 'w["conv.kernel"][::-1]'),
        torch=("self.conv(squeezed[:, None])[:, 0]", "self.conv(squeezed[:, None].flip(2))[:, 0].flip(1)"),
        keras=(
            "self.conv(self.around(squeezed[..., None]))[..., 0]",
            "ops.flip(self.conv(self.around(ops.flip(squeezed, 1)[..., None]))[..., 0], 1)",
        ),
    ),
    Fault(
        "the largest instead of the mean",
        "squeezed",
        torch=("x.mean(dim=(2, 3))", "x.amax(dim=(2, 3))"),
        keras=("mean_over_space(x)", "ops.max(x, axis=(1, 2), initial=-1e9)"),
    ),
    Fault(
        "never circular",
        "mixed",
        torch=('"circular" if circular else "zeros"', '"zeros"'),
        keras=("if self.circular and self.side:", "if False:"),
    ),
    Fault(
        "the gate without its sigmoid",
        "gate",
        torch=("mixed.sigmoid()", "mixed"),
        keras=("ops.sigmoid(mixed)", "mixed"),
    ),
]


def oracle(w: dict, x: list, *, channels: int, kernel_size: int, circular: bool) -> list:
    """ωⱼ times the mean of the channel j places on, summed over the k places around each channel."""
    kernel = [step[0][0] for step in w["conv.kernel"]]

    def gate(mean: list, c: int) -> float:
        places = [(j, c + j - kernel_size // 2) for j in range(kernel_size)]
        kept = [(j, i % channels) for j, i in places if circular or 0 <= i < channels]
        return sigmoid(math.fsum(kernel[j] * mean[i] for j, i in kept))

    means = [average(image) for image in x]
    return [scaled(image, [gate(mean, c) for c in range(channels)]) for image, mean in zip(x, means, strict=True)]


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("circular", [False, True])
def test_timm_agrees(circular: bool, kernel_size: int) -> None:
    """``EcaModule`` and ``CecaModule`` of timm, with our kernel."""
    import torch

    eca = timm_layer("eca")
    layer = (eca.CecaModule if circular else eca.EcaModule)(kernel_size=kernel_size).double()
    block = ar.EfficientChannelAttention(channels=12, kernel_size=kernel_size, circular=circular)
    w, x = block.init(3), uniform((2, 5, 6, 12), 3, "x")
    layer.conv.weight.data = torch.from_numpy(w["conv.kernel"].transpose(2, 1, 0).copy())
    y = layer(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(y, block(w, x), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("channels", "kernel_size"), [(8, 3), (64, 3), (128, 5), (256, 5), (512, 5)])
def test_timm_chooses_such_kernels(channels: int, kernel_size: int) -> None:
    layer = timm_layer("eca").EcaModule(channels=channels)
    assert layer.conv.weight.shape == (1, 1, kernel_size)
    ar.EfficientChannelAttention(channels=channels, kernel_size=kernel_size)


def test_a_kernel_must_fit() -> None:
    with pytest.raises(ValueError, match="kernel_size = 5 is more than channels = 4"):
        ar.EfficientChannelAttention(channels=4, kernel_size=5)
    with pytest.raises(ValueError, match="kernel_size should be odd"):
        ar.EfficientChannelAttention(channels=8, kernel_size=4)
