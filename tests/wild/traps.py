"""The traps of the catalogue planted in the ten layers of ``torch_layers``: what of them does ``conform`` see?

``python -m tests.wild.traps [--json FILE] [LAYER …]``. ``docs/data/selftest_layers.json`` is what it writes for all.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from attn_ref.verbs.in_layer import ALIAS, CAUGHT, MISSED, InLayer, in_layer

from .torch_layers import LAYERS


@dataclass(frozen=True)
class Share:
    """A layer's row of the table."""

    layer: str
    planted: int
    caught: int
    by_weights: int
    missed: int
    at_tap: int
    at_line: int
    named: int

    @classmethod
    def of(cls, found: InLayer) -> Share:
        """The counts of one layer."""
        came = [one.came for one in found.planted]
        caught = [one for one in found.planted if one.came == CAUGHT]
        return cls(
            found.layer, len(came), len(caught), came.count(ALIAS), came.count(MISSED),
            sum(one.at_tap for one in caught), sum(one.at_line for one in caught), sum(one.named for one in caught),
        )  # fmt: skip


def main() -> int:
    """A row for every layer, all of it as JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--json", default="")
    ask.add_argument("layers", nargs="*")
    said = ask.parse_args()
    shares, every = [], []
    for cls, block, _ in LAYERS:
        if said.layers and cls.__name__ not in said.layers:
            continue
        torch.manual_seed(0)
        found = in_layer(cls(), block)
        shares.append(Share.of(found))
        every.append(found.to_json())
        print(shares[-1], flush=True)
        for one in found.planted:
            if one.came != ALIAS and not (one.at_tap and one.at_line and one.named):
                print(f"  {one.trap} at {one.tap}, {one.line}: {one.came}: {one.first}, {one.first_line}, {one.reason}")
    if said.json:
        told = {"layers": [vars(share) for share in shares], "traps": every}
        Path(said.json).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
