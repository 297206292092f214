"""Files that a project's guests look for: each can be read, and names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
yaml = pytest.importorskip("yaml", reason="PyYAML reads these files; transformers brings it")


def read(name: str) -> object:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


@pytest.mark.parametrize(
    "name",
    [
        "CITATION.cff",
        ".pre-commit-config.yaml",
        *sorted(str(f.relative_to(ROOT)) for f in ROOT.glob(".github/**/*.yml")),
    ],
)
def test_it_is_yaml(name: str) -> None:
    assert isinstance(read(name), dict)


def test_the_workflow_runs_the_commands_of_the_readme_and_of_ci() -> None:
    """On Linux and macOS, with every Python that is supported."""
    jobs = read(".github/workflows/readme.yml")["jobs"]["commands"]  # type: ignore[index]
    run = [step["run"] for step in jobs["steps"] if "run" in step]
    readme, ci = (ROOT / "README.md").read_text("utf-8"), (ROOT / ".ci" / "run").read_text("utf-8")
    for command in ("make demo", "make test"):
        assert command in readme
    for command in re.findall(r"^make \w+", ci, re.MULTILINE):
        assert command in run
    assert jobs["strategy"]["matrix"] == {"os": ["ubuntu-latest", "macos-latest"], "python": ["3.11", "3.12", "3.13"]}


def test_the_changelog_has_the_usual_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    kinds = "Added|Changed|Deprecated|Removed|Fixed|Security"
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "[Unreleased]"
    assert all(re.fullmatch(kinds, heading) for heading in re.findall(r"^### (.+)$", text, re.MULTILINE))


def test_the_citation_has_the_version_and_license_of_the_package() -> None:
    said = read("CITATION.cff")
    import attn_ref as ar

    assert said["version"] == ar.__version__  # type: ignore[index]
    assert f'license = "{said["license"]}"' in (ROOT / "pyproject.toml").read_text("utf-8")  # type: ignore[index]
