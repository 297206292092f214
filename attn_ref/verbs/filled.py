"""What a layer must be given besides a block's first inputs: found by trying, one argument after another.

An argument may be given an input of the block that changes nothing, in each form and meaning, or what is made for the
call, such as the angles of rotary positions. All of these for all arguments would be far too many calls. But a layer
that is called wrongly raises, and it raises the later the more of its arguments are right: so one argument after the
other is changed as long as the layer comes farther.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from types import TracebackType
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.verbs.calling import Always, Call, function_of, more_needed
from attn_ref.verbs.conventions import Convention, Run, With, sizes_of
from attn_ref.verbs.kinds import named_first, pairs, suggested
from attn_ref.verbs.made import ANGLE_FORMS, ANGLES, Counted, Inputs, Made, New, Turning, fresh, turn_of

#: layers that must be given more are not called, and the arguments are gone through so often
MOST, ROUNDS = 5, 6
#: other ways that are tried where something runs, if they give other results
TRIES = 6
#: the rank of what has no axes: a number runs everywhere
LAST = 9
#: parts of names that suggest positions
POSITIONS = ("pos", "offset", "start")
#: (where a call raised, None if it did not; what came out)
Came = tuple[tuple[int, ...] | None, list[np.ndarray]]


def forced(run: Run, layer: Any, block: Block, inputs: Inputs, said: str, call: Call) -> Iterator[tuple[str, Call]]:
    """(how it is said, call): ways to call a layer that must be given more, with what changes nothing."""
    rest = more_needed(block, layer, call)
    if not 0 < len(rest) <= MOST:
        return
    every = {name: fillings(layer, block, inputs, name) for name in rest}
    come: dict[tuple[int, ...], Came] = {}

    def made(state: Sequence[int]) -> tuple[str, Call]:
        return filled(block, said, call, {name: every[name][i] for name, i in zip(rest, state, strict=True)})

    def came(state: Sequence[int]) -> Came:
        if tuple(state) not in come:
            come[tuple(state)] = tried(run, made(state)[1], inputs)
        return come[tuple(state)]

    state = farthest(came, [len(every[name]) for name in rest])
    if state is None:
        return
    yield made(state)
    found = [state]
    for one in others(state, [every[name] for name in rest]):
        if len(found) > TRIES:
            return
        where, outputs = came(one)
        if where is None and not any(alike(outputs, came(other)[1]) for other in found):
            found.append(one)
            yield made(one)


def others(state: Sequence[int], every: Sequence[Sequence[Any]]) -> Iterator[list[int]]:
    """What else the arguments may be given where something runs: with other polarities, then one in another form.

    A mask that hides nothing hides everything in the other polarity.
    """
    kinds = [
        [i for i, one in enumerate(options) if sort(one) is sort(options[at])]
        for at, options in zip(state, every, strict=True)
    ]
    turned = [
        [i for i in same if getattr(options[i], "form", "") == getattr(options[at], "form", "")]
        for at, same, options in zip(state, kinds, every, strict=True)
    ]
    yield from map(list, product(*turned))
    for at, same in enumerate(kinds):
        yield from ([*state[:at], i, *state[at + 1 :]] for i in same)


def sort(one: Any) -> type:
    """What is tried in the place of another: a convention, what is made for a call, or a number."""
    return next((cls for cls in (Convention, Made) if isinstance(one, cls)), object)


def farthest(came: Callable[[Sequence[int]], Came], counts: Sequence[int]) -> list[int] | None:
    """What each argument is given, by number, so that the layer runs; None if it does not."""
    state = [0] * len(counts)
    best, _ = came(state)
    for _ in range(ROUNDS):
        before = list(state)
        for at, count in enumerate(counts):
            for i in range(count):
                if best is None:
                    return state
                other = [*state[:at], i, *state[at + 1 :]]
                where, _ = came(other)
                if where is None or where > best:
                    best, state = where, other
        if state == before:
            break
    return state if best is None else None


def tried(run: Run, call: Call, inputs: Inputs) -> Came:
    """Where a call raised, None if it did not, and what came out."""
    try:
        _, outputs = run(call, inputs, 0)
    except Exception as error:
        return reached(error.__traceback__), []
    return (None, outputs) if outputs else ((), [])


def reached(trail: TracebackType | None) -> tuple[int, ...]:
    """The instructions at which an error came up, the caller's first: the greater, the later."""
    found = []
    while trail is not None:
        found.append(trail.tb_lasti)
        trail = trail.tb_next
    return tuple(found)


def alike(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    """Is all that came out the same?"""
    return len(a) == len(b) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


def fillings(layer: Any, block: Block, inputs: Inputs, argument: str) -> list[Any]:
    """What an argument may be given, the most probable by its name first: conventions, or what is given as it is.

    Of masks and lengths those of few axes come first: with too many a layer may run on, where too few are refused.
    """
    if (cls := fresh(function_of(layer)).get(argument)) is not None:
        return [New(cls)]
    name = argument.lower()
    inputs_of: list[tuple[tuple[bool, int], Any]] = []
    seen: set[Any] = set()
    for given in named_first(argument, block):
        sizes = sizes_of(block, given, inputs)
        for form, meaning in pairs(argument, given, block):
            one = Convention(argument, given, form, meaning)
            value = one.arrange(one.neutral(sizes), sizes)
            if (key := looks(value)) not in seen:
                seen.add(key)
                inputs_of.append(((not suggested(argument, given), np.ndim(value) or LAST), one))
    found = [(unlikely, one) for (unlikely, _), one in sorted(inputs_of, key=lambda pair: pair[0])]
    if turn_of(block) is not None:
        found += [
            (not any(word in name for word in words), Turning(block, what, form))
            for what, words in ANGLES.items()
            for form in ANGLE_FORMS
        ]
    if not {"query_offset", "positions"} & {*block.inputs}:
        positions = [*(Counted(block, form) for form in ("b t", "t", "1 t")), 0]
        found += [(not any(word in name for word in POSITIONS), one) for one in positions]
    numbers = {key: value for key, value in block.fields().items() if type(value) is int}
    found += [(not any(len(x) > 3 and x in name for x in singular(key)), value) for key, value in numbers.items()]
    found += [(True, one) for one in (None, False, True)]
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def singular(name: str) -> list[str]:
    """The words of an option's name, in the singular: num_heads has "num" and "head"."""
    return [word.rstrip("s") for word in name.split("_")]


def looks(value: Any) -> Any:
    """What makes two values the same to a layer."""
    if not isinstance(value, np.ndarray):
        return type(value), value
    return value.dtype.str, value.shape, value.tobytes()


def filled(block: Block, said: str, call: Call, chosen: Mapping[str, Any]) -> tuple[str, Call]:
    """A call with what its further arguments are given, and how it is said."""
    conventions = [one for one in chosen.values() if isinstance(one, Convention)]
    fixed = {name: one for name, one in chosen.items() if not isinstance(one, Convention)}
    told = "".join(f", {name}={one}" for name, one in fixed.items())
    masks = [one.argument for one in conventions]
    base = Always(call, {**getattr(call, "always", {}), **fixed}) if fixed else call
    title = f"{said}{told}" + (f", {' and '.join(masks)} always given" if masks else "")
    return title, With(base, [], block, conventions) if masks else base
