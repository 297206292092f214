"""What torch's attention gives for a query that may attend to no key, call by call.

Exit 0 when every call gives what is said here, 1 when one does not. Needs torch and NumPy.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

numbers = np.random.default_rng(0)
q, k, v = torch.from_numpy(numbers.normal(size=(3, 1, 2, 3, 4)))  # batch, heads, time, width
x = torch.from_numpy(numbers.normal(size=(1, 3, 8)))
keep = torch.tensor([[True, True, True], [False, False, False], [True, True, True]])
infinite = torch.zeros(3, 3, dtype=x.dtype).masked_fill(~keep, -torch.inf)
smallest = torch.zeros(3, 3, dtype=x.dtype).masked_fill(~keep, torch.finfo(x.dtype).min)
layer = nn.MultiheadAttention(8, 2, batch_first=True, dtype=x.dtype)


def kind(row, mean):
    if row.isnan().all():
        return "nan"
    if (row == 0).all():
        return "zeros"
    return "mean of all values" if torch.allclose(row, mean) else "something else"


def fused(mask):
    return kind(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[:, :, 1], v.mean(2))


def module(mask, *, weights, grad=True, training=False):
    with torch.set_grad_enabled(grad):
        y, _ = layer.train(training)(x, x, x, attn_mask=mask, need_weights=weights)
    return kind((y[:, 1] - layer.out_proj.bias).detach(), torch.full((8,), torch.nan))


calls = {  # in a bool mask, True is "attend" for the function and "leave out" for the layer
    "F.scaled_dot_product_attention, bool mask": (fused(keep), "zeros"),
    "F.scaled_dot_product_attention, -inf in a float mask": (fused(infinite), "zeros"),
    "F.scaled_dot_product_attention, finfo.min in a float mask": (fused(smallest), "mean of all values"),
    "nn.MultiheadAttention, need_weights=True": (module(~keep, weights=True), "nan"),
    "nn.MultiheadAttention, need_weights=False": (module(~keep, weights=False), "zeros"),
    "nn.MultiheadAttention, need_weights=False, eval and no_grad, bool mask": (
        module(~keep, weights=False, grad=False),
        "nan",  # the fast path, torch._native_multi_head_attention
    ),
    "nn.MultiheadAttention, need_weights=False, eval and no_grad, -inf in a float mask": (
        module(infinite, weights=False, grad=False),
        "zeros",
    ),
    "nn.MultiheadAttention, need_weights=False, train and no_grad, bool mask": (
        module(~keep, weights=False, grad=False, training=True),
        "zeros",
    ),
}
result = {
    "id": "torch-fully-masked-rows",
    "versions": {name: version(name) for name in ("torch", "numpy")},
    "deviation": None,
    "expected_float64_noise": None,
    "rows": {call: found for call, (found, _) in calls.items()},
}
print(json.dumps(result))
sys.exit(0 if all(found == said for found, said in calls.values()) else 1)
