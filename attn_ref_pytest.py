"""The pytest plugin: ``--attn-ref-cases``, ``--attn-ref-seed``, the fixture ``conforms``, and a summary of the layers.

pytest imports this file in every run where attn_ref is installed. So it is no part of the package, whose import takes
NumPy, and imports that only where a test asks for the fixture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from attn_ref.verbs.verdict import Verdict

#: under this name a test's report carries what came of a layer, in a line
PROPERTY = "attn_ref"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The two options."""
    group = parser.getgroup("attn_ref", "attn_ref: layers that have to conform to blocks")
    told = "cases after the first, where a test does not say cases= itself; default: 20"
    group.addoption("--attn-ref-cases", type=natural, metavar="N", help=told)
    told = "seed of the cases, where a test does not say seed= itself; default: 0"
    group.addoption("--attn-ref-seed", type=natural, metavar="N", help=told)


def natural(text: str) -> int:
    """A whole number that is not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number from 0 on is wanted; got {text!r}")
    return int(text)


@pytest.fixture
def conforms(request: pytest.FixtureRequest) -> Callable[..., Verdict]:
    """``conforms(layer, block)`` fails, with place, line and reason, unless the layer is the block."""
    given = {name: request.config.getoption(f"attn_ref_{name}") for name in ("cases", "seed")}
    chosen = {name: value for name, value in given.items() if value is not None}

    def held(layer: Any, block: Any, **options: Any) -> Verdict:
        __tracebackhide__ = True
        from attn_ref.testing import DoesNotConform, assert_conforms

        try:
            verdict = assert_conforms(layer, block, **{**chosen, **options})
        except DoesNotConform as error:
            request.node.user_properties.append((PROPERTY, error.verdict.brief()))
            raise
        request.node.user_properties.append((PROPERTY, verdict.brief()))
        return verdict

    return held


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many layers agree; and of each that does not the test, the place, the line and the reason."""
    told = [*layers(terminalreporter.stats)]
    if not told:
        return
    wrong = [(test, said) for test, said in told if not said.startswith("agrees")]
    terminalreporter.section("attn_ref")
    for test, said in wrong:
        terminalreporter.line(f"{test}: {said}")
    terminalreporter.line(f"{len(told) - len(wrong)} of {len(told)} layers agree with their blocks")


def layers(stats: dict[str, list[Any]]) -> Iterator[tuple[str, str]]:
    """(test, what came of a layer in it) of all reports; the last one of a test has all of its layers."""
    for reports in stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                yield from ((report.nodeid, said) for name, said in report.user_properties if name == PROPERTY)
