"""``ar.transfer(source, target, example)``: the numbers of one live model into another, proven by running both.

Copies run in float64 on the example, each step recorded. Which parameter is whose, and how it lies, is searched until
the target has the source's values; then the target is given the numbers, all of them or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from typing import Any

import numpy as np

from attn_ref.live.ends import Arguments, End, arguments, changed, end, every, forms, is_real, layouts
from attn_ref.live.known import LOST, known_by, settled
from attn_ref.live.outcome import Differs, Open, Transfer
from attn_ref.live.pinned import pinned
from attn_ref.live.plan import Entry, Plan
from attn_ref.live.search import Rules, Search, runs_of
from attn_ref.live.seen import Seen
from attn_ref.trace.match import CLOSE, CLOSE32, loosely
from attn_ref.trace.meet import layouts as laid
from attn_ref.trace.meet import says_something
from attn_ref.verbs.given import hard_values
from attn_ref.verbs.together import off
from attn_ref.verbs.tracers import NotATarget

#: ways to give the target its inputs, of which the search is made
WAYS = 3


def transfer(
    source: Any, target: Any, example: Any, *, target_example: Any = None, plan: Any = None, plan_only: bool = False,
    tell: Callable[[str], None] = lambda what: None,
) -> Transfer:  # fmt: skip
    """Give the target the numbers of the source, if both then compute the same on ``example``.

    ``example``: what the source is called with: an array, a tuple of them in turn, or a dict by name; tensors are taken
    too. ``target_example``: the same for the target, where it takes it in another form than is found by itself, such
    as a mask of the other polarity. ``plan``: rules that stay as they are: a Plan, its data, its file, or target ->
    source by name. ``plan_only``: change nothing, and tell what would be done.

    Raises NotATarget where a model cannot be run, Differs where the two compute something else, Open where nothing
    says what a parameter of the target is made of. Then the target is as it was. The source is never changed.
    """
    ends = end("source", source), end("target", target)
    if source is target:
        raise NotATarget("source and target are one model")
    call = arguments(example)
    arrays = [x for x in flat(call) if isinstance(x, np.ndarray)]
    if not any(len(np.unique(x)) > 1 for x in arrays):
        raise NotATarget("the example is one number all over, which proves nothing: give numbers that differ")
    own = None if target_example is None else arguments(target_example)
    with ExitStack() as stack:
        for one in ends:
            stack.enter_context(one.live.kept())
            stack.callback(one.restore)
        ways = started(*ends, call, own, tell)
        said = Plan.load(plan) if isinstance(plan, str) or hasattr(plan, "read_text") else plan
        chosen, seen, search = found(ends, ways, said, tell)
        if not says_something(search.left.outputs[0]):
            raise NotATarget("the source gives one number all over, or none, for the example, which proves nothing")
        if not seen.agree:
            raise Differs(search, chosen, seen)
        made, chosen = proven(search, chosen, tell)
    opened = made.plan.open
    if plan_only:
        return made
    if opened:
        raise Open(made)
    tell("writing")
    numbers = search.made(chosen, search.source.numbers, search.target.numbers)
    made.rounded = search.target.live.write(target, numbers)
    made.written = True
    return made


def started(
    source: End, target: End, call: Arguments, own: Arguments | None, tell: Callable[[str], None]
) -> list[tuple[str, Arguments]]:
    """The ways to call the target in which it runs, the usual first; the source has its copy then."""
    tell("running the source")
    errors = []
    for said, form in forms(call):
        try:
            source.live.ready(source.model, *form)
            source.numbers = source.live.arrays(source.model)
            source.called(form, said)
            break
        except Exception as error:
            errors.append(f"  {said or 'as it is'}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    else:
        raise NotATarget("\n".join(["the source could not be called with the example:", *errors]))
    tell("running the target")
    errors, found = [], []
    for said, form in [("as you say", own)] if own is not None else ways(source, target, call):
        try:
            target.live.ready(target.model, *form)
            target.restore()
            target.numbers = target.live.arrays(target.model)
            target.called(form, said)
            found.append((said, form))
        except Exception as error:
            errors.append(f"  {said or 'as it is'}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    if not found:
        raise NotATarget(
            "\n".join(["the target could not be called with the example:", *errors[:6], "give target_example="])
        )
    for one, role in ((source, "source"), (target, "target")):
        if not one.numbers:
            raise NotATarget(f"the {role} has no parameters")
    return found[:WAYS]


def ways(source: End, target: End, call: Arguments) -> Iterator[tuple[str, Arguments]]:
    """(in words, arguments): how the target may be called."""
    for said, form in forms(call):
        for layout, given in layouts(form, target.tracer.CHANNELS_LAST, source.tracer.CHANNELS_LAST):
            yield ", ".join(filter(None, (said, layout))), given


def found(
    ends: tuple[End, End], ways: list[tuple[str, Arguments]], said: Any, tell: Callable[[str], None]
) -> tuple[Rules, Seen, Search]:
    """The rules by which most is the source's, of the ways to call the target."""
    best: tuple[Rules, Seen, Search] | None = None
    for how, form in ways:
        ends[1].called(form, how)
        search = Search(*ends, tell=tell)
        if said is not None:
            search.pinned = pinned(Plan.read(said), search)
        chosen, seen = search.best()
        if best is None or seen.score > best[1].score:
            best = chosen, seen, search
            at = form, how
        if seen.agree:
            break
    assert best is not None
    if ends[1].call is not at[0]:
        ends[1].called(*at)
    return best


def proven(search: Search, chosen: Rules, tell: Callable[[str], None]) -> tuple[Transfer, Rules]:
    """What is known of each parameter, and how far the two are apart on the real numbers and on others."""
    with loosely() if search.narrow else nullcontext():
        tell("other inputs")
        chosen, cases = others(search, chosen)
    chosen.update(settled(search, chosen))
    seen = search.run(chosen)
    if not seen.agree:
        raise Differs(search, chosen, seen)
    plan = Plan(
        [Entry(name, use.shape, chosen.get(name), known_by(search, chosen, seen, name))
         for name, use in search.targets.items()],
    )  # fmt: skip
    if any(entry.proven == LOST for entry in plan):
        tell("what the example loses")
        elsewhere(search, chosen, plan)
    taken = {name for rule in chosen.values() for name in rule.sources}
    plan.unused = [name for name in search.sources if name not in taken]
    made = Transfer(plan, cases=cases, calls=(search.source.said, search.target.said))
    with loosely() if search.narrow else nullcontext():
        tell("the real numbers")
        real = Seen(*runs_of(search, chosen, search.source.numbers, search.target.numbers))
        if not real.agree:
            raise Differs(search, chosen, real)
        pairs = [(one, its) for one, its in real.found[1] if one.record.number in real.target.side.of_input]
        made.values = len(pairs)
        made.worst = max((apart(one.value, its.value) for one, its in pairs), default=0.0)
        made.worst = max(made.worst, off(real.source.outputs, real.target.outputs) or 0.0)
        made.tolerance = CLOSE32 if search.narrow else CLOSE
    made.runs = search.runs + 1
    return made, chosen


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """How far two values are apart at most, of the largest, in the order of axes in which they are nearest."""
    best = np.inf
    for x, y in laid(one, other):
        finite = np.isfinite(x) & np.isfinite(y)
        top = float(np.max(np.abs(y[finite]), initial=0.0))
        gap = float(np.max(np.abs(x[finite] - y[finite]), initial=0.0))
        best = min(best, gap / top if top else 0.0)
    return 0.0 if best == np.inf else best


def others(search: Search, chosen: Rules) -> tuple[Rules, int]:
    """The rules by which both agree on other inputs too, and how many these are. Differs where they part.

    What an example cannot tell, since all of it is lost on the way, another may.
    """
    calls, left, count = (search.source.call, search.target.call), search.left, 0
    for style, change in STYLES.items():
        now = tuple(changed(call, change) for call in calls)
        if all(np.array_equal(x, y) for x, y in zip(flat(now[0]), flat(calls[0]), strict=True)):
            continue
        search.source.call, search.target.call = now
        first, second = search.source.outputs(now[0]), search.target.outputs(now[1])
        if off(first, second) is None:
            search.left = search.source.run(search.numbers)
            chosen, seen = search.best(chosen)
            if not seen.agree:
                raise Differs(search, chosen, seen, f"on the example's numbers, {style}")
        count += 1
    search.source.call, search.target.call, search.left = *calls, left
    return chosen, count


def elsewhere(search: Search, chosen: Rules, plan: Plan) -> None:
    """Enter what other inputs tell of parameters of which the example loses all."""
    calls, left = (search.source.call, search.target.call), search.left
    for style, change in STYLES.items():
        search.source.call, search.target.call = (changed(call, change) for call in calls)
        search.left = search.source.run(search.numbers)
        seen = search.run(chosen)
        for entry in plan:
            if entry.proven == LOST and seen.agree:
                known = known_by(search, chosen, seen, entry.target)
                entry.proven = known if known == LOST else f"{known}, on the example's numbers, {style}"
    search.source.call, search.target.call, search.left = *calls, left


def flat(call: Arguments) -> Iterator[Any]:
    """All that is given, in lists and dicts too."""
    for x in every(call):
        yield from x.values() if isinstance(x, dict) else x if isinstance(x, list) else [x]


def reals(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    """That change of real numbers, as float32 holds them, but of no mask."""

    def of(x: Any) -> Any:
        if not is_real(x) or len(np.unique(x)) < 3:
            return x
        return change(np.array(x, np.float64)).astype(np.float32).astype(np.float64)

    return of


def reordered(x: Any) -> Any:
    """Ids in another order; anything else stays."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu" or len(np.unique(x)) < 3:
        return x
    return np.random.default_rng(0).permutation(x.ravel()).reshape(x.shape)


#: how inputs are changed for further cases
STYLES: dict[str, Callable[[Any], Any]] = {
    **{style: reals(hard_values()[style]) for style in ("large", "tiny", "far from zero")},
    "negated": reals(np.negative),
    "its ids in another order": reordered,
}
