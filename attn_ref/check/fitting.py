"""The cases of a layer of another library: those that it can mean, without the options and inputs that it has not."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from itertools import chain

from attn_ref.block import Block
from attn_ref.check.cases import Case, Seeded, draw
from attn_ref.check.covering import planned
from attn_ref.check.shrink import changed
from attn_ref.foreign.peer import Peer

#: of so many random cases for each that is wanted, those that the layer must compute are sought
SOUGHT = 20


def able(cls: type[Block], peer: Peer, count: int, seed: int) -> list[Case]:
    """Of the cases that come first, and then of random ones, those that a layer of another library must compute."""
    more = (draw_one(cls, seed, n) for n in range(SOUGHT * count))
    first = (replace(case, seed=seed * 1_000_003 + n) for n, case in enumerate(planned(cls)))
    found: dict[str, Case] = {}
    for drawn_one in chain(first, more):
        if len(found) == count:
            break
        case = fitted(drawn_one, peer)
        if case and not case.empty() and not peer.outside(case.build(), case.inputs()):
            found.setdefault(replace(case, seed=0).to_json(), case)
    return list(found.values())


def fitted(case: Case, peer: Peer) -> Case | None:
    """The case without the options and inputs that a layer of another library has not; None where that does not do."""
    defaults = {field.name: field.default for field in fields(case.build()) if field.default is not MISSING}
    try:
        case = changed(case, without=[name for name in case.shapes if name not in peer.inputs])
    except ValueError:
        return None
    lines = peer.refuses(case.build())
    for name, default in defaults.items():
        if lines and case.fields[name] != default:
            try:
                other = changed(case, fields={name: default})
            except (ValueError, ArithmeticError):
                continue
            if len(left := peer.refuses(other.build())) < len(lines):
                case, lines = other, left
    return None if lines else case


def draw_one(cls: type[Block], seed: int, n: int) -> Case:
    """A random case."""
    pick = Seeded(seed, cls.__name__, "able", n)
    return draw(cls.sample(pick), pick, seed * 1_000_003 + n)
