"""``attn-ref compare``."""

from __future__ import annotations

from typing import Any

import click

from attn_ref.commands.conform import within
from attn_ref.commands.output import check_targets, console, write_json


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--block", "block_name", metavar="NAME", help="The block that both should be.")
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="An option of the block.")
@click.option("--init", "init", multiple=True, metavar="NAME=VALUE", help="An argument of A, where it is a class.")
@click.option("--init-b", "init_b", multiple=True, metavar="NAME=VALUE", help="The same of B.")
@click.option("--shape", "shapes", multiple=True, metavar="N,N,…", help="Shape of an input, as A takes it; for each.")
@click.option("--framework", default="", metavar="NAME", help="numpy, torch, keras or jax, where A does not tell.")
@click.option("--framework-b", default="", metavar="NAME", help="The same of B.")
@click.option("--cases", default=20, show_default=True, help="Cases after the first.")
@click.option("--seed", default=0, show_default=True, help="Seed of the cases.")
@click.option("--timeout", default=120, show_default=True, metavar="SECONDS", help="Time for all of it.")
@click.option("--json", "json_file", metavar="FILE", help="Write the result as JSON; '-' writes it to stdout alone.")
def command(
    first: str, second: str, block_name: str | None, options: tuple[str, ...], init: tuple[str, ...],
    init_b: tuple[str, ...], shapes: tuple[str, ...], framework: str, framework_b: str, cases: int, seed: int,
    timeout: float, json_file: str | None,
) -> int:  # fmt: skip
    """Compare two layers as they are: do they compute the same, and if not, at which line of either do they part?

    A and B are package.module:object or path/to/file.py:object: layers of torch, Keras, JAX or plain NumPy, or classes
    of them, with the same weights. Their files are executed. Exit code 0: they agree; 1: they differ; 2: the request
    cannot be met, as where they hold other weights and no block is named.
    """
    from attn_ref.catalogue import block as find
    from attn_ref.port.hyper import parse
    from attn_ref.verbs.compare import compare
    from attn_ref.verbs.target import load

    check_targets(json=json_file)
    if options and block_name is None:
        raise ValueError("--set is for the block: name it with --block")
    block = find(block_name).build(parse(options)) if block_name else None
    inputs = [shape(said) for said in shapes] or None
    out = console(stderr=json_file == "-")
    with within(timeout), out.status("loading the layers", spinner="dots") as status:
        a, b = load(first, parse(init)), load(second, parse(init_b))
        found = compare(
            a, b, block=block, inputs=inputs, cases=cases, seed=seed, framework=framework, framework_b=framework_b,
            tell=lambda what: status.update(what),
        )  # fmt: skip
    if json_file:
        write_json(found.to_json(), json_file)
    if json_file != "-":
        show(found, out)
    return int(not found.ok)


def shape(said: str) -> tuple[int, ...]:
    """Sizes that are separated by commas."""
    try:
        found = tuple(int(n) for n in said.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise ValueError(f"--shape is sizes such as 2,5,12; got {said!r}")
    return found


def show(found: Any, out: Any) -> None:
    """The result, its first words in colour."""
    from rich.text import Text

    first, *rest = str(found).split("\n")
    out.print(Text(first, "bold green" if found.ok else "bold red"), soft_wrap=True)
    for line in rest:
        out.print(Text(line, "bold" if line.startswith(("a parts", "b parts")) else ""), soft_wrap=True)
