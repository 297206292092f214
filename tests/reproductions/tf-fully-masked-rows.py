"""What Keras' attention on TensorFlow gives for a query that may attend to no key, call by call.

Exit 0 when every call gives what is said here, 1 when one does not. Needs Keras, TensorFlow and NumPy.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops

numbers = np.random.default_rng(0)
q, k, v = (ops.convert_to_tensor(x) for x in numbers.normal(size=(3, 1, 3, 2, 4)))  # batch, time, heads, width
x = ops.convert_to_tensor(numbers.normal(size=(1, 3, 8)))
keep = np.array([[True, True, True], [False, False, False], [True, True, True]])[None]
infinite = ops.convert_to_tensor(np.where(keep, 0.0, -np.inf)[None])
smallest = ops.convert_to_tensor(np.where(keep, 0.0, np.finfo(np.float64).min)[None])


def kind(row, mean):
    row, mean = ops.convert_to_numpy(row), ops.convert_to_numpy(mean)
    if np.isnan(row).all():
        return "nan"
    if (row == 0).all():
        return "zeros"
    return "mean of all values" if np.allclose(row, mean, atol=1e-6) else "something else"


def fused(**mask):
    return kind(ops.dot_product_attention(q, k, v, **mask)[:, 1], ops.mean(v, axis=1))


def module(*, dropout=0.0, scores=False):
    layer = keras.layers.MultiHeadAttention(2, 4, use_bias=False, dropout=dropout, dtype="float64")
    y = layer(x, x, attention_mask=keep, return_attention_scores=scores)
    same = ops.repeat(ops.mean(x, axis=1, keepdims=True), 3, axis=1)  # three keys alike: the mean of all values
    return kind((y[0] if scores else y)[:, 1], layer(same, same)[:, 1])


calls = {
    "keras.ops.dot_product_attention, bool mask": (fused(mask=keep[None]), "mean of all values"),
    "keras.ops.dot_product_attention, -inf as bias": (fused(bias=infinite), "nan"),
    "keras.ops.dot_product_attention, finfo.min as bias": (fused(bias=smallest), "mean of all values"),
    "keras.layers.MultiHeadAttention": (module(), "mean of all values"),
    "keras.layers.MultiHeadAttention, dropout=0.1, inference": (module(dropout=0.1), "zeros"),
    "keras.layers.MultiHeadAttention, return_attention_scores=True": (module(scores=True), "zeros"),
}
result = {
    "id": "tf-fully-masked-rows",
    "versions": {name: version(name) for name in ("keras", "tensorflow", "numpy")},
    "deviation": None,
    "expected_float64_noise": None,
    "rows": {call: found for call, (found, _) in calls.items()},
}
print(json.dumps(result))
sys.exit(0 if all(found == said for found, said in calls.values()) else 1)
