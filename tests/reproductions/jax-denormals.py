"""JAX on a CPU: numbers below the smallest normal one are taken for 0, in float64 as in float32.

Exit 0 when that is so, 1 when it is not. Needs JAX and NumPy.
"""

import json
import sys
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

flushed = {}
for dtype in ("float64", "float32"):
    x = jnp.asarray(np.full(64, np.finfo(dtype).tiny / 4, dtype))
    flushed[dtype] = {name: not np.asarray(y).any() for name, y in (("x + x", x + x), ("relu", jax.nn.relu(x)))}
result = {
    "id": "jax-denormals",
    "versions": {name: version(name) for name in ("jax", "numpy")},
    "deviation": None,
    "expected_float64_noise": None,
    "flushed": flushed,
}
print(json.dumps(result))
sys.exit(0 if all(all(rows.values()) for rows in flushed.values()) else 1)
