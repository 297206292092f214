"""The layers of NumPy, JAX, flax and Keras, shown as ``observable`` shows those of torch.

``python -m tests.wild.observable_more [--cases N] [NAME …]``
"""

from __future__ import annotations

import sys
from importlib import util

from . import observable

#: file -> the framework that it needs
MORE = {"numpy_layers": "numpy", "jax_layers": "jax", "flax_layers": "flax", "keras_layers": "tensorflow"}


def main() -> int:
    """As ``observable``, of these files alone."""
    observable.FILES = MORE
    for name, framework in MORE.items():
        if util.find_spec(framework) is None:
            print(f"{name} is left out: {framework} is not installed")
    return observable.main()


if __name__ == "__main__":
    sys.exit(main())
