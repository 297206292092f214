"""The text of a definition, which is reStructuredText, as plain text that fits a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

from attn_ref.commands import formula

#: paragraphs are no wider than this: longer lines are hard to read
WIDEST = 120
#: beside a name there should be room for so many characters of text, or it stands below the name
ROOM = 24
MARKUP = re.compile(
    r"``(?P<code>.+?)``"
    r"|:math:`(?P<math>[^`]+)`"
    r"|(?::[\w.:-]+:)?`(?P<linked>[^`<]+?)\s*<(?P<target>[^`>]+)>`_{0,2}"
    r"|(?::[\w.:-]+:)?`(?P<role>[^`]+)`_{0,2}"
    r"|(?<![\w*])\*{1,2}(?=[^\s*])(?P<strong>[^*\n]*[^\s*])\*{1,2}(?![\w*])",
    re.DOTALL,
)


def plain(text: str) -> str:
    """Without inline markup.

    >>> plain("``x`` is *not* `a link <https://example.org>`_, nor :math:`x_{i+1}`")
    'x is not a link (https://example.org), nor x_(i+1)'
    """

    def said(found: re.Match[str]) -> str:
        if found["math"]:
            return formula.text(found["math"])
        if found["linked"]:
            return f"{found['linked']} ({found['target']})"
        return found["code"] or found["role"] or found["strong"]

    return MARKUP.sub(said, text)


def latex(doc: str) -> str:
    """The LaTeX of all ``.. math::`` in a text, without the directive."""
    return r" \qquad ".join(directive(part) for part in doc.split("\n\n") if part.startswith(".. math::"))


def directive(part: str) -> str:
    """What stands behind ``.. math::``."""
    return part.removeprefix(".. math::").strip()


def paragraphs(doc: str, width: int) -> Iterator[str]:
    """The paragraphs of a text for a terminal: wrapped, equations as lines, examples as they are."""
    width = min(width, WIDEST)
    for part in re.split(r"\n\s*\n", doc.strip()):
        if part.startswith(".. math::"):
            lines = formula.equations(directive(part))
            yield "\n".join(wrapped(line, width, first="    ", then="        ") for line in lines)
        elif part.startswith(">>>") or part[0] == " ":
            yield part.rstrip()
        elif re.match(r"[-*] ", part):
            items = re.split(r"\n(?=[-*] )", part)
            yield "\n".join(wrapped(plain(item), width, then="  ") for item in items)
        else:
            yield wrapped(plain(part), width)


def rows(pairs: Iterable[tuple[str, ...]], width: int, indent: str = "  ") -> Iterator[str]:
    """The lines of a table: columns are aligned, and the last is wrapped, or stands below where it has no room."""
    pairs = list(pairs)
    sizes = [max(len(row[i]) for row in pairs) for i in range(len(pairs[0]) - 1)] if pairs else []
    left = len(indent) + sum(size + 2 for size in sizes)
    longest = max((len(word) for row in pairs for word in row[-1].split()), default=0)
    beside = left + max(longest, min(ROOM, max((len(row[-1]) for row in pairs), default=0))) <= width
    for *first, last in pairs:
        if beside:
            start = indent + "".join(f"{cell:{size}}  " for cell, size in zip(first, sizes, strict=True))
            yield from wrapped(last, min(width, left + WIDEST), first=start, then=" " * left).split("\n")
        else:
            yield from wrapped("  ".join(first), width, first=indent, then=indent * 2).split("\n")
            yield from wrapped(last, width, first=indent * 3, then=indent * 3).split("\n")


def wrapped(text: str, width: int, *, first: str = "", then: str = "") -> str:
    """One paragraph; no word is broken, however long it is. Two spaces in a row stay two."""
    text = re.sub(r"\s*\n\s*", " ", text.strip())
    return "\n".join(
        textwrap.wrap(
            text, max(width, 20), initial_indent=first, subsequent_indent=then, break_long_words=False,
            break_on_hyphens=False,
        )
    ) or first.rstrip()  # fmt: skip
