"""The layers that a search for faults is measured on, held to their blocks without that search."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from wild.corpus import Wild, lines  # noqa: E402
from wild.observable import corpus, observe  # noqa: E402

CORPUS = corpus()


@pytest.mark.parametrize("wild", CORPUS, ids=lambda wild: wild.name)
def test_the_right_layer_is_its_block_and_every_fault_shows(wild: Wild) -> None:
    """Weights copied by hand, inputs drawn; each fault changes a result, or it is said why it cannot."""
    found = observe(wild, cases=6, enough=1)
    assert not found.wrong, "\n".join(found.wrong)


@pytest.mark.deep
@pytest.mark.parametrize("wild", CORPUS, ids=lambda wild: wild.name)
def test_the_places_are_those_that_are_told(wild: Wild) -> None:
    """With known weights every tap can be looked for among the layer's values."""
    places = pytest.importorskip("wild.places")
    lines = places.check(wild)
    assert not lines, "\n".join(lines)


def test_the_corpus_is_large_and_half_of_it_is_frozen() -> None:
    names = [wild.name for wild in CORPUS]
    assert len(set(names)) == len(names), "a name is a layer's alone"
    assert sum(len(wild.faults) for wild in CORPUS) >= 600
    assert abs(2 * sum(wild.half == "frozen" for wild in CORPUS) - len(CORPUS)) <= 7, "every second one of a file"


class Long:
    def __call__(self, x: float) -> float:
        y = sum(
            [x, x],
            start=1,
        )  # fault: one added
        if y > 2:  # fault: wrong branch
            y = 0  # fault: nothing, all
        return y


def test_a_line_of_a_fault_is_a_whole_statement() -> None:
    """Of one that goes over several lines all count, of one with a body its head."""
    found = lines(Long)
    first = found["one added"][0]
    assert found == {
        "one added": [first, first + 1, first + 2, first + 3], "wrong branch": [first + 4], "nothing": [first + 5],
        "all": [first + 5],
    }  # fmt: skip
