"""Moving weights: read → map → canonical → map backwards → write, and the proof that it was right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.names import suggesting
from attn_ref.places import arrive, beside, distinct, write_text, writing
from attn_ref.port.certificate import write_certificate
from attn_ref.port.checkpoint import Checkpoint, CheckpointError
from attn_ref.port.example import examine
from attn_ref.port.files import read, write
from attn_ref.port.formats import format_of
from attn_ref.port.heads import Head
from attn_ref.port.plan import Plan, make_plan
from attn_ref.port.proof import Proof
from attn_ref.port.sharded import Shards, arrive_all, folder_beside, parse_size, places, write_shards
from attn_ref.port.verify import prove, require

#: ``on_progress(done, total, what)``, in bytes
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Report:
    """What was moved, and what the proof says, if one was asked for. A file whose proof failed is not written."""

    plan: Plan
    proof: Proof | None
    #: bytes of the tensors that were moved
    nbytes: int
    #: the file, or the shards and, last, their index
    files: tuple[Path, ...] = ()
    #: the files of heads that were carried beside it
    heads: tuple[Path, ...] = ()

    @property
    def ok(self) -> bool:
        return self.proof is None or self.proof.ok

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "ok": self.ok,
            "written": self.ok,
            "tensors": len(self.plan.moves),
            "nbytes": self.nbytes,
            "files": [str(path) for path in self.files],
            "heads": [str(path) for path in self.heads],
            "plan": self.plan.to_json(),
            "proof": self.proof.to_json() if self.proof else None,
        }


@suggesting
def plan(
    source: str | Path,
    target: str | Path,
    *,
    from_: str | None = None,
    to: str | None = None,
    set: Mapping[str, Any] | None = None,
    prefix: str | None = None,
    drop: Sequence[str] = (),
) -> Plan:
    """Where every tensor of ``source`` would go, and as which block; reads names and shapes only. See ``convert``."""
    with read(source) as checkpoint:
        return make_plan(
            checkpoint, Path(target), from_=from_, to=to, settings=set or {}, prefix=prefix, drop=drop
        )  # fmt: skip


@suggesting
def load(
    source: str | Path,
    *,
    from_: str | None = None,
    set: Mapping[str, Any] | None = None,
    prefix: str | None = None,
    drop: Sequence[str] = (),
) -> tuple[Block, dict[str, np.ndarray]]:
    """The block that ``source`` holds and its canonical weights, in the dtype of the file. See ``convert``.

    ``block, weights = ar.port.load(folder)``, then ``block(weights, token_ids=…)`` runs the model in NumPy.
    """
    with read(source) as checkpoint:
        target = Path("canonical.npz")
        made = make_plan(
            checkpoint, target, from_=from_, to="canonical", settings=set or {}, prefix=prefix, drop=drop
        )  # fmt: skip
        return made.block, {move.canonical: move.take(checkpoint) for move in made.moves}


@suggesting
def convert(
    source: str | Path,
    target: str | Path,
    *,
    from_: str | None = None,
    to: str | None = None,
    set: Mapping[str, Any] | None = None,
    prefix: str | None = None,
    drop: Sequence[str] = (),
    shard_size: int | str | None = None,
    with_head: bool = False,
    verify: bool = False,
    example: str | Path | None = None,
    plan: str | Path | None = None,
    certificate: str | Path | None = None,
    reserved: Iterable[str | Path] = (),
    on_progress: Progress = lambda done, total, what: None,
) -> Report:
    """Write the weights in ``source`` to ``target``, under the names and layouts of another map.

    ``from_`` and ``to`` name maps (``attn-ref maps``) and are needed where more than one fits; ``set`` gives fields of
    the block that the file does not tell, or others (``{"pooling": "mean"}``). The model is what lies below ``prefix``,
    or below the wrappers that are known (``attn_ref.port.wrappers``); ``drop`` are patterns of names that are left out,
    ``*`` for anything. ``with_head`` writes a classifier's head, which is left out, beside ``target``
    (``attn_ref.port.heads``). With ``verify`` both ends are run, and with ``example``, a file of inputs and outputs
    that were recorded from the real model (``attn_ref.port.example``), the weights are held to it; ``target`` appears
    only if they agree, and ``report.ok`` says so. Safetensors of more than ``shard_size`` bytes (or ``"5GB"``) become
    shards with an index. ``plan`` is a file for the plan, as JSON, and ``certificate`` one for what was done and
    proven, which needs ``verify`` (``attn_ref.port.certificate``); ``reserved`` are files that the caller is going to
    write. None of them may be a file that is read, or another of them. Raises CheckpointError, another ValueError or
    OSError for a bad request, and MissingBackend if a framework that ``verify`` takes is not there; then nothing is
    written.
    """
    if certificate is not None and not verify:
        raise CheckpointError("a certificate says what was proven, so it needs --verify")
    with read(source) as checkpoint:
        outputs = {"the file to write": Path(target), "the plan": Path(plan) if plan is not None else None}
        outputs |= {"the certificate": Path(certificate) if certificate is not None else None}
        outputs |= {f"the report {name}": Path(name) for name in reserved}
        read_too = [Path(example)] if example is not None else []
        distinct(outputs, [*checkpoint.files, *read_too])
        most = None if shard_size is None else parse_size(shard_size)
        made = make_plan(
            checkpoint, Path(target), from_=from_, to=to, settings=set or {}, prefix=prefix, drop=drop
        )  # fmt: skip
        where = [] if most is None else places(made.target, made.tensors(checkpoint), most)
        distinct(outputs | {f"a shard, {path.name}": path for path in where}, [*checkpoint.files, *read_too])
        carried = made.heads if with_head else ()
        if with_head and not carried:
            raise CheckpointError(f"{source}: map {made.from_map.name} leaves no head out that could be carried beside")
        outputs |= {f"the head {head.name}": head.path for head in carried}
        distinct(outputs, [*checkpoint.files, *read_too])
        if plan is not None:
            write_text(plan, json.dumps(made.to_json(), indent=2, ensure_ascii=False) + "\n")
        shards = Shards(where, most) if most and where else None
        recorded = None if example is None else Path(example)
        report = carry_out(
            made, checkpoint, shards, verify=verify, example=recorded, heads=carried, on_progress=on_progress
        )
        if certificate is not None and report.ok and report.proof:
            request = {"from": from_, "to": to, "set": dict(set or {}), "prefix": prefix, "drop": list(drop)}
            write_certificate(Path(certificate), made, report.proof, checkpoint, request, recorded)
        return report


def carry_out(
    plan: Plan,
    source: Any,
    shards: Shards | None,
    *,
    verify: bool,
    example: Path | None,
    heads: Sequence[Head],
    on_progress: Progress,
) -> Report:
    """Do what ``plan`` says."""
    if verify:
        require(plan.from_map, plan.to_map)
    tensors = plan.tensors(source)
    done, total = 0, sum(spec.nbytes for spec in tensors.specs.values())

    def tick(what: str) -> None:
        nonlocal done
        done += tensors.specs[what].nbytes if what in tensors.specs else 0
        on_progress(done, total, what)

    with unfinished(plan, tensors, shards, tick) as (temporary, finish):
        proof = prove(plan, source, temporary, tick=tick) if verify else None
        if example is not None:
            end, undecided = examine(plan, source, example)
            proof = proof or Proof(0, {}, [])
            proof.ends.append(end)
            proof.believed = undecided
        if proof is None or proof.ok:
            for head in heads:
                write(head.path, head.checkpoint(source))
            finish()
    written = tuple(shards.where) if shards else (plan.target,)
    return Report(plan, proof, total, written, tuple(head.path for head in heads))


@contextmanager
def unfinished(
    plan: Plan, tensors: Checkpoint, shards: Shards | None, tick: Callable[[str], None]
) -> Iterator[tuple[Path, Callable[[], None]]]:
    """(The file or the index of the shards, whole, under another name; what gives it its own)."""
    if shards:
        with folder_beside(plan.target) as folder:
            with writing(plan.target):
                index = write_shards(folder, shards, tensors, plan.metadata(), tick)
            yield index, lambda: arrive_all(folder, shards.where)
    else:
        with beside(plan.target) as temporary:
            with writing(plan.target):
                format_of(temporary).write(temporary, tensors, plan.metadata(), tick)
            yield temporary, lambda: arrive(temporary, plan.target)
