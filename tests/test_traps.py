"""The catalogue of traps: each shows where it says, on the reference and on mirrors, and does what no other does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attn_ref as ar
from attn_ref.block import Block
from attn_ref.check.cases import cases
from attn_ref.check.judge import Outcome, judge
from attn_ref.check.tolerance import LIMIT, OUTPUT, Truth
from attn_ref.tap import Tapped
from attn_ref.traps import Example, Trap, applies, catalogue, families, planted, planting, trap, traps
from attn_ref.traps.planting import matches

ROWS = [*catalogue().values()]
#: of these the place is not a tap's value: the taps come in another order, or are others
ORDER = {row.name for row in ROWS if row.options is not None}
#: the frameworks, and every how many-th trap is planted there every day; the deep tests plant all
ENGINES, EVERYDAY = ("torch", "tensorflow"), 6
EVERY = [
    pytest.param(row, id=row.name, marks=[] if n % EVERYDAY == 0 else [pytest.mark.deep]) for n, row in enumerate(ROWS)
]


def shown(row: Trap) -> Example:
    assert row.shows is not None
    return row.shows()


def judged(block: Block, weights: Any, inputs: Any, taps: dict[str, Tapped], output: np.ndarray) -> Outcome:
    """The check's comparison of these values with the definition."""
    right = Truth(block, weights, inputs, "float64", runs=0)
    outcome = Outcome("", 0.0, "")
    judge(outcome, right, {**taps, OUTPUT: Tapped(output, "")}, LIMIT["float64"])
    return outcome


def at_its_place(row: Trap, first: str | None) -> bool:
    """Is it the tap that the trap says, in whatever block it lies?"""
    parts = (first or "").split(".")
    return any(matches(".".join(parts[n:]), row.at) for n in range(len(parts)))


# each shows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_it_shows_first_at_the_tap_that_it_says(row: Trap) -> None:
    """In its own case, beyond what rounding explains."""
    block, inputs = shown(row)
    weights = block.init()
    output, taps = planted(row, block, weights, inputs)
    found = judged(block, weights, inputs, taps, output)
    if row.name in ORDER:
        assert found.first is not None
        assert at_its_place(row, first_other(block, weights, inputs, taps))
    else:
        assert found.fault == "value", f"{found.first}: {found.detail}"
        assert at_its_place(row, found.first), found.first


def first_other(block: Block, weights: Any, inputs: Any, taps: dict[str, Tapped]) -> str:
    """The definition's first tap that is not there, or has another value."""
    with ar.record() as right:
        block(weights, **inputs)
    return next(n for n, seen in right.items() if n not in taps or not np.array_equal(seen.value, taps[n].value))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("row", EVERY)
def test_a_mirror_with_it_is_caught_at_that_tap(row: Trap, engine: str) -> None:
    """Planted through ``Backend.run``: the check names the tap, and the mirror goes on as the reference does."""
    backend = ar.backend(engine)
    block, inputs = shown(row)
    weights = block.init()
    plant = planting(row, block, weights, inputs)
    assert plant is not None
    layer = backend.load(backend.build(plant.block), weights)
    run = backend.run(layer, plant.inputs, add=plant.add, replace=plant.replace)
    output = plant.output(run.output) if plant.output else run.output
    found = judged(block, weights, inputs, run.taps, output)
    want = planted(row, block, weights, inputs).output
    assert found.first is not None
    assert at_its_place(row, found.first) or row.name in ORDER, found.first
    assert np.allclose(output, want, rtol=1e-9, atol=1e-11, equal_nan=True)


# each is another ------------------------------------------------------------------------------------------------------


def effects(block: Block, weights: Any, inputs: Any, rows: list[Trap]) -> dict[str, np.ndarray]:
    """What comes out with every trap that changes it."""
    clean, found = block(weights, **inputs), {}
    for row in rows:
        if applies(row, block) and planting(row, block, weights, inputs):
            output = planted(row, block, weights, inputs).output
            if not alike(output, clean):
                found[row.name] = output
    return found


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-11, equal_nan=True)


def own_cases() -> Iterator[tuple[Block, Any, Any]]:
    """The cases in which traps show, each once."""
    seen = set()
    for row in ROWS:
        block, inputs = shown(row)
        told = f"{block} { {name: (x.shape, x.tobytes()) for name, x in inputs.items()} }"
        if told not in seen:
            seen.add(told)
            yield block, block.init(), inputs


def drawn_cases() -> Iterator[tuple[Block, Any, Any]]:
    """Cases of the same blocks, as a check draws them."""
    for cls in sorted({type(shown(row).block) for row in ROWS}, key=lambda cls: cls.__name__):
        yield from ((case.build(), case.weights(), case.inputs()) for case in cases(cls, 15) if not case.empty())


def ties(given: Iterator[tuple[Block, Any, Any]]) -> tuple[set[tuple[str, str]], int]:
    """The pairs that give the same wherever both change what comes out, and how many pairs meet."""
    same: dict[tuple[str, str], bool] = {}
    for block, weights, inputs in given:
        found = effects(block, weights, inputs, ROWS)
        for pair in combinations(found, 2):
            same[pair] = same.get(pair, True) and alike(found[pair[0]], found[pair[1]])
    return {pair for pair, tied in same.items() if tied}, len(same)


def test_no_two_have_the_same_effect() -> None:
    """On the cases in which traps show; every pair of traps that both change what comes out of one."""
    tied, met = ties(own_cases())
    assert tied == set()
    assert met > 7000


@pytest.mark.deep
def test_no_two_have_the_same_effect_on_drawn_cases() -> None:
    """With those of before: where few sizes are drawn, a few coincide."""
    tied, met = ties(chain(own_cases(), drawn_cases()))
    assert tied == set()
    assert met > 10000


# what is said of each -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_everything_is_said_of_it(row: Trap) -> None:
    said = {"says": row.says, "symptom": row.symptom, "fix": row.fix, "evidence": row.evidence}
    for name, text in said.items():
        assert text, name
        assert text == " ".join(text.split()), name
        assert not text.endswith("."), f"{name} is a part of a sentence"
        assert "—" not in text
        assert len(text) <= 160, name
    assert row.says[0].islower() or row.says.startswith("x "), "it stands behind 'reason'"
    assert row.name == row.name.lower()
    assert set(row.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert row.blocks
    assert set(row.blocks) <= set(ar.blocks())
    assert (row.value is None) != (row.options is None), "it deviates in one way"


def test_there_are_many_and_all_are_of_a_family() -> None:
    assert len(ROWS) >= 200
    assert [row.name for rows in families().values() for row in rows] == [row.name for row in ROWS]
    assert len({row.says for row in ROWS}) == len(ROWS)


def test_every_block_that_attends_or_norms_has_some() -> None:
    for name in ("ScaledDotProductAttention", "MultiHeadAttention", "LayerNorm", "CBAM", "SelectiveKernel", "NonLocal"):
        assert len(traps(name)) >= 5, name
    assert len(traps("MultiHeadAttention")) > len(traps("ScaledDotProductAttention")), "those of what is inside as well"


# finding one ----------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_told_what_was_meant() -> None:
    with pytest.raises(ValueError, match=r"no trap .softmax-over-query.; did you mean softmax-over-queries"):
        trap("softmax-over-query")
    with pytest.raises(ValueError, match="no block 'MultiHeadAtention'; did you mean MultiHeadAttention"):
        traps("MultiHeadAtention")


def test_one_that_does_not_act_is_refused_with_a_case_in_which_it_does() -> None:
    block, inputs = shown(trap("softmax-over-queries"))
    assert planting(trap("bias-left-out"), block, block.init(), inputs) is None
    with pytest.raises(ValueError, match=r"bias-left-out does not act on ScaledDotProductAttention.*as in Scaled"):
        planted(trap("bias-left-out"), block, block.init(), inputs)
    assert applies(trap("bias-left-out"), ar.MultiHeadAttention(width=8, num_heads=2)), "with another input it would"
    assert not applies(trap("bias-left-out"), ar.LayerNorm(width=8))


def test_planting_leaves_the_block_as_it_was() -> None:
    block, inputs = shown(trap("merged-without-transposing"))
    weights, before = block.init(), dict(vars(block))
    want = block(weights, **inputs)
    planted(trap("merged-without-transposing"), block, weights, inputs)
    assert np.array_equal(block(weights, **inputs), want)
    assert set(vars(block)) - set(before) <= {"attention", "turn"}, "nothing but what it computes once"


def test_it_is_planted_wherever_its_block_runs() -> None:
    """In every layer of a model, from what that layer has."""
    block = ar.VisionTransformer.build({**ar.VisionTransformer.example, "num_layers": 2})
    image = np.random.default_rng(0).normal(size=(1, 8, 12, 3))
    plant = planting(trap("softmax-over-queries"), block, block.init(), {"image": image})
    assert plant is not None
    assert [*plant.replace] == ["layers.0.attention.attention.weights", "layers.1.attention.attention.weights"]
    for seen in plant.replace.values():
        assert np.allclose(np.asarray(seen.value).sum(-2), 1.0)


# the command ----------------------------------------------------------------------------------------------------------


def test_the_command_lists_them_and_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    from attn_ref.commands.traps import command

    command(["--block", "layer_norm"], standalone_mode=False)
    listed = capsys.readouterr().out
    assert "eps-outside-root" in listed
    assert "softmax-over-queries" not in listed
    assert f"{len(traps('LayerNorm'))} traps of layer_norm" in listed
    command(["softmax-over-queries"], standalone_mode=False)
    page = capsys.readouterr().out
    for said in (trap("softmax-over-queries").symptom, trap("softmax-over-queries").fix, "Self-Attention-GAN#1"):
        assert said in page
    command([], standalone_mode=False)
    every = capsys.readouterr().out
    assert [row.name for row in ROWS if f"  {row.name} " not in every] == []


def test_the_command_writes_json_with_numbers_that_differ(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from attn_ref.commands.traps import command

    command(["--json", "-"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in told] == [row.name for row in ROWS]
    assert [row["name"] for row in told if row["example"]["right"] == row["example"]["with the trap"]] == []
    command(["norm-eps-bert", "--json", str(tmp_path / "one.json")], standalone_mode=False)
    assert json.loads((tmp_path / "one.json").read_text("utf-8"))[0]["fix"] == trap("norm-eps-bert").fix


def test_the_command_refuses_what_is_not_there() -> None:
    from attn_ref.commands.traps import command

    with pytest.raises(ValueError, match="not both"):
        command(["softmax-over-queries", "--block", "LayerNorm"], standalone_mode=False)
    with pytest.raises(ValueError, match="unknown block 'Nothing'"):
        command(["--block", "Nothing"], standalone_mode=False)
