"""Evidence of ``CBAMResidual``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault, norm_faults
from oracles_conv import cbam_residual as oracle

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 16

FAULTS = [
    Fault(
        "padding that goes behind only at stride 2",
        "convolved",
        torch=(
            "self.conv(x)",
            (
                "F.conv2d(F.pad(x, (0, 2 * (self.conv.kernel_size[0] // 2)) * 2), self.conv.weight, "
                "self.conv.bias, self.conv.stride)"
            ),
        ),
        keras=(
            "self.conv(padded(x, self.kernel_size // 2))",
            "ops.conv(x, self.conv.kernel, strides=self.stride, padding='same') + self.conv.bias",
        ),
    ),
    Fault(
        "maxima of zeros around",
        "pooled",
        torch=("self.pool(x)", "F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, self.pool.stride)"),
        keras=("max_pool(x, 3, self.stride, 1)", "ops.max_pool(padded(x, 1), 3, strides=self.stride)"),
    ),
    Fault(
        "the shortcut's pooling pads as the convolution",
        "raised|pooled",
        torch=(
            "nn.MaxPool2d(3, stride=stride, padding=1)",
            "nn.MaxPool2d(kernel_size, stride=stride, padding=kernel_size // 2)",
        ),
        keras=("max_pool(x, 3, self.stride, 1)", "max_pool(x, self.kernel_size, self.stride, self.kernel_size // 2)"),
    ),
    Fault(
        "the framework's own eps",
        "normed",
        torch=("eps=eps, momentum", "eps=1e-3, momentum"),
        keras=("epsilon=eps, momentum", "epsilon=1e-3, momentum"),
    ),
    Fault(
        "no ReLU before attention",
        "active",
        torch=("F.relu(normed)", "normed"),
        keras=("ops.relu(normed)", "normed"),
    ),
    Fault(
        "the kernel flipped",
        "convolved",
        reference=('w["conv.kernel"]', 'w["conv.kernel"][::-1, ::-1]'),
        torch=(
            "self.conv(x)",
            "F.conv2d(x, self.conv.weight.flip(2, 3), self.conv.bias, self.conv.stride, self.conv.padding)",
        ),
        keras=(
            "self.conv(padded(x, self.kernel_size // 2))",
            "self.conv.stateless_call([ops.flip(self.conv.kernel, (0, 1)), self.conv.bias], [], "
            "padded(x, self.kernel_size // 2))[0]",
        ),
    ),
    *norm_faults("norm"),
]
