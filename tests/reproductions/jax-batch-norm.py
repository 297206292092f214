"""keras.layers.BatchNormalization on JAX: a float64 layer computes in float32, its statistics too, and returns float64.

Exit 0 when the fault is there, 1 when it is gone. Needs Keras, JAX and NumPy.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
import numpy as np

jax.config.update("jax_enable_x64", True)
EPS, MOMENTUM = 1e-3, 0.9


def formula(np, x):
    mean, variance = np.mean(x, axis=0), np.var(x, axis=0)
    return (x - mean) / np.sqrt(variance + EPS), MOMENTUM + (1 - MOMENTUM) * variance


def deviation(got, expected):
    return float(np.abs(np.asarray(got) - expected).max() / np.abs(expected).max())


layer = keras.layers.BatchNormalization(epsilon=EPS, momentum=MOMENTUM, dtype="float64")
x = np.random.default_rng(0).normal(size=(2000, 4))
inference = keras.ops.convert_to_numpy(layer(x))
y = keras.ops.convert_to_numpy(layer(x, training=True))
want, running = formula(np, x)
result = {
    "id": "jax-batch-norm",
    "versions": {name: version(name) for name in ("keras", "jax", "numpy")},
    "dtype": str(y.dtype),
    "deviation": deviation(y, want),
    "expected_float64_noise": deviation(formula(jnp, jnp.asarray(x))[0], want),
    "deviation_in_inference": deviation(inference, x / np.sqrt(1 + EPS)),
    "deviation_of_running_variance": deviation(layer.moving_variance, running),
}
print(json.dumps(result))
sys.exit(0 if result["deviation"] > 100 * result["expected_float64_noise"] else 1)
