"""``ar.compare(a, b)``: do two layers as they are compute the same, and if not, at which lines do they part?

Both run on the same numbers, each called in its own way, with every operation recorded. A value of one is looked for
among those of the other, in any order of axes. Where one has a value that the other never has, and behind it nothing
that both have, they part. Then more cases follow. With a block, both are held to it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.trace.flow import following
from attn_ref.trace.match import loosely
from attn_ref.trace.meet import fits, part
from attn_ref.trace.record import moving
from attn_ref.verbs.apart import between
from attn_ref.verbs.calling import Call
from attn_ref.verbs.comparison import Comparison
from attn_ref.verbs.conform import CASES
from attn_ref.verbs.pairs import Pairs, paired
from attn_ref.verbs.side_by_side import held_to_block
from attn_ref.verbs.together import MOVED, Both, Layer, again, guessed, off, on_these, ran, title
from attn_ref.verbs.tracers import NotATarget

__all__ = ["Comparison", "DifferentWeights", "compare"]


class DifferentWeights(NotATarget):
    """The two hold other numbers, so that what they compute says nothing."""


def compare(
    a: Any, b: Any, *, block: Block | None = None, inputs: Any = None, call: Call | None = None,
    call_b: Call | None = None, cases: int = CASES, seed: int = 0, framework: str = "", framework_b: str = "",
    tell: Callable[[str], None] = lambda what: None,
) -> Comparison:  # fmt: skip
    """Compare two layers of NumPy, torch, Keras or JAX, as they are.

    ``inputs``: arrays or shapes, by name or in turn, in the convention of a; without it they are found. ``call`` says
    how a is called, and b where ``call_b`` does not: inputs by name → (arguments, keyword arguments), as NumPy arrays.
    ``block``: what both should be; then each is held to it as well.

    Raises NotATarget where a layer cannot be run, DifferentWeights where they hold other numbers and no block says
    what they should compute.
    """
    if block is not None and not isinstance(block, Block):
        raise ValueError(f"block should be one with its options, such as ar.FeedForward(width=8, …); got {block!r}")
    found = Comparison(names(a, b))
    held = held_to_block(found, a, b, block, call, call_b, cases, seed, (framework, framework_b), tell) if block else {}
    own = held.get("inputs") if inputs is None else inputs
    calls = held.get("calls", ([call] if call else [], [call_b] if call_b else [call, call] if call else []))
    with moving(0.0), following(), np.errstate(all="ignore"):
        layers = Layer(a, framework, calls[0]), Layer(b, framework_b, calls[1])
        try:
            both = ran(layers, own, seed, tell)
        except NotATarget as error:
            if not found.verdicts:
                raise
            found.notes.append(f"the two could not be run side by side: {error}")
            return found
        pairs = paired(both.a.trace.parameters, both.b.trace.parameters)
        enter(found, both, pairs)
        if pairs.differ and not both.agree:
            if not found.verdicts:
                raise DifferentWeights(unlike(found.names, both))
            found.notes.append("the two hold other numbers, so their values are not compared, only their taps")
            return found
        settle(found, both, cases, seed, tell)
        if found.ok and own is None:
            elsewhere(found, layers, both, seed)
        if found.ok:
            tell("moving parameters of one number")
            moved(found, both)
    return found


def moved(found: Comparison, both: Both) -> None:
    """The same with parameters of one number all over, such as a bias of zeros, moved: they may hide a fault."""
    before = both.a.plain, both.b.plain
    if not any(before):
        return
    with moving(MOVED):
        runs = both.a.moved(both.inputs), both.b.moved(both.inputs)
    now = Both(*runs, None, both.given, both.inputs)
    both_moved = not set(before[0]) & set(runs[0].plain) and not set(before[1]) & set(runs[1].plain)
    with loosely() if both.a.trace.narrow or both.b.trace.narrow else nullcontext():
        if both_moved and now.agree:
            found.cases += 1
        elif both_moved and runs[0].plain == runs[1].plain:
            found.case = f"the first, with parameters that are one number all over moved by {MOVED}"
            parted(found, now)
        else:
            found.notes.append(
                "some parameters are one number all over, such as a bias of zeros; what they do is not compared"
            )


def names(a: Any, b: Any) -> tuple[str, str]:
    """What the two are called."""
    first, second = title(a), title(b)
    return (first, second) if first != second else (f"{first} a", f"{second} b")


def elsewhere(found: Comparison, layers: tuple[Layer, Layer], both: Both, seed: int) -> None:
    """Say where the two, which agree, differ on inputs of another rank: maybe these are what they take."""
    ranks = {len(axes) for axes in both.given.axes.values()}
    for given in guessed(layers):
        rank = {len(axes) for axes in given.axes.values()}
        if rank & ranks or given.ids:
            continue
        here = on_these(layers, given, given.first(seed), lambda what: None)
        if here is not None:
            ranks |= rank
            if not here.agree:
                shapes = ", ".join(str(np.shape(x)) for x in here.inputs.values())
                found.notes.append(f"on inputs of {shapes} both run too, and differ: name them if these are meant")


def enter(found: Comparison, both: Both, pairs: Pairs) -> None:
    """What is known of the two before their values are compared."""
    found.calls = both.a.said, both.b.said
    found.inputs = {name: np.shape(x) for name, x in both.inputs.items()}
    found.weights = pairs.told
    for name, ran_, alone in zip("ab", (both.a, both.b), pairs.alone, strict=True):
        if alone:
            found.notes.append(f"the other has not all numbers of {name}.{f', {name}.'.join(alone)}")
        found.notes += [f"{name}: {note}" for note in ran_.trace.notes]
        if ran_.trace.unused:
            found.notes.append(f"parameters of {name} that no operation takes: {', '.join(ran_.trace.unused)}")
        if ran_.trace.narrow:
            found.notes.append(f"{name} leaves float64 on its way; both are compared as far as float32 goes")
        if any(np.isnan(y).any() for y in ran_.outputs):
            found.notes.append(f"{name} gives NaN")
        elif any(np.isinf(y).any() for y in ran_.outputs):
            found.notes.append(f"{name} gives infinities")
    turns = [next((word for word in ("batch second", "channels first") if word in said), "") for said in found.calls]
    if turns[0] != turns[1]:
        told = (f"{name} with {turn or 'the usual order of axes'}" for name, turn in zip("ab", turns, strict=True))
        found.notes.append(f"called {' and '.join(told)}")


def unlike(titles: tuple[str, str], both: Both) -> str:
    """That the two hold other numbers, in words."""
    held = [", ".join(f"{n} {x.shape}" for n, x in r.trace.parameters.items()) for r in (both.a, both.b)]
    return (
        f"{titles[0]} and {titles[1]} hold different weights, so what they compute cannot be compared\n"
        f"  a: {held[0]}\n  b: {held[1]}\n"
        "give both the same weights, or name the block that both should be: block= (--block)"
    )


def settle(found: Comparison, both: Both, cases: int, seed: int, tell: Callable[[str], None]) -> None:
    """The values of the first case, then those of more."""
    narrow = both.a.trace.narrow or both.b.trace.narrow
    with loosely() if narrow else nullcontext():
        apart = off(both.a.outputs, both.b.outputs)
        if apart is None:
            parted(found, both)
            return
        further(found, both)
        found.ok, found.cases, found.worst = True, 1, apart
        more(found, both, both.given.more(cases, seed, narrow), cases, tell)


def parted(found: Comparison, both: Both) -> None:
    """Enter where they part."""
    found.ok = False
    at = both.parting or part(both.a.side, both.b.side)
    found.places, found.says = between(at, both.a.side, both.b.side)
    sizes = [run.outputs[0].shape for run in (both.a, both.b)]
    if np.prod(sizes[0]) != np.prod(sizes[1]):
        found.notes.append(f"a gives {sizes[0]}, b gives {sizes[1]}")


def further(found: Comparison, both: Both) -> None:
    """Say where outputs after the first differ."""
    for n, (x, y) in enumerate(zip(both.a.outputs[1:], both.b.outputs[1:], strict=False), 2):
        if not fits(x, y):
            found.notes.append(f"output {n} differs: a gives {x.shape}, b gives {y.shape}; only the first is compared")


def more(
    found: Comparison, both: Both, given: Iterator[tuple[str, dict[str, np.ndarray]]], cases: int,
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    """More cases: other sizes, then hard values. The first that differs is traced."""
    refused: dict[str, int] = {}
    for style, inputs in given:
        if found.cases > cases or sum(refused.values()) > 2 * cases:
            break
        tell(f"case {found.cases + 1}")
        said = ", ".join(f"{name} {np.shape(x)} {style}".rstrip() for name, x in inputs.items())
        results: list[list[np.ndarray] | None] = []
        for name, one in zip("ab", (both.a, both.b), strict=True):
            try:
                results.append(one.runner(one.call, inputs, 0)[1])
            except Exception as error:
                results.append(None)
                text = f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
                refused[text] = refused.get(text, 0) + 1
        first, second = results
        if first is None or second is None:
            continue
        if (apart := off(first, second)) is not None:
            found.cases, found.worst = found.cases + 1, max(found.worst, apart)
            continue
        found.case = said
        parted(found, again(both, inputs))
        break
    found.notes += [f"{times} cases were refused by {text}" for text, times in refused.items()]
