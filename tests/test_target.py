"""A user's own file is imported because he named it, and nothing of his is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from attn_ref.verbs.target import load


@pytest.mark.parametrize("name", ["{folder}/own_layer.py:Own", "own_package.inner:Own"])
def test_nothing_is_left_beside_a_users_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would leave a folder with what it compiled, also of the modules that the file imports."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_helper.py").write_text("class Own:\n    def __call__(self, x):\n        return x\n")
    for file in ("own_layer.py", "own_package/inner.py"):
        (tmp_path / file).write_text("from own_helper import Own\n")
    before = sorted(tmp_path.rglob("*"))
    assert load(name.format(folder=tmp_path), {})(3) == 3
    assert sorted(tmp_path.rglob("*")) == before
    assert not sys.dont_write_bytecode
    for module in ("own_helper", "own_package", "own_package.inner", "_target_own_layer"):
        sys.modules.pop(module, None)
