"""Text from a stranger's file, made fit for a terminal."""

from __future__ import annotations

#: characters a line, and lines a message: a tensor's name may have megabytes, and a file a million tensors
WIDTH, LINES = 1000, 29


def clean(text: str) -> str:
    """``text`` with everything that a terminal would obey escaped, long lines cut and further lines counted.

    >>> clean("a name with \\x1b[31m in it")
    'a name with \\\\x1b[31m in it'
    """
    lines = text.split("\n")
    shown = [printable(line) for line in lines[:LINES]]
    if len(lines) > LINES:
        shown.append(f"  … and {len(lines) - LINES} more lines")
    return "\n".join(shown)


def printable(line: str, width: int = WIDTH) -> str:
    """One line, escaped and cut to ``width`` characters."""
    cut = f"… ({len(line)} characters)" if len(line) > width else ""
    line = line[:width]
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)
    return line + cut
