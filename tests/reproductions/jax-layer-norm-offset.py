"""keras.layers.LayerNormalization on JAX: the gradient of a float64 layer's offset is rounded to float32.

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

rng = np.random.default_rng(0)
layer = keras.layers.LayerNormalization(dtype="float64")
x, upstream = rng.normal(size=(2, 50, 4)), rng.normal(size=(2, 50, 4))
layer.build(x.shape)
trained, fixed = ([v.value for v in vs] for vs in (layer.trainable_variables, layer.non_trainable_variables))


def loss(trained):
    return (layer.stateless_call(trained, fixed, x)[0] * upstream).sum()


gradients = dict(zip((v.name for v in layer.trainable_variables), jax.grad(loss)(trained), strict=True))
expected = upstream.sum((0, 1))  # that of an offset is what comes in, added up


def deviation(got):
    return float(np.abs(np.asarray(got) - expected).max() / np.abs(upstream).sum((0, 1)).max())


result = {
    "id": "jax-layer-norm-offset",
    "versions": {name: version(name) for name in ("keras", "jax", "numpy")},
    "dtype": str(gradients["beta"].dtype),
    "deviation": deviation(gradients["beta"]),
    "expected_float64_noise": deviation(jax.numpy.sum(upstream, (0, 1))),
}
print(json.dumps(result))
sys.exit(0 if result["deviation"] > 1e-12 else 1)
