"""LaTeX as a line of text: ``\\frac{1}{N} \\sum_i x_{i+1}`` becomes ``1/N Σ_i x_(i+1)``.

It knows what the definitions use. Libraries that turn LaTeX into text drop the braces and with them what belongs
together: x_{i+1} becomes x_i+1, and 1 / (H W) becomes 1/H W.
"""

from __future__ import annotations

import re
import unicodedata

#: commands that stand for a sign; Greek letters have their names, and all others are words: \\max, \\cos
SIGNS = {
    "sum": "Σ", "prod": "Π", "cdot": "·", "times": "×", "odot": "⊙", "mapsto": "↦", "to": "→", "in": "∈", "top": "ᵀ",
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "approx": "≈", "infty": "∞", "pm": "±", "lambda": "λ",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "dots": "…", "ldots": "…", "cdots": "⋯", "partial": "∂",
}  # fmt: skip
#: commands that only set space, and what is left of it
SPACES = {",": " ", ";": " ", ":": " ", " ": " ", "!": "", "quad": "\u2003"}
#: commands that change how what follows looks
LOOKS = r"\\(?:[bB]igg?[lrm]?|left|right|(?:text|display|script)style|limits)(?![A-Za-z])"
#: commands whose argument is set upright
UPRIGHT = ("operatorname", "text", "mathrm", "mathbf", "mathit", "textit", "textbf")
DIGITS = {"_": str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"), "^": str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")}
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
#: after a fraction these end the product that it is a factor of
ENDS = ("", ",", ";", ")", "]", "}", "=", "+", "-", "&", r"\qquad", r"\quad", r"\\", r"\end")


def equations(latex: str) -> list[str]:
    r"""The equations in ``latex``, which ``\qquad`` separates, a line of text each."""
    return [line for part in latex.split(r"\qquad") if (line := text(part).rstrip(","))]


def text(latex: str) -> str:
    """One formula as a line of text."""
    line = re.sub(r"[ \n\t]+", " ", Reader(re.sub(LOOKS, "", latex)).read())
    line = re.sub(r" *\u2003[ \u2003]*", "  ", line)
    line = re.sub(r"(?<=[(\[⌊⌈]) +| +(?=[)\]⌋⌉,;])", "", line)
    return line.strip()


class Reader:
    """Reads tokens from left to right; a group is read by a call of its own."""

    def __init__(self, latex: str) -> None:
        self.tokens, self.at = TOKEN.findall(latex), 0

    def peek(self) -> str:
        """The next token that is no space, '' at the end."""
        return next((token for token in self.tokens[self.at :] if not token.isspace()), "")

    def take(self) -> str:
        """The next token, '' at the end."""
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ""

    def read(self, end: str = "") -> str:
        """All up to the token ``end``, which is taken too."""
        out = ""
        while self.at < len(self.tokens) and (token := self.take()) != end:
            out += self.one(token, out)
        return out

    def argument(self) -> str:
        """A group in braces, or a single token."""
        while (token := self.take()).isspace():
            pass
        return self.read("}") if token == "{" else self.one(token, "")

    def raw(self) -> str:
        """The text of a group in braces as it stands."""
        start = self.at
        while self.take() not in ("}", ""):
            pass
        return "".join(self.tokens[start + 1 : self.at - 1])

    def one(self, token: str, before: str) -> str:
        """What ``token``, and the arguments it takes, is as text; ``before``: what the line has already."""
        if token in ("_", "^"):
            return script(token, self.argument())
        if token == "{":
            return self.read("}")
        if token == "}":
            return ""
        if token == "-":
            return "−"
        if not token.startswith("\\"):
            return token
        name = token[1:]
        if name in ("frac", "tfrac", "dfrac"):
            return self.fraction()
        if name == "sqrt":
            return "√" + bracketed(self.argument())
        if name == "begin" and self.raw() == "cases":
            return self.cases()
        if name in ("begin", "end"):
            return "" if name == "begin" else self.raw() and ""
        if name in SPACES:
            return SPACES[name]
        if name == "\\":
            return "; "
        if name in UPRIGHT:
            said = self.raw() if self.peek() == "{" else self.argument()
            return self.word(said, before) if name == "operatorname" else said
        return sign(name) or self.word(name, before)

    def word(self, name: str, before: str) -> str:
        """A name set upright, apart from a letter before and behind it."""
        following = self.tokens[self.at] if self.at < len(self.tokens) else ""
        apart = following[:1].isalnum() or (following[:1] == "\\" and following[1:2].isalpha())
        return " " * before[-1:].isalnum() + name + " " * apart

    def fraction(self) -> str:
        """a/b, in brackets where a factor follows."""
        above, below = self.argument(), self.argument()
        whole = f"{bracketed(above)}/{bracketed(below)}"
        factor = not any(self.peek() == end for end in ENDS) and self.peek() not in (r"\sum", r"\prod")
        return f"({whole})" if factor else whole

    def cases(self) -> str:
        """``'a if this; b if that'``."""
        start, depth = self.at, 0
        while depth >= 0 and self.at < len(self.tokens):
            token = self.take()
            depth += {r"\begin": 1, r"\end": -1}.get(token, 0)
        body = "".join(self.tokens[start : self.at - 1])
        self.raw()
        rows = [[text(cell) for cell in row.split("&")] for row in re.split(r"\\\\", body)]
        return "; ".join(" if ".join(row) for row in rows)


def sign(name: str) -> str:
    """The sign that a command stands for; '' if it is a word."""
    if name in SIGNS:
        return SIGNS[name]
    if len(name) < 2:  # an escaped character is itself; braces would read as LaTeX
        return {"{": "(", "}": ")"}.get(name, name)
    case = "CAPITAL" if name[0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {name.removeprefix('var').upper()}")
    except KeyError:
        return ""


def script(kind: str, said: str) -> str:
    """An index or an exponent: digits are raised or lowered, a word stands behind _ or ^, all else in brackets."""
    said = said.strip()
    if said.isascii() and said.isdigit():
        return said.translate(DIGITS[kind])
    return said if said == "ᵀ" else kind + bracketed(said, r"\w+")


def bracketed(said: str, whole: str = r"[^\s+−]*(?:\([^()]*\)[^\s+−]*)*") -> str:
    """``said`` in brackets, unless it is one thing: of the pattern ``whole``, or in brackets already."""
    said = text_of(said)
    return said if re.fullmatch(whole, said) or enclosed(said) else f"({said})"


def enclosed(said: str) -> bool:
    """Does the bracket that opens at the beginning close at the end?"""
    depth = 0
    for i, character in enumerate(said):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return i == len(said) - 1 and said[0] == "("
    return False


def text_of(said: str) -> str:
    """A part of a line without the spaces that set it apart."""
    return re.sub(r"\s+", " ", said.replace("\u2003", " ")).strip()
