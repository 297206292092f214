"""Write the options of every block into the constructors of its mirrors, where they are to be read and completed.

    python -m tools.signatures            # writes what is not today's; prints the files
    python -m tools.signatures --check    # writes nothing; exit code 1 where a file is not today's

An option is declared once, in the block. Editors, type checkers and ``help`` show a mirror's own constructor, so the
options stand there too, as text that nobody writes. ``tests/test_signatures.py`` fails where a file is not today's.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import click

import attn_ref as ar
from attn_ref.block import Block
from attn_ref.discovery import file_of
from attn_ref.engines import backends

#: after the options, for what the framework's own layers take
MORE = {"attn_ref_torch": "", "attn_ref_keras": "        **kwargs: Any,\n"}


def declared(cls: type[Block]) -> Iterator[str]:
    """Every option as an argument: name, type and default as they are written in the block's file."""
    text, written = declarations(cls)
    for field in fields(cls):
        kind = ast.get_source_segment(text, written[field.name].annotation)
        yield f"{field.name}: {kind}" + ("" if field.default is MISSING else f" = {default_of(cls, field.name)}")


def declarations(cls: type[Block]) -> tuple[str, dict[str, ast.AnnAssign]]:
    """The text of a block's file, and where each option stands in it."""
    file = file_of(cls.__name__)
    assert file is not None
    text = file.read_text("utf-8")
    (own,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    found = [node for node in own.body if isinstance(node, ast.AnnAssign)]
    return text, {node.target.id: node for node in found if isinstance(node.target, ast.Name)}


def default_of(cls: type[Block], name: str) -> str:
    """The default of an option as it is written, in the file of the block that it is handed on to if there is one."""
    (field,) = [field for field in fields(cls) if field.name == name]
    if other := field.metadata.get("of"):
        return default_of(other, name)
    text, written = declarations(cls)
    value = written[name].value
    if isinstance(value, ast.Call):
        (value,) = [word.value for word in value.keywords if word.arg == "default"]
    assert value is not None
    return ast.get_source_segment(text, value) or ""


def rewritten(text: str, cls: type[Block], package: str) -> str:
    """The text of a mirror's file with the block's options for its constructor's arguments."""
    own = next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    made = next(node for node in own.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    lines = text.splitlines(keepends=True)
    first, body = made.lineno - 1, made.body[0].lineno - 1
    arguments = "".join(f"        {argument},\n" for argument in declared(cls))
    head = f"    def __init__(\n        self,\n        *,\n{arguments}{MORE[package]}    ) -> None:\n"
    return "".join([*lines[:first], head, *lines[body:]])


def stale() -> Iterator[tuple[Path, str]]:
    """(file of a mirror, its text as it should be), for those that are not."""
    for package in dict.fromkeys(backend.__module__ for backend in backends().values()):
        if package not in MORE:
            continue
        for name, cls in ar.blocks().items():
            if file := file_of(name, package):
                text = file.read_text("utf-8")
                if (wanted := rewritten(text, cls, package)) != text:
                    yield file, wanted


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Write nothing.")
def main(check: bool) -> int:
    """Write the options of every block into the constructors of its mirrors."""
    found = list(stale())
    for file, text in found:
        click.echo(f"{'not today' if check else 'wrote'}: {file}")
        if not check:
            file.write_text(text, encoding="utf-8")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main(standalone_mode=False))
