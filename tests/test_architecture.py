"""The code imports what docs/architecture.md lets it import, and nothing in circles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "attn_ref": ROOT / "attn_ref",
    "attn_ref_torch": ROOT / "backends" / "attn_ref_torch",
    "attn_ref_keras": ROOT / "backends" / "attn_ref_keras",
    "attn_ref_jax": ROOT / "backends" / "attn_ref_jax",
}
#: of backends: what may import the porter, and the layer of ``attn_ref`` up to which the rest may import
ENDS, HIGHEST = ("ends", "checkpoint"), 6
#: it has no mirrors and only traces, for layers of Keras as well
TRACER = "attn_ref_jax"


@cache
def modules() -> dict[str, Path]:
    """Every module by name."""
    found = {}
    for package, folder in PACKAGES.items():
        for file in folder.rglob("*.py"):
            parts = [package, *file.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imported(text: str) -> Iterator[str]:
    """What a module imports, inside functions too, but for type checkers."""
    tree = ast.parse(text)
    checked = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    left_out = {id(inner) for node in checked for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                inner if (inner := f"{node.module}.{alias.name}") in modules() else node.module for alias in node.names
            )


@cache
def graph() -> dict[str, frozenset[str]]:
    """Module -> the modules of ours that it imports."""
    return {
        name: frozenset(other for other in imported(file.read_text("utf-8")) if other in modules() and other != name)
        for name, file in modules().items()
    }


@cache
def layers() -> tuple[dict[str, int], dict[str, set[str]]]:
    """Part -> its layer, and part -> the parts of its own layer that it may import, as the page has them."""
    found: dict[str, int] = {}
    beside: dict[str, set[str]] = {}
    for row in re.findall(
        r"^\| (\d+) \| (.+?) \| .+? \| (.*?) ?\|$", (ROOT / "docs/architecture.md").read_text("utf-8"), re.M
    ):
        found |= {part: int(row[0]) for part in row[1].split(", ")}
        for rule in filter(None, row[2].split("; ")):
            part, _, others = rule.partition(": ")
            beside[part] = set(others.split(", "))
    return found, beside


def part(module: str) -> str:
    """The part of ``attn_ref`` to which a module belongs."""
    return module.split(".")[1] if "." in module else ""


def wrong(module: str, other: str) -> str:
    """Why ``module`` may not import ``other``; empty if it may."""
    layer, beside = layers()
    package, of = module.split(".")[0], other.split(".")[0]
    if package != "attn_ref":
        if of == package or not part(other):
            return ""
        if of != "attn_ref":
            return "" if of == TRACER and part(module) == "trace" else "a backend imports no other"
        traces = part(module) == "trace" or package == TRACER
        allowed = (part(module) in ENDS and part(other) == "port") or (traces and part(other) == "trace")
        if layer[part(other)] > HIGHEST and not allowed:
            return f"a mirror does not know {part(other)}"
        return ""
    if of != "attn_ref":
        return "it imports no framework's package"
    mine, its = part(module), part(other)
    if not mine or mine == "__main__" or not its or mine == its or layer[its] < layer[mine]:
        return ""
    if layer[its] == layer[mine]:
        return "" if its in beside.get(mine, ()) else f"{mine} and {its} stand in one layer"
    return f"{its} stands in layer {layer[its]}, above {mine} in layer {layer[mine]}"


def test_every_part_has_a_layer() -> None:
    parts = {part(name) for name in modules() if name.startswith("attn_ref.")} - {"__main__"}
    assert parts == set(layers()[0]), "docs/architecture.md"


def test_imports_go_down() -> None:
    amiss = [
        f"{name} imports {o}: {why}" for name, its in graph().items() for o in sorted(its) if (why := wrong(name, o))
    ]
    assert amiss == [], "see docs/architecture.md"


def test_nothing_is_imported_in_a_circle() -> None:
    done: set[str] = set()
    for start in graph():
        way = [(start, iter(sorted(graph()[start])))]
        on = [start]
        while way:
            name, rest = way[-1]
            other = next((o for o in rest if o not in done), None)
            if other is None:
                done.add(name)
                way.pop()
                on.pop()
                continue
            assert other not in on, f"a circle: {' → '.join([*on[on.index(other) :], other])}"
            way.append((other, iter(sorted(graph()[other]))))
            on.append(other)


@pytest.mark.parametrize(
    ("module", "other", "why"),
    [
        ("attn_ref.ops.softmax", "attn_ref.check.cases", "check stands in layer 7, above ops in layer 2"),
        ("attn_ref.check.values", "attn_ref.port.files", "port stands in layer 8, above check in layer 7"),
        ("attn_ref.seeds", "attn_ref.check", "seeds and check stand in one layer"),
        ("attn_ref_torch.blocks.cbam", "attn_ref.check.compare", "a mirror does not know check"),
        ("attn_ref_torch.run", "attn_ref.port", "a mirror does not know port"),
        ("attn_ref_keras.run", "attn_ref_torch.run", "a backend imports no other"),
        ("attn_ref.block", "attn_ref_torch.run", "it imports no framework's package"),
        ("attn_ref_torch.ends", "attn_ref.port.ends", ""),
        ("attn_ref.models.text_encoder", "attn_ref.blocks.encoder_layer", ""),
    ],
)
def test_an_arrow_upwards_is_told(module: str, other: str, why: str) -> None:
    assert wrong(module, other) == why


def test_imports_are_read_wherever_they_stand() -> None:
    lazy, typed = "def f():\n    from attn_ref.check import runner\n", "if TYPE_CHECKING:\n    import attn_ref.port\n"
    text = f"{lazy}{typed}import attn_ref.tap"
    assert set(imported(text)) == {"attn_ref.check.runner", "attn_ref.tap"}
