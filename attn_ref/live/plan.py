"""A plan of a transfer: which parameter of the target is made of which of the source, and how that is known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attn_ref.live.rule import Rule
from attn_ref.places import write_text

#: the form of the file
FORM = 1


@dataclass
class Entry:
    """One parameter of the target. Without a rule it keeps its own numbers."""

    target: str
    shape: tuple[int, ...]
    rule: Rule | None
    #: how it is known, in words; empty where it is not
    proven: str = ""

    def data(self) -> dict[str, Any]:
        """As plain data."""
        told: dict[str, Any] = {"target": self.target, "shape": list(self.shape)}
        told |= {"keep": True} if self.rule is None else self.rule.data()
        return told | {"proven": self.proven}

    def cells(self) -> tuple[str, str, str, str, str]:
        """As a row: target, shape, source, rule, proven."""
        sources = " + ".join(self.rule.sources) if self.rule else "–"
        said = str(self.rule) if self.rule else "keeps its own numbers"
        return self.target, "×".join(map(str, self.shape)) or "one", sources or "–", said, self.proven or "not proven"


@dataclass
class Plan:
    """All of them, in the order of use."""

    entries: list[Entry] = field(default_factory=list)
    #: parameters of the source of which the target takes nothing
    unused: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, target: str) -> Entry:
        return next(entry for entry in self.entries if entry.target == target)

    @property
    def open(self) -> list[str]:
        """Parameters of the target of which nothing says what they are made of."""
        return [entry.target for entry in self.entries if entry.rule is None and not entry.proven]

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {"form": FORM, "plan": [entry.data() for entry in self.entries], "unused": self.unused}

    def save(self, path: str | Path) -> None:
        """Write it as JSON, a line for each parameter; whole or not at all."""
        told = self.data()
        lines = ",\n".join(f"  {json.dumps(one, ensure_ascii=False)}" for one in told.pop("plan"))
        rest = json.dumps(told, ensure_ascii=False)
        write_text(path, f'{rest[:-1]}, "plan": [\n{lines}\n]}}\n')

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Of a file. ValueError for one that holds no plan."""
        try:
            told = json.loads(Path(path).read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} cannot be read as a plan: {error}") from error
        return cls.read(told)

    @classmethod
    def read(cls, told: Any) -> Plan:
        """Of plain data: what ``data`` gives, or target -> source by name. ValueError for anything else."""
        if isinstance(told, Plan):
            return told
        rows = told.get("plan", told) if isinstance(told, Mapping) else told
        if isinstance(rows, Mapping):
            rows = [{"target": target, **row(source)} for target, source in rows.items()]
        if not isinstance(rows, list) or not all(isinstance(one, Mapping) and "target" in one for one in rows):
            raise ValueError('a plan is {"plan": [{"target": …, "sources": […]}, …]}, or target: source by name')
        entries = []
        for one in rows:
            shape = tuple(one.get("shape", ()))
            rule = None if one.get("keep") else Rule.read({**one, "shape": shape}, shape)
            entries.append(Entry(str(one["target"]), shape, rule, str(one.get("proven", ""))))
        return cls(entries)

    def __str__(self) -> str:
        rows = [("target", "shape", "source", "how", "known by"), *(entry.cells() for entry in self.entries)]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = ["  ".join(x.ljust(n) for x, n in zip(row, widths, strict=True)).rstrip() for row in rows]
        if self.unused:
            lines.append(f"of the source is left out: {', '.join(self.unused)}")
        return "\n".join(lines)


def row(source: Any) -> dict[str, Any]:
    """A source by name, or None, as plain data."""
    if source is None:
        return {"keep": True}
    if isinstance(source, Mapping):
        return dict(source)
    return {"sources": [source] if isinstance(source, str) else list(source)}
