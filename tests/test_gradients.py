"""Gradients: the complex step against differences, the adjoint check against planted faults, and masked rows."""

from __future__ import annotations

import numpy as np
import pytest
from planting import PACKAGES, few, planted

import attn_ref as ar
from attn_ref.check.adjoint import compare_gradients, trains
from attn_ref.check.cases import Case, cases
from attn_ref.weights import uniform

MHA, LAYER = "blocks.multi_head_attention", "blocks.encoder_layer"


@pytest.mark.parametrize("name", sorted(ar.blocks()))
def test_complex_step_is_the_limit_of_differences(name: str) -> None:
    """Along everything at once; the difference quotient's error shrinks as its step squared."""

    def mild(case: Case) -> bool:  # a difference quotient wants a function that is smooth at the scale of its step
        values = {style for key, style in case.styles.items() if case.build().inputs[key].kind == "real"}
        smooth = case.fields.get("eps", 1) > 1e-6 and case.fields.get("qk_norm_eps", 1) > 1e-7
        lively = all(map(all, case.shapes.values())) and case.build()(case.weights(), **case.inputs()).any()
        return smooth and lively and values <= {"plain"}

    case = next(filter(mild, cases(ar.block(name), 60)))
    block, w, x = case.build(), case.weights(), case.inputs()
    dw = {k: uniform(v.shape, 1, k) for k, v in w.items()}
    dx = {k: uniform(v.shape, 2, k) for k, v in x.items() if v.dtype.kind == "f"}
    y, slope = ar.jvp(block, w, x, dw=dw, dx=dx)
    np.testing.assert_allclose(y, block(w, **x), rtol=1e-14, atol=1e-14)
    if not (dw or dx):  # positions go in and nothing is learned: there is no direction to go
        assert not slope.any()
        return

    def at(h: float) -> np.ndarray:
        return block(
            {k: v + h * dw[k] for k, v in w.items()}, **{k: v + h * dx[k] if k in dx else v for k, v in x.items()}
        )

    errors = [np.abs((at(h) - at(-h)) / (2 * h) - slope).max() / np.abs(slope).max() for h in (1e-4, 1e-5)]
    assert min(errors) < 1e-6, errors


def test_jvp_refuses_unknown_names() -> None:
    block = ar.FeedForward(width=2, hidden_width=3)
    w, x = block.init(), {"x": np.ones((1, 1, 2))}
    with pytest.raises(ValueError, match=r"no such parameter: kernel; there are: expand\.kernel"):
        ar.jvp(block, w, x, dw={"kernel": 1.0})
    with pytest.raises(ValueError, match="no such input: y; there are: x"):
        ar.jvp(block, w, x, dx={"y": 1.0})
    with pytest.raises(ValueError, match="no such tap: z; the taps are hidden, active, reduced"):
        ar.jvp(block, w, x, dtaps={"z": 1.0})


def test_the_derivative_at_a_tap_is_that_to_a_zero_added_there() -> None:
    block = ar.FeedForward(width=2, hidden_width=3, activation="gelu")
    w, x = block.init(), np.ones((1, 1, 2))
    direction = uniform((1, 1, 3), 3)
    _, slope = ar.jvp(block, w, {"x": x}, dtaps={"active": direction})
    np.testing.assert_allclose(slope, direction @ w["reduce.kernel"], rtol=1e-15)


FAULTS = [
    # values are right, gradients are not: reported at the tap before the fault
    ("detached", MHA, "MultiHeadAttention", {"gradient of tap attention.context"},
     ("merged = tap(\"merged\", context.transpose(1, 2)", "merged = tap(\"merged\", context.detach().transpose(1, 2)"),
     ("self.merge(context)", "self.merge(ops.stop_gradient(context))")),
    ("scaled by half", LAYER, "EncoderLayer",
     {"gradient of tap feed_forward.reduced"},
     ("dropout(self.drop, self.feed_forward(x), ",
      "dropout(self.drop, (lambda y: y / 2 + y.detach() / 2)(self.feed_forward(x)), "),
     ("return drop(self.drop, self.feed_forward(x, training=training), ",
      "import keras as k\n        y = self.feed_forward(x, training=training)\n"
      "        return drop(self.drop, y / 2 + k.ops.stop_gradient(y) / 2, ")),
    ("of a bias alone", MHA, "MultiHeadAttention", {"gradient of parameter query.bias"},
     ("self.query(query)",
      "nn.functional.linear(query, self.query.weight, b if (b := self.query.bias) is None else b.detach())"),
     ("self.query(query)",
      "(ops.matmul(query, self.query.kernel) + (0.0 if (b := self.query.bias) is None else ops.stop_gradient(b)))")),
]  # fmt: skip


@pytest.mark.parametrize("engine", ["torch", pytest.param("tensorflow", marks=pytest.mark.deep)])
@pytest.mark.parametrize(("title", "module", "block", "expected", "torch", "keras"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_fault_of_the_gradient_alone_is_caught_and_located(
    title, module, block, expected, torch, keras, engine
) -> None:
    from attn_ref.check.compare import compare

    old, new = torch if engine == "torch" else keras
    drawn = cases(ar.block(block), 8)
    with planted(f"{PACKAGES[engine]}.{module}", old, new):
        backend = ar.backend(engine)
        forward = [compare(backend, case, "float64").first for case in drawn]
        found = {compare_gradients(backend, case, "float64").first for case in drawn} - {None}
    assert set(forward) == {None}, "the values are right"
    assert found == expected


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_rows_with_nothing_to_attend_to_have_zero_gradients(engine: str) -> None:
    block, backend = ar.ScaledDotProductAttention(), ar.backend(engine)
    shapes = {"query": (1, 2, 3, 4), "key": (1, 2, 5, 4), "value": (1, 2, 5, 4)}
    inputs = {name: uniform(shape, 1, name) for name, shape in shapes.items()}
    inputs["attention_mask"] = np.zeros((3, 5), bool)
    for observe in (True, False):
        run = backend.gradients(backend.build(block), inputs, np.ones((1, 2, 3, 4)), observe=observe)
        assert not run.output.any()
        for name in shapes:
            np.testing.assert_array_equal(run.gradients[f"input {name}"], 0.0, err_msg=f"{name}, observe={observe}")


def changes(name: str) -> bool:
    """Does training change a block, by a dropout or a batch norm? In others it says what evaluation does."""
    return any(trains(case) for case in cases(ar.block(name), few(name, 2), seed=11))


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
@pytest.mark.parametrize(
    ("name", "training"),
    [
        pytest.param(name, training, marks=[pytest.mark.deep] if training and not changes(name) else [])
        for name in sorted(ar.blocks())
        for training in (False, True)
    ],
)
def test_gradients_agree(name: str, engine: str, training: bool) -> None:
    for case in cases(ar.block(name), few(name, 2), seed=11):
        outcome = compare_gradients(ar.backend(engine), case, "float64", training=training)
        assert outcome.first is None, f"{outcome.first}: {outcome.detail}\n{outcome.case}"


@pytest.mark.slow
def test_gradients_agree_on_jax() -> None:
    """That of a layer norm's offset was once a false alarm: Keras computes the norm, offset and all, in float32."""
    report = ar.check("FeedForward", "LayerNorm", engines=["jax"], modes=["gradient"], cases=8)
    assert report.ok, [f"{row.block} at {row.first_divergence}: {row.detail}" for row in report.rows]


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
@pytest.mark.parametrize("observe", [False, True], ids=["fused", "step by step"])
def test_native_dropout_drops_its_share_and_keeps_the_mean(engine: str, observe: bool) -> None:
    """40,000 weights of 1/100: a share of 0.25 is 0, what is kept weighs 1/0.75; six standard errors are allowed."""
    block, backend = ar.ScaledDotProductAttention(dropout=0.25), ar.backend(engine)
    layer = backend.build(block, "float32")
    q, k, v = np.zeros((1, 4, 100, 2)), np.zeros((1, 4, 100, 2)), np.broadcast_to(100 * np.eye(100), (1, 4, 100, 100))
    q, k, v = (x.astype("float32") for x in (q, k, v))
    if engine == "torch":
        import torch

        torch.manual_seed(0)
        arguments, options = [torch.from_numpy(x) for x in (q, k, np.ascontiguousarray(v))], {}
        layer.train()
    else:
        import keras

        keras.utils.set_random_seed(0)
        arguments, options = [keras.ops.convert_to_tensor(x) for x in (q, k, v)], {"training": True}
    if observe:
        with ar.record():
            kept = np.array(layer(*arguments, **options))
    else:
        kept = np.array(layer(*arguments, **options))
    assert abs((kept == 0).mean() - 0.25) < 6 * np.sqrt(0.25 * 0.75 / kept.size)
    np.testing.assert_allclose(kept[kept != 0], 1 / 0.75, rtol=1e-5)
    columns = kept.mean(axis=(0, 1, 2))
    assert np.abs(columns - 1).max() < 6 * np.sqrt(0.25 / 0.75 / 400), "no key is dropped more than another"
