"""keras.ops.add on TensorFlow adds a column along another axis than NumPy does, where sizes are alike.

An array of shape (n, 1) is taken for a bias, squeezed to (n,) and handed to ``tf.nn.bias_add``, which adds it along the
second axis of (b, n, n, 1), where broadcasting adds it along the third. ``keras.layers.MultiHeadAttention`` comes to it
with heads of width 1 where there are as many tokens as heads: its biases are added along the tokens.

Exit 0 when that is so, 1 when it is not. Needs Keras and TensorFlow.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

x, bias = np.zeros((1, 3, 3, 1)), np.array([[1.0], [2.0], [3.0]])
got, want = np.asarray(keras.ops.add(x, bias)), x + bias
vector = np.asarray(keras.ops.add(np.zeros((1, 3, 1)), np.array([1.0, 2.0, 3.0])))

tokens, heads = np.random.default_rng(0).normal(size=(1, 3, 3)), 3
layer = keras.layers.MultiHeadAttention(heads, 1, dtype="float64")
layer.build(tokens.shape, tokens.shape)
for dense in (layer.query_dense, layer.key_dense, layer.value_dense):
    dense.bias.assign(bias)
projected = np.asarray(layer.value_dense(tokens))
by_hand = np.einsum("btc,chd->bthd", tokens, np.asarray(layer.value_dense.kernel)) + bias
result = {
    "id": "tf-add-bias",
    "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")},
    "dtype": "float64",
    "deviation": float(np.abs(got - want).max() / np.abs(want).max()),
    "expected_float64_noise": 0.0,
    "shape_of_a_vector_added": [list(vector.shape), [1, 3, 3]],
    "in_the_layer": float(np.abs(projected - by_hand).max()),
}
print(json.dumps(result))
sys.exit(0 if result["deviation"] > 0.5 and result["in_the_layer"] > 0.5 and vector.shape == (1, 3, 1) else 1)
