"""Evidence of ``PatchEmbedding``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

import math

from evidence import Fault

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 16


def oracle(w: dict, image: list, *, patch: int, channels: int, width: int, use_bias: bool = True) -> list:
    """Token i·W + j: Σ over u, v, k of image[p·i + u][p·j + v][k] · kernel[u][v][k], and the bias. Row by row."""
    kernel, bias = w["project.kernel"], w["project.bias"] if use_bias else [0.0] * width
    found = []
    for picture in image:
        found.append([])
        for i in range(len(picture) // patch):
            for j in range(len(picture[0]) // patch):
                token = []
                for c in range(width):
                    terms = [bias[c]]
                    for u in range(patch):
                        for v in range(patch):
                            for k in range(channels):
                                terms.append(picture[patch * i + u][patch * j + v][k] * kernel[u][v][k][c])
                    token.append(math.fsum(terms))
                found[-1].append(token)
    return found


FAULTS = [
    Fault(
        "patches column by column",
        "tokens",
        torch=("projected.flatten(2)", "projected.transpose(2, 3).flatten(2)"),
        keras=("ops.reshape(projected, (b, rows", "ops.reshape(ops.swapaxes(projected, 1, 2), (b, rows"),
    ),
    Fault(
        "kernel's height and width exchanged",
        "projected",
        torch=("x.transpose(x.ndim - 1, x.ndim - 2, *range(x.ndim - 2))", "x.transpose(3, 2, 1, 0)"),
        keras=("variable.assign)", "lambda x: variable.assign(x.swapaxes(0, 1) if x.ndim == 4 else x))"),
        module="codec",
    ),
    Fault(
        "bias of the patches dropped",
        "projected",
        torch=(
            "self.project(image)",
            "self.project(image) - (0 if self.project.bias is None else self.project.bias[:, None, None])",
        ),
        keras=("self.project(image)", "self.project(image) - (0 if self.project.bias is None else self.project.bias)"),
    ),
    Fault(
        "channels reversed, as between RGB and BGR",
        "projected",
        torch=("self.project(image)", "self.project(image.flip(1))"),
        keras=("self.project(image)", "self.project(ops.flip(image, axis=-1))"),
    ),
    Fault(
        "the kernel flipped",
        "projected",
        reference=('w["project.kernel"]', 'w["project.kernel"][::-1, ::-1]'),
        torch=(
            "self.project(image)",
            "self.project._conv_forward(image, self.project.weight.flip(2, 3), self.project.bias)",
        ),
        keras=(
            "self.project(image)",
            "self.project.stateless_call([ops.flip(self.project.kernel, (0, 1)), "
            "*self.project.trainable_variables[1:]], [], image)[0]",
        ),
    ),
]
