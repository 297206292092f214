"""torch's fused attention on a CPU: its backward pass makes the weights anew from log-sum-exp, so with large scores a
row of them sums to 1 only up to |score| unit roundoffs. The unfused one keeps the weights of the forward pass.

Exit 0 when that is so, 1 when it is not. Needs torch. With v = 0 and a gradient of ones, what arrives at the values is
the sum of all weights: the number of queries.
"""

import json
import sys
from importlib.metadata import version

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

torch.manual_seed(0)
query = 3000.0 + torch.randn(1, 1, 10, 5, dtype=torch.float64)
key = 1.0 + 0.0003 * torch.randn(1, 1, 10, 5, dtype=torch.float64)


def deviation(kind):
    """Of the sum of all weights from 10, relative to 10."""
    value = torch.zeros(1, 1, 10, 5, dtype=torch.float64, requires_grad=True)
    with sdpa_kernel([kind]):
        scaled_dot_product_attention(query, key, value).sum().backward()
    return float((value.grad[..., 0].sum() - 10).abs() / 10)


fused, unfused = deviation(SDPBackend.FLASH_ATTENTION), deviation(SDPBackend.MATH)
result = {
    "id": "torch-fused-attention-backward",
    "versions": {"torch": version("torch")},
    "dtype": "float64",
    "deviation": fused,
    "expected_float64_noise": unfused,
    "largest score": float((query @ key.mT).abs().max() / 5**0.5),
}
print(json.dumps(result))
sys.exit(0 if fused > 8 * 2.0**-53 and unfused < 4 * 2.0**-53 else 1)
