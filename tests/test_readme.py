"""The Python of the README and of the pages is run as it stands, each snippet in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("check", "compare", "conform", "port"))]
SNIPPETS = [text for page in PAGES for text in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 4


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.strip().splitlines()[-1][:40])
def test_snippet_runs(snippet: str, tmp_path: Path) -> None:
    if "model.weights.h5" in snippet:  # the file that the command before it wrote
        import attn_ref as ar

        block = ar.TextEncoder(**ar.TextEncoder.example)
        metadata = {"block": "TextEncoder", "fields": block.fields(), "map": "canonical"}
        ar.port.write(tmp_path / "w.npz", block.init(), metadata)
        ar.port.convert(tmp_path / "w.npz", tmp_path / "model.weights.h5")
    done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    if "theirs" in snippet:
        assert float(done.stdout) < 1e-14


def test_the_first_screen_is_what_the_command_prints() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    command, *want = re.findall(r"```\n\$ attn-ref (conform .*?)```", text, re.DOTALL)[0].strip().splitlines()
    done = subprocess.run(
        [sys.executable, "-m", "attn_ref", *command.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[: len(want)] == want
