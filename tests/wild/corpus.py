"""How a layer of somebody else, and the faults planted in it, are told: the data of every file beside this one.

A file defines ``WILD``, a list of ``Wild``. Its classes take ``fault``: "" is right, "a" has the fault a, "a+b" both
(``self.fault = fault.split("+")``, then ``if "a" in self.fault``). The line that computes the wrong value ends in the
comment ``# fault: a``; a line with several says ``# fault: a, b``, and a fault may have several lines. Where a shared
class or function computes it, the line there says so too, and the layer has it among its ``parts``.

``observable`` shows, without any search, that the right layers compute their blocks and which faults change a result.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A fault: the taps of the block, joined by "|", at which it may show first, and what is wrong, in words.

    ``option``: the option of the block that explains it, as "option:scale", if one does; several are joined by "|".
    ``alias``: right weights -> weights with which the block computes what the faulty layer does, from values that the
    layer has. A search that reads weights off values may then say that the layer agrees.
    ``unseen``: why it changes no result, if it changes none.
    """

    taps: str
    reason: str
    option: str = ""
    alias: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    unseen: str = ""


@dataclass(frozen=True, kw_only=True)
class Wild:
    """A layer as people write it."""

    cls: Any
    #: classes and functions of the file that it uses, in which lines of its faults may stand
    parts: Sequence[Any] = ()
    #: the block that it computes
    block: Any
    faults: dict[str, Planted]
    #: pairs of faults that are planted together, "a+b"
    pairs: Sequence[str] = ()
    #: argument of the layer -> its convention in words
    inputs: dict[str, str] = field(default_factory=dict)
    #: random numbers -> the block's inputs by name, such as the layer can be given
    draw: Callable[[np.random.Generator], dict[str, np.ndarray]]
    #: the block's inputs -> the layer's arguments, positional and by name; arrays are NumPy's
    call: Callable[[Arrays], tuple[list[Any], dict[str, Any]]]
    #: the right layer -> the block's weights
    copy: Callable[[Any], dict[str, np.ndarray]]
    #: the right layer and the drawn inputs -> all inputs of the block, where the layer makes one by itself (a bias)
    given: Callable[[Any, Arrays], Arrays] = lambda layer, inputs: inputs
    #: what the block gives and its inputs -> what the layer gives (another order of axes, padded rows zeroed)
    expect: Callable[[np.ndarray, Arrays], np.ndarray] = lambda y, inputs: y
    #: class, fault, seed -> the layer in float64 and evaluation, no parameter at a special value such as 0 or 1
    make: Callable[[Any, str, int], Any]
    #: layer, positional arguments, arguments by name -> its result as an array
    run: Callable[[Any, Sequence[Any], Mapping[str, Any]], np.ndarray]
    #: "tuned", or "frozen": the search is not changed for what it does on this one
    half: str = "tuned"

    @property
    def name(self) -> str:
        return str(self.cls.__name__)

    def build(self, fault: str = "", seed: int = 0) -> Any:
        """The layer with a fault, or with several joined by "+"."""
        return self.make(self.cls, fault, seed)

    def __call__(self, layer: Any, inputs: Arrays) -> np.ndarray:
        """What the layer gives for inputs of the block."""
        args, kwargs = self.call(inputs)
        return self.run(layer, args, kwargs)

    def wanted(self, right: Any, inputs: Arrays) -> np.ndarray:
        """What the block gives with the weights of the right layer, as that layer would give it."""
        return self.expect(self.block(self.copy(right), **self.given(right, inputs)), inputs)


def halved(*layers: Wild) -> list[Wild]:
    """The layers of a file: every second one is frozen, whatever it is."""
    return [replace(layer, half="frozen" if i % 2 else "tuned") for i, layer in enumerate(layers)]


MARK = re.compile(r"#\s*fault: (.+?)(?:\s+#|\s*$)")


def marks(wild: Wild) -> dict[str, list[int]]:
    """Fault -> the numbers of the lines, in the file of the layer, that are its culprits."""
    own = lines(wild.cls)
    for part in wild.parts:
        for fault, numbers in lines(part).items():
            if fault in wild.faults:  # other layers may use the part too
                own.setdefault(fault, []).extend(numbers)
    return own


def lines(part: Any) -> dict[str, list[int]]:
    """The same of one class or function."""
    source, first = inspect.getsourcelines(part)
    spans = statements("".join(source))
    found: dict[str, list[int]] = {}
    for number, line in enumerate(source, 1):
        if match := MARK.search(line):
            start, end = min((s for s in spans if s[0] <= number <= s[1]), key=lambda s: s[1] - s[0])
            for fault in match[1].split(", "):
                found.setdefault(fault.strip(), []).extend(range(first + start - 1, first + end))
    return found


def statements(source: str) -> list[tuple[int, int]]:
    """First and last line of every statement that holds no other one, and of the head of every one that does."""
    found = []
    for node in ast.walk(ast.parse(textwrap.dedent(source))):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            found.append((node.lineno, body[0].lineno - 1 if body else node.end_lineno or node.lineno))
    return found


# what is drawn --------------------------------------------------------------------------------------------------------


def values(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers as inputs hold them: mostly of size 1, at times larger or off zero."""
    size, centre = ((1.0, 0.0), (1.0, 0.0), (3.0, 0.0), (1.0, 2.0))[rng.integers(4)]
    return rng.standard_normal(shape) * size + centre


def tokens(name: str, width: int, least: int = 2, most: int = 9) -> Callable[[np.random.Generator], dict[str, Any]]:
    """Draws one input (b, t, width)."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {name: values(rng, int(rng.integers(1, 4)), int(rng.integers(least, most + 1)), width)}

    return draw


def maps(channels: int, least: int = 3, most: int = 8) -> Callable[[np.random.Generator], dict[str, Any]]:
    """Draws one map (b, H, W, channels), H ≠ W mostly."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        height, width = (int(n) for n in rng.integers(least, most + 1, 2))
        return {"x": values(rng, int(rng.integers(1, 4)), height, width, channels)}

    return draw


def padding(rng: np.random.Generator, b: int, s: int) -> np.ndarray:
    """Which keys are there, (b, s) bool: the first ones of each row, at least one, and in some row not all."""
    lengths = rng.integers(1, s + 1, b)
    lengths[rng.integers(b)] = max(1, s // 2)
    return np.arange(s) < lengths[:, None]


def keep(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """A mask of bools whose every row keeps a key."""
    kept = rng.random(shape) < 0.6
    np.put_along_axis(kept, rng.integers(0, shape[-1], (*shape[:-1], 1)), True, -1)
    return kept
