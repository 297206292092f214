"""Faults planted in the mirrors of blocks over space: each must be caught, and reported at the right tap."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planting import Fault, assert_caught, on_engines, planted

import attn_ref as ar
from attn_ref.check.adjoint import compare_gradients
from attn_ref.check.cases import cases

SE, CA, SA = "blocks.squeeze_excitation", "blocks.channel_attention", "blocks.spatial_attention"
RES, SK, NORM = "blocks.cbam_residual", "blocks.selective_kernel", "batch_norm"

#: seen in inference
FAULTS = [
    Fault(
        "the maximum instead of the mean", SE, "SqueezeExcitation", "squeezed",
        torch=("x.mean(dim=(2, 3))", "x.amax(dim=(2, 3))"),
        keras=("mean_over_space(x)", "ops.max(x, axis=(1, 2), initial=-1e9)"),
    ),
    Fault(
        "no ReLU in the bottleneck", SE, "SqueezeExcitation", "active",
        torch=("F.relu(reduced)", "reduced"), keras=("ops.relu(reduced)", "reduced"),
    ),
    Fault(
        "the hard sigmoid of Keras 2", SE, "SqueezeExcitation", "gate",
        torch=("F.relu6(expanded + 3) / 6", "(0.2 * expanded + 0.5).clamp(0, 1)"),
        keras=("ops.hard_sigmoid(expanded)", "ops.clip(0.2 * expanded + 0.5, 0, 1)"),
    ),
    Fault(
        "the gate added", SE, "SqueezeExcitation", "excited",
        torch=('x * tap("gate"', 'x + tap("gate"'), keras=('x * tap("gate"', 'x + tap("gate"'),
    ),
    Fault(
        "a layer that is not shared: the maximum's has no bias", CA, "ChannelAttention", "maximum.expanded",
        torch=("self.expand(active)",
               'active @ self.expand.weight.T if name == "maximum" else self.expand(active)'),
        keras=("self.expand(active)",
               'ops.matmul(active, self.expand.kernel) if name == "maximum" else self.expand(active)'),
    ),
    Fault(
        "the maximum of magnitudes", CA, "ChannelAttention", "maximum.pooled",
        torch=("x.amax(dim=(2, 3))", "x.abs().amax(dim=(2, 3))"), keras=("largest(x, ", "largest(ops.abs(x), "),
    ),
    Fault(
        "gates multiplied instead of sums gated", CA, "ChannelAttention", "gate",
        torch=("(average + maximum).sigmoid()", "average.sigmoid() * maximum.sigmoid()"),
        keras=("ops.sigmoid(average + maximum)", "ops.sigmoid(average) * ops.sigmoid(maximum)"),
    ),
    Fault(
        "the maximum first", SA, "SpatialAttention", "pooled",
        torch=("[x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)]",
               "[x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)]"),
        keras=("[mean, largest(x, axis=-1, keepdims=True)]", "[largest(x, axis=-1, keepdims=True), mean]"),
    ),
    Fault(
        "the kernel flipped", SA, "SpatialAttention", "convolved",
        torch=("self.conv(pooled)", "self.conv(pooled.flip(2, 3)).flip(2, 3)"),
        keras=("self.conv(pooled)", "ops.flip(self.conv(ops.flip(pooled, (1, 2))), (1, 2))"),
    ),
    Fault(
        "no sigmoid", SA, "SpatialAttention", "gate",
        torch=("gate.sigmoid()", "gate"), keras=("ops.sigmoid(gate)", "gate"),
    ),
    Fault(
        "height and width of the map exchanged", SA, "CBAM", "spatial_attention.scaled",
        torch=("x * gate", "x * (gate.mT if gate.shape[2] == gate.shape[3] else gate)"),
        keras=("x * gate", "x * (ops.swapaxes(gate, 1, 2) if gate.shape[1] == gate.shape[2] else gate)"),
    ),
    Fault(
        "spatial attention first", "blocks.cbam", "CBAM", "order",
        torch=("self.spatial_attention(self.channel_attention(x))",
               "self.channel_attention(self.spatial_attention(x))"),
        keras=("self.spatial_attention(self.channel_attention(x), training=training)",
               "self.channel_attention(self.spatial_attention(x, training=training))"),
    ),
    Fault(
        "side by side", "blocks.cbam", "CBAM", "spatial_attention.pooled",
        torch=("self.spatial_attention(self.channel_attention(x))",
               "self.channel_attention(x) * self.spatial_attention(x) / x"),
        keras=("self.spatial_attention(self.channel_attention(x), training=training)",
               "self.channel_attention(x) * self.spatial_attention(x, training=training) / x"),
    ),
    Fault(
        "a residual around channel attention", "blocks.cbam", "CBAM", "spatial_attention.pooled",
        torch=("self.channel_attention(x)", "x + self.channel_attention(x)"),
        keras=("self.channel_attention(x)", "x + self.channel_attention(x)"),
    ),
    Fault(
        "the framework's own eps", "blocks.cbam", "CBAM", "spatial_attention.normed",
        torch=("eps=eps, momentum", "eps=1e-3 if batch_norm else eps, momentum"),
        keras=("eps=eps", "eps=1e-3 if batch_norm else eps"),
    ),
    Fault(
        "channel attention's bias dropped", "blocks.cbam", "CBAM", "missing|raised",
        torch=("reduced_width=reduced_width, use_bias=use_bias", "reduced_width=reduced_width"),
        keras=("            use_bias=use_bias,\n", ""),
    ),
    Fault(
        "padding that goes behind only at stride 2", RES, "CBAMResidual", "convolved",
        torch=("self.conv(x)", "F.conv2d(F.pad(x, (0, 2 * (self.conv.kernel_size[0] // 2)) * 2), "
               "self.conv.weight, self.conv.bias, self.conv.stride)"),
        keras=("self.conv(padded(x, self.kernel_size // 2))",
               "ops.conv(x, self.conv.kernel, strides=self.stride, padding='same') + self.conv.bias"),
    ),
    Fault(
        "maxima of zeros around", RES, "CBAMResidual", "pooled",
        torch=("self.pool(x)", "F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, self.pool.stride)"),
        keras=("max_pool(x, 3, self.stride, 1)", "ops.max_pool(padded(x, 1), 3, strides=self.stride)"),
    ),
    Fault(
        "the shortcut's pooling pads as the convolution", RES, "CBAMResidual", "raised|pooled",
        torch=("nn.MaxPool2d(3, stride=stride, padding=1)",
               "nn.MaxPool2d(kernel_size, stride=stride, padding=kernel_size // 2)"),
        keras=("max_pool(x, 3, self.stride, 1)", "max_pool(x, self.kernel_size, self.stride, self.kernel_size // 2)"),
    ),
    Fault(
        "the framework's own eps", RES, "CBAMResidual", "normed",
        torch=("eps=eps, momentum", "eps=1e-3, momentum"), keras=("epsilon=eps, momentum", "epsilon=1e-3, momentum"),
    ),
    Fault(
        "no ReLU before attention", RES, "CBAMResidual", "active",
        torch=("F.relu(normed)", "normed"), keras=("ops.relu(normed)", "normed"),
    ),
    Fault(
        "softmax over the channels", SK, "SelectiveKernel", "weights",
        torch=("scores.softmax(dim=1)", "scores.softmax(dim=2)"),
        keras=("ops.softmax(scores, axis=1)", "ops.softmax(scores, axis=2)"),
    ),
    Fault(
        "softmax over the batch", SK, "SelectiveKernel", "weights",
        torch=("scores.softmax(dim=1)", "scores.softmax(dim=0)"),
        keras=("ops.softmax(scores, axis=1)", "ops.softmax(scores, axis=0)"),
    ),
    Fault(
        "features averaged over the branches", SK, "SelectiveKernel", "fused",
        torch=("features.sum(dim=1)", "features.mean(dim=1)"),
        keras=("ops.sum(features, axis=1)", "ops.mean(features, axis=1)"),
    ),
    Fault(
        "branches exchanged where they are mixed", SK, "SelectiveKernel", "selected",
        torch=("weights[..., None, None] * features", "weights[..., None, None] * features.flip(1)"),
        keras=("weights[:, :, None, None, :] * features", "weights[:, :, None, None, :] * ops.flip(features, 1)"),
    ),
    Fault(
        "groups interleaved", SK, "SelectiveKernel", "convolved.0",
        torch=("conv(x)", "conv(x.unflatten(1, (-1, conv.groups)).transpose(1, 2).flatten(1, 2))"),
        keras=("conv(padded(x, 1 + m))",
               "conv(padded(ops.reshape(ops.swapaxes(ops.reshape(x, (*x.shape[:3], -1, conv.groups)), 3, 4), x.shape), "
               "1 + m))"),
    ),
]  # fmt: skip

#: seen in training only
TRAINING = [
    Fault(
        "the other convention for the running variance", NORM, block, f"{name}.running_variance",
        torch=("if not self.training or self.unbiased:", "if True:"),
        keras=("if training and self.unbiased:", "if training and not self.unbiased:"),
    )
    for block, name in (
        ("SpatialAttention", "norm"), ("CBAMResidual", "norm"), ("CBAM", "spatial_attention.norm"),
    )
] + [
    Fault(
        "momentum is the share of the old value", NORM, block, f"{name}.running_mean",
        torch=("momentum=momentum)", "momentum=1.0 - momentum)"),
        keras=("super().__init__(momentum=1.0 - momentum, **kwargs)", "super().__init__(momentum=momentum, **kwargs)"),
    )
    for block, name in (
        ("SpatialAttention", "norm"), ("CBAMResidual", "norm"), ("CBAM", "spatial_attention.norm"),
    )
] + [
    Fault(
        "the running statistics while training", SA, "SpatialAttention", "norm.running_mean|accepted",
        torch=('run_norm(self.norm, gate, "norm")', "self.norm.eval()(gate)"),
        keras=('run_norm(self.norm, gate, "norm", training)', "self.norm(gate)"),
    ),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "engine"), on_engines(FAULTS))
def test_fault_is_caught_at_its_tap(fault: Fault, engine: str) -> None:
    assert_caught(fault, engine, 16)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "engine"), on_engines(TRAINING))
def test_fault_of_training_is_caught_at_its_tap(fault: Fault, engine: str) -> None:
    assert_caught(fault, engine, 8, training=True)


def test_training_on_one_value_a_channel_is_missed_if_keras_takes_it() -> None:
    """A fault of Keras' mirror alone: torch refuses it by itself."""
    case = next(case for case in cases(ar.block("SelectiveKernel"), 40) if case.shapes["x"][0] == 1)
    case = replace(case, fields={**case.fields, "bottleneck_norm": True})
    assert compare_gradients(ar.backend("tensorflow"), case, "float64", training=True).first is None
    with planted("attn_ref_keras.batch_norm", "if count < 2:", "if False:"):
        outcome = compare_gradients(ar.backend("tensorflow"), case, "float64", training=True)
    assert outcome.first in ("accepted", "raised")
