"""The fused attention of torch on a CPU: its backward pass takes the mean of a row's gradients as Σ output · gradient.

With one key its weight is 1 whatever the score, so that the gradient of the query is 0. It is a rounding of the output
times its gradient, times the key, where the "math" backend gives 0. Exit 0 when that is so, 1 when it is not. Needs
torch.
"""

import json
import sys
from importlib.metadata import version

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as attention


def off(size, backend):
    """How far the gradient of any of 16 queries is from 0, with one key, all of it ``size``."""
    torch.manual_seed(0)
    q, v, u = (torch.randn(1, 16, n, 16, dtype=torch.float64) for n in (16, 1, 16))
    k = torch.full((1, 16, 1, 16), size, dtype=torch.float64)
    q.requires_grad_()
    with sdpa_kernel(backend):
        y = attention(q, k, v, scale=1.0)
    (gradient,) = torch.autograd.grad(y, q, u)
    return float(gradient.abs().max())


found = {size: off(size, SDPBackend.FLASH_ATTENTION) for size in (1.0, 1e2, 1e4)}
result = {
    "id": "torch-flash-backward-delta",
    "versions": {"torch": version("torch")},
    "dtype": "float64",
    "deviation": found[1e2],
    "expected_float64_noise": off(1e2, SDPBackend.MATH),
    "by size of the keys": found,
}
print(json.dumps(result))
sys.exit(0 if found[1e2] > 0 == off(1e2, SDPBackend.MATH) else 1)
