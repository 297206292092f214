"""keras.ops.dot_product_attention on TensorFlow: in float64 the scale is rounded to float32.

With the queries scaled beforehand and scale=1.0, which float32 holds exactly, the result is that of float64.

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


def formula(q, k, v, scale):  # batch, time, heads, width
    scores = np.einsum("bthd,bshd->bhts", q, k) * scale
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhts,bshd->bthd", powers / powers.sum(-1, keepdims=True), v)


def deviation(got, expected):
    return float(np.abs(np.asarray(got) - expected).max() / np.abs(expected).max())


q, k, v = np.random.default_rng(0).normal(size=(3, 4, 16, 4, 6))
Q, K, V = map(tf.constant, (q, k, v))
scale = 6**-0.5
attention = keras.ops.dot_product_attention
expected = formula(q, k, v, scale)
by_call = {
    "scale=6**-0.5": deviation(attention(Q, K, V, scale=scale), expected),
    "scale=None": deviation(attention(Q, K, V), expected),
}
result = {
    "id": "tf-dot-product-attention-scale",
    "versions": {name: version(name) for name in ("keras", "tensorflow", "numpy")},
    "dtype": "float64",
    "deviation": max(by_call.values()),
    "expected_float64_noise": deviation(attention(Q * scale, K, V, scale=1.0), expected),
    "deviation_by_call": by_call,
}
print(json.dumps(result))
sys.exit(0 if min(by_call.values()) > 100 * result["expected_float64_noise"] else 1)
