"""The names that others rely on: is any of them lost?

    python -m tools.public_names            # compares with tests/public_names.json; exit code 1 where one is lost
    python -m tools.public_names --write    # takes today's names for those that hold

Blocks, their fields and inputs, parameters and taps; commands and their options; keys of the JSON that they write.
``tests/test_public_names.py`` fails where one is lost.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

import attn_ref as ar
from attn_ref.block import Block
from attn_ref.check.cases import Case
from attn_ref.check.covering import planned
from attn_ref.check.report import Report, Row

FILE = Path(__file__).parents[1] / "tests" / "public_names.json"


def names() -> dict[str, Any]:
    """All of them, sorted."""
    return {
        "ar": sorted(ar.__all__),
        "blocks": {name: of_block(cls) for name, cls in ar.blocks().items()},
        "commands": commands(),
        "json": {"check": keys_of_check()},
        "maps": sorted(item.name for item in ar.port.maps().values()),
        "engines": sorted(ar.backends()),
        "seeds": sorted(ar.seeds()),
    }


def of_block(cls: type[Block]) -> dict[str, list[str]]:
    """What of a block has a name; parameters and taps of the cases that meet every option, numbers as {i}."""
    params: set[str] = set()
    taps: set[str] = set()
    for case in small(planned(cls)):
        block = case.build()
        params.update(block.params())
        with ar.record() as heard:
            block(case.weights(), **case.inputs())
        taps.update(heard)
    return {
        "fields": [field.name for field in fields(cls)],
        "inputs": list(cls.inputs),
        "parameters": numberless(params),
        "taps": numberless(taps),
    }


def small(given: Iterable[Case]) -> Iterator[Case]:
    """Those that take no time."""
    return (case for case in given if case.size() < 600)


def numberless(found: Iterable[str]) -> list[str]:
    """Layers and branches are counted: which of them a case has does not matter."""
    return sorted({re.sub(r"(?<![a-z0-9])\d+|(?<=_)\d+", "{i}", name) for name in found})


def commands() -> dict[str, list[str]]:
    """Command -> its options and arguments."""
    from attn_ref.cli import COMMANDS, cli

    context = click.Context(cli)
    found = {}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        found[name] = sorted(text for param in command.params for text in (*param.opts, *param.secondary_opts))
    return found


def keys_of_check() -> dict[str, list[str]]:
    """Keys of a report and of a row of it."""
    report = Report([Row("FeedForward", "torch", "forward", "float64")], [], {}, {}).to_json()
    return {"report": sorted(report), "row": sorted(report["rows"][0]), "case": sorted(asdict(small_case()))}


def small_case() -> Case:
    """Any case."""
    return planned(ar.block("FeedForward"))[0]


def lost(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Every name that was there and is not, with its place."""
    if isinstance(before, dict):
        for name, inner in before.items():
            if name not in now:
                yield f"{where}{name}"
            else:
                yield from lost(inner, now[name], f"{where}{name} › ")
    else:
        yield from (f"{where}{name}" for name in before if name not in now)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--write", is_flag=True, help="Take today's names for those that hold.")
def main(write: bool) -> int:
    """Is a name lost that others rely on?"""
    now = names()
    if write:
        FILE.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        click.echo(f"wrote {FILE}")
        return 0
    missing = list(lost(json.loads(FILE.read_text("utf-8")), now))
    click.echo("\n".join(f"lost: {name}" for name in missing) or "nothing is lost")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(standalone_mode=False))
