"""A classifier's head that is no part of the block: its linear layer, carried in a file of its own beside the target.

It has what a lone linear layer of the target's framework loads: ``nn.Linear.load_state_dict``, or
``keras.saving.load_weights`` into a ``Dense``. Nothing runs it, so a proof says nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attn_ref.foreign.map import Map
from attn_ref.foreign.rules import LAYOUTS
from attn_ref.port.checkpoint import FLOATS, Checkpoint, Spec
from attn_ref.port.formats import format_of


class Head(NamedTuple):
    """A linear layer: its name in the source, and where it would go."""

    name: str
    path: Path
    #: the source's name -> the target's, and the layout that it gets
    tensors: dict[str, tuple[str, str]]
    shape: tuple[int, int]

    def checkpoint(self, source: Checkpoint) -> Checkpoint:
        """What is written, each tensor read when it is asked for."""
        names = {new: (old, layout) for old, (new, layout) in self.tensors.items()}

        def load(name: str) -> np.ndarray:
            old, layout = names[name]
            found: np.ndarray = LAYOUTS[layout].inward(source[old])
            return found

        specs = {
            name: Spec(self.shape[::-1] if layout == "transpose" else source.specs[old].shape, source.specs[old].dtype)
            for name, (old, layout) in names.items()
        }
        return Checkpoint(specs, load, path=source.path)


def heads(source: Checkpoint, item: Map, to_map: Map, target: Path, unused: Mapping[str, str]) -> Iterator[Head]:
    """The heads among what is left out of ``source``. A name of theirs has the whole prefix that it has in the file."""
    for name in item.heads:
        kernel, bias = f"{name}.weight", f"{name}.bias"
        spec = source.specs.get(kernel)
        if spec is None or kernel not in unused or len(spec.shape) != 2 or spec.dtype not in FLOATS:
            continue
        names = named(to_map, target)
        tensors = {kernel: names[0]} | ({bias: names[1]} if bias in source.specs else {})
        yield Head(name, beside(target, name.rpartition(".")[2]), tensors, (spec.shape[0], spec.shape[1]))


def named(to_map: Map, target: Path) -> tuple[tuple[str, str], tuple[str, str]]:
    """The names and layouts of kernel and bias where they go."""
    if format_of(target).NAME == "keras_h5":
        return ("vars/0", "transpose"), ("vars/1", "none")
    if to_map.name == "canonical":
        return ("kernel", "transpose"), ("bias", "none")
    return ("weight", "none"), ("bias", "none")


def beside(target: Path, name: str) -> Path:
    """``w.weights.h5`` → ``w.classifier.weights.h5``."""
    ending = max((suffix for suffix in format_of(target).SUFFIXES if target.name.endswith(suffix)), key=len)
    return target.with_name(f"{target.name.removesuffix(ending)}.{name}{ending}")
