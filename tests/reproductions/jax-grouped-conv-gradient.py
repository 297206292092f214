"""On a CPU, XLA takes many times as long for the gradient of a grouped convolution's kernel as group by group.

The same number comes out. Timed: the best of three compiled calls each, for 32 groups of 4 channels.

Exit 0 when it takes more than eight times as long, 1 when it does not. Needs JAX.
"""

import json
import os
import sys
import time
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

GROUPS = 32
rng = np.random.default_rng(0)
x = jnp.asarray(rng.normal(size=(4, 12, 12, 128)), "float32")
kernel = jnp.asarray(rng.normal(size=(3, 3, 4, 128)), "float32")


def native(x, kernel, groups=GROUPS):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=dimensions, feature_group_count=groups
    )


def split(x, kernel):
    parts = zip(jnp.split(x, GROUPS, axis=-1), jnp.split(kernel, GROUPS, axis=-1), strict=True)
    return jnp.concatenate([native(part, k, 1) for part, k in parts], axis=-1)


def timed(convolve):
    """The gradient of the kernel, and the milliseconds that it takes once it is compiled."""
    gradient = jax.jit(jax.grad(lambda kernel: (convolve(x, kernel) ** 2).sum()))
    found, seconds = gradient(kernel).block_until_ready(), []
    for _ in range(3):
        start = time.perf_counter()
        gradient(kernel).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return np.asarray(found), 1e3 * min(seconds)


(one, slow), (other, fast) = timed(native), timed(split)
result = {
    "id": "jax-grouped-conv-gradient",
    "versions": {name: version(name) for name in ("jax", "numpy")},
    "dtype": "float32",
    "deviation": None,
    "expected_float64_noise": 0.0,
    "milliseconds": round(slow, 2),
    "milliseconds_group_by_group": round(fast, 2),
    "same_result": bool(np.abs(one - other).max() < 1e-4 * np.abs(other).max()),
}
print(json.dumps(result))
sys.exit(0 if result["same_result"] and slow > 8 * fast else 1)
