"""jax.nn.dot_product_attention in float64: its softmax is carried out in float32, whatever the dtype.

Two consequences: the result is float64 with the error of float32, and a float64 bias below the range of float32
becomes -inf, so that a row whose keys all have the smallest float64 as bias is NaN.

Exit 0 when the fault is there, 1 when it is gone. Needs JAX and NumPy.
"""

import json
import sys
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)


def formula(np, q, k, v):  # batch, time, heads, width; scale 1
    scores = np.einsum("bthd,bshd->bhts", q, k)
    powers = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return np.einsum("bhts,bshd->bthd", powers / np.sum(powers, axis=-1, keepdims=True), v)


def deviation(got, expected):
    return float(np.abs(np.asarray(got) - expected).max() / np.abs(expected).max())


q, k, v = np.random.default_rng(0).normal(size=(3, 4, 16, 4, 6))
tensors = [jnp.asarray(x) for x in (q, k, v)]
y = jax.nn.dot_product_attention(*tensors, scale=1.0)
hidden = jax.nn.dot_product_attention(*tensors, bias=jnp.full((1, 1, 16, 16), np.finfo(np.float64).min))
result = {
    "id": "jax-nn-softmax-float32",
    "versions": {name: version(name) for name in ("jax", "numpy")},
    "dtype": str(y.dtype),
    "deviation": deviation(y, formula(np, q, k, v)),
    "expected_float64_noise": deviation(formula(jnp, *tensors), formula(np, q, k, v)),
    "nan_when_every_bias_is_the_smallest_float64": bool(jnp.isnan(hidden).all()),
}
print(json.dumps(result))
sys.exit(0 if result["deviation"] > 100 * result["expected_float64_noise"] else 1)
