"""TensorFlow on a CPU: numbers below the smallest normal one are taken for 0, in float64 as in float32.

Exit 0 when that is so, 1 when it is not. Needs TensorFlow and NumPy.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

flushed = {}
for dtype in ("float64", "float32"):
    x = tf.constant(np.full(64, np.finfo(dtype).tiny / 4, dtype))
    flushed[dtype] = {name: not y.numpy().any() for name, y in (("x + x", x + x), ("relu", tf.nn.relu(x)))}
result = {
    "id": "tf-denormals",
    "versions": {name: version(name) for name in ("tensorflow", "numpy")},
    "deviation": None,
    "expected_float64_noise": None,
    "flushed": flushed,
}
print(json.dumps(result))
sys.exit(0 if all(all(rows.values()) for rows in flushed.values()) else 1)
