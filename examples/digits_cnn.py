"""A convolutional network of attention blocks, trained on real handwritten digits in Keras, moved into torch and NumPy.

    python examples/digits_cnn.py [--epochs N]

The network is ``attn_ref.AttentionCNN``: CBAM, selective kernel, squeeze-and-excitation and a non-local block, with
five batch norms, as an ordinary ``keras.Model`` with ``compile`` and ``fit``; the digits are the 1797 that scikit-learn
ships. The batch norms follow Keras' conventions: its momentum of 0.99 is a share of 0.01 of the new value here, as in
torch; the running variance follows the batch's biased variance (torch's own follows the unbiased one); eps is 0.001.

The exit code is 0 only if the network learnt to read, every implementation gives the same prediction for every test
image and logits within the tolerance that is derived from rounding, and the weights, running statistics included, come
back from torch to Keras bit for bit.
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
BLOCK = ar.AttentionCNN(
    channels=1, width=32, num_classes=10, stride=2, branches=2, groups=1, reduction=4, sub_sample=True, eps=1e-3,
    momentum=0.01, unbiased=False,
)  # fmt: skip
TRAINED = 1297
ACCURACY = 0.95


def main(arguments: list[str] | None = None) -> int:
    """Train, move, run, compare, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30, help="how often every digit is seen (default 30)")
    parser.add_argument("--test", type=int, default=500, help="how many digits are for the test (default 500)")
    parser.add_argument("--accuracy", type=float, default=ACCURACY, help="what the test digits ask for (default 0.95)")
    options = parser.parse_args(arguments)
    out = console()

    images, digits = load_digits()
    test, wanted = images[TRAINED:][: options.test], digits[TRAINED:][: options.test]
    out.print(
        f"[bold]1. Train attention blocks in Keras[/]  {TRAINED} digits of 8×8 pixels, {len(test)} others for the test"
    )
    OUTPUT.mkdir(exist_ok=True)
    files = {name: OUTPUT / name for name in ("digits_cnn.weights.h5", "digits_cnn.safetensors", "back.weights.h5")}
    source, moved, back = files.values()
    start = time.perf_counter()
    as_trained = train(images[:TRAINED], digits[:TRAINED], options.epochs, source, test)
    out.print(f"   {options.epochs} epochs in {time.perf_counter() - start:.0f} s; saved to {source}")

    out.print("\n[bold]2. Moved into torch and NumPy, and back[/]")
    told = {"block": type(BLOCK).__name__, **BLOCK.fields()}  # a file that Keras wrote says nothing of its options
    report = ar.port.convert(source, moved, to="torch", set=told)
    ar.port.convert(moved, back, to="keras")
    block, weights = ar.port.load(moved)
    statistics = [name for name, param in block.params().items() if not param.trainable]
    out.print(
        f"   {len(report.plan.moves)} tensors, {len(statistics)} of them running statistics, every key used once; "
        f"left out: {left_out(report.plan.unused)}",
        soft_wrap=True,
    )
    same = same_variables(source, back)
    out.print(f"   Keras → torch → Keras, loaded by load_weights: {verdict(same, 'the same bits', 'other bits')}")

    out.print(f"\n[bold]3. The {len(test)} test digits, in four implementations[/]")
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    exact = {dtype: Truth(block, wide, {"image": test.astype(dtype)}, dtype) for dtype in ("float64", "float32")}
    logits = exact["float64"].taps["output"].value
    runs = {
        ("Keras, as it was trained", "float32"): as_trained,
        ("torch", "float32"): torch_run(moved, test, "float32"),
        ("Keras", "float64"): keras_run(source, test),
        ("torch", "float64"): torch_run(moved, test, "float64"),
        ("Keras, back from torch", "float64"): keras_run(back, test),
    }
    accuracy = float((logits.argmax(axis=1) == wanted).mean())
    table = Table(
        "", "", "accuracy", "other predictions", "largest difference of a logit", "in σ (allowed: 16)", box=None
    )
    table.add_row("NumPy", "float64", f"{accuracy:.1%}", "", "", "")
    agree = same
    for (name, dtype), got in runs.items():
        others = int((got.argmax(axis=1) != logits.argmax(axis=1)).sum())
        difference, sigmas = distance(got, exact[dtype])
        ok = others == 0 and sigmas <= LIMIT[dtype]
        agree &= ok
        right = float((got.argmax(axis=1) == wanted).mean())
        table.add_row(name, dtype, f"{right:.1%}", str(others), f"{difference:.1e}", verdict(ok, f"{sigmas:.2f}"))
    out.print(table)
    out.print(f"   largest logit: {np.abs(logits).max():.1f}")

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


def keras_model(dtype: str) -> Any:
    """The network as a functional Keras model on TensorFlow."""
    ar.backend("tensorflow")
    from attn_ref_keras.functional import functional

    return functional(BLOCK, dtype)


def train(images: np.ndarray, digits: np.ndarray, epochs: int, file: Path, test: np.ndarray) -> np.ndarray:
    """Train the model, save its weights as Keras does, and give its logits for the ``test`` images."""
    ar.backend("tensorflow")
    import keras

    keras.utils.set_random_seed(0)
    model, size = keras_model("float32"), 64
    steps = epochs * (-(-len(images) // size))
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    errors = console(stderr=True)
    columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("training", total=steps)

        def advance(batch: int, logs: dict[str, Any]) -> None:
            bar.update(task, advance=1, description=f"loss {float(logs['loss']):.2f}")

        callback = keras.callbacks.LambdaCallback(on_train_batch_end=advance)
        given = {"image": images.astype("float32")}
        model.fit(given, digits, batch_size=size, epochs=epochs, verbose=0, callbacks=[callback])
    model.save_weights(file)
    return keras.ops.convert_to_numpy(model({"image": test.astype("float32")}))


def keras_run(file: Path, images: np.ndarray) -> np.ndarray:
    """The logits by the Keras model in float64, from its own weights file."""
    import keras

    model = keras_model("float64")
    model.load_weights(file)
    return keras.ops.convert_to_numpy(model({"image": images}))


def torch_run(file: Path, images: np.ndarray, dtype: str) -> np.ndarray:
    """The logits by the torch mirror, from its own state dict."""
    from safetensors.torch import load_file

    backend = ar.backend("torch")
    layer = backend.build(BLOCK, dtype)
    layer.load_state_dict(load_file(file))
    return backend.run(layer, {"image": images.astype(dtype)}, observe=False).output


def same_variables(a: Path, b: Path) -> bool:
    """Does the float32 model have the same variables from both files, bit for bit?"""
    found = []
    for file in (a, b):
        model = keras_model("float32")
        model.load_weights(file)
        found.append([value.tobytes() for value in model.get_weights()])
    return found[0] == found[1]


def left_out(unused: dict[str, str]) -> str:
    """What was left out, and why: '41 × the state of training'."""
    reasons = list(unused.values())
    return ", ".join(f"{reasons.count(why)} × {why}" for why in dict.fromkeys(reasons)) or "nothing"


def distance(got: np.ndarray, exact: Truth) -> tuple[float, float]:
    """The largest difference of a logit, and the largest in units of its image."""
    errors = np.abs(got.astype(np.float64) - exact.taps["output"].value).max(axis=1)
    return float(errors.max()), float((errors / exact.unit["output"]).max())


if __name__ == "__main__":
    sys.exit(main())
