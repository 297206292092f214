"""``attn-ref maps``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from attn_ref.commands.output import console, write_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything, rules included, as JSON for machines.")
def command(as_json: bool) -> None:
    """List the maps: foreign names and layouts of weights that attn-ref port reads and writes."""
    from attn_ref import port

    found = port.maps()
    if as_json:
        write_json([describe(item) for item in found.values()], "-")
        return
    from rich.table import Table

    table = Table("map", "block", "formats", "what its files hold", box=None, pad_edge=False, header_style="bold")
    for item in found.values():
        table.add_row(f"[bold]{item.name}[/]", item.block or "any", ", ".join(item.formats), item.summary)
    console().print(table)


def describe(item: Any) -> dict[str, Any]:
    """A map as plain data; a map for any block has no rules until there is a block."""
    return {
        "name": item.name,
        "summary": item.summary,
        "block": item.block,
        "formats": list(item.formats),
        "rules": [asdict(rule) for rule in item.rules] if item.rules else None,
        "unused": dict(item.unused),
        "prefixes": list(item.prefixes),
        "spellings": {name: dict(ends) for name, ends in item.spellings.items()},
        "verify_needs": list(item.needs),
    }
