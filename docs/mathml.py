"""Formulas as MathML, which browsers draw by themselves. A command that is not understood fails the build."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def mathml(formula: str, display: str) -> str:
    """The MathML of a formula in LaTeX."""
    found = convert(formula, display=display)
    if "\\" in found:
        raise ValueError(f"no MathML for a command of: {formula}")
    return found


def inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    # \qquad separates equations, which stand one below the other; so that none is wider than the page
    for part in node.astext().split(r"\qquad"):
        writer.body.append(f'<div class="math">{mathml(part, "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
