"""keras.ops.dot_product_attention on TensorFlow: refuses one key head for several query heads (multi-query attention).

Two key heads for four query heads are taken since Keras 3.15.0; JAX and torch take one as well.

Exit 0 when the fault is there, 1 when it is gone. Needs Keras, TensorFlow and NumPy.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

x = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 4, 6)))  # batch, time, heads, width


def error(key_heads):
    try:
        keras.ops.dot_product_attention(x, x[:, :, :key_heads], x[:, :, :key_heads])
    except Exception as raised:
        return f"{type(raised).__name__}: {raised}"
    return None


result = {
    "id": "tf-dot-product-attention-one-key-head",
    "versions": {name: version(name) for name in ("keras", "tensorflow", "numpy")},
    "deviation": None,
    "expected_float64_noise": None,
    "error": error(key_heads=1),
    "error_with_two_key_heads": error(key_heads=2),
}
print(json.dumps(result))
sys.exit(0 if result["error"] else 1)
