"""JAX with jax_enable_x64 off, which is the default: a float64 array becomes float32, and no warning is given.

Exit 0 when that is so, 1 when it is not. Needs Keras, JAX and NumPy.
"""

import json
import os
import sys
import warnings
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

jax.config.update("jax_enable_x64", False)

x = np.full(3, 0.1)
with warnings.catch_warnings(record=True) as given:
    warnings.simplefilter("always")
    y = keras.ops.convert_to_tensor(x)
silent = not given
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # here a dtype is asked for by name, and JAX does warn
    layer = keras.layers.Dense(3, dtype="float64")
    layer.build((None, 3))
result = {
    "id": "jax-x64-off",
    "versions": {name: version(name) for name in ("keras", "jax", "numpy")},
    "dtype": str(y.dtype),
    "deviation": float(abs(np.asarray(y, np.float64) - x).max() / 0.1),
    "expected_float64_noise": 0.0,
    "float64_layer_says": f"{layer.kernel.dtype} of a kernel that is {layer.kernel.value.dtype}",
}
print(json.dumps(result))
sys.exit(0 if silent and y.dtype == "float32" else 1)
