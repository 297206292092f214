"""tf.nn.conv2d of an empty batch in float32 and bfloat16 has the shape of its input; in float64 its own.

Exit 0 when that is so, 1 when it is not. Needs Keras and TensorFlow.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf


def shape(batch, dtype):
    """Of 4×4 images with 3 channels and a kernel of 2×2 with stride 2 and 5 outputs: (batch, 2, 2, 5)."""
    image, kernel = tf.zeros((batch, 4, 4, 3), dtype), tf.zeros((2, 2, 3, 5), dtype)
    return tuple(tf.nn.conv2d(image, kernel, strides=2, padding="VALID").shape)


found = {dtype: shape(0, dtype) for dtype in ("float32", "bfloat16", "float64")}
result = {
    "id": "tf-conv-empty-batch",
    "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")},
    "dtype": "float32",
    "deviation": None,
    "expected_float64_noise": 0.0,
    "shapes": {dtype: list(value) for dtype, value in found.items()},
    "batch of 1": list(shape(1, "float32")),
}
print(json.dumps(result))
wrong = found["float32"] == (0, 4, 4, 3) and found["float64"] == (0, 2, 2, 5)
sys.exit(0 if wrong and shape(1, "float32") == (1, 2, 2, 5) else 1)
