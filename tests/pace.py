"""How fast this machine is, for the few tests that hold a time: of what once took minutes."""

from __future__ import annotations

import time


def pace() -> float:
    """How many times as long as usual a plain loop takes here: a second for 20 million is usual."""
    least = float("inf")
    for _ in range(3):
        begun, total = time.process_time(), 0
        for i in range(2_000_000):
            total += i
        least = min(least, time.process_time() - begun)
    return max(1.0, 10.0 * least)
