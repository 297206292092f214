"""keras.ops.dot_product_attention on JAX: float64 goes in, float32 is computed and comes out.

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


def formula(np, q, k, v):  # batch, time, heads, width; scale 1
    scores = np.einsum("bthd,bshd->bhts", q, k)
    powers = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return np.einsum("bhts,bshd->bthd", powers / np.sum(powers, axis=-1, keepdims=True), v)


def deviation(got, expected):
    return float(np.abs(np.asarray(got) - expected).max() / np.abs(expected).max())


q, k, v = np.random.default_rng(0).normal(size=(3, 4, 16, 4, 6))
y = keras.ops.convert_to_numpy(keras.ops.dot_product_attention(*map(jnp.asarray, (q, k, v)), scale=1.0))
expected = formula(np, q, k, v)
result = {
    "id": "jax-dot-product-attention-float32",
    "versions": {name: version(name) for name in ("keras", "jax", "numpy")},
    "dtype": str(y.dtype),
    "deviation": deviation(y, expected),
    "expected_float64_noise": deviation(formula(jnp, *map(jnp.asarray, (q, k, v))), expected),
}
print(json.dumps(result))
sys.exit(0 if result["deviation"] > 100 * result["expected_float64_noise"] else 1)
