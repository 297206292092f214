"""keras.ops.max on TensorFlow refuses an array without elements, even where every maximum is over some.

NumPy, torch, JAX and TensorFlow itself give the empty result that the shapes tell.

Exit 0 when that is so, 1 when it is not. Needs Keras and TensorFlow.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

x = np.zeros((0, 3))
try:
    keras.ops.max(x, axis=1)
    said = None
except tf.errors.InvalidArgumentError as error:
    said = str(error).splitlines()[0]
result = {
    "id": "tf-max-empty",
    "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")},
    "dtype": "float64",
    "deviation": None,
    "expected_float64_noise": 0.0,
    "raises": said,
    "tf.reduce_max": list(tf.reduce_max(x, axis=1).shape),
    "initial": list(keras.ops.max(x, axis=1, initial=-np.inf).shape),
}
print(json.dumps(result))
sys.exit(0 if said and result["tf.reduce_max"] == result["initial"] == [0] else 1)
