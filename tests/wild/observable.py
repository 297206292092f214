"""Is the corpus right? The layers against their blocks, and what every fault changes, without any search.

``python -m tests.wild.observable [--cases N] [NAME …]`` shows a line for every layer and for every fault.
"""

from __future__ import annotations

import argparse
import zlib
from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module, util

import numpy as np

import attn_ref as ar

from .corpus import Wild, marks

#: file -> the framework that it needs
FILES = {
    "torch_masks": "torch", "torch_attention": "torch", "torch_positions": "torch",
    "torch_transformers": "torch", "torch_parts": "torch",
    "torch_maps": "torch", "torch_pixels": "torch",
}  # fmt: skip
#: how far a right layer may be from its block, and a fault at least from the right layer, of the largest value
NEAR, FAR = 1e-10, 1e-8


def corpus() -> list[Wild]:
    """Every layer whose framework is there."""
    here = __package__ or "wild"
    files = [n for n, framework in FILES.items() if util.find_spec(framework) and util.find_spec(f"{here}.{n}")]
    return [wild for name in files for wild in import_module(f"{here}.{name}").WILD]


@dataclass
class Found:
    """What was seen of a layer in ``cases``: how far off it was at worst, and how often every fault showed."""

    wild: Wild
    cases: int
    worst: float = 0.0
    shown: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def apart(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference, of the largest value; infinite for another shape or for NaN."""
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))


def observe(wild: Wild, cases: int = 20, enough: int | None = None) -> Found:
    """Run the layer, and it with every fault and pair, on ``cases`` seeds with inputs of their own.

    ``enough``: a fault that has shown so often is not run any more.
    """
    found = Found(wild, cases)
    found.wrong += marked(wild)
    for seed in range(cases):
        inputs = wild.draw(np.random.default_rng([zlib.crc32(wild.name.encode()), seed]))
        right = wild.build("", seed)
        given = wild.given(right, inputs)
        with ar.record() as taps:
            want = wild.expect(wild.block(wild.copy(right), **given), inputs)
        got = wild(right, inputs)
        off = apart(got, want)
        found.worst = max(found.worst, off)
        if off > NEAR:
            found.wrong.append(f"seed {seed}: the right layer is {off:.1e} off, {got.shape} and {want.shape}")
        if seed == 0:
            found.wrong += placed(wild, [*taps, "output"])
        asked = [f for f in [*wild.faults, *wild.pairs] if enough is None or found.shown[f] < enough]
        faulty = {fault: wild(wild.build(fault, seed), inputs) for fault in asked}
        found.shown.update(fault for fault, y in faulty.items() if apart(y, want) > FAR)
        for fault, said in wild.faults.items():
            if said.alias is not None and fault in faulty:
                other = said.alias(dict(wild.copy(right)))
                y = wild.expect(wild.block(other, **given), inputs)
                if (off := apart(faulty[fault], y)) > NEAR:
                    found.wrong.append(f"seed {seed}: {fault}: with its other weights the block is {off:.1e} off")
        for pair in wild.pairs if enough is None else ():
            for single in pair.split("+"):
                if np.array_equal(faulty[pair], faulty[single], equal_nan=True):
                    found.shown[f"{pair} / {single}"] += 1
    for fault in [*wild.faults, *wild.pairs]:
        seen = found.shown[fault] > 0
        unseen = wild.faults[fault].unseen if fault in wild.faults else ""
        if seen == bool(unseen):
            found.wrong.append(f"{fault}: {'shows' if seen else 'never shows'}, and it is said {unseen or 'to show'}")
    for pair in wild.pairs:
        if lost := [one for one in pair.split("+") if found.shown[f"{pair} / {one}"] == cases]:
            found.wrong.append(f"{pair}: is always as {lost[0]} alone")
    return found


def marked(wild: Wild) -> list[str]:
    """Is every fault planted at a line, and is every line of a fault that is told?"""
    lines, told = set(marks(wild)), set(wild.faults)
    pairs = {single for pair in wild.pairs for single in pair.split("+")}
    return [
        *(f"{fault}: no line says so" for fault in sorted(told - lines)),
        *(f"{fault}: a line says so, and it is not told" for fault in sorted(lines - told)),
        *(f"{fault}: of a pair, and it is not told" for fault in sorted(pairs - told)),
    ]


def placed(wild: Wild, taps: list[str]) -> list[str]:
    """Are the places taps of the block?"""
    return [
        f"{fault}: {tap} is no tap of the block; there are {', '.join(taps)}"
        for fault, said in wild.faults.items()
        for tap in said.taps.split("|")
        if tap not in taps
    ]


def main() -> int:
    """Print what is found; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of layers; all by default")
    parser.add_argument("--cases", type=int, default=20)
    asked = parser.parse_args()
    total: Counter[str] = Counter()
    for wild in corpus():
        if asked.names and wild.name not in asked.names:
            continue
        found = observe(wild, asked.cases)
        print(f"{wild.name} ({wild.half}) {wild.block}: {found.worst:.1e} off at most in {found.cases} cases")
        for fault, said in wild.faults.items():
            why = f"; {said.unseen}" if said.unseen else "; other weights explain it" if said.alias else ""
            print(f"    {found.shown[fault]:3d} of {found.cases}  {fault}{why}")
        for pair in wild.pairs:
            print(f"    {found.shown[pair]:3d} of {found.cases}  {pair} (pair)")
        for line in found.wrong:
            print(f"  WRONG {wild.name}: {line}")
        total["layers"] += 1
        total["frozen layers"] += wild.half == "frozen"
        total["faults"] += len(wild.faults)
        total["faults that show"] += sum(found.shown[fault] > 0 for fault in wild.faults)
        total["explained by other weights"] += sum(said.alias is not None for said in wild.faults.values())
        total["pairs"] += len(wild.pairs)
        total["wrong"] += len(found.wrong)
    print(", ".join(f"{number} {name}" for name, number in total.items()))
    return int(total["wrong"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
