"""Evidence of ``SelectiveKernel``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from dataclasses import replace

from evidence import Fault
from oracles_conv import selective_kernel as oracle
from planting import planted

import attn_ref as ar
from attn_ref.check.adjoint import compare_gradients
from attn_ref.check.cases import cases

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 16

FAULTS = [
    Fault(
        "softmax over the channels",
        "weights",
        torch=("scores.softmax(dim=1)", "scores.softmax(dim=2)"),
        keras=("ops.softmax(scores, axis=1)", "ops.softmax(scores, axis=2)"),
    ),
    Fault(
        "softmax over the batch",
        "weights",
        torch=("scores.softmax(dim=1)", "scores.softmax(dim=0)"),
        keras=("ops.softmax(scores, axis=1)", "ops.softmax(scores, axis=0)"),
    ),
    Fault(
        "features averaged over the branches",
        "fused",
        torch=("features.sum(dim=1)", "features.mean(dim=1)"),
        keras=("ops.sum(features, axis=1)", "ops.mean(features, axis=1)"),
    ),
    Fault(
        "branches exchanged where they are mixed",
        "selected",
        torch=("weights[..., None, None] * features", "weights[..., None, None] * features.flip(1)"),
        keras=("weights[:, :, None, None, :] * features", "weights[:, :, None, None, :] * ops.flip(features, 1)"),
    ),
    Fault(
        "groups interleaved",
        "convolved.0",
        torch=("conv(x)", "conv(x.unflatten(1, (-1, conv.groups)).transpose(1, 2).flatten(1, 2))"),
        keras=(
            "conv(padded(x, 1 + m))",
            (
                "conv(padded(ops.reshape(ops.swapaxes(ops.reshape(x, (*x.shape[:3], -1, conv.groups)), 3, 4), "
                "x.shape), 1 + m))"
            ),
        ),
    ),
    Fault(
        "the kernel flipped",
        "convolved.0",
        reference=('w[f"convs.{m}.kernel"]', 'w[f"convs.{m}.kernel"][::-1, ::-1]'),
        torch=(
            "conv(x)",
            "F.conv2d(x, conv.weight.flip(2, 3), conv.bias, conv.stride, conv.padding, groups=conv.groups)",
        ),
        keras=(
            "conv(padded(x, 1 + m))",
            "conv.stateless_call([ops.flip(conv.kernel, (0, 1)), *conv.trainable_variables[1:]], [], "
            "padded(x, 1 + m))[0]",
        ),
    ),
]


def test_training_on_one_value_a_channel_is_missed_if_keras_takes_it() -> None:
    """A fault of Keras' mirror alone: torch refuses it by itself."""
    case = next(case for case in cases(ar.block("SelectiveKernel"), 40) if case.shapes["x"][0] == 1)
    case = replace(case, fields={**case.fields, "bottleneck_norm": True})
    assert compare_gradients(ar.backend("tensorflow"), case, "float64", training=True).first is None
    with planted("attn_ref_keras.batch_norm", "if count < 2:", "if False:"):
        outcome = compare_gradients(ar.backend("tensorflow"), case, "float64", training=True)
    assert outcome.first in ("accepted", "raised")
