"""Evidence of ``AttentionCNN``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

import math
from typing import Any

import oracles_conv
import oracles_maps
import pytest
from evidence import Fault, inside
from oracles import below, dense
from test_oracles import assert_close, lists, real

import attn_ref as ar

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 8


def oracle(
    w: dict, image: list, *, stride: int, branches: int, groups: int, sub_sample: bool, eps: float, **_: Any
) -> list:
    """The blocks' own loops one behind the other, the mean of every channel, the head: without training."""
    x = oracles_conv.cbam_residual(below(w, "stem"), image, kernel_size=3, stride=stride, eps=eps)
    x = oracles_conv.selective_kernel(below(w, "selective_kernel"), x, branches=branches, groups=groups, eps=eps)
    x = oracles_conv.squeeze_excitation(below(w, "squeeze_excitation"), x)
    x = oracles_maps.non_local(
        below(w, "non_local"), x, channels=len(x[0][0][0]), dimensions=2, pairing="softmax", scale=None,
        sub_sample=sub_sample, batch_norm=True, eps=eps,
    )  # fmt: skip
    means = [
        [math.fsum(pixel[c] for row in rows for pixel in row) / (len(rows) * len(rows[0]))
         for c in range(len(rows[0][0]))]
        for rows in x
    ]  # fmt: skip
    return [dense(w, "head", mean) for mean in means]


FAULTS = [
    Fault(
        "a shortcut around the selective kernel",
        "squeeze_excitation.squeezed",
        torch=("self.selective_kernel(self.stem(image))", "(lambda y: y + self.selective_kernel(y))(self.stem(image))"),
        keras=(
            "self.selective_kernel(self.stem(image, training=training), training=training)",
            "(lambda y: y + self.selective_kernel(y, training=training))(self.stem(image, training=training))",
        ),
    ),
    Fault(
        "ReLU behind the non-local block",
        "features",
        torch=("self.non_local(x)", "self.non_local(x).relu()"),
        keras=(
            "self.non_local(self.squeeze_excitation(x), training=training)",
            "keras.ops.relu(self.non_local(self.squeeze_excitation(x), training=training))",
        ),
    ),
    Fault(
        "the maximum instead of the mean",
        "pooled",
        torch=("x.mean(dim=(2, 3))", "x.amax(dim=(2, 3))"),
        reference=("ops.mean(x, axis=(1, 2))", "ops.largest(x, axis=(1, 2))"),
        keras=("mean_over_space(x)", "keras.ops.max(x, axis=(1, 2), initial=-1e9)"),
    ),
    Fault(
        "probabilities for logits",
        "logits",
        torch=("self.head(pooled)", "self.head(pooled).softmax(dim=-1)"),
        keras=("self.head(pooled)", "keras.ops.softmax(self.head(pooled), axis=-1)"),
    ),
    Fault(
        "bias of the head dropped",
        "logits",
        torch=("self.head(pooled)", "nn.functional.linear(pooled, self.head.weight)"),
        keras=("self.head(pooled)", "keras.ops.matmul(pooled, self.head.kernel)"),
    ),
    inside("CBAMResidual", "the kernel flipped", "stem"),
]


#: sizes, options, height and width of the image
OPTIONS = {
    "stride 2": ({"channels": 1, "width": 4, "reduction": 2},
                 {"stride": 2, "branches": 2, "groups": 1, "sub_sample": False, "eps": 1e-5}, (7, 5)),
    "other options": ({"channels": 3, "width": 6, "reduction": 3},
                      {"stride": 1, "branches": 3, "groups": 2, "sub_sample": True, "eps": 0.1}, (4, 5)),
}  # fmt: skip


@pytest.mark.parametrize("engine", [None, "torch", "tensorflow"], ids=["reference", "torch", "tensorflow"])
@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_its_blocks_loops(name: str, engine: str | None) -> None:
    """In evaluation, with the seeded statistics of the batch norms."""
    sizes, options, space = OPTIONS[name]
    block = ar.AttentionCNN(**sizes, **options, num_classes=3)
    w, image = block.init(11), real(2, *space, sizes["channels"], size=1.5)
    want = oracle({name: lists(value) for name, value in w.items()}, lists(image), **options)
    if engine is None:
        got = block(w, image)
    else:
        backend = ar.backend(engine)
        got = backend.run(backend.load(backend.build(block), w), {"image": image}, observe=False).output
    assert_close(got, want)
