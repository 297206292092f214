"""A certificate of a port: what was moved and proven, so that whoever gets the files can have it all done again.

It is JSON: hashes of every file that was read or written and of every tensor in them, the request, the plan, the
versions, and the proof, tap by tap. Paths are relative to the certificate, so a folder can be moved as a whole.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.places import regular, write_text
from attn_ref.port.checkpoint import Checkpoint, CheckpointError
from attn_ref.port.files import read
from attn_ref.port.plan import Plan
from attn_ref.port.proof import Proof
from attn_ref.port.text import load_json

#: of the form of certificates; another is refused
FORM = 1
#: what every end depends on, besides what its map needs
ALWAYS = ("numpy", "scipy", "safetensors", "h5py")
#: bytes that are hashed at a time
PIECE = 1 << 22
#: what of a plan has to be the same when it is made again
PLAN = ("from", "to", "block", "fields", "moves", "unused", "prefix")


def write_certificate(
    path: Path, plan: Plan, proof: Proof, source: Checkpoint, request: Mapping[str, Any], example: Path | None
) -> None:
    """Write the certificate of what ``plan`` did, once the target's files have their names."""
    import json

    with read(plan.target) as target:
        ends = {"source": describe(source, path), "target": describe(target, path)}
    told = {
        "certificate": FORM,
        **ends,
        "request": {**request, "source": relative(plan.source, path), "target": relative(plan.target, path)},
        "example": {relative(example, path): digest(example)} if example else {},
        "plan": plan.to_json(),
        "fields": fields(plan, proof),
        "versions": versions(plan),
        "proof": proof.to_json(),
    }
    write_text(path, json.dumps(told, indent=1, ensure_ascii=False, default=str) + "\n")


def describe(held: Checkpoint, beside: Path) -> dict[str, Any]:
    """The hashes of a checkpoint's files, and of its tensors, whatever the format they lie in."""
    files = {relative(file, beside): digest(file) for file in held.files}
    return {"files": files, "tensors": {name: fingerprint(held[name]) for name in held}}


def fields(plan: Plan, proof: Proof) -> dict[str, dict[str, str]]:
    """The block's fields by what is known of them -> who says so."""
    rest = {name: by for name, by in plan.told.items() if name not in proof.believed}
    return {"believed": dict(proof.believed), "proven": rest}


def versions(plan: Plan) -> dict[str, str]:
    """What both ends were run by: distribution -> version."""
    names = dict.fromkeys(("attn_ref", *ALWAYS, *plan.from_map.needs, *plan.to_map.needs))
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # it came as a module without metadata
            found[name] = "unknown"
    return found


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    regular(path)
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            sha.update(piece)
    return sha.hexdigest()


def fingerprint(array: np.ndarray) -> str:
    """The SHA-256 of a tensor's dtype, shape and numbers."""
    sha = hashlib.sha256(f"{array.dtype.name} {array.shape} ".encode())
    sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def relative(path: Path, beside: Path) -> str:
    """The path as seen from the folder of the certificate."""
    return os.path.relpath(path.absolute(), beside.absolute().parent)


def opened(path: Path) -> dict[str, Any]:
    """A certificate as data. CheckpointError unless it has all that one has."""
    regular(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; --check takes what --certificate wrote")
    told = load_json(path)
    if told.get("certificate") != FORM:
        raise CheckpointError(f"{path} is no certificate of a port of form {FORM}")
    shapes: dict[str, tuple[str, ...]] = {
        "source": ("files", "tensors"), "target": ("files", "tensors"), "request": ("set",), "plan": PLAN[:4],
        "proof": ("ends",), "versions": (), "example": (),
    }  # fmt: skip
    for name, inner in shapes.items():
        part = told.get(name)
        if not isinstance(part, dict) or any(key not in part for key in inner):
            raise CheckpointError(f"{path}: its {name!r} is not what a certificate has there")
    for end in ("source", "target"):
        if not all(strings(told[end][kind]) for kind in ("files", "tensors")):
            raise CheckpointError(f"{path}: the hashes of its {end} are no texts by name")
    if not strings(told["versions"]) or not strings(told["example"]):
        raise CheckpointError(f"{path}: its versions or its example are no texts by name")
    return told


def strings(value: Any) -> bool:
    """Is it a mapping of texts?"""
    return isinstance(value, dict) and all(isinstance(part, str) for part in value.values())


def changed_files(told: Mapping[str, Any], path: Path) -> list[str]:
    """The files that are gone or not what they were, a line each, with the tensors that changed."""
    lines = []
    for end in ("source", "target"):
        here = [line for name, sha in told[end]["files"].items() if (line := changed(path.parent / name, sha))]
        lines += [f"{end}: {line}" for line in here]
        if here and not any("is gone" in line for line in here):
            lines += [f"{end}: {line}" for line in changed_tensors(told, end, path)]
    return lines + [
        f"example: {line}" for name, sha in told["example"].items() if (line := changed(path.parent / name, sha))
    ]


def changed(file: Path, sha: str) -> str:
    """What became of a file; empty if it is as it was."""
    if not file.exists():
        return f"{file} is gone"
    return "" if digest(file) == sha else f"{file} is not what it was: its SHA-256 is another"


def changed_tensors(told: Mapping[str, Any], end: str, path: Path, most: int = 6) -> Iterable[str]:
    """The tensors that a changed file holds otherwise, as far as it can be read."""
    known = told[end]["tensors"]
    try:
        with read(path.parent / str(told["request"][end])) as held:
            other = [name for name in known if name not in held or fingerprint(held[name]) != known[name]]
            other += [name for name in held if name not in known]
    except CheckpointError as error:
        return [f"it cannot be read any more: {error}"]
    if not other:
        return ["every tensor in it is the same; what lies around them changed"]
    rest = f" and {len(other) - most} more" if len(other) > most else ""
    return [f"changed there: {', '.join(other[:most])}{rest}"]
