"""The fused attention of torch on a CPU: its backward pass has the weights from a rounded logsumexp.

The gradient of Σ output of one query to the values sums to the sum of its weights, which is 1. It is off by a unit
roundoff of the scores' common size, where the "math" backend is right to a unit roundoff of 1. Exit 0 when that is so,
1 when it is not. Needs torch.
"""

import json
import sys
from importlib.metadata import version

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as attention


def off(size, backend):
    """How far the weights of any of 16 queries are from a sum of 1, with scores of about ``size``."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 16, n, 4, dtype=torch.float64) for n in (1, 16, 16))
    q[..., 0], k[..., 0] = 1.0, size
    v = v.requires_grad_()
    with sdpa_kernel(backend):
        y = attention(q, k, v, scale=1.0)
    (gradient,) = torch.autograd.grad(y[..., :1].sum(), v)
    return float((gradient[..., 0].sum(-1) - 1).abs().max())


found = {size: off(size, SDPBackend.FLASH_ATTENTION) for size in (1.0, 1e2, 1e4, 1e6)}
result = {
    "id": "torch-flash-backward-logsumexp",
    "versions": {"torch": version("torch")},
    "dtype": "float64",
    "deviation": found[1e4],
    "expected_float64_noise": off(1e4, SDPBackend.MATH),
    "by size of the scores": found,
}
print(json.dumps(result))
sys.exit(0 if found[1e4] > 100 * 2.0**-53 > off(1e4, SDPBackend.MATH) / 8 else 1)
