"""F.scaled_dot_product_attention with is_causal=True and a scale of 0 or below: NaN, or keys that are to come count.

Exit 0 when the fused function differs from the same mask given as bools, 1 when it does not. Needs torch.
"""

import json
import sys
from importlib.metadata import version

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as attention


def row(dtype, scale, backend=None):
    """The largest deviation from the result under a bool mask; None for NaN."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 4, dtype=torch.float64).to(dtype) for n in (7, 16, 16))
    want = attention(q, k, v, attn_mask=torch.ones(7, 16, dtype=torch.bool).tril(), scale=scale).double()
    if backend is None:
        got = attention(q, k, v, is_causal=True, scale=scale).double()
    else:
        with sdpa_kernel(backend):
            got = attention(q, k, v, is_causal=True, scale=scale).double()
    return float((got - want).abs().max() / want.abs().max()) if got.isfinite().all() else None


found = {
    f"{str(dtype)[6:]}, scale={scale}": row(dtype, scale)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    for scale in (-0.5, 0.0, 0.5)
}
found["float64, scale=-0.5, math"] = row(torch.float64, -0.5, SDPBackend.MATH)
result = {
    "id": "torch-causal-negative-scale",
    "versions": {"torch": version("torch")},
    "dtype": "float64",
    "deviation": None,
    "expected_float64_noise": found["float64, scale=0.5"],
    "found": found,
}
print(json.dumps(result))
sys.exit(0 if found["float64, scale=-0.5"] is None and found["float64, scale=0.0"] is None else 1)
