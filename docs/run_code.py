"""Runs a page's Python when the page is built, and shows below each block what it printed.

A page is run if it has ``run: true`` in its front matter; its blocks share their names, from top to bottom. A block
that raises fails the build. ``python docs/run_code.py FILE …`` runs pages without building anything.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import traceback
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
MARK = "---\nrun: true\n---\n"


class Failed(Exception):
    """A block of a page raised."""


def with_output(text: str, page: str) -> str:
    """The page's text with what each block printed."""
    names: dict[str, Any] = {"__name__": page}

    def run(found: re.Match[str]) -> str:
        line = text.count("\n", 0, found.start()) + 1
        printed = io.StringIO()
        try:
            code = compile("\n" * line + found[1], page, "exec")  # so that line numbers are the page's
            with contextlib.redirect_stdout(printed):
                exec(code, names)
        except Exception as error:
            raise Failed(f"{page}, the block in line {line}:\n{traceback.format_exc()}") from error
        said = printed.getvalue()
        return found[0] + (f"\n```text\n{said}```\n" if said else "")

    return BLOCK.sub(run, text)


def on_read(app: Any, name: str, source: list[str]) -> None:
    if source[0].startswith(MARK):
        source[0] = with_output(source[0], name)


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", on_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print(with_output(Path(file).read_text("utf-8"), file))
