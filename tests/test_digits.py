"""The example: a vision transformer trained on real digits, at reduced size, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits_vit.py"

pytestmark = [pytest.mark.slow]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    return subprocess.run([sys.executable, str(EXAMPLE), *arguments], cwd=folder, capture_output=True, text=True)


def test_a_little_training_arrives_everywhere(tmp_path: Path) -> None:
    """Two epochs, which are enough to read better than by chance, and 60 test digits; all else is as in the whole."""
    done = run(tmp_path, "--epochs", "2", "--test", "60", "--accuracy", "0.3", "--picture", "maps.png")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Verdict: AGREE" in done.stdout
    assert "the same bits" in done.stdout
    assert (tmp_path / "maps.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.deep
def test_the_whole_example(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
