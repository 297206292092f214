"""keras.layers.RMSNormalization on JAX: a float64 layer computes in float32 and returns float64.

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
EPS = 1e-5


def formula(np, x):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + EPS)


def deviation(got, expected):
    return float(np.abs(np.asarray(got) - expected).max() / np.abs(expected).max())


layer = keras.layers.RMSNormalization(epsilon=EPS, dtype="float64")
x = np.random.default_rng(0).normal(size=(2000, 4))
y = keras.ops.convert_to_numpy(layer(x))
result = {
    "id": "jax-rms-norm",
    "versions": {name: version(name) for name in ("keras", "jax", "numpy")},
    "dtype": str(y.dtype),
    "deviation": deviation(y, formula(np, x)),
    "expected_float64_noise": deviation(formula(jnp, jnp.asarray(x)), formula(np, x)),
}
print(json.dumps(result))
sys.exit(0 if result["deviation"] > 100 * result["expected_float64_noise"] else 1)
