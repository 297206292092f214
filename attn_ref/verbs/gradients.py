"""Are a layer's gradients those of what it computes? One that detaches a value is right in numbers, and trains wrongly.

The outputs are proven to be the block's by then, so that the slope of the layer's own outputs is the block's as well.
Along one random direction for each parameter and input it is taken by central differences in float64, and held to what
the layer's framework says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attn_ref.trace.reason import Reason
from attn_ref.trace.record import Trace
from attn_ref.verbs.verdict import Place, Verdict

#: how far the slopes may be apart, of the larger, and of the largest of all, since a difference has that much rounding;
#: an activation's kink between the points gives more, and is told by a second direction
CLOSE, ROUNDING = 1e-4, 1e-7
#: operations behind which no gradient comes
DETACHING = ("detach", "detach_", "StopGradient", "stop_gradient")


def held(
    verdict: Verdict, tracer: Any, layer: Any, arguments: Sequence[Any], named: Mapping[str, Any], trace: Trace
) -> None:
    """Enter the first parameter whose gradient is not that of the output."""
    if not hasattr(tracer, "slopes"):
        return
    try:
        every = [tracer.slopes(layer, arguments, named, seed) for seed in range(2)]
    except NotImplementedError:
        return  # the count of gradients that is not there says so
    except Exception as error:
        verdict.notes.append(f"its gradients were not compared: {type(error).__name__}: {error}")
        return
    verdict.gradients = len(every[0])
    frozen = [one.name for one in every[0] if not one.trains and abs(one.found) > CLOSE]
    if frozen:
        verdict.notes.append(f"parameters that do not train: {', '.join(frozen)}")
    large = ROUNDING * max((one.size() for slopes in every for one in slopes), default=0.0)
    wrong = [
        one
        for one, two in zip(*every, strict=True)
        if one.trains and all(x.off() > CLOSE * x.size() + large for x in (one, two))
    ]
    if not wrong:
        return
    worst = wrong[0]
    told = "it gets none" if worst.told is None else f"its slope is said to be {worst.told:.4g}"
    others = f"; so it is of {', '.join(one.name for one in wrong[1:4])}" if len(wrong) > 1 else ""
    says = f"the gradient of {worst.name} is not that of the output: {told}, and is {worst.found:.4g}{others}"
    line = next((r for r in trace.records if r.operation.partition(" ")[0] in DETACHING and r.line), None)
    fix = "let nothing on its way be detached: no detach(), no_grad(), .data or NumPy in the forward pass"
    verdict.ok = False
    place = Place(
        f"the gradient of {worst.name}", line.line if line else None, line.operation if line else "",
        Reason("detached", says, fix),
    )  # fmt: skip
    verdict.places.append(place)
