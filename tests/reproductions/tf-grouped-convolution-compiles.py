"""Keras on TensorFlow: a grouped convolution compiles anew at every call, also for the same shape.

Keras defines its compiled function inside the call, so that every call makes another one, traces it, and has XLA
compile it. Counted is how often the convolution is traced in three calls of one layer with one input: three times where
once would do. Exit 0 when that is so, 1 when it is not. Needs keras and tensorflow.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf

traced = 0
plain = tf.nn.convolution


def counted(*args, **kwargs):
    """tf.nn.convolution; counts the calls in which a function is traced."""
    global traced
    traced += not tf.executing_eagerly()
    return plain(*args, **kwargs)


tf.nn.convolution = counted
counts = {}
for groups in (1, 2):
    traced = 0
    layer, x = keras.layers.Conv2D(4, 3, groups=groups), tf.zeros((1, 5, 5, 4))
    for _ in range(3):
        layer(x)
    counts[groups] = traced
tf.nn.convolution = plain
result = {
    "id": "tf-grouped-convolution-compiles",
    "versions": {"keras": version("keras"), "tensorflow": version("tensorflow")},
    "dtype": "float32",
    "deviation": None,
    "traces in three calls, by groups": counts,
}
print(json.dumps(result))
sys.exit(0 if counts[2] > 2 > counts[1] else 1)
