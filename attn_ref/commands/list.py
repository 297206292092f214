"""``attn-ref list``."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any

import click

from attn_ref.catalogue import broken
from attn_ref.commands.output import console, write_json
from attn_ref.commands.prose import plain
from attn_ref.foreign import peers


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def command(as_json: bool) -> None:
    """List the blocks, what each is, and which backends mirror it."""
    from attn_ref import backends, blocks, seed, seeds

    served = {cls.name: cls for cls in backends().values()}
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "title": title(block),
            "options": [field.name for field in fields(block)],
            "paper": source(block),
            "backends": [backend for backend, cls in served.items() if cls.mirrors(name)],
            "seeds": [row.row for row in seeds().values() if row.block == name],
        }
        for name, block in blocks().items()
    ]
    systems: list[dict[str, Any]] = [
        {
            "row": name,
            "title": row.title,
            "block": row.block,
            "options": row.options(row.sizes),
            "arguments": row.arguments or tuple(seed(name).block.inputs),
            "traps": [trap.says for trap in seed(name).traps],
        }
        for name, row in seeds().items()
        if row.block not in broken()
    ]
    engines = {engine: cls.version(engine) for engine, cls in backends().items()}
    if as_json:
        lost = {"broken": broken()} if broken() else {}
        write_json({"blocks": rows, "seeds": systems, "engines": engines, **lost}, "-")
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("block", "what it is", "mirrored in", "seeds"):
        table.add_column(heading)
    for row in rows:
        gaps = [f"[red]not in {name}[/]" for name in served if name not in row["backends"]]
        mirrors = ", ".join([*row["backends"], *gaps])
        table.add_row(f"[bold]{row['name']}[/]", row["title"], mirrors, ", ".join(row["seeds"]))
    out = console()
    out.print(table)
    out.print("\n[bold]Seed systems[/]: ar.seed(NAME), a block under options and traps")
    for system in systems:
        deviates = "; ".join(system["traps"])
        deviates = f" [dim]({deviates})[/]" if deviates else ""
        options = ", ".join(f"{name}={value!r}" for name, value in system["options"].items())
        out.print(f"{system['row']:4}{system['title']}: {system['block']}({options}){deviates}", soft_wrap=True)
    installed = ", ".join(f"{engine} {version or '[dim]not installed[/]'}" for engine, version in engines.items())
    out.print(f"\nengines: {installed}", soft_wrap=True)
    out.print(f"layers of other libraries (check --engine NAME): {', '.join(peers())}", soft_wrap=True)
    for name, why in broken().items():
        console(stderr=True).print(f"[red]{name}[/]: {escape(why)}", soft_wrap=True)


def source(block: type) -> str:
    """What the file that defines the block names as its source."""
    text = sys.modules[block.__module__].__doc__ or ""
    return " ".join(text.partition("Source:")[2].partition("\n\n")[0].split())


def title(block: type) -> str:
    """The first sentence of the file that defines the block."""
    text = (sys.modules[block.__module__].__doc__ or block.__doc__ or "").strip()
    return plain(" ".join(text.split("\n\n")[0].split()).rstrip("."))
