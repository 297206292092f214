"""Batch norm in training on CPU: the gradient is wrong for one of odd strides along an axis of size 1, batch included.

Such a gradient is channels last, holds the same numbers, and is legal: an axis of size 1 may have any stride. Exit 0
when the gradient of the input differs from that for the same gradient laid out plainly, 1 when it does not.
"""

import json
import sys
from importlib.metadata import version

import torch
from torch.nn.functional import batch_norm


def row(shape, strides):
    """How far the gradient is off, relative to its largest entry, for an upstream gradient of these strides."""
    torch.manual_seed(0)
    x, plain = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    strided = torch.empty_strided(shape, strides, dtype=torch.float64).copy_(plain)
    assert torch.equal(strided, plain)
    found = []
    for gradient in (plain, strided):
        leaf = x.clone().requires_grad_()
        y = batch_norm(leaf, None, None, training=True)
        found.append(torch.autograd.grad(y, leaf, gradient)[0])
    return float((found[0] - found[1]).abs().max() / found[0].abs().max())


found = {
    "batch 1": row((1, 6, 3, 5), (1, 1, 30, 6)),
    "batch 1, plain channels last": row((1, 6, 3, 5), (90, 1, 30, 6)),
    "height 1": row((2, 6, 1, 5), (30, 1, 6, 6)),
    "3 dimensions, batch 1": row((1, 6, 2, 3, 5), (1, 1, 90, 30, 6)),
    "1 dimension, batch 1": row((1, 6, 5), (1, 1, 6)),
}
result = {
    "id": "torch-batch-norm-strides",
    "versions": {"torch": version("torch")},
    "dtype": "float64",
    "deviation": found["batch 1"],
    "expected_float64_noise": found["batch 1, plain channels last"],
    "found": found,
}
print(json.dumps(result))
sys.exit(0 if min(found["batch 1"], found["height 1"]) > 0.1 else 1)
