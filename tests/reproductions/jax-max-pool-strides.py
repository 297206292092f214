"""keras.ops.max_pool on JAX without strides raises: the window, made a shape already, is made one again.

Exit 0 when it raises and the same call with strides does not, 1 otherwise.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

x = np.arange(30.0, dtype=np.float32).reshape(1, 3, 5, 2)
given = np.asarray(keras.ops.max_pool(x, 2, 2, data_format="channels_last"))
try:
    keras.ops.max_pool(x, 2, data_format="channels_last")
    raised = ""
except TypeError as error:
    raised = str(error)
result = {
    "id": "jax-max-pool-strides",
    "versions": {"keras": version("keras"), "jax": version("jax")},
    "dtype": "float32",
    "deviation": None,
    "expected_float64_noise": 0.0,
    "found": {"raised": raised, "shape with strides": list(given.shape)},
}
print(json.dumps(result))
sys.exit(0 if "window_strides" in raised and given.shape == (1, 1, 2, 2) else 1)
