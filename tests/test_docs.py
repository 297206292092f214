"""The pages: one for every block with all that it has, the errata's code, and what a build may not contain."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import attn_ref as ar
from attn_ref.commands.show import describe

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return local("generate").pages()


def local(name: str) -> Any:
    """A module of ``docs``."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(DOCS))


@pytest.mark.parametrize("name", ar.blocks())
def test_a_page_names_all_that_a_block_has(name: str, pages: dict[str, str]) -> None:
    page, facts = pages[f"blocks/{name}.rst"], describe(ar.block(name).build(ar.block(name).example))
    names = [*facts["options"], *facts["inputs"], *facts["parameters"], *facts["taps"]]
    assert [n for n in names if f"``{n}``" not in page] == []
    assert re.findall(r"literalinclude:: (\S+)", page)[0].startswith("/../attn_ref/")
    assert page.count(":pyobject:") == 3
    assert name in pages["blocks.rst"]


def test_every_seed_system_is_in_the_table(pages: dict[str, str]) -> None:
    assert [name for name in ar.seeds() if f"**{name}**" not in pages["seeds.rst"]] == []


def test_every_trap_is_in_the_table(pages: dict[str, str]) -> None:
    from attn_ref.traps import catalogue

    assert [name for name in catalogue() if f"``{name}`` at" not in pages["traps.rst"]] == []


def test_every_seed_system_has_its_errata() -> None:
    headings = " ".join(re.findall(r"^## .*", (DOCS / "errata.md").read_text("utf-8"), re.MULTILINE))
    assert [name for name in [*ar.seeds(), "S20"] if not re.search(rf"\b{name}\b", headings)] == []


def test_a_block_of_code_that_raises_fails() -> None:
    run_code = local("run_code")
    text = "---\nrun: true\n---\n# A\n\n```python\nx = 1\nprint(x)\n```\n\n```python\nassert x == 2\n```\n"
    with pytest.raises(run_code.Failed, match=r"page, the block in line 11:\n(?s:.*)line 12"):
        run_code.with_output(text, "page")
    assert "```text\n1\n```" in run_code.with_output(text.replace("x == 2", "x == 1"), "page")


@pytest.mark.parametrize("page", ["conventions.md", pytest.param("errata.md", marks=pytest.mark.deep)])
def test_the_code_of_a_page_runs(page: str) -> None:
    done = subprocess.run([sys.executable, DOCS / "run_code.py", DOCS / page], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.deep
def test_a_build_has_no_warning_and_fetches_nothing(tmp_path: Path) -> None:
    for module in ("sphinx", "myst_parser", "sphinx_design", "furo", "latex2mathml"):
        pytest.importorskip(module)
    command: list[Any] = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "-d",
        tmp_path / "trees",
    ]
    done = subprocess.run([*command, DOCS, tmp_path / "html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    fetched = re.compile(
        r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//|@import|url\(["']?(?:https?:)?//"""
    )
    files = [p for p in (tmp_path / "html").rglob("*") if p.suffix in (".html", ".css")]
    assert len(files) > len(ar.blocks())
    assert [p.name for p in files if fetched.search(p.read_text("utf-8"))] == []
    assert "<math" in (tmp_path / "html/_generated/blocks/MultiHeadAttention.html").read_text("utf-8")
