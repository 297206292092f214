"""``attn-ref conform``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from attn_ref.commands.output import check_targets, console, write_json


@click.command()
@click.argument("target", metavar="TARGET")
@click.option("--block", "block_name", required=True, metavar="NAME", help="The block that it should be.")
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="An option of the block.")
@click.option("--init", "init", multiple=True, metavar="NAME=VALUE", help="An argument of TARGET, where it is a class.")
@click.option("--framework", default="", metavar="NAME", help="numpy, torch, keras or jax, where TARGET does not tell.")
@click.option("--cases", default=20, show_default=True, help="Cases after the first.")
@click.option("--seed", default=0, show_default=True, help="Seed of the cases.")
@click.option("--timeout", default=120, show_default=True, metavar="SECONDS", help="Time for all of it.")
@click.option("--json", "json_file", metavar="FILE", help="Write the verdict as JSON; '-' writes it to stdout alone.")
def command(
    target: str, block_name: str, options: tuple[str, ...], init: tuple[str, ...], framework: str,
    cases: int, seed: int, timeout: float, json_file: str | None,
) -> int:  # fmt: skip
    """Hold your own layer, as it is, to a block: does it agree, and if not, at which line and why?

    TARGET is package.module:object or path/to/file.py:object: a layer of torch, Keras, JAX or plain NumPy, or a class
    of them. Its file is executed. Exit code 0: it agrees; 1: it differs; 2: the request cannot be met.
    """
    from attn_ref.catalogue import block as find
    from attn_ref.port.hyper import parse
    from attn_ref.verbs.conform import conform
    from attn_ref.verbs.target import load

    check_targets(json=json_file)
    block = find(block_name).build(parse(options))
    out = console(stderr=json_file == "-")
    with within(timeout), out.status("loading the layer", spinner="dots") as status:
        layer = load(target, parse(init))
        verdict = conform(
            layer, block, cases=cases, seed=seed, framework=framework, tell=lambda what: status.update(what)
        )
    if json_file:
        write_json(verdict.to_json(), json_file)
    if json_file != "-":
        show(verdict, out)
    return int(not verdict.ok)


def show(verdict: Any, out: Any) -> None:
    """The verdict, its first words in colour."""
    from rich.text import Text

    first, *rest = str(verdict).split("\n")
    out.print(Text(first, "bold green" if verdict.ok else "bold red"), soft_wrap=True)
    for line in rest:
        strong = line.startswith(("differs", "then"))
        out.print(Text(line, "bold" if strong else ""), soft_wrap=True)


class Late(BaseException):
    """The time is up: no error of the layer's, which would be told and passed over."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """RuntimeError after that time, where the system can do that."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except Late:
        raise RuntimeError(f"the layer was not done after {seconds:g} s; --timeout gives it longer") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
