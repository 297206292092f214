"""Known gaps and findings: every one is shown, now, by a program that imports nothing of this package."""

import ast
import json
import os
import re
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from attn_ref import ops
from attn_ref.check.gaps import BACKWARD, DELTA, FLASH, OFFSET, Gap, gaps, gaps_for, grants, installed, units

HERE = Path(__file__).parent
FINDINGS = HERE.parent / "docs" / "findings.md"
SCRIPTS = {path.stem: path for path in sorted((HERE / "reproductions").glob("*.py")) if path.stem != "conftest"}
#: prefix of a reproduction's name -> the modules that it needs
NEEDS = {"torch": ("torch",), "tf": ("keras", "tensorflow"), "jax": ("keras", "jax")}
#: the exit status of a reproduction that this CPU cannot show
ELSEWHERE = 77
#: runs reproductions one after the other in one process, because importing a framework is most of the work
RUNNER = """
import contextlib, io, json, runpy, sys, traceback
for path in sys.argv[1:]:
    out, code = io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(path, run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    except Exception:
        code = traceback.format_exc()
    print(json.dumps({"path": path, "code": code, "out": out.getvalue()}), flush=True)
"""


def run(paths: list[Path]) -> dict[str, tuple[object, dict]]:
    """Name -> (exit status, what it printed)."""
    settings = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", RUNNER, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings}, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(line["path"]).stem: (line["code"], json.loads(line["out"] or "{}")) for line in lines}


#: the scripts that a known gap rests on, which the check grants: every day; the other findings: in the deep suite
ROWS = {gap.id for gap in gaps()}
pool = ThreadPoolExecutor(2)
started: dict[tuple[str, bool], Future] = {}


def scripts(engine: str, rows: bool) -> list[Path]:
    """An engine's reproductions, of known gaps or of the other findings."""
    return [path for name, path in SCRIPTS.items() if name.startswith(f"{engine}-") and (name in ROWS) == rows]


def outcomes(engine: str, rows: bool) -> dict[str, tuple[object, dict]]:
    """Run an engine's reproductions, once, and start the other engines' beside them."""
    for other in [engine, *NEEDS]:
        if (other, rows) not in started and scripts(other, rows) and all(map(find_spec, NEEDS[other])):
            started[other, rows] = pool.submit(run, scripts(other, rows))
    if (engine, rows) not in started:
        pytest.skip(f"needs {' and '.join(NEEDS[engine])}")
    return started[engine, rows].result()


def problems(found: dict[str, tuple[object, dict]], rows: list[Gap]) -> list[str]:
    """What does not reproduce, or is larger than its row says."""
    by_id = {gap.id: gap for gap in rows}
    lines = []
    for name, (code, result) in found.items():
        if code == ELSEWHERE:
            print(f"{name}: {result['skipped']}")
        elif code not in (0, 1):
            lines.append(f"{name} failed: {code}")
        elif name in by_id:
            lines.append(by_id[name].problem(result["deviation"], reproduces=code == 0))
        elif code == 1 and name not in {gap.id for gap in gaps()}:
            lines.append(f"{name} no longer reproduces: mend docs/findings.md; {result}")
    return [line for line in lines if line]


@pytest.mark.slow
@pytest.mark.xdist_group("reproductions")  # in one worker, as ``outcomes`` runs them side by side
@pytest.mark.parametrize(
    ("engine", "rows"),
    [
        *(pytest.param(e, True, id=f"{e}: known gaps") for e in NEEDS if scripts(e, rows=True)),
        *(pytest.param(e, False, id=f"{e}: other findings", marks=pytest.mark.deep) for e in NEEDS),
    ],
)
def test_everything_reproduces(engine, rows):
    found = outcomes(engine, rows)
    assert found
    assert problems(found, [gap for gap in gaps() if gap.covers(installed().get(gap.package))]) == []
    for name, (_, result) in found.items():
        assert result["id"] == name
        assert "skipped" in result or set(result) >= {"versions", "deviation", "expected_float64_noise"}
        if result.get("deviation") is not None:
            assert result["deviation"] > 4 * result["expected_float64_noise"]


def test_what_a_row_grants_is_told():
    told = {gap.id: grants(vars(gap)) for gap in gaps()}
    alone = ", granted in gradients of the fused path alone"
    assert told["jax-layer-norm"] == "has unit roundoff 6.0e-08"
    assert told["jax-layer-norm-offset"] == "has unit roundoff 6.0e-08" + alone
    assert told["torch-flash-backward-delta"] == "is rounded at the size of its result" + alone


def test_every_reproduction_is_of_a_known_engine():
    assert {name.partition("-")[0] for name in SCRIPTS} == set(NEEDS)


@pytest.mark.parametrize("gap", gaps(), ids=lambda gap: gap.id)
def test_a_row_is_whole(gap):
    assert gap.reproduction == f"{gap.id}.py"
    assert gap.id in SCRIPTS
    assert gap.reason
    assert gap.avoid
    if gap.where:  # a rounding that the definition has not: ``adjoint.BackwardTaps`` makes it
        assert gap.where == BACKWARD
        assert gap.op in (FLASH, DELTA, OFFSET)
    else:
        assert getattr(ops, gap.op).primitive
    if gap.op in (FLASH, DELTA):
        assert (gap.dtype, gap.unit) == ("any", 0.0)
        return
    assert gap.dtype == "float64"
    assert 2.0**-53 < gap.unit <= 2.0**-24
    assert gap.unit < gap.bound < 100 * gap.unit
    assert re.match(r"\S+\.py:\d+\b", gap.upstream)


def test_findings_tell_of_every_reproduction_and_call_the_rows_known_gaps():
    table = {m[1]: m[0] for m in re.finditer(r"^\| `([\w-]+)` \|.*$", FINDINGS.read_text(encoding="utf-8"), re.M)}
    assert set(table) == set(SCRIPTS)
    assert {name for name, line in table.items() if "**known gap**" in line} == {gap.id for gap in gaps()}


@pytest.mark.parametrize("path", SCRIPTS.values(), ids=SCRIPTS)
def test_a_reproduction_imports_nothing_of_ours(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    modules |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = {"jax", "keras", "numpy", "tensorflow", "torch"} | sys.stdlib_module_names
    assert {module.partition(".")[0] for module in modules} <= allowed


def test_a_row_holds_for_its_engine_dtype_and_versions_only():
    def ids(*of):
        return [gap.id for gap in gaps_for(*of)]

    known = {"keras": "3.15.1"}
    want = [
        "jax-layer-norm",
        "jax-layer-norm-offset",
        "jax-tanh",
        "jax-cos",
        "jax-sin",
        "jax-rms-norm",
        "jax-batch-norm",
    ]
    assert ids("jax", "float64", known) == ids("jax-compiled", "float64", known) == want
    assert ids("jax", "float64", {"keras": "3.12.0"}) == want
    for other in ("3.11.3", "3.15.2", "3.16.0", "3.15.0rc1", "4.0"):
        assert ids("jax", "float64", {"keras": other}) == []
    assert ids("jax", "float64", {}) == []
    assert ids("jax", "float32", known) == ids("tensorflow", "float64", known) == ids("torch", "float64", known) == []


def test_by_default_the_versions_are_those_installed():
    assert gaps_for("jax", "float64") == gaps_for("jax", "float64", installed())


def test_units_takes_the_largest_of_an_operation():
    rows = gaps_for("jax", "float64", {"keras": "3.15.1"})
    assert units(rows) == dict.fromkeys(("layer_norm", "tanh", "cos", "sin", "rms_norm", "standardised"), 2.0**-24)
    assert units([*rows, replace(rows[0], id="again", unit=0.5)])["layer_norm"] == 0.5
    assert units([]) == {}


def test_a_stale_row_and_one_that_is_exceeded_are_errors(tmp_path):
    def script(name, deviation, code):
        path = tmp_path / f"{name}.py"
        path.write_text(f'import sys\nprint(\'{{"id": "{name}", "deviation": {deviation}}}\')\nsys.exit({code})\n')
        return path

    row = gaps()[0]
    rows = [replace(row, id=name) for name in ("fine", "mended", "grown")]
    scripts = [script("fine", 1e-7, 0), script("mended", 1e-16, 1), script("grown", 1e-3, 0), script("odd", "null", 1)]
    mended, grown, odd = problems(run(scripts), rows)
    assert mended.startswith("mended no longer reproduces: mend versions = '>=3.12,<=3.15.1' in known_gaps.toml")
    assert grown.startswith("grown deviates by 0.001, more than bound = ")
    assert odd.startswith("odd no longer reproduces: mend docs/findings.md")


def test_a_reproduction_that_breaks_is_an_error(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("1 / 0\n")
    (problem,) = problems(run([path]), [])
    assert "ZeroDivisionError" in problem


def test_gaps_import_no_framework():
    code = "import sys; from attn_ref.check.gaps import gaps_for; gaps_for('jax', 'float64'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "attn_ref.check.gaps" in done.stdout.split()
    assert not {"torch", "keras", "tensorflow", "jax"} & set(done.stdout.split())
