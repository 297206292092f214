"""tf.nn.conv2d of an empty batch in float32, with oneDNN, which is on by default: as many channels as came in.

Exit 0 when the result has another shape in float32 than in float64, 1 when it has the same.
"""

import json
import sys
from importlib.metadata import version

import tensorflow as tf


def shape(dtype):
    """The result's shape: 5 channels are asked for, 3 come in."""
    return list(tf.nn.conv2d(tf.zeros((0, 2, 4, 3), dtype), tf.zeros((1, 1, 3, 5), dtype), 1, "VALID").shape)


found = {dtype: shape(dtype) for dtype in ("float32", "float64")}
result = {
    "id": "tf-empty-convolution",
    "versions": {"tensorflow": version("tensorflow")},
    "dtype": "float32",
    "deviation": None,
    "expected_float64_noise": 0.0,
    "found": found,
}
print(json.dumps(result))
sys.exit(0 if found == {"float32": [0, 2, 4, 3], "float64": [0, 2, 4, 5]} else 1)
