"""T5's buckets of distances by logarithms: a border that is a whole number is missed, in float32 or in float64.

With T5's own numbers, 16 or 32 buckets on a side and a distance of 128, no bucket is wrong.

Exit 0 when that is so, 1 when it is not. Needs torch.
"""

import json
import math
import sys
from importlib.metadata import version

import torch


def exact(n, side, distance):
    near = side // 2
    far = side - near
    return n if n < near else near + sum(n**far * near**m >= distance**m * near**far for m in range(1, far))


def wrong(side, distance, dtype):
    """Distances in the wrong bucket: number e + floor(k log(n/e) / log(distance/e)), as T5's code has it."""
    near = side // 2
    far = side - near
    n = torch.arange(distance + 2)
    power = torch.log(n.to(dtype) / near) / math.log(distance / near) * far
    large = (near + power.clamp(min=0).to(torch.long)).clamp(max=side - 1)
    bucket = torch.where(n < near, n, large)
    return [int(i) for i in n if int(bucket[i]) != exact(int(i), side, distance)]


found = {
    f"{side} buckets, {distance}": {
        "float32": wrong(side, distance, torch.float32),
        "float64": wrong(side, distance, torch.float64),
    }
    for side, distance in ((16, 128), (32, 128), (10, 160), (48, 81))
}
result = {
    "id": "torch-log-buckets",
    "versions": {"torch": version("torch")},
    "deviation": None,
    "expected_float64_noise": None,
    "distances_in_the_wrong_bucket": found,
}
print(json.dumps(result))
fine = not any(found[f"{side} buckets, 128"][dtype] for side in (16, 32) for dtype in ("float32", "float64"))
missed = found["10 buckets, 160"]["float64"] and found["48 buckets, 81"]["float32"]
sys.exit(0 if fine and missed else 1)
