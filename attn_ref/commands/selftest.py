"""``attn-ref selftest``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from attn_ref.commands.output import check_targets, console, write_json
from attn_ref.commands.progress import Said

if TYPE_CHECKING:
    from attn_ref.verbs.in_layer import InLayer
    from attn_ref.verbs.selftest import Selftest, Trial


@click.command()
@click.option("--block", "block_name", metavar="NAME", help="Only the traps of this block and of those inside it.")
@click.option("--trap", "names", multiple=True, metavar="NAME", help="Only this trap; may be given several times.")
@click.option(
    "--engine", "engines", multiple=True, help="Mirror to plant them in; default: torch and tensorflow, if installed."
)
@click.option("--clean", default=2, show_default=True, metavar="N", help="Drawn clean cases that go with every trap.")
@click.option(
    "--layer", "target", metavar="TARGET",
    help="Plant the traps of --block in this layer of torch instead, and ask conform; as in attn-ref conform.",
)  # fmt: skip
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="With --layer: an option of the block.")
@click.option("--init", "init", multiple=True, metavar="NAME=VALUE", help="With --layer: an argument of the class.")
@click.option("--json", "json_file", metavar="FILE", help="Write all of it as JSON; '-' writes it to stdout alone.")
@click.option("--quiet", is_flag=True, help="No progress, neither a bar nor lines.")
def command(
    block_name: str | None, names: tuple[str, ...], engines: tuple[str, ...], clean: int, target: str | None,
    options: tuple[str, ...], init: tuple[str, ...], json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Measure the checker: plant every known trap in every mirror, and count what it catches, and false alarms.

    Exit code 0: every trap was caught at its tap and no clean case raised an alarm; 1: something was missed; 2: the
    request cannot be met. With --layer, 1 means that conform took a layer with a trap for the block.
    """
    from attn_ref.verbs.selftest import selftest

    check_targets(json=json_file)
    if (options or init) and not target:
        raise ValueError("--set and --init go with --layer")
    if target:
        if not block_name or engines:
            raise ValueError("--layer goes with --block, and without --engine")
        return of_layer(target, block_name, names, options, init, json_file, quiet)
    with Said(console(stderr=True), quiet) as said:
        found = selftest(*names, block=own_name(block_name), engines=engines or None, clean=clean, progress=said)
    if json_file:
        write_json(found.to_json(), json_file)
    if json_file != "-":
        show(found, console())
    return int(not found.ok)


def own_name(block_name: str | None) -> str | None:
    """A block's own name for whatever names it."""
    from attn_ref.catalogue import block as find

    return find(block_name).__name__ if block_name else None


def show(found: Selftest, out: Any) -> None:
    """The table by family, then what was missed and what was alarmed."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("family", "traps", "caught", "right place", "false alarms", "seconds"):
        table.add_column(head, justify="left" if head == "family" else "right")
    for row in [*found.families(), found.total()]:
        table.add_row(
            row.title, str(row.traps), of(row.caught, row.planted), of(row.placed, row.planted),
            f"{row.alarms} of {row.clean}", f"{row.seconds:.1f}", style="bold" if row.title == "all" else "",
        )  # fmt: skip
    out.print(table)
    for trial in found.trials:
        if not trial.ok:
            for line in amiss(trial):
                out.print(line, markup=False, style="red", soft_wrap=True)
    verdict = "[green bold]all as it should be" if found.ok else "[red bold]something is missed, or alarmed for nothing"
    out.print(f"planted in {' and '.join(found.engines)}: {verdict}[/]", soft_wrap=True)


def of(part: int, whole: int) -> str:
    """ "7 of 8 = 87.5 %"."""
    return f"{part} of {whole} = {100 * part / whole:.4g} %" if whole else "none"


def amiss(trial: Trial) -> list[str]:
    """What is wrong with a trial, a line each."""
    where = f"{trial.trap} on {trial.engine}"
    told = [f"{where}: false alarm: {alarm}" for alarm in trial.alarms]
    if not trial.caught:
        told.append(f"{where}: not caught{f': {trial.detail}' if trial.detail else ''}")
    elif not trial.placed:
        told.append(f"{where}: caught at {trial.first}, not at {trial.at}")
    return told


def of_layer(
    target: str, block_name: str, names: tuple[str, ...], options: tuple[str, ...], init: tuple[str, ...],
    json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """The traps in a layer of torch."""
    from attn_ref.catalogue import block as find
    from attn_ref.port.hyper import parse
    from attn_ref.verbs.in_layer import in_layer
    from attn_ref.verbs.target import load

    layer, block = load(target, parse(init)), find(block_name).build(parse(options))
    with Said(console(stderr=True), quiet) as said:
        found = in_layer(layer, block, names or None, progress=said)
    if json_file:
        write_json(found.to_json(), json_file)
    if json_file != "-":
        show_layer(found, console())
    return int(any(one.came == "missed" for one in found.planted))


def show_layer(found: InLayer, out: Any) -> None:
    """What came of every trap, and how many of each."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("trap", "tap", "line", "conform says", "at"):
        table.add_column(head)
    for one in found.planted:
        at = (
            f"{one.first} {one.first_line}".strip() if one.came == "caught" and not (one.at_tap and one.at_line) else ""
        )
        table.add_row(one.trap, one.tap, one.line, one.reason or one.came, at)
    out.print(table)
    for why in dict.fromkeys(found.left_out.values()):
        count = sum(reason == why for reason in found.left_out.values())
        out.print(f"not planted: {count}, as {why}", markup=False, soft_wrap=True)
    caught = [one for one in found.planted if one.came == "caught"]
    explained = sum(one.came == "explained by weights" for one in found.planted)
    out.print(
        f"{len(caught)} of {len(found.planted)} caught, {explained} more explained by weights; of those caught "
        f"{sum(one.at_tap for one in caught)} at the tap, {sum(one.at_line for one in caught)} at the line, "
        f"{sum(one.named for one in caught)} named",
        markup=False, soft_wrap=True,
    )  # fmt: skip
