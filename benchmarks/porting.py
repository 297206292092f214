"""How fast weights are ported, beside ``cp`` of the same bytes: ``python -m benchmarks.porting 0.5 1 2 4``.

Of each size in GB a Llama of random numbers is made, in 8 shards of safetensors. ``cp`` and every case take turns, each
in a process of its own, and each round gives ratios, cp's seconds / ours: by the processor's time of either, which
other processes cannot take, and by the wall clock. The figures are medians. Neither waits for the disk, unless
``--sync`` has both wait until the bytes are on it. The peak of memory is what the system says of the process (VmHWM),
less what a model of a few kilobytes takes, in units of the largest tensor.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

SHARDS = 8
#: case -> (its source, the file that it writes, what ``convert`` is given besides)
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "identity": ("llama", "w.safetensors", {"to": "torch"}),
    "identity, shards": ("llama", "w.safetensors", {"to": "torch", "shard_size": "300MB"}),
    "kernels transposed": ("llama", "w.weights.h5", {"to": "keras"}),
    "kernels transposed back": ("keras", "w.safetensors", {"to": "hf.Llama"}),
}
CODE = """
import json, os, sys, time
begun = time.perf_counter()
from attn_ref import port
source, target, options, sync = json.loads(sys.argv[1])
imported = time.perf_counter()
before = time.process_time()
report = port.convert(source, target, **options)
if sync:
    for path in report.files:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
done = time.perf_counter()
import resource
cpu = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) - before
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": done - imported, "cpu": cpu, "start": imported - begun, "peak": peak << 10}))
"""


def llama(folder: Path, size: float) -> int:
    """A Llama of about ``size`` GB of float32 in shards; the bytes of its largest tensor."""
    from attn_ref.port.checkpoint import Checkpoint
    from attn_ref.port.formats import safetensors

    width = max(64, round((size * 1e9 / 4 / 8 / 12) ** 0.5 / 64) * 64)
    heads, inner, vocabulary, layers = width // 64, width * 8 // 3 // 8 * 8, width * 2, SHARDS
    config = {
        "model_type": "llama", "vocab_size": vocabulary, "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }  # fmt: skip
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    noise = np.random.default_rng(0).standard_normal(1 << 22, dtype=np.float32)
    weight_map: dict[str, str] = {}
    largest = 0
    for i in range(SHARDS):
        shapes = {
            **{f"self_attn.{name}_proj": (width, width) for name in "qkvo"},
            "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner),
            "input_layernorm": (width,), "post_attention_layernorm": (width,),
        }  # fmt: skip
        told = {f"model.layers.{i}.{name}.weight": shape for name, shape in shapes.items()}
        told |= {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)} if i == 0 else {}
        arrays = {name: np.resize(np.roll(noise, len(name) + i), shape) for name, shape in told.items()}
        largest = max(largest, *(array.nbytes for array in arrays.values()))
        shard = f"model-{i + 1:05}-of-{SHARDS:05}.safetensors"
        safetensors.write(folder / shard, Checkpoint.of(arrays), {}, lambda name: None)
        weight_map |= dict.fromkeys(arrays, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return largest


def copied(source: Path, target: Path, sync: bool) -> tuple[float, float]:
    """The seconds that ``cp`` takes, and those of the processor."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["cp", "-r", source, target], check=True)
    if sync:
        subprocess.run(["sync", *(target.iterdir() if target.is_dir() else [target])], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ported(source: Path, target: Path, options: dict[str, Any], sync: bool) -> dict[str, float]:
    """What a process says that ports: seconds of the porting, of the imports before, bytes of memory at most."""
    job = json.dumps([str(source), str(target), options, sync])
    begun = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", CODE, job], check=True, capture_output=True, text=True)
    return {**json.loads(ran.stdout), "process": time.perf_counter() - begun}


def measured(size: float, folder: Path, rounds: int, sync: bool, cases: list[str]) -> None:
    """Print a line for each case of one size."""
    largest = llama(folder / "llama", size)
    llama(folder / "tiny", 0.0)
    sources = {"llama": folder / "llama", "keras": folder / "keras.weights.h5", "tiny": folder / "tiny"}
    made = any(CASES[case][0] == "keras" for case in cases)
    if made:
        ported(sources["llama"], sources["keras"], {"to": "keras"}, False)
    for path in (*sources["llama"].iterdir(), *[sources["keras"]] * made):
        with open(path, "rb") as file:  # what waits for the disk holds up whoever writes next
            os.fsync(file)
    nbytes = sum(path.stat().st_size for path in sources["llama"].iterdir())
    out = folder / "out"
    found: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            name, written, options = CASES[case]
            cp, cp_cpu = copied(sources[name], out, sync)
            shutil.rmtree(out) if out.is_dir() else out.unlink()
            out.mkdir()
            got = ported(sources[name], out / written, options, sync)
            shutil.rmtree(out)
            found[case].append({**got, "cp": cp, "cp_cpu": cp_cpu})
    for case, rows in found.items():
        out.mkdir()
        least = ported(sources["tiny"], out / "tiny.safetensors", {"to": "torch"}, False)["peak"]
        shutil.rmtree(out)
        ratio = median(row["cp"] / row["seconds"] for row in rows)
        cpu = median(row["cp_cpu"] / row["cpu"] for row in rows)
        peak = max(row["peak"] for row in rows)
        print(
            f"{nbytes / 1e9:5.2f} GB  {case:24} cp / ours: processor {cpu:.2f}, wall {ratio:.2f}  "
            f"ours {median(row['seconds'] for row in rows):6.2f} s  cp {median(row['cp'] for row in rows):6.2f} s  "
            f"peak {peak / 1e6:6.0f} MB = {least / 1e6:.0f} + {(peak - least) / largest:.2f} × {largest / 1e6:.0f}",
            flush=True,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=float, nargs="+", help="in GB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sync", action="store_true", help="wait until the bytes are on the disk")
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--folder", help="where the files go; default: that of temporary files")
    args = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    for size in args.sizes:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            measured(size, Path(folder), args.rounds, args.sync, args.case or list(CASES))


if __name__ == "__main__":
    main()
