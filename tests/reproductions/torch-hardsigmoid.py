"""The gradient of hardsigmoid in float64 is 3e-8 of itself off: 1 / 6 passes through float32. Values are exact.

Exit 0 when that is so, 1 when it is not. Needs torch.
"""

import json
import sys
from importlib.metadata import version

import torch
from torch.nn import functional as F


def slope(function):
    x = torch.linspace(-2.0, 2.0, 5, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(function(x).sum(), x)[0]


def deviation(got):
    return float((got - 1 / 6).abs().max() * 6)


result = {
    "id": "torch-hardsigmoid",
    "versions": {name: version(name) for name in ("torch", "numpy")},
    "dtype": "float64",
    "deviation": deviation(slope(F.hardsigmoid)),
    "expected_float64_noise": 2.0**-53,
    "deviation_of_relu6": deviation(slope(lambda x: F.relu6(x + 3) / 6)),
}
print(json.dumps(result))
sys.exit(0 if result["deviation"] > 100 * result["expected_float64_noise"] else 1)
