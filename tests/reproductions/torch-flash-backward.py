"""F.scaled_dot_product_attention in float64: fused, its gradients are off by the size of the scores times 1e-16.

One query, two keys of scores S and S - 8; the gradient of the output to the values is the weights themselves. The fused
CPU kernel restores them as exp(score - logsumexp), and logsumexp was rounded at the size of S.

Exit 0 when it is more than 1e-14 off for S = 10,000, 1 when it is not. Needs torch and NumPy.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def off(size: float, kernel: SDPBackend) -> float:
    """The largest error of the gradient to the values."""
    key = torch.tensor([size, size - 8.0], dtype=torch.float64).reshape(1, 1, 2, 1)
    query = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    value = torch.zeros(1, 1, 2, 1, dtype=torch.float64, requires_grad=True)
    with sdpa_kernel(kernel):
        output = F.scaled_dot_product_attention(query, key, value, scale=1.0)
    (gradient,) = torch.autograd.grad(output.sum(), value)
    weights = np.exp(np.array([0.0, -8.0], dtype=np.longdouble))
    return float(np.abs(gradient.numpy().ravel() - weights / weights.sum()).max())


sizes = (1.5, 100.5, 1000.5, 10000.5, 100000.5)
result = {
    "id": "torch-flash-backward",
    "versions": {name: version(name) for name in ("torch", "numpy")},
    "dtype": "float64",
    "deviation": off(10000.5, SDPBackend.FLASH_ATTENTION),
    "expected_float64_noise": off(10000.5, SDPBackend.MATH),
    "by_size_of_scores": {str(size): off(size, SDPBackend.FLASH_ATTENTION) for size in sizes},
}
print(json.dumps(result))
sys.exit(0 if result["deviation"] > 1e-14 else 1)
