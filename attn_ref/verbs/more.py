"""More cases of a layer whose weights are known: sizes, styles, masks; and where one differs the place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from attn_ref.check.cases import Case
from attn_ref.check.numbers import short
from attn_ref.check.tolerance import LIMIT, OUTPUT, RUNS, Truth, deviation
from attn_ref.tap import Tapped
from attn_ref.trace.faults import faults
from attn_ref.trace.match import same, turned
from attn_ref.trace.search import Search
from attn_ref.verbs.calling import Call, First
from attn_ref.verbs.conventions import Convention
from attn_ref.verbs.lost import at_tokens, dark, says_at
from attn_ref.verbs.masks import masked_inputs, real
from attn_ref.verbs.own_bias import read_own, with_own
from attn_ref.verbs.places import explain
from attn_ref.verbs.verdict import Verdict
from attn_ref.verbs.wired import Runner

#: runs with noise that settle most cases
FEW = 3


def try_more(
    verdict: Verdict, runner: Runner, call: Call, weights: dict[str, np.ndarray], exact: bool,
    given: Iterator[Case | First], count: int, tell: Callable[[str], None], own: bool,
) -> None:  # fmt: skip
    """More cases with the weights that were found: values of the output, and where one differs the place.

    ``own``: the layer adds a bias of its own, which is read off each.
    """
    block = verdict.block
    verdict.cases, verdict.worst = 1, 0.0 if exact else None
    refused: dict[str, int] = {}
    for case in given:
        if verdict.cases > count:
            break
        if case.empty():
            continue
        hiding: Sequence[Convention] = getattr(call, "conventions", ())
        inputs = masked_inputs(block, weights, case.inputs(), hiding, case.seed, verdict.cases)
        tell(f"case {verdict.cases + 1}")
        try:
            traced, values = runner(call, inputs)
        except Exception as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            refused[why] = refused.get(why, 0) + 1
            if sum(refused.values()) > count:
                break
            continue
        if own:
            if {*case.styles.values()} - {"plain"}:
                continue  # of large scores a bias is not read off to the last digit
            bias = read_own(block, weights, inputs, traced, sure=True)
            if bias is None and len(next(iter(inputs.values()))) < 2:
                continue  # of one example nothing is the same for all
            inputs = with_own(block, inputs, bias) if bias else inputs
        dtype = "float32" if traced.narrow else "float64"
        tokens = next((real(block, c, inputs) for c in hiding if c.input in inputs), None)
        for runs in (RUNS,) if traced.narrow else (FEW, RUNS):  # σ only grows with them
            right = Truth(block, weights, inputs, dtype, runs=runs)
            found, said = off(values, right, tokens, LIMIT[dtype])
            if found <= LIMIT[dtype]:
                break
        if said and found <= LIMIT[dtype]:
            once(verdict, said)
        if exact and found <= LIMIT[dtype]:
            verdict.cases, verdict.worst = verdict.cases + 1, max(verdict.worst or 0.0, found)
            continue
        output = right.taps[OUTPUT].value
        if not exact and any(same(x, output) for y in values for x in turned(y, output.shape)):
            verdict.cases += 1
            continue
        search = Search(block, inputs, traced, values, known=weights)
        _, places = faults(search)
        if not places and "shifted" in case.styles.values():
            once(verdict, "it loses digits where numbers are far from 0 for their spread, as a "
                          "variance does that is the mean of squares less the square of the mean")  # fmt: skip
            verdict.cases += 1
            continue
        verdict.ok, verdict.case = (
            False,
            ", ".join(f"{name} {x.shape} {case.styles.get(name, '')}".rstrip() for name, x in inputs.items()),
        )
        explain(verdict, search, places, weights)
        if not places:
            verdict.notes.append(f"the output is {short(found)} σ off, and every tap is the layer's")
        return
    for why, times in refused.items():
        verdict.notes.append(f"the layer refused {times} cases: {why}")


def off(values: Sequence[np.ndarray], right: Truth, tokens: np.ndarray | None, limit: float) -> tuple[float, str]:
    """How far the output is off in units of what rounding explains, and what of it was left out for that, in words.

    Where it is beyond the ``limit``, only at ``tokens`` (b, t) that are none of padding, and without those queries
    that have nothing to attend to.
    """
    found = nearest(values, right)
    if found > limit and tokens is not None:
        found = nearest(values, right, tokens)
        if found <= limit:
            return found, "the outputs of padded tokens are not the block's; they are not compared"
    block, weights, inputs = right.block, right.weights, right.inputs
    if found > limit and (lost := dark(block, weights, inputs)).any():
        found = nearest(values, right, ~lost)
        if found <= limit:
            return found, says_at(block, weights, inputs, lost, values)
    return found, ""


def once(verdict: Verdict, said: str) -> None:
    """Say it, if it is not said yet."""
    if said not in verdict.notes:
        verdict.notes.append(said)


def nearest(values: Sequence[np.ndarray], right: Truth, tokens: np.ndarray | None = None) -> float:
    """How far the output is off in units of what rounding explains, in the order of axes that fits best.

    ``tokens``: the ones (b, t) that are compared.
    """
    want = right.taps[OUTPUT]
    best = float("inf")
    for y in values:
        for x in turned(y, want.value.shape) if y.size == want.value.size else ():
            error = deviation(Tapped(x, want.labels), want)
            with np.errstate(all="ignore"):
                off = np.nan_to_num(error / right.unit[OUTPUT], nan=np.inf)
            if tokens is not None:
                off = at_tokens(off, right.block.output_axes, tokens)
            worst = float(np.max(off, initial=0.0))
            best = min(best, worst)
    return best
