"""How many faults the check catches: every mutant of one token of every mirror.

    python -m benchmarks.mutants torch tensorflow

exchanges + and −, × and ÷, `and` and `or`, < and ≤, = and ≠, True and False, the two branches of a choice; takes a sign
or a `not` away; makes an integer one more and a float half as large again; one at a time, wherever one of these
stands in a function of a mirror. Each mutant runs through the cases that `attn-ref check` draws, until one differs.
Writes docs/data/mutants.json and the table and the survivors of docs/mutants.md.
"""

from __future__ import annotations

import ast
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import CodeType
from typing import Any

import click

import attn_ref as ar
from attn_ref.check.drawing import Draw, kinds
from attn_ref.check.judge import Outcome
from attn_ref.check.report import Row
from attn_ref.check.runner import attempted
from attn_ref.commands.output import console

PACKAGES = {"torch": "attn_ref_torch", "tensorflow": "attn_ref_keras"}
#: the cases, which do not depend on mirrors
DRAW = Draw(dict(ar.blocks()), 0)
#: seconds for one
PATIENCE = 120
DOCS = Path(__file__).parents[1] / "docs"
DATA, PAGE = DOCS / "data" / "mutants.json", DOCS / "mutants.md"
BEGIN, END = "<!-- figures: written by benchmarks/mutants.py -->", "<!-- end of figures -->"
#: what Keras asks of a layer besides its results
ASIDE = ("build", "get_config", "compute_output_shape", "compute_output_spec")
SWAPS = [(ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.FloorDiv, ast.Mult), (ast.And, ast.Or), (ast.Lt, ast.LtE),
         (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot)]  # fmt: skip
SWAP: dict[Any, Any] = {**{new: old for old, new in SWAPS}, **dict(SWAPS)}


@dataclass(frozen=True)
class Mutant:
    """One, and what became of it: the first tap that differs, or "" where none does."""

    engine: str
    block: str
    line: int
    #: the line as it stands, and what was exchanged in it
    text: str
    change: str
    caught: str


def mutations(tree: ast.AST) -> Iterator[tuple[ast.expr, dict[str, Any]]]:
    """Every place of a module's functions that has a mutant, and the attributes that make it one."""
    functions = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name not in ASIDE]
    for node in dict.fromkeys(n for f in functions for statement in f.body for n in ast.walk(statement)):
        match node:
            case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in SWAP:
                yield node, {"op": SWAP[type(op)]()}
            case ast.Compare(ops=[first, *rest]) if type(first) in SWAP:
                yield node, {"ops": [SWAP[type(first)](), *rest]}
            case ast.UnaryOp(op=ast.USub()):
                yield node, {"op": ast.UAdd()}
            case ast.UnaryOp(op=(ast.Not() | ast.Invert()) as op, operand=operand):  # twice is not at all
                yield node, {"operand": ast.copy_location(ast.UnaryOp(op, operand), node)}
            case ast.Constant(value=bool() as value):
                yield node, {"value": not value}
            case ast.Constant(value=int() as value):
                yield node, {"value": value + 1}
            case ast.Constant(value=float() as value):
                yield node, {"value": value * 1.5 + 0.01}
            case ast.IfExp(body=body, orelse=orelse):
                yield node, {"body": orelse, "orelse": body}


@contextmanager
def instead(module: str, code: CodeType) -> Iterator[None]:
    """While it lasts, ``module`` is what ``code`` makes, and all of its package is imported anew."""
    package = module.split(".")[0]
    spec = find_spec(module)
    assert spec is not None
    before = {name: m for name, m in sys.modules.items() if name.startswith(f"{package}.")}
    for name in before:
        del sys.modules[name]
    registered = custom_objects()  # where Keras finds the classes of a .keras file
    names = dict(registered)
    faulty = module_from_spec(spec)
    sys.modules[module] = faulty
    try:
        exec(code, faulty.__dict__)
        yield
    finally:
        for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
            del sys.modules[name]
        sys.modules.update(before)
        registered.clear()
        registered.update(names)


def custom_objects() -> dict[str, Any]:
    """Keras' own table of registered classes; an empty one if Keras was not imported."""
    keras = sys.modules.get("keras")
    return keras.saving.get_custom_objects() if keras else {}


def first_difference(engine: str, name: str) -> tuple[Outcome | None, int]:
    """The first outcome that differs of the cases of ``attn-ref check`` with its defaults, and how many it took.

    A broken promise only where all values are right, as in a report.
    """
    ran, broken = 0, None
    for mode, dtype, count in kinds(engine, None, None, None):
        row = Row(name, engine, mode, dtype, asked=count or 0)
        row.asked = row.asked or DRAW.all(row)
        for text in DRAW(row):
            ran += 1
            outcome = attempted(engine, mode, dtype, text)
            if outcome.fault == "contract":
                broken = broken or outcome
            elif outcome.first is not None:
                return outcome, ran
    return broken, ran


def mutants(engine: str, name: str) -> Iterator[Mutant]:
    """Every mutant of one mirror, run."""
    module = ar.block(name).__module__.replace("attn_ref", PACKAGES[engine], 1)
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    lines = Path(spec.origin).read_text("utf-8").splitlines()
    tree = ast.parse("\n".join(lines))
    for node, change in mutations(tree):
        kept, text = dict(vars(node)), ast.unparse(node)
        vars(node).update(change)
        after, code = ast.unparse(node), compile(tree, spec.origin, "exec")
        vars(node).update(kept)
        signal.alarm(PATIENCE)
        try:
            with instead(module, code):
                found, _ = first_difference(engine, name)
                caught = found.first or "" if found else ""
        except Exception as error:  # it cannot even be imported, or never ends
            caught = f"raised: {type(error).__name__}"
        finally:
            signal.alarm(0)
        yield Mutant(engine, name, node.lineno, lines[node.lineno - 1].strip(), f"{text} → {after}", caught)


def give_up(*_: Any) -> None:
    raise TimeoutError(f"no answer after {PATIENCE} s")


def page(found: list[Mutant]) -> str:
    """The table, and every survivor."""
    engines = list(dict.fromkeys(m.engine for m in found))
    head = "".join(f" {engine}: mutants | caught |" for engine in engines)
    lines = [f"| block |{head}", "|---|" + "---|---|" * len(engines)]
    blocks = [name for name in ar.blocks() if any(m.block == name for m in found)]
    for name in [*blocks, "all"]:
        cells = ""
        for engine in engines:
            mine = [m for m in found if m.engine == engine and name in (m.block, "all")]
            cells += f" {len(mine)} | {sum(map(bool, (m.caught for m in mine)))} |"
        lines.append(f"| {name} |{cells}")
    lines += ["", "What is left:", ""]
    for m in found:
        if not m.caught:
            lines.append(f"- {m.block} on {m.engine}, line {m.line}: `{m.change}` in `{m.text}`")
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("engines", nargs=-1, type=click.Choice(list(PACKAGES)), required=True)
@click.option("--block", "only", multiple=True, help="This block alone; nothing is written then.")
def main(engines: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Count the one-token mutants of the mirrors that the check catches."""
    signal.signal(signal.SIGALRM, give_up)
    found: list[Mutant] = []
    for engine in engines:
        for name in only or ar.blocks():
            found += (own := list(mutants(engine, name)))
            caught = sum(map(bool, (m.caught for m in own)))
            console().print(f"{engine:11} {name:26} {caught:4} of {len(own):4}", highlight=False)
            for m in own:
                if not m.caught:
                    console().print(f"    line {m.line}: {m.change}", highlight=False, markup=False)
    if only:
        return
    report = {"mutants": [asdict(m) for m in found]}
    DATA.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{page(found)}\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
