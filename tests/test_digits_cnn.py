"""The example: a network of attention blocks trained on real digits in Keras, at reduced size, in its own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import attn_ref as ar

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits_cnn.py"

pytestmark = [pytest.mark.slow]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("sklearn")
    return subprocess.run([sys.executable, str(EXAMPLE), *arguments], cwd=folder, capture_output=True, text=True)


@pytest.mark.deep
def test_a_little_training_arrives_everywhere(tmp_path: Path) -> None:
    """One epoch and 60 test digits, and running statistics that have moved; all else is as in the whole example.

    An accuracy that nothing reaches: a network that has not learnt is refused, whatever else agrees.
    """
    done = run(tmp_path, "--epochs", "1", "--test", "60", "--accuracy", "1.01")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Verdict: AGREE" in done.stdout
    assert "the same bits" in done.stdout
    block, weights = ar.port.load(tmp_path / "demo_output" / "digits_cnn.safetensors")
    statistics = [name for name, param in block.params().items() if not param.trainable]
    assert len(statistics) == 10
    for name in statistics:
        start = 1.0 if name.endswith("variance") else 0.0
        assert np.abs(weights[name] - start).max() > 0.01, f"{name} is as it was before the training"


@pytest.mark.deep
def test_the_whole_example(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
