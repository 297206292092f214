"""What a layer computes at a line, as a formula of values that have names: taps of the block, inputs, parameters."""

from __future__ import annotations

import numpy as np

from attn_ref.trace.came import below
from attn_ref.trace.faults import Fault
from attn_ref.trace.flow import INPUT
from attn_ref.trace.lines import SAME
from attn_ref.trace.match import alike, marks
from attn_ref.trace.reason import Reason
from attn_ref.trace.record import Record
from attn_ref.trace.right import fits, floats
from attn_ref.trace.search import Search
from attn_ref.trace.steps import before

#: operation -> how it is written between its operands
SIGNS = {
    "mul": "·", "multiply": "·", "mulv2": "·", "add": "+", "addv2": "+", "add_": "+", "mm": "@", "bmm": "@",
    "matmul": "@", "dot_general": "@", "batchmatmulv2": "@", "addmm": "@", "baddbmm": "@",
}  # fmt: skip
#: operation -> its usual name
NAMES = {
    "_softmax": "softmax", "div": "quotient", "divide": "quotient", "sub": "difference", "subtract": "difference",
    "cat": "concatenation", "concatenate": "concatenation", "native_layer_norm": "layer_norm", "where": "choice",
    "masked_fill": "masking", "select_n": "choice", "rsqrt": "1/√", "pow": "power", "exp2": "2^", "logistic": "sigmoid",
    "amax": "max", "convolution": "convolution", "reduce_max": "max", "reduce_sum": "sum",
}  # fmt: skip
#: the name of a reason that is no known one
UNNAMED = "other-step"
#: how many operations a formula holds, one in the other
DEEP = 4


class Formulas:
    """Writes values of a trace as formulas."""

    def __init__(self, search: Search, fault: Fault) -> None:
        self.trace, self.of_input = search.trace, below(search.trace.parents, {INPUT})
        self.records = {record.number: record for record in search.trace.records}
        taps = {n: np.asarray(x) for n, x in before(fault).items() if fault.attempt.taps.get(n) is not None}
        inputs = {n: np.asarray(x) for n, x in search.inputs.items() if any(x is y for y in floats(search))}
        self.named = [(name, x, marks(x)) for name, x in [*reversed([*taps.items()]), *inputs.items()]]
        self.named += [(name, x, marks(x)) for name, x in search.trace.parameters.items() if x.ndim]

    def name(self, value: np.ndarray) -> str | None:
        """The name of a value; None if it has none."""
        its = marks(value)
        return next(
            (n for n, x, mine in self.named if x.size == value.size and alike(its, mine) and fits(x, value)), None
        )

    def of(self, record: Record, deep: int = DEEP, top: bool = True) -> str:
        """A record as a formula."""
        if not top and (name := self.name(record.value)):
            return name
        operation = record.operation.partition(" ")[0].lower()
        came = [n for n in self.trace.parents.get(record.number, ()) if n in self.records]
        came.sort(key=lambda n: (n not in self.of_input, n))  # parameters last
        if operation in SAME and len(came) == 1:
            return self.of(self.records[came[0]], deep, False if not top else self.name_of(came[0]) is None)
        parts = [self.of(self.records[n], deep - 1, False) for n in came] if deep else ["…"]
        parts += ["the input"] if any(n < 0 for n in self.trace.parents.get(record.number, ())) else []
        if operation in SIGNS:
            joined = f" {SIGNS[operation]} ".join(
                f"({p})" if " " in p and SIGNS[operation] != "+" else p for p in parts
            )
            return joined if len(parts) > 1 else f"{joined} {SIGNS[operation]} a number" if parts else "a number"
        return f"{NAMES.get(operation, operation)}({', '.join(parts)})"

    def name_of(self, number: float) -> str | None:
        """The name of a record's value."""
        return self.name(self.records[number].value)


def described(search: Search, fault: Fault, record: Record | None) -> Reason | None:
    """What the layer computes at the place, as a formula, where no reason is known; None where that says nothing."""
    if record is None or not search.trace.parents or record.number not in {r.number for r in search.trace.records}:
        return None
    formulas = Formulas(search, fault)
    said = formulas.of(record)
    if not any(name in said for name, *_ in formulas.named):
        return None
    says = f"the layer computes {said} here, which the block does not on its way to {fault.tap}"
    return Reason(UNNAMED, says, f"attn-ref show {type(search.block).__name__} tells what {fault.tap} is")
