"""Training or not. Batch norm asks; dropout does not, since its keep is a tap that whoever trains replaces.

``with ar.training(): block(w, x)`` normalises by the batch's own statistics, and what the running ones become stands in
the taps ``running_mean`` and ``running_variance``. One plain module-level variable, as in ``tap`` and for its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_training = False


def is_training() -> bool:
    """Does the code inside ``training()`` ask?"""
    return _training


@contextmanager
def training(on: bool = True) -> Iterator[None]:
    """Blocks called inside compute what they compute while they are trained."""
    global _training
    before, _training = _training, on
    try:
        yield
    finally:
        _training = before
