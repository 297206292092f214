"""tf.tanh in float64: up to 8 units in the last place off, where a libm is within about one.

Exit 0 when it is more than 4 units off, 1 when it is not. Needs TensorFlow and NumPy.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

x = np.linspace(0.0, 20.0, 400001)
expected = np.tanh(x.astype(np.longdouble))
ulp = np.spacing(np.tanh(x))
off = np.abs(tf.tanh(tf.constant(x)).numpy() - expected)
result = {
    "id": "tf-tanh",
    "versions": {name: version(name) for name in ("tensorflow", "numpy")},
    "dtype": "float64",
    "deviation": float(off.max()),
    "expected_float64_noise": float(np.abs(np.tanh(x) - expected).max()),
    "units_in_the_last_place": round(float((off / ulp).max()), 1),
    "at": float(x[(off / ulp).argmax()]),
}
print(json.dumps(result))
sys.exit(0 if result["units_in_the_last_place"] > 4 else 1)
