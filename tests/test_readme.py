"""The Python of the README and of the pages is run as it stands, in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import attn_ref as ar

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("check", "compare", "conform", "port"))]
SNIPPETS = [text for page in PAGES for text in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 4


#: runs snippets one after the other, each with names of its own: importing the frameworks is most of the work
RUNNER = """
import contextlib, io, json, sys, traceback
for snippet in json.loads(sys.argv[1]):
    out, fault = io.StringIO(), ""
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(snippet, "snippet", "exec"), {"__name__": "__main__"})
    except BaseException:
        fault = traceback.format_exc()
    print(json.dumps([out.getvalue(), fault]), flush=True)
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Snippet -> (what it prints, how it failed)."""
    folder = tmp_path_factory.mktemp("snippets")
    block = ar.TextEncoder(**ar.TextEncoder.example)  # the file that the command before a snippet wrote
    metadata = {"block": "TextEncoder", "fields": block.fields(), "map": "canonical"}
    ar.port.write(folder / "w.npz", block.init(), metadata)
    ar.port.convert(folder / "w.npz", folder / "model.weights.h5")
    command = [sys.executable, "-c", RUNNER, json.dumps(SNIPPETS)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(SNIPPETS, map(tuple, map(json.loads, done.stdout.splitlines())), strict=True))


@pytest.mark.xdist_group("snippets")
@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.strip().splitlines()[-1][:40])
def test_snippet_runs(snippet: str, ran: dict[str, tuple[str, str]]) -> None:
    out, fault = ran[snippet]
    assert not fault
    if "theirs" in snippet:
        assert float(out) < 1e-14


def test_the_first_screen_is_what_the_command_prints() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    command, *want = re.findall(r"```\n\$ attn-ref (conform .*?)```", text, re.DOTALL)[0].strip().splitlines()
    done = subprocess.run(
        [sys.executable, "-m", "attn_ref", *command.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[: len(want)] == want
