"""What the commands share: where tables and JSON go."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click


def console(*, stderr: bool = False) -> Any:
    """A rich console: colours on a terminal, plain text elsewhere, which is neither cut nor folded."""
    from rich.console import Console

    from attn_ref.check.terminal import UNFOLDED

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else UNFOLDED, highlight=False)


def check_targets(**targets: str | None) -> None:
    """ValueError, before any work is done, if a report could not be written there, or two go to one file."""
    from pathlib import Path

    from attn_ref.places import distinct, refuse_place

    paths = {f"--{name} FILE": Path(target) for name, target in targets.items() if target and target != "-"}
    for path in paths.values():
        if not os.access(path.absolute().parent, os.W_OK):
            raise ValueError(f"cannot write {path}: {path.absolute().parent} is no folder one can write to")
        refuse_place(path)
    distinct(paths, ())


def write_json(data: Any, target: str) -> None:
    """Write ``data`` to the file ``target`` (beside it first, then renamed), or to stdout for '-'.

    Infinity and NaN, which JSON has not, become strings (see ``numbers.strict``).
    """
    from attn_ref.check.numbers import strict

    text = json.dumps(strict(data), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    if target == "-":
        click.echo(text)
        return
    from attn_ref.places import write_text

    write_text(target, text + "\n")
