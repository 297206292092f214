"""A strided bfloat16 convolution to a map one column wide: oneDNN's AMX kernel gives numbers that are no results.

Exit 0 when that is so, 1 when it is not, 77 on a CPU without AMX. Needs TensorFlow.
"""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

cpu = Path("/proc/cpuinfo")
if not cpu.exists() or "amx_bf16" not in cpu.read_text():
    print(json.dumps({"id": "tf-bfloat16-strided-convolution", "skipped": "this CPU has no AMX in bfloat16"}))
    sys.exit(77)

rng = np.random.default_rng(0)


def deviation(kernel, stride, height, width):
    """Of small whole numbers, whose products and sums bfloat16's inputs and float32's sums hold exactly."""
    x = rng.integers(-3, 4, (2, height, width, 3)).astype("float64")
    w = rng.integers(-1, 2, (kernel, kernel, 3, 5)).astype("float64")
    y = tf.nn.conv2d(tf.constant(x, "bfloat16"), tf.constant(w, "bfloat16"), stride, "VALID")
    rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    want = np.empty((2, rows, columns, 5))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            want[:, i, j] = np.einsum("bhwc,hwco->bo", window, w)
    return float(
        np.nan_to_num(np.abs(tf.cast(y, "float64").numpy() - want).max() / np.abs(want).max(), nan=np.inf, posinf=1e300)
    )


result = {
    "id": "tf-bfloat16-strided-convolution",
    "versions": {name: version(name) for name in ("tensorflow", "numpy")},
    "dtype": "bfloat16",
    "deviation": deviation(4, 4, 24, 4),
    "expected_float64_noise": 2.0**-8,
    "two_columns": deviation(4, 4, 24, 8),
    "stride_1": deviation(4, 1, 24, 4),
}
print(json.dumps(result))
right = max(result["two_columns"], result["stride_1"]) <= 2.0**-8
sys.exit(0 if right and result["deviation"] > 0.1 else 1)
