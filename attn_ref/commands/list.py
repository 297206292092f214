"""``attn-ref list``."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any

import click

from attn_ref.commands.output import console, write_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def command(as_json: bool) -> None:
    """List the blocks, what each is, and which backends mirror it."""
    from attn_ref import backends, blocks

    served = {cls.name: cls for cls in backends().values()}
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "title": title(block),
            "options": [field.name for field in fields(block)],
            "backends": [backend for backend, cls in served.items() if cls.mirrors(name)],
        }
        for name, block in blocks().items()
    ]
    engines = {engine: cls.version(engine) for engine, cls in backends().items()}
    if as_json:
        write_json({"blocks": rows, "engines": engines}, "-")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("block", "what it is", "mirrored in"):
        table.add_column(heading)
    for row in rows:
        gaps = [f"[red]not in {name}[/]" for name in served if name not in row["backends"]]
        table.add_row(f"[bold]{row['name']}[/]", row["title"], ", ".join([*row["backends"], *gaps]))
    out = console()
    out.print(table)
    installed = ", ".join(f"{engine} {version or '[dim]not installed[/]'}" for engine, version in engines.items())
    out.print(f"\nengines: {installed}", soft_wrap=True)


def title(block: type) -> str:
    """The first sentence of the file that defines the block."""
    text = (sys.modules[block.__module__].__doc__ or block.__doc__ or "").strip()
    return " ".join(text.split("\n\n")[0].split()).rstrip(".")
