"""A certificate is checked: the files are hashed, the plan is made again, and both ends are run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attn_ref.names import suggesting
from attn_ref.port.certificate import PLAN, changed_files, opened, versions
from attn_ref.port.checkpoint import CheckpointError
from attn_ref.port.example import examine
from attn_ref.port.files import read
from attn_ref.port.plan import Plan, make_plan
from attn_ref.port.proof import Proof
from attn_ref.port.verify import prove, require
from attn_ref.wording import printable


@dataclass
class Recheck:
    """What came of it. ``lines`` says why it does not hold, ``notes`` what else there is to say, a line each."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plan: Plan | None = None
    proof: Proof | None = None

    @property
    def ok(self) -> bool:
        """Does the certificate hold?"""
        return not self.lines and self.proof is not None and self.proof.ok

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        proof = self.proof.to_json() if self.proof else None
        return {"ok": self.ok, "lines": self.lines, "notes": self.notes, "proof": proof}


@suggesting
def recheck(certificate: str | Path, *, tick: Callable[[str], None] = lambda what: None) -> Recheck:
    """Do again all that a certificate says, and compare.

    Files are held to their hashes first, and nothing is run where one differs. Another version of a library is noted
    and is no failure: what it computes is held to the reference as before. CheckpointError for what is no certificate.
    """
    path = Path(certificate)
    told, found = opened(path), Recheck()
    with files_of(path):
        found.lines += changed_files(told, path)
    tick("the files have been hashed")
    if found.lines:
        return found
    request = told["request"]
    try:
        with files_of(path):
            opened_source = read(path.parent / str(request["source"]))
        with opened_source as source:
            with files_of(path):
                plan = make_plan(
                    source, path.parent / str(request["target"]), from_=request.get("from"), to=request.get("to"),
                    settings=dict(request["set"]), prefix=request.get("prefix"), drop=tuple(request.get("drop") or ()),
                )  # fmt: skip
            found.plan = plan
            found.lines += differences(told["plan"], json.loads(json.dumps(plan.to_json(), default=str)))
            found.notes += newer(told["versions"], versions(plan))
            require(plan.from_map, plan.to_map)
            found.proof = prove(plan, source, plan.target, tick=tick)
            for name in told["example"]:
                end, undecided = examine(plan, source, path.parent / name)
                found.proof.ends.append(end)
                found.proof.believed = undecided
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: what it says of its request cannot be asked again: {error}") from error
    return found


@contextmanager
def files_of(certificate: Path) -> Iterator[None]:
    """Turn what the system says of a file that a certificate names into one error: a name that is too long, say."""
    try:
        yield
    except OSError as error:
        name = printable(str(error.filename), 200)
        raise CheckpointError(
            f"{certificate}: a file that it names cannot be read: {error.strerror}: {name}"
        ) from error


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of the plan is not as it was, a line each."""
    lines = []
    for key in PLAN:
        if before.get(key) == now[key]:
            continue
        old, new = before.get(key), now[key]
        if isinstance(old, dict) and isinstance(new, dict):
            names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            lines.append(f"the plan's {key} differ at {', '.join(map(str, names[:6]))}")
        else:
            lines.append(f"the plan's {key} are not as they were")
    return lines


def newer(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The libraries that are of another version now, a line each."""
    return [f"{name} was {old}, and is {now[name]}" for name, old in before.items() if name in now and now[name] != old]
