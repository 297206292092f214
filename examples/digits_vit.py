"""A vision transformer trained on real handwritten digits in PyTorch, moved into Keras and NumPy, and back.

    python examples/digits_vit.py [--picture FILE] [--epochs N] [--test N]

The model is Hugging Face's ViT, as a user would train it; the digits are the 1797 that scikit-learn ships. The exit
code is 0 only if the model learnt to read, every implementation gives the same prediction for every test image and
logits within the tolerance that is derived from rounding, and the weights come back bit for bit. ``--picture`` draws
what the model attends to.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import attn_ref as ar
from attn_ref.check.tolerance import LIMIT, Truth
from attn_ref.commands.output import console

OUTPUT = Path("demo_output")
CLASSIFIER = "hf.ViTForImageClassification"
SIZES = {
    "image_size": 8, "patch_size": 2, "num_channels": 1, "hidden_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "intermediate_size": 96, "num_labels": 10, "initializer_range": 0.1,
}  # fmt: skip
TRAINED = 1297
ACCURACY = 0.95


def main(arguments: list[str] | None = None) -> int:
    """Train, move, run, compare, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", metavar="FILE", help="draw the attention over some digits, as a PNG")
    parser.add_argument("--epochs", type=int, default=25, help="how often every digit is seen (default 25)")
    parser.add_argument("--test", type=int, default=500, help="how many digits are for the test (default 500)")
    parser.add_argument("--accuracy", type=float, default=ACCURACY, help="what the test digits ask for (default 0.95)")
    options = parser.parse_args(arguments)
    out = console()

    images, digits = load_digits()
    test, wanted = images[TRAINED:][: options.test], digits[TRAINED:][: options.test]
    out.print(
        f"[bold]1. Train a Hugging Face ViT in PyTorch[/]  {TRAINED} digits of 8×8 pixels, {len(test)} for the test"
    )
    start = time.perf_counter()
    source = train(images[:TRAINED], digits[:TRAINED], options.epochs)
    out.print(f"   {options.epochs} epochs in {time.perf_counter() - start:.0f} s; saved to {source}")

    out.print("\n[bold]2. Moved into Keras and torch, and back[/]")
    files = {"keras": OUTPUT / "digits.weights.h5", "torch": OUTPUT / "digits.safetensors"}
    report = ar.port.convert(source, files["keras"])
    ar.port.convert(files["keras"], files["torch"], to="torch")
    back = OUTPUT / "digits_back.safetensors"
    ar.port.convert(files["torch"], back, to=CLASSIFIER)
    block, weights = ar.port.load(source)
    count = sum(value.size for value in weights.values())
    out.print(f"   {len(report.plan.moves)} tensors, {count} parameters, every source key used once", soft_wrap=True)
    same = same_file(source / "model.safetensors", back)
    out.print(f"   Hugging Face → Keras → torch → Hugging Face: {verdict(same, 'the same bits', 'other bits')}")

    out.print(f"\n[bold]3. The {len(test)} test digits in float64, in four implementations[/]")
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    exact = Truth(block, wide, {"image": test}, "float64")
    logits, unit = exact.taps["output"].value, exact.unit["output"]
    runs = {
        "Hugging Face": hugging_face(source, test), "torch": torch_run(block, files["torch"], test),
        "Keras": keras_run(block, files["keras"], test), "torch, back": hugging_face(source, test, back),
    }  # fmt: skip
    table = Table("", "accuracy", "other predictions", "largest difference of a logit", "in σ (allowed: 16)", box=None)
    agree, accuracy = same, float((logits.argmax(axis=1) == wanted).mean())
    table.add_row("NumPy", f"{accuracy:.1%}", "", "", "")
    for name, got in runs.items():
        others = int((got.argmax(axis=1) != logits.argmax(axis=1)).sum())
        errors = np.abs(got - logits).max(axis=1)
        sigmas = float((errors / unit).max())
        ok = others == 0 and sigmas <= LIMIT["float64"]
        agree &= ok
        right = float((got.argmax(axis=1) == wanted).mean())
        table.add_row(name, f"{right:.1%}", str(others), f"{errors.max():.1e}", verdict(ok, f"{sigmas:.2f}"))
    out.print(table)
    out.print(f"   largest logit: {np.abs(logits).max():.1f}")

    if options.picture:
        draw(block, wide, test, wanted, options.picture)
        out.print(f"\n[bold]4. What it attends to[/]  {options.picture}", soft_wrap=True)

    learnt = accuracy >= options.accuracy
    out.print(
        f"\n[bold]Verdict[/]: {verdict(agree, 'AGREE', 'DIFFER')}; "
        f"accuracy {verdict(learnt, f'{accuracy:.1%}')} of {options.accuracy:.0%} asked for."
    )
    return 0 if agree and learnt else 1


def verdict(ok: bool, good: str, bad: str = "") -> str:
    """Green or red."""
    return f"[{'green' if ok else 'red'} bold]{good if ok else bad or good}[/]"


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8, 1) in [−1, 1] and what they show, in an order that mixes the writers."""
    try:
        from sklearn.datasets import load_digits as digits
    except ImportError:
        sys.exit("the digits come with scikit-learn: pip install 'attn_ref[demo]'")
    found = digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    return found.images[order][..., None] / 8.0 - 1.0, found.target[order]


def train(images: np.ndarray, digits: np.ndarray, epochs: int) -> Path:
    """Train the model and save it as Hugging Face does."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES)).train()
    given = torch.from_numpy(images).float().permute(0, 3, 1, 2)
    wanted = torch.from_numpy(digits)
    size = 64
    batches = len(images) // size
    steps = epochs * batches
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps + 1)
    errors = console(stderr=True)
    columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("training", total=steps)
        for step in range(steps):
            if step % batches == 0:
                order = torch.randperm(len(images))
            rows = order[step % batches * size :][:size]
            logits = model(pixel_values=given[rows]).logits
            loss = torch.nn.functional.cross_entropy(logits, wanted[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update(task, advance=1, description=f"loss {loss.item():.2f}")
    OUTPUT.mkdir(exist_ok=True)
    folder = OUTPUT / "digits_vit"
    model.save_pretrained(folder)
    return folder


def same_file(a: Path, b: Path) -> bool:
    """Have both the same tensors, bit for bit?"""
    from safetensors.numpy import load_file

    one, other = load_file(a), load_file(b)
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def hugging_face(folder: Path, images: np.ndarray, file: Path | None = None) -> np.ndarray:
    """The logits by the code that the model was trained with; of the weights in ``file``, if one is given."""
    import torch
    import transformers
    from safetensors.torch import load_file

    options: dict[str, Any] = {"dtype": torch.float64, "attn_implementation": "sdpa"}  # "eager" is in float32 in part
    if file:
        config = transformers.ViTConfig.from_pretrained(folder)
        options |= {"state_dict": load_file(file), "config": config}
    model = transformers.ViTForImageClassification.from_pretrained(None if file else folder, **options).eval()
    with torch.no_grad():
        return model(pixel_values=torch.from_numpy(images).permute(0, 3, 1, 2)).logits.numpy()


def torch_run(block: ar.Block, file: Path, images: np.ndarray) -> np.ndarray:
    """The logits by the torch mirror, from its own state dict."""
    from safetensors.torch import load_file

    backend = ar.backend("torch")
    layer = backend.build(block, "float64")
    layer.load_state_dict(load_file(file))
    return backend.run(layer, {"image": images}, observe=False).output


def keras_run(block: ar.Block, file: Path, images: np.ndarray) -> np.ndarray:
    """The logits by the functional Keras model on TensorFlow, from its own weights file."""
    ar.backend("tensorflow")
    import keras
    from attn_ref_keras.functional import functional

    model = functional(block, "float64")
    model.load_weights(file)
    return keras.ops.convert_to_numpy(model({"image": images}))


def draw(block: Any, weights: dict[str, np.ndarray], images: np.ndarray, digits: np.ndarray, file: str) -> None:
    """One test digit of each of six kinds: how the class token attends in each layer, and through all of them."""
    from attn_ref.draw import sheet

    rows = [int(np.flatnonzero(digits == digit)[0]) for digit in (0, 2, 3, 4, 6, 8)]
    with ar.record() as taps:
        read = block(weights, images[rows]).argmax(axis=1)
    layers = ar.attention.weights(taps)
    grid = (block.rows, block.columns)
    columns = {
        f"layer {i + 1}\nmean of heads": ar.attention.patch_grid(layer, grid)
        for i, layer in enumerate(ar.attention.mean_over_heads(layers))
    }
    columns["all layers\nrollout"] = ar.attention.patch_grid(ar.attention.rollout(layers), grid)
    labels = [f"reads {number}" for number in read]
    sheet(-images[rows], columns, labels, "What the class token attends to").savefig(file, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
