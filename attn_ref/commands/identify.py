"""``attn-ref identify``."""

from __future__ import annotations

import click

from attn_ref.commands.conform import show, within
from attn_ref.commands.output import check_targets, console, write_json


@click.command()
@click.argument("target", metavar="TARGET")
@click.option("--block", "block_name", metavar="NAME", help="The only block that is tried.")
@click.option("--init", "init", multiple=True, metavar="NAME=VALUE", help="An argument of TARGET, where it is a class.")
@click.option("--framework", default="", metavar="NAME", help="numpy, torch, keras or jax, where TARGET does not tell.")
@click.option("--cases", default=20, show_default=True, help="Cases after the first.")
@click.option("--seed", default=0, show_default=True, help="Seed of the cases.")
@click.option("--timeout", default=300, show_default=True, metavar="SECONDS", help="Time for all of it.")
@click.option("--json", "json_file", metavar="FILE", help="Write what it is as JSON; '-' writes it to stdout alone.")
def command(
    target: str, block_name: str | None, init: tuple[str, ...], framework: str, cases: int, seed: int, timeout: float,
    json_file: str | None,
) -> int:  # fmt: skip
    """Find the block and the options that your own layer is, without a word about it.

    TARGET is package.module:object or path/to/file.py:object, as for conform. Its file is executed. Exit code 0: it is
    the block exactly; 1: it is nearest to it, and where it parts is told; 2: the request cannot be met.
    """
    from attn_ref.catalogue import block as find
    from attn_ref.port.hyper import parse
    from attn_ref.verbs.identify import identify
    from attn_ref.verbs.target import load

    check_targets(json=json_file)
    only = find(block_name).__name__ if block_name else None
    out = console(stderr=json_file == "-")
    with within(timeout), out.status("loading the layer", spinner="dots") as status:
        layer = load(target, parse(init))
        found = identify(
            layer, block=only, cases=cases, seed=seed, framework=framework, tell=lambda what: status.update(what)
        )
    if json_file:
        write_json(found.to_json(), json_file)
    if json_file != "-":
        show(found, out)
    return int(not found.ok)
