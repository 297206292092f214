"""keras.ops.conv with groups on TensorFlow makes a new XLA function at every call, and so compiles at every call.

Counted: how often a convolution is traced in five eager calls with the same arrays, and in five calls of one
``tf.function`` of the same convolution. The milliseconds tell what a call takes, and one without groups.

Exit 0 when that is so, 1 when it is not. Needs Keras and TensorFlow.
"""

import json
import logging
import os
import sys
import time
from importlib.metadata import version
from unittest import mock

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of what is counted here
rng = np.random.default_rng(0)
x = tf.constant(rng.normal(size=(1, 6, 6, 8)))
kernel = tf.constant(rng.normal(size=(3, 3, 4, 8)))
plain = tf.nn.convolution


def calls(convolve, groups, times=5):
    """How often a convolution was traced, the fastest call in milliseconds, and the result."""
    traced, seconds = [], []

    def counting(*args, **kwargs):
        traced.append(tf.inside_function())
        return plain(*args, **kwargs)

    with mock.patch.object(tf.nn, "convolution", counting):
        for _ in range(times):
            start = time.perf_counter()
            y = convolve(x if groups == 2 else x[..., :4], kernel)
            seconds.append(time.perf_counter() - start)
    return sum(traced), round(1e3 * min(seconds), 3), y.numpy()


def grouped(x, kernel):
    return keras.ops.conv(x, kernel, 1, "valid", data_format="channels_last")


once = tf.function(lambda x, kernel: tf.nn.convolution(x, kernel, 1, "VALID"), jit_compile=True)
traces, milliseconds, y = calls(grouped, 2)
traces_once, milliseconds_once, z = calls(once, 2)
traces_plain, milliseconds_plain, _ = calls(grouped, 1)
halves = zip(np.split(x, 2, axis=-1), np.split(kernel, 2, axis=-1), strict=True)
want = np.concatenate([grouped(part, k) for part, k in halves], axis=-1)
result = {
    "id": "tf-grouped-conv-compiles",
    "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")},
    "dtype": "float64",
    "deviation": None,
    "expected_float64_noise": 0.0,
    "calls": 5,
    "traces": traces,
    "traces_of_one_function": traces_once,
    "traces_without_groups": traces_plain,
    "milliseconds": milliseconds,
    "milliseconds_of_one_function": milliseconds_once,
    "milliseconds_without_groups": milliseconds_plain,
    "same_result": bool(np.allclose(y, want) and np.allclose(z, want)),
}
print(json.dumps(result))
sys.exit(0 if result["same_result"] and (traces, traces_once, traces_plain) == (5, 1, 0) else 1)
