"""keras.ops.dot_product_attention on JAX: refuses values of another width than the keys, which other backends take.

Exit 0 when the fault is there, 1 when it is gone. Needs Keras, JAX and NumPy.
"""

import json
import logging
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Keras logs the refusal of every implementation that it tries

x = np.random.default_rng(0).normal(size=(2, 5, 3, 6)).astype("float32")  # batch, time, heads, width
tensors = [keras.ops.convert_to_tensor(part) for part in (x, x, x[..., :4])]
try:
    keras.ops.dot_product_attention(*tensors)
    error = None
except Exception as raised:
    error = f"{type(raised).__name__}: {raised}"
result = {
    "id": "jax-dot-product-attention-value-width",
    "versions": {name: version(name) for name in ("keras", "jax", "numpy")},
    "deviation": None,
    "expected_float64_noise": None,
    "error": error,
}
print(json.dumps(result))
sys.exit(0 if error else 1)
