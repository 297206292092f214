"""``attn-ref show``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any

import click

from attn_ref.block import written
from attn_ref.commands import formula, prose
from attn_ref.commands.output import console, write_json
from attn_ref.option import options


@click.command()
@click.argument("block_name", metavar="BLOCK")
@click.option(
    "--set", "options", multiple=True, metavar="NAME=VALUE", help="A field of the block other than the example's."
)
@click.option("--source", is_flag=True, help="Print the definition itself.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def command(block_name: str, options: tuple[str, ...], source: bool, as_json: bool) -> None:
    """Show what BLOCK computes: its equation, options, inputs, parameters and taps.

    Shapes are those of a small example, which --set changes.
    """
    from attn_ref.catalogue import block as find
    from attn_ref.port.hyper import parse

    cls = find(block_name)
    if source:
        click.echo(inspect.getsource(sys.modules[cls.__module__]), nl=False)
        return
    block = cls.build({**cls.example, **parse(options)})
    facts = describe(block)
    if as_json:
        write_json(facts, "-")
        return
    out = console()
    for heading, lines in page(block, facts, out.width):
        if heading:
            out.print(f"\n[bold]{heading}[/]")
        for line in lines:
            out.print(line, markup=False, soft_wrap=True)


def page(block: Any, facts: dict[str, Any], width: int) -> Iterator[tuple[str, list[str]]]:
    """Headings, of which the first is empty, and the lines below them, for a terminal of ``width`` columns."""
    yield "", "\n\n".join(prose.paragraphs(doc(type(block)), width)).split("\n")
    tables: dict[str, list[tuple[str, ...]]] = {
        "options: default, that of the example shown, meaning": [
            (k, repr(facts["defaults"][k]) if k in facts["defaults"] else "required", written(v), facts["about"][k])
            for k, v in block.fields().items()
        ],
        "inputs": list(facts["inputs"].items()),
        "parameters": [(k, str(tuple(v))) for k, v in facts["parameters"].items()],
        "taps, in order": [(k, v["axes"], str(tuple(v["shape"]))) for k, v in facts["taps"].items()],
        "mirrors": [*together(facts["mirrors"])],
    }
    for heading, rows in tables.items():
        yield heading, [*prose.rows(rows, width)] or ["  none"]


def doc(cls: type) -> str:
    """What the file of a block says of it, as it is written."""
    return inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")


def describe(block: Any) -> dict[str, Any]:
    """Plain facts about a block, its taps from running one small case."""
    import attn_ref as ar
    from attn_ref.check.cases import draw

    cls = type(block)
    with ar.record() as taps:
        block(block.init(), **draw(block, Showing(), 0).inputs())
    latex = prose.latex(doc(cls))
    return {
        "name": cls.__name__,
        "text": "\n\n".join(prose.paragraphs(doc(cls), prose.WIDEST)),
        "equations": formula.equations(latex),
        "latex": latex,
        "options": block.as_data()["fields"],
        "defaults": {field.name: field.default for field in fields(block) if field.default is not MISSING},
        "about": about(cls),
        "inputs": {
            name: f"'{spec.labels}' {spec.kind}"
            + (f", below {spec.below}" if spec.below else "")
            + (f", default: {spec.default}" if spec.default else ", optional" if spec.optional else "")
            + (f", broadcasts{', rank ' + ' or '.join(map(str, spec.ranks)) if spec.ranks else ''}" * spec.broadcast)
            + (f", needs {spec.needs}" if spec.needs else "")
            for name, spec in cls.inputs.items()
        },
        "parameters": {name: list(param.shape) for name, param in block.params().items()},
        "taps": {name: {"axes": labels, "shape": list(value.shape)} for name, (value, labels) in taps.items()},
        "mirrors": {
            engine: f"{backend.__module__}.{cls.__name__}{fused(backend, cls.__name__)}"
            if backend.mirrors(cls.__name__)
            else "no mirror"
            for engine, backend in ar.backends().items()
        },
    }


def together(mirrors: dict[str, str]) -> list[tuple[str, str]]:
    """The engines that have a mirror in common, and the mirror."""
    return [(", ".join(e for e, m in mirrors.items() if m == said), said) for said in dict.fromkeys(mirrors.values())]


def about(cls: type) -> dict[str, str]:
    """Field -> what it means, as its ``option`` or the ``#:`` comment above it says."""
    said, text, fresh = {}, "", False
    for line in inspect.getsource(cls).splitlines():
        if comment := re.match(r"\s+#: (.*)", line):
            text, fresh = (f"{text} {comment[1]}" if fresh else comment[1]), True
        elif named := re.match(r"    (\w+): ", line):
            said[named[1]], text, fresh = text, "", False
        else:
            text, fresh = "", False
    said |= {name: option.meaning for name, (option, _) in options(cls).items()}
    return {field.name: prose.plain(said.get(field.name, "")) for field in fields(cls)}


def fused(backend: Any, block_name: str) -> str:
    """Which fused call of the framework the mirror makes while nothing listens: the file's ``FUSED``."""
    source = backend.source(block_name)
    found = re.search(r'^FUSED = "(.+)"', source, re.MULTILINE)
    return f", fused in {found[1]}" if found else ""


class Showing:
    """``pick`` for a case that shows everything: no input left out, every axis a size of its own while they last."""

    def __init__(self) -> None:
        self.taken: set[int] = set()

    def __call__(self, *options: Any) -> Any:
        if any(isinstance(option, bool | str) for option in options):
            return options[-1]
        size = max((o for o in options if o not in self.taken and o > 1), default=max(options))
        self.taken.add(size)
        return size
