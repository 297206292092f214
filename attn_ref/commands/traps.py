"""``attn-ref traps``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from attn_ref.commands import prose
from attn_ref.commands.output import check_targets, console, write_json

if TYPE_CHECKING:
    from attn_ref.tap import Tapped
    from attn_ref.traps import Trap

#: numbers of a row that an example shows
NUMBERS = 6


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--block", "block_name", metavar="NAME", help="Only the traps of this block and of those inside it.")
@click.option("--json", "json_file", metavar="FILE", help="Write them as JSON; '-' writes it to stdout alone.")
def command(name: str | None, block_name: str | None, json_file: str | None) -> None:
    """List the traps: ways in which implementations deviate from the definitions.

    With NAME: what it is, how one sees it, what to do, who did it, and a small example in numbers.
    """
    from attn_ref.catalogue import block as find
    from attn_ref.traps import trap, traps

    check_targets(json=json_file)
    if name and block_name:
        raise ValueError("give a trap's NAME or --block, not both")
    found = [trap(name)] if name else traps(find(block_name).__name__ if block_name else None)
    if json_file:
        write_json([describe(each) for each in found], json_file)
    if json_file == "-":
        return
    if name:
        page(found[0])
    else:
        table(found, block_name)


def table(found: Sequence[Trap], block_name: str | None) -> None:
    """The traps, family by family."""
    from rich.table import Table

    from attn_ref.traps import families

    out = console()
    for title, rows in families().items():
        mine = [each for each in rows if each in found]
        if not mine:
            continue
        shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for style in ("bold cyan", "dim", ""):
            shown.add_column(style=style, no_wrap=style != "", overflow="fold")
        for each in mine:
            shown.add_row(f"  {each.name}", each.at.partition("|")[0], each.says)
        out.print(f"\n[bold]{title}[/]")
        out.print(shown)
    of = f" of {block_name} and of what is inside" if block_name else ""
    out.print(f"\n{len(found)} traps{of}: name, tap, what deviates; attn-ref traps NAME shows one.", soft_wrap=True)


def page(found: Trap) -> None:
    """All of one trap."""
    from rich.text import Text

    out = console()
    told = describe(found)
    out.print(Text.assemble((found.name, "bold cyan"), ": ", found.says), soft_wrap=True)
    where = f"{found.at.replace('|', ', ')} of {', '.join(found.blocks)}"
    facts = {"shows at": where, "symptom": found.symptom, "fix": found.fix, "evidence": found.evidence}
    for line in prose.rows([*facts.items()], out.width):
        out.print(line, markup=False, soft_wrap=True)
    example = told["example"]
    out.print(f"\n[bold]example[/] {example['block']}", soft_wrap=True)
    out.print(f"  one row of {example['tap']}", markup=False, soft_wrap=True)
    wide = max(len(x) for title in ("right", "with the trap") for x in example[title])
    for title, style in (("right", "green"), ("with the trap", "red")):
        numbers = "  ".join(f"{x:>{wide}}" for x in example[title])
        out.print(Text.assemble(f"    {title:15}", (numbers, style)), soft_wrap=True)


def describe(found: Trap) -> dict[str, Any]:
    """A trap as plain data."""
    from attn_ref.traps import families

    told = {"name": found.name, "says": found.says, "symptom": found.symptom, "fix": found.fix}
    family = next(title for title, rows in families().items() if found in rows)
    where = {"evidence": found.evidence, "family": family, "blocks": list(found.blocks), "tap": found.at}
    options = {} if found.options is None else {"options": dict(found.options)}
    return {**told, **where, **options, "example": example(found)}


def example(found: Trap) -> dict[str, Any]:
    """The row of the first tap that differs in the trap's own case where it differs most, right and with the trap."""
    from attn_ref.tap import record
    from attn_ref.traps import OUTPUT, planted

    assert found.shows is not None
    block, inputs = found.shows()
    weights = block.init()
    with record() as right:
        output = block(weights, **inputs)
    wrong = planted(found, block, weights, inputs)
    taps = {name: values(seen) for name, seen in right.items()} | {OUTPUT: output}
    others = {name: values(seen) for name, seen in wrong.taps.items()} | {OUTPUT: wrong.output}
    tap, one, other = first_apart(taps, others)
    rows = np.reshape(one, (-1, np.shape(one)[-1])), np.reshape(other, (-1, np.shape(other)[-1]))
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.abs(np.where(rows[0] == rows[1], 0.0, rows[1] - rows[0])), nan=np.inf)
    at = int(np.argmax(apart.max(axis=-1)))
    numbers = in_digits(*(part[at, :NUMBERS] for part in rows))
    return {"block": str(block), "tap": tap, "right": numbers[0], "with the trap": numbers[1]}


def values(seen: Tapped) -> np.ndarray:
    return np.asarray(seen.value)


def first_apart(taps: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray, np.ndarray]:
    """The first tap that both have and that differs."""
    return next(
        (name, value, others[name])
        for name, value in taps.items()
        if name in others and value.shape == others[name].shape and not np.array_equal(value, others[name])
    )


def in_digits(one: np.ndarray, other: np.ndarray) -> tuple[list[str], list[str]]:
    """Numbers with four digits, or with as many as it takes to tell the two apart."""
    for digits in range(4, 18):
        shown = [[written(x, digits) for x in part] for part in (one, other)]
        if shown[0] != shown[1]:
            break
    return shown[0], shown[1]


def written(x: float, digits: int) -> str:
    return f"{x:.{digits}g}".replace("-", "−").replace("inf", "∞").replace("nan", "NaN")
