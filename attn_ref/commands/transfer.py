"""``attn-ref transfer``."""

from __future__ import annotations

from typing import Any

import click

from attn_ref.commands.conform import within
from attn_ref.commands.output import check_targets, console, write_json


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--example", required=True, metavar="FILE", help="What SOURCE is called with: .npy, or .npz by name.")
@click.option("--target-example", metavar="FILE", help="The same for TARGET, where it takes it in another form.")
@click.option("--init", "init", multiple=True, metavar="NAME=VALUE", help="An argument of SOURCE, where it is a class.")
@click.option("--init-target", "init_target", multiple=True, metavar="NAME=VALUE", help="The same of TARGET.")
@click.option("--plan", metavar="FILE", help="A plan whose rules stay as they are.")
@click.option("--plan-only", is_flag=True, help="Change nothing; tell what would be done.")
@click.option("--save-plan", metavar="FILE", help="Write the plan as JSON, to be reviewed and edited.")
@click.option("--out", metavar="FILE", help="Write TARGET's weights: .safetensors of torch, .weights.h5 of Keras.")
@click.option("--timeout", default=600, show_default=True, metavar="SECONDS", help="Time for all of it.")
@click.option("--json", "json_file", metavar="FILE", help="Write the result as JSON; '-' writes it to stdout alone.")
def command(
    source: str, target: str, example: str, target_example: str | None, init: tuple[str, ...],
    init_target: tuple[str, ...], plan: str | None, plan_only: bool, save_plan: str | None, out: str | None,
    timeout: float, json_file: str | None,
) -> int:  # fmt: skip
    """Give TARGET the numbers of SOURCE, if both then compute the same on the example.

    SOURCE and TARGET are package.module:object or path/to/file.py:object: models of torch or Keras, or classes of them.
    Their files are executed. Exit code 0: they agree; 1: they differ, and where is told; 2: the request cannot be met.
    """
    from attn_ref.live import files
    from attn_ref.live.outcome import Differs
    from attn_ref.live.transfer import transfer
    from attn_ref.port.hyper import parse
    from attn_ref.verbs.target import load

    check_targets(**{"json": json_file, "save-plan": save_plan, "out": out})
    if out and plan_only:
        raise ValueError("--plan-only changes nothing, so --out has nothing to write")
    screen = console(stderr=json_file == "-")
    given = files.example(example), files.example(target_example) if target_example else None
    with within(timeout), screen.status("loading the models", spinner="dots") as status:
        first, second = load(source, parse(init)), load(target, parse(init_target))
        if out:
            files.place_for(second, out)
        try:
            found: Any = transfer(
                first, second, given[0], target_example=given[1], plan=plan, plan_only=plan_only,
                tell=lambda what: status.update(what),
            )  # fmt: skip
        except Differs as error:
            found = error
    ok = not isinstance(found, Differs)
    if ok and save_plan:
        found.save(save_plan)
    if ok and out:
        files.save(second, out)
    if json_file:
        write_json(found.to_json(), json_file)
    if json_file != "-":
        show(found, ok, screen)
    return int(not ok)


def show(found: Any, ok: bool, out: Any) -> None:
    """The table of the plan and what is known, or where the two part."""
    from rich.table import Table
    from rich.text import Text

    if ok:
        table = Table("target", "shape", "source", "how", "known by", box=None, pad_edge=False, header_style="bold")
        for entry in found.plan:
            table.add_row(*(Text(cell) for cell in entry.cells()))
        out.print(table)
    first, *rest = found.told()
    out.print(Text(first, "bold green" if ok else "bold red"), soft_wrap=True)
    for line in rest:
        out.print(Text(line, "bold" if line.startswith(("target ", "source ")) else ""), soft_wrap=True)
    if ok and found.plan.unused:
        out.print(Text(f"of the source is left out: {', '.join(found.plan.unused)}"), soft_wrap=True)
