"""Evidence of ``NonLocal``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles_maps import non_local as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "g not sub-sampled as φ",
        "raised",
        torch=("self.pool(self.g(x))", "self.g(x)"),
        keras=("self.pool(self.g(x))", "self.g(x)"),
    ),
    Fault(
        "φ not sub-sampled as g",
        "raised",
        torch=("self.pool(self.phi(x))", "self.phi(x)"),
        keras=("self.pool(self.phi(x))", "self.phi(x)"),
    ),
    Fault(
        "θ instead of φ",
        "phi",
        torch=("self.pool(self.phi(x))", "self.pool(self.theta(x))"),
        keras=("self.pool(self.phi(x))", "self.pool(self.theta(x))"),
    ),
    Fault(
        "divided by the number of queries",
        "weights",
        torch=("scores / phi.shape[1]", "scores / theta.shape[1]"),
        reference=("scores / scores.shape[-1]", "scores / scores.shape[-2]"),
        keras=("ops.shape(scores)[-1], scores.dtype", "ops.shape(scores)[-2], scores.dtype"),
    ),
    Fault(
        "scale by the inner width",
        "scores",
        torch=('{"input": channels**-0.5,', '{"input": inner**-0.5,'),
        keras=('{"input": channels**-0.5,', '{"input": self.inner**-0.5,'),
    ),
    Fault(
        "the framework's own eps",
        "normed",
        torch=("BatchNorm(channels, eps=eps,", "BatchNorm(channels, eps=1e-5,"),
        keras=('"epsilon": eps', '"epsilon": 1e-5'),
    ),
    Fault(
        "x normalised too",
        "normed",
        torch=('normalise(self.norm, y, "norm")', 'normalise(self.norm, y + x, "norm")'),
        keras=('normalise(self.norm, y, "norm", training)', 'normalise(self.norm, y + x, "norm", training)'),
    ),
]
