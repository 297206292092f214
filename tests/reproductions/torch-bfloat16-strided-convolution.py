"""A strided bfloat16 convolution to a map one column wide: oneDNN's AMX kernel gives numbers that are no results.

Exit 0 when that is so, 1 when it is not, 77 on a CPU without AMX. Needs torch.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

cpu = Path("/proc/cpuinfo")
if not cpu.exists() or "amx_bf16" not in cpu.read_text():
    print(json.dumps({"id": "torch-bfloat16-strided-convolution", "skipped": "this CPU has no AMX in bfloat16"}))
    sys.exit(77)

rng = np.random.default_rng(0)


def deviation(kernel, stride, height, width):
    """Of small whole numbers, whose products and sums bfloat16's inputs and float32's sums hold exactly."""
    x = rng.integers(-3, 4, (2, 3, height, width)).astype("float64")
    w = rng.integers(-1, 2, (5, 3, kernel, kernel)).astype("float64")
    y = torch.nn.functional.conv2d(torch.tensor(x).bfloat16(), torch.tensor(w).bfloat16(), stride=stride)
    rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    want = np.empty((2, 5, rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = x[:, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            want[:, :, i, j] = np.einsum("bchw,ochw->bo", window, w)
    return float(np.nan_to_num(np.abs(y.double().numpy() - want).max() / np.abs(want).max(), nan=np.inf, posinf=1e300))


result = {
    "id": "torch-bfloat16-strided-convolution",
    "versions": {name: version(name) for name in ("torch", "numpy")},
    "dtype": "bfloat16",
    "deviation": deviation(4, 4, 24, 4),
    "expected_float64_noise": 2.0**-8,
    "two_columns": deviation(4, 4, 24, 8),
    "stride_1": deviation(4, 1, 24, 4),
}
print(json.dumps(result))
right = max(result["two_columns"], result["stride_1"]) <= 2.0**-8
sys.exit(0 if right and result["deviation"] > 0.1 else 1)
