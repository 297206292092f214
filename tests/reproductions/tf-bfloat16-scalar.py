"""np.array of a TensorFlow tensor of rank 0 in bfloat16 raises; of rank 1 it does not, nor in float16.

Exit 0 when that is so, 1 when it is not. Needs Keras and TensorFlow.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf


def raises(shape, dtype):
    """Does it, and what does it say?"""
    try:
        keras.ops.convert_to_numpy(tf.ones(shape, dtype))
    except ValueError as error:
        return str(error)
    return None


said = raises([], "bfloat16")
result = {
    "id": "tf-bfloat16-scalar",
    "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")},
    "dtype": "bfloat16",
    "deviation": None,
    "expected_float64_noise": 0.0,
    "raises": said,
    "rank 1": raises([1], "bfloat16"),
    "float16": raises([], "float16"),
}
print(json.dumps(result))
sys.exit(0 if said and not result["rank 1"] and not result["float16"] else 1)
