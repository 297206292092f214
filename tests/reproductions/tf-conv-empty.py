"""A float32 convolution of no images on TensorFlow with oneDNN has the shape of its input, not that of a convolution.

Exit 0 when that is so, 1 when it is not. Needs TensorFlow.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf


def shape(dtype):
    x, kernel = tf.zeros((0, 5, 6, 2), dtype), tf.zeros((3, 3, 2, 7), dtype)
    return list(tf.nn.conv2d(x, kernel, 1, "VALID").shape)


result = {
    "id": "tf-conv-empty",
    "versions": {name: version(name) for name in ("tensorflow", "numpy")},
    "dtype": "float32",
    "deviation": None,
    "expected_float64_noise": 0.0,
    "float32": shape("float32"),
    "float64": shape("float64"),
}
print(json.dumps(result))
sys.exit(0 if result["float32"] == [0, 5, 6, 2] and result["float64"] == [0, 3, 4, 7] else 1)
