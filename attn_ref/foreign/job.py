"""A file to be run by its own framework, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attn_ref.block import Block
from attn_ref.tap import Tapped


@dataclass
class Job:
    """A file to run: what it holds, how its names are spelt, the ``config.json`` that belongs to it, and the inputs."""

    path: str
    block: Block
    inputs: dict[str, np.ndarray]
    prefix: str
    spelling: str
    config: str | None


@dataclass
class Outcome:
    """What a file gave: its output (None if it has no such thing), its taps, and by whom, for the report."""

    output: np.ndarray | None
    taps: dict[str, Tapped]
    by: str
