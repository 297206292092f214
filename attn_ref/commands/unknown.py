"""A checkpoint that no map knows, with the module that it belongs to: ``attn-ref port FILE OUT --with module:Class``.

The module is made by the user's own code, which he names; the checkpoint is read as any other is, and its tensors go
into the module by the module's own names. From there ``transfer`` carries them, by running both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attn_ref.block import Block
from attn_ref.live.ends import end
from attn_ref.places import CheckpointError, distinct, refuse_place
from attn_ref.port.checkpoint import Checkpoint
from attn_ref.port.files import read
from attn_ref.port.plan import shape_of, shortened
from attn_ref.port.wrappers import opened


def filled(module: Any, source: str | Path, *, prefix: str | None = None, drop: Sequence[str] = ()) -> list[str]:
    """Put the tensors of ``source`` into ``module``, whose names they have, and return what has to be said of it.

    Wrappers are opened as for a map. CheckpointError that lists every name and shape that does not fit.
    """
    live = end("source", module)
    if live.framework != "torch":
        raise CheckpointError(
            "--with takes a module of torch; a model of Keras loads its file itself: attn-ref transfer"
        )
    with read(source) as whole:
        wanted: Mapping[str, tuple[int, ...]] = live.live.state(module)
        inside = opened(whole, lambda view: fit(view, wanted), prefix=prefix, drop=drop)
        if lines := differences(inside.view, wanted, live.live.passed_over(module)):
            kind = type(module).__name__
            title = f"{whole.path} does not hold the weights of this {kind}"
            raise CheckpointError("\n  ".join([f"{title}: {len(lines)} differences", *shortened(lines)]))
        if alike := live.live.fill(module, inside.view):
            raise CheckpointError(f"{whole.path}: {alike} are one parameter of the module, and two in the file")
        said = [*whole.said, *inside.said]
        left = [name for name, why in inside.left.items() if "training" not in why]
        return said + ([f"left out: {', '.join(left[:6])}"] if left else [])


def fit(view: Checkpoint, wanted: Mapping[str, tuple[int, ...]]) -> float:
    """The share of names that are the module's."""
    return sum(name in wanted for name in view) / max(1, len(view))


def differences(held: Checkpoint, wanted: Mapping[str, tuple[int, ...]], free: Sequence[str]) -> list[str]:
    """What is missing, unexpected or misshapen, a line each; ``free``: names that may be missing."""
    lines = [f"missing: {name} {shape_of(shape)}" for name, shape in wanted.items() if name not in {*held, *free}]
    for name, spec in held.specs.items():
        if name not in wanted:
            lines.append(f"unexpected: {name} {shape_of(spec.shape)}")
        elif spec.shape != wanted[name]:
            lines.append(f"wrong shape: {name} should be {shape_of(wanted[name])}, got {shape_of(spec.shape)}")
    return lines


def engine_of(out: str) -> str:
    """The engine whose files end as ``out`` does."""
    return "tensorflow" if out.endswith(".weights.h5") else "torch"


def mirror(block: Block, out: str) -> Any:
    """The mirror of ``block`` in the framework whose files end as ``out`` does, with numbers of its own."""
    from attn_ref.engines import backend

    if not out.endswith((".safetensors", ".weights.h5")):
        raise CheckpointError(f"{out}: a mirror's weights are written as .safetensors or .weights.h5")
    held = backend(engine_of(out))
    return held.load(held.build(block), block.init(seed=0))


def write_mirror(made: Any, block: Block, out: str) -> None:
    """Write the mirror's weights, with what they are, as any port does."""
    import tempfile

    from attn_ref.engines import backend
    from attn_ref.port.convert import convert
    from attn_ref.port.files import write

    engine = engine_of(out)
    told = {"map": "canonical", "block": type(block).__name__, "fields": block.fields()}
    with tempfile.TemporaryDirectory(prefix="attn_ref-") as folder:
        write(Path(folder, "w.npz"), backend(engine).dump(made), told)
        convert(Path(folder, "w.npz"), out, to="keras" if engine == "tensorflow" else "torch")


def place_for(source: str | Path, out: str) -> None:
    """CheckpointError, before any work is done, if ``out`` is no place to write to, or is read."""
    refuse_place(Path(out))
    distinct({"the file to write": Path(out)}, [Path(source)])
