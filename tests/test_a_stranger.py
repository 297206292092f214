"""A stranger adds a block: one NumPy file, one per backend, one of evidence, and nothing else is edited."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

REFERENCE = '''
r"""Mean over keys: every query gets the mean of the values, scaled.

.. math:: Y = \\\\gamma \\\\, \\\\tfrac{1}{s} \\\\sum_s V

b batch, s key length, c width.

Differences: none known. Source: made up for a test.

>>> import attn_ref as ar
"""

from dataclasses import dataclass

from attn_ref import ops
from attn_ref.block import Block, Input, Param, option
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class MeanOverKeys(Block):
    """gamma · mean(value)."""

    width: int = option(meaning="width of the values", above=0, witness=4, draw=(3, 5))

    inputs = {"value": Input("b s {width}")}
    output_axes = "b c"
    example = {"width": 3}

    def params(self):
        return {"gamma": Param((self.width,), "gate")}

    def forward(self, w, value):
        mean = tap("mean", ops.mean(value, axis=1), "b c")
        return w["gamma"] * mean
'''

TORCH = """
import torch
from torch import nn

from attn_ref.blocks.mean_over_keys import MeanOverKeys as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check


class MeanOverKeys(nn.Module):
    def __init__(
        self,
        *,
        width: int,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, value):
        check(self, value=value)
        mean = tap("mean", value.mean(dim=1), "b c")
        return self.gamma * mean
"""

KERAS = """
from typing import Any

import keras
from keras import ops

from attn_ref.blocks.mean_over_keys import MeanOverKeys as Reference
from attn_ref.tap import tap
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class MeanOverKeys(Mirror):
    def __init__(
        self,
        *,
        width: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())

    def build(self, input_shape):
        self.gamma = self.add_weight(shape=(self.block.width,), name="gamma")

    def call(self, value):
        self.check(value=value)
        mean = tap("mean", ops.mean(value, axis=1), "b c")
        return self.gamma * mean
"""

EVIDENCE = """
import math

from evidence import Fault

FAULTS = [
    Fault(
        "the sum",
        "mean",
        reference=("ops.mean(value, axis=1)", "value.sum(axis=1)"),
        torch=("value.mean(dim=1)", "value.sum(dim=1)"),
        keras=("ops.mean(value, axis=1)", "ops.sum(value, axis=1)"),
    ),
    Fault(
        "the largest",
        "mean",
        torch=("value.mean(dim=1)", "value.amax(dim=1)"),
        keras=("ops.mean(value, axis=1)", "ops.max(value, axis=1, initial=-1e9)"),
    ),
    Fault(
        "the gate added",
        "output",
        torch=("self.gamma * mean", "self.gamma + mean"),
        keras=("self.gamma * mean", "self.gamma + mean"),
    ),
]


def oracle(w, value, *, width):
    return [
        [w["gamma"][c] * math.fsum(row[c] for row in rows) / len(rows) for c in range(width)] for rows in value
    ]
"""

FILES = {
    "attn_ref/blocks/mean_over_keys.py": REFERENCE,
    "backends/attn_ref_torch/blocks/mean_over_keys.py": TORCH,
    "backends/attn_ref_keras/blocks/mean_over_keys.py": KERAS,
    "tests/blocks/test_mean_over_keys.py": EVIDENCE,
}


#: what is in a clone
PROJECT = (
    "attn_ref", "backends", "tests", "benchmarks", "docs", "examples", "tools", "pyproject.toml", "README.md",
    "Makefile", "CHANGELOG.md", "CONTRIBUTING.md",
)  # fmt: skip
KIND = ("--mode", "forward", "--dtype", "float64")
INLINE = ("--executor", "inline", "--json", "-")
#: in one process, which imports each framework once
CHECK_AND_TEST = """
import json, sys, pytest
from attn_ref.cli import cli
assert not cli(json.loads(sys.argv[1]), standalone_mode=False)
sys.exit(pytest.main(json.loads(sys.argv[2])))
"""


#: commands in one process, which imports torch once: [arguments] -> [exit code, stdout, stderr]
COMMANDS = """
import json, sys
from click.testing import CliRunner
from attn_ref.cli import cli
found = []
for arguments in json.loads(sys.argv[1]):
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    found.append([done.return_value if done.exception is None else 2, done.stdout, str(done.exception or done.stderr)])
json.dump(found, sys.stdout)
"""


def about_every_block() -> list[str]:
    """The files of tests that go over all blocks; the others, which take long to collect, are about some by name."""
    files = {path: path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    return [
        str(path.relative_to(ROOT))
        for path, text in sorted(files.items())
        if "parametrize" in text and "ar.blocks()" in text
    ]


def run(folder: Path, *command: str, code: int = 0) -> str:
    paths = [str(folder), str(folder / "backends"), str(folder / "tests")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_adding_a_block_is_four_files_under_the_whole_suite(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("_build", "_generated", "__pycache__")
    for name in PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.lstrip().replace("\\\\", "\\"))

    listed, shown = json.loads(
        run(tmp_path, "-c", COMMANDS, json.dumps([("list", "--json"), ("show", "MeanOverKeys")]))
    )
    (row,) = [row for row in json.loads(listed[1])["blocks"] if row["name"] == "MeanOverKeys"]
    assert row["backends"] == ["torch", "keras"]
    assert "gamma" in shown[1]

    engines = ("--engine", "torch", "--engine", "tensorflow")
    command = (
        "check",
        "MeanOverKeys",
        *engines,
        "--cases",
        "10",
        *KIND,
        "--executor",
        "inline",
        "--json",
        "report.json",
    )
    tests = (*about_every_block(), "-q", "-k", "MeanOverKeys", "-m", "not deep", "-p", "no:cacheprovider")
    tested = run(tmp_path, "-c", CHECK_AND_TEST, json.dumps(command), json.dumps(tests))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"]
    assert [(r["engine"], r["cases"], r["failures"]) for r in report["rows"]] == [
        ("torch", 10, 0),
        ("tensorflow", 10, 0),
    ]
    assert "failed" not in tested
    assert int(tested.split(" passed")[0].split()[-1]) > 20, "of every block far more is asked"


def test_a_mirror_that_is_missing_is_a_visible_gap(tmp_path: Path) -> None:
    for name in ("attn_ref", "backends"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "attn_ref/blocks/mean_over_keys.py").write_text(REFERENCE.lstrip().replace("\\\\", "\\"))
    command = ("check", "MeanOverKeys", "--engine", "torch", "--cases", "2", *KIND, *INLINE)
    listed, checked = json.loads(run(tmp_path, "-c", COMMANDS, json.dumps([("list", "--json"), command])))
    assert [row["backends"] for row in json.loads(listed[1])["blocks"] if row["name"] == "MeanOverKeys"] == [[]]
    assert checked[0] == 1  # nothing was compared: that is no agreement
    report = json.loads(checked[1])
    assert [(r["skipped"], r["note"]) for r in report["rows"]] == [(2, "no mirror in attn_ref_torch")]


def test_a_broken_file_does_not_take_down_what_is_about_others(tmp_path: Path) -> None:
    """One with a fault in its syntax, and attention, on which half of the blocks stand."""
    for name in ("attn_ref", "backends"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "attn_ref/blocks/mean_over_keys.py").write_text("class MeanOverKeys(\n")
    attention = tmp_path / "attn_ref/blocks/scaled_dot_product_attention.py"
    attention.write_text(attention.read_text().replace("from attn_ref import ops", "from attn_ref import nothing"))
    few = ("--engine", "torch", "--cases", "1", *KIND, *INLINE)
    asked = [
        ("list", "--json"), ("list",), ("check", "FeedForward", *few), ("check", *few), ("show", "MeanOverKeys"),
        ("check", "MultiHeadAttention", *few),
    ]  # fmt: skip
    listed, plainly, other, every, shown, lost = json.loads(run(tmp_path, "-c", COMMANDS, json.dumps(asked)))
    why = "attn_ref/blocks/mean_over_keys.py cannot be imported: SyntaxError: '(' was never closed"
    data = json.loads(listed[1])
    assert data["broken"]["MeanOverKeys"].startswith(why)
    assert set(data["broken"]) > {"ScaledDotProductAttention", "MultiHeadAttention", "EncoderLayer", "TextEncoder"}
    assert {row["name"] for row in data["blocks"]} > {"FeedForward", "CBAM", "NonLocal"}
    assert why in plainly[2]
    assert other[0] in (0, None)
    report = json.loads(every[1])
    assert not report["ok"]
    rows = {row["block"]: row for row in report["rows"]}
    assert rows["FeedForward"]["cases"] == 1
    assert rows["MeanOverKeys"]["note"].startswith(why)
    assert rows["MeanOverKeys"]["not_run"] == 1
    assert why in shown[2]
    assert "cannot import name 'nothing'" in lost[2]
