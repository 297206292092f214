"""Evidence of ``FeedForward``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles import feed_forward as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "GELU by tanh",
        "active",
        torch=('"tanh" if self.activation == "gelu_tanh" else "none"', '"tanh"'),
        keras=('if self.activation == "gelu_tanh":', "if True:"),
    ),
    Fault(
        "bias of the first layer dropped",
        "hidden",
        torch=("self.expand(x)", "F.linear(x, self.expand.weight)"),
        keras=("self.expand(x)", "ops.matmul(x, self.expand.kernel)"),
    ),
    Fault(
        "no activation",
        "active",
        torch=("self.activate(hidden)", "hidden"),
        reference=("ops.ACTIVATIONS[self.activation](hidden)", "hidden"),
        keras=("self.activate(hidden)", "hidden"),
    ),
    Fault(
        "activation of the second layer too",
        "reduced",
        torch=("self.reduce(active)", "self.activate(self.reduce(active))"),
        keras=("self.reduce(active)", "self.activate(self.reduce(active))"),
    ),
    Fault(
        "a residual of its own",
        "reduced",
        torch=("self.reduce(active)", "x + self.reduce(active)"),
        keras=("self.reduce(active)", "x + self.reduce(active)"),
    ),
]
