"""Weights that the reference asks for before they are known: each stands for itself until a solver has found it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attn_ref.weights import Weights

if TYPE_CHECKING:
    from attn_ref.trace.wiring import Solver


class Unknown:
    """A parameter that is asked for before it is known."""

    __array_ufunc__ = None

    def __init__(self, solver: Solver, name: str, shape: tuple[int, ...], shift: float = 0.0) -> None:
        self.solver, self.name, self.shape = solver, name, shape
        #: a number that was added to it
        self.shift = shift

    def __rmul__(self, x: np.ndarray) -> Any:
        return x * self.solver.featurewise(self, x, add=False)

    def __radd__(self, x: Any) -> Any:
        if np.ndim(x) == 0:
            return Unknown(self.solver, self.name, self.shape, self.shift + float(x))
        return x + self.solver.featurewise(self, x, add=True)

    __mul__, __add__ = __rmul__, __radd__

    def __getitem__(self, axes: Any) -> Unknown:
        """It, with more axes of one: who asks for the values counts those that are there."""
        return self


class Asked(Weights):
    """Weights as a block reads them; those that are not known yet are ``Unknown``."""

    def __init__(self, solver: Solver, prefix: str = "", name: str = "") -> None:
        super().__init__({}, prefix, name)
        self.solver = solver

    def __getitem__(self, name: str) -> Any:
        full = self.prefix + name
        if full in self.solver.found:
            return self.solver.found[full]
        if full in self.solver.shapes:
            return Unknown(self.solver, full, self.solver.shapes[full])
        return Asked(self.solver, full + ".", name)


class NotSolved(Exception):
    """No value of the trace depends on its input as the parameter of this name would make it."""
