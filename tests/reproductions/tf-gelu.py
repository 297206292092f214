"""keras.ops.gelu (tf.nn.gelu) on TensorFlow: in float64 its constants are those of float32, in both forms.

Exit 0 when the fault is there, 1 when it is gone. Needs Keras, TensorFlow and NumPy.
"""

import json
import math
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf


def deviation(got, expected):
    return float(np.abs(np.asarray(got) - expected).max() / np.abs(expected).max())


x = np.linspace(-4.0, 4.0, 8001)
tensor = tf.constant(x)
erf_form = 0.5 * x * (1.0 + np.array([math.erf(v / math.sqrt(2.0)) for v in x]))
tanh_form = 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
# the same in TensorFlow, with the constants made into tensors of float64
erf_tf = 0.5 * tensor * (1.0 + tf.math.erf(tensor * math.sqrt(0.5)))
tanh_tf = 0.5 * tensor * (1.0 + tf.tanh(math.sqrt(2.0 / math.pi) * (tensor + 0.044715 * tensor * tensor * tensor)))

by_form = {
    "erf": deviation(keras.ops.gelu(tensor, approximate=False), erf_form),
    "tanh": deviation(keras.ops.gelu(tensor, approximate=True), tanh_form),
}
result = {
    "id": "tf-gelu",
    "versions": {name: version(name) for name in ("keras", "tensorflow", "numpy")},
    "dtype": "float64",
    "deviation": max(by_form.values()),
    "expected_float64_noise": max(deviation(erf_tf, erf_form), deviation(tanh_tf, tanh_form)),
    "deviation_by_form": by_form,
}
print(json.dumps(result))
sys.exit(0 if min(by_form.values()) > 100 * result["expected_float64_noise"] else 1)
