"""Definitions must let an imaginary part through, or derivatives are silently wrong: names that do not are banned.

What is read is the text. ``test_oracles.py`` holds every op to differences; this finds what blocks do beside the ops.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import attn_ref

ROOT = Path(attn_ref.__file__).parent
FILES = {kind: sorted(p for k in kinds for p in (ROOT / k).glob("*.py") if p.name != "primitive.py")
         for kind, kinds in {"block": ("blocks", "models"), "op": ("ops",)}.items()}  # fmt: skip
DROPS, ORDERS, CONJUGATES = "drops the imaginary part", "orders complex numbers by the real part first", "conjugates"
#: NumPy's function or an array's method -> (why not, what instead)
BANNED = {
    **dict.fromkeys(("var", "std"), ("squares |x − mean|", "c = x - ops.mean(x, keepdims=True); ops.mean(c * c)")),
    **dict.fromkeys(("abs", "absolute", "fabs", "hypot", "norm"), (DROPS, "np.where(x.real < 0, -x, x) in an op")),
    **dict.fromkeys(
        ("maximum", "minimum", "fmax", "fmin", "max", "min", "amax", "amin", "clip", "sort", "argsort", "argmax",
         "argmin", "median", "partition", "searchsorted", "sign"),
        (ORDERS, "np.where with a condition on x.real, in an op"),
    ),
    **dict.fromkeys(
        ("floor", "ceil", "round", "rint", "trunc", "real", "float64", "float32", "nan_to_num"), (DROPS, "an op")
    ),
    **dict.fromkeys(("conj", "conjugate", "vdot", "angle", "cbrt", "logaddexp", "heaviside"), (CONJUGATES, "an op")),
}  # fmt: skip
#: what a block may take from NumPy; all else that computes is an op, which has a rounding
STRUCTURE = {
    "array", "ndarray", "arange", "zeros", "ones", "zeros_like", "ones_like", "full", "where", "concatenate", "stack",
    "pad", "roll", "atleast_2d", "broadcast_to", "expand_dims", "newaxis",
}  # fmt: skip


def problems(text: str, kind: str, path: str = "x.py") -> list[str]:
    """What is not complex-safe in the source of a "block" or an "op": path:line, the name, why, and what instead."""
    found = Finder(kind, path)
    found.visit(ast.parse(text))
    return found.lines


class Finder(ast.NodeVisitor):
    """Collects lines; knows which parameters of the function it is in are arrays of numbers."""

    def __init__(self, kind: str, path: str) -> None:
        self.kind, self.path, self.lines = kind, path, list[str]()
        self.arrays: set[str] = set()
        self.numbers: set[str] = set()
        self.whole: set[str] = set()  # inputs that are bools or indices

    def say(self, node: ast.AST, name: str, why: str, instead: str) -> None:
        self.lines.append(f"{self.path}:{node.lineno}: {name} {why}; use {instead}")  # type: ignore[attr-defined]

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.value, ast.Dict) and [t.id for t in node.targets if isinstance(t, ast.Name)] == ["inputs"]:
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(value, ast.Call) and isinstance(key, ast.Constant):
                    kinds = [
                        k.value.value for k in value.keywords if k.arg == "kind" and isinstance(k.value, ast.Constant)
                    ]
                    self.whole |= {str(key.value)} if set(kinds) & {"bool", "index"} else set()
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        before = self.arrays, self.numbers
        given = [*node.args.args, *node.args.kwonlyargs]
        notes = {
            a.arg: ast.unparse(a.annotation) if a.annotation else "Any" for a in given if a.arg not in ("self", "w")
        }
        self.arrays = {name for name, note in notes.items() if note == "Any"} - self.whole
        self.numbers = {name for name, note in notes.items() if set(note.split()) <= {"int", "float", "bool", "|"}}
        self.generic_visit(node)
        self.arrays, self.numbers = before

    def real(self, node: ast.AST) -> bool:
        """Is it certainly real: a number, a hyper-parameter, a size, ``.real`` of something, or made of such?"""
        match node:
            case ast.Constant() | ast.Compare():
                return True
            case ast.Attribute(value=ast.Name(id="self" | "math")) | ast.Attribute(attr="real" | "shape" | "size"):
                return True
            case ast.Name(id=name):
                return name in self.numbers
            case ast.UnaryOp(operand=inner) | ast.Subscript(value=inner) | ast.Starred(value=inner):
                return self.real(inner)
            case ast.BinOp(left=left, right=right):
                return self.real(left) and self.real(right)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="np"), attr="arange")):
                return True
        return False

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Attribute(value=ast.Name(id="math"), attr=name):
                if not all(map(self.real, node.args)):
                    self.say(node, f"math.{name}", "takes no complex numbers", "an op")
            case (
                ast.Attribute(value=ast.Name(id="np"), attr=name)
                | ast.Attribute(value=ast.Attribute(value=ast.Name(id="np")), attr=name)
            ):
                if name in BANNED and not (node.args and self.real(node.args[0])):
                    self.say(node, f"np.{name}", *BANNED[name])
                elif self.kind == "block" and name not in STRUCTURE:
                    self.say(
                        node, f"np.{name}", "computes without a rounding of its own", f"ops.{name}, or add it there"
                    )
            case ast.Attribute(value=inner, attr="astype") if node.args:
                if ast.unparse(node.args[0]) in ("float", "np.float64", "np.float32", "'float64'", "'float32'"):
                    self.say(node, ".astype(float)", DROPS, "x.dtype, or x.real.dtype for what is real")
            case ast.Attribute(value=inner, attr=name) if name in BANNED and not self.real(inner):
                self.say(node, f".{name}()", *BANNED[name])
            case ast.Name(id="abs") if not all(map(self.real, node.args)):
                self.say(node, "abs()", *BANNED["abs"])
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        if any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops):
            for side in (node.left, *node.comparators):
                inner = side.value if isinstance(side, ast.Subscript) else side
                if isinstance(inner, ast.Name) and inner.id in self.arrays:
                    self.say(node, f"a comparison of {inner.id}", ORDERS, f"{inner.id}.real")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if self.kind == "block" and isinstance(node.op, ast.MatMult):
            self.say(node, "@", "computes without a rounding of its own", "ops.matmul")
        self.generic_visit(node)


@pytest.mark.parametrize(
    ("kind", "path"), [(kind, p) for kind, paths in FILES.items() for p in paths], ids=lambda v: getattr(v, "stem", v)
)
def test_definitions_let_imaginary_parts_through(kind: str, path: Path) -> None:
    found = problems(path.read_text("utf-8"), kind, str(path.relative_to(ROOT.parent)))
    assert not found, "\n".join(found)


BAD = {
    "np.var(x)": "np.var squares |x − mean|; use c = x",
    "x.std(axis=-1)": ".std() squares",
    "abs(x)": "abs() drops the imaginary part",
    "np.abs(x)": "np.abs drops",
    "np.maximum(x, 0)": "np.maximum orders complex numbers by the real part first; use np.where with",
    "(x - 1).max()": ".max() orders",
    "np.linalg.norm(x)": "np.norm drops",
    "np.sign(x) * x": "np.sign orders",
    "math.exp(x)": "math.exp takes no complex numbers",
    "x.astype(np.float64)": ".astype(float) drops",
    "np.where(x > 0, x, 0)": "a comparison of x orders",
    "np.where(0 <= x[0], x, 0)": "a comparison of x orders",
    "x.conj()": ".conj() conjugates",
}
GOOD = (
    "np.max(x.real, axis=-1)", "x.real.max()", "np.where(x.real > 0, x, 0)", "math.sqrt(2.0 / math.pi)", "abs(n) * x",
    "x.astype(x.dtype)", "math.sqrt(n)", "np.arange(n) < x.shape[0]", "x[:n]", "n > 0",
)  # fmt: skip


def op_of(expression: str) -> str:
    return f"def f(x: Any, n: int) -> Any:\n    return {expression}\n"


@pytest.mark.parametrize("expression", BAD)
def test_the_lint_names_the_place_the_reason_and_the_way_out(expression: str) -> None:
    (line,) = problems(op_of(expression), "op")
    assert line.startswith(f"x.py:2: {BAD[expression]}")
    assert "; use " in line


@pytest.mark.parametrize("expression", GOOD)
def test_the_lint_leaves_alone_what_is_safe(expression: str) -> None:
    assert problems(op_of(expression), "op") == []


def test_a_block_takes_only_structure_from_numpy() -> None:
    assert problems(op_of("np.exp(x)"), "op") == []
    (line,) = problems(op_of("np.exp(x)"), "block")
    assert line == "x.py:2: np.exp computes without a rounding of its own; use ops.exp, or add it there"
    (line,) = problems(op_of("x @ x"), "block")
    assert line == "x.py:2: @ computes without a rounding of its own; use ops.matmul"
    assert problems(op_of("np.where(np.arange(n) < 2, x, 0)"), "block") == []


def test_indices_and_masks_may_be_compared() -> None:
    text = 'class B:\n    inputs = {"lengths": Input("b", kind="index"), "x": Input("b")}\n'
    body = "    def forward(self, w: Any, x: Any, lengths: Any) -> Any:\n        return np.arange(3) < %s[:, None]\n"
    assert problems(text + body % "lengths", "block") == []
    assert len(problems(text + body % "x", "block")) == 1
