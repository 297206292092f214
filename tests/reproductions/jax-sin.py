"""keras.ops.sin on JAX: float64 goes in, float32 is computed and comes out.

Exit 0 when the fault is there, 1 when it is gone. Needs Keras, JAX and NumPy.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

jax.config.update("jax_enable_x64", True)


def deviation(got, expected):
    return float(np.abs(np.asarray(got) - expected).max() / np.abs(expected).max())


x = np.linspace(-3.0, 3.0, 6001)
y = keras.ops.convert_to_numpy(keras.ops.sin(keras.ops.convert_to_tensor(x)))
result = {
    "id": "jax-sin",
    "versions": {name: version(name) for name in ("keras", "jax", "numpy")},
    "dtype": str(y.dtype),
    "deviation": deviation(y, np.sin(x)),
    "expected_float64_noise": deviation(jax.numpy.sin(jax.numpy.asarray(x)), np.sin(x)),
}
print(json.dumps(result))
sys.exit(0 if result["deviation"] > 100 * result["expected_float64_noise"] else 1)
