"""A stranger's layer in JAX: right ones agree, faults are found at their tap and line, nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attn_ref as ar

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402
from attn_ref_jax import trace as tracer  # noqa: E402
from jax import lax  # noqa: E402
from traced import assert_found, assert_right  # noqa: E402
from wild.jax_traced import LAYERS, Excite, Heads, gpt, mha, network, packed, rms  # noqa: E402

from attn_ref.verbs.tracers import NotATarget, frameworks  # noqa: E402

WILD = Path(__file__).parent / "wild" / "jax_traced.py"
#: what the parameters of the block are called in the layer
WIRED = [
    {"key.kernel": "0.attn.w[:, 12:24]", "value.bias": "0.attn.b[24:36]", "project.kernel": "0.proj.w"},
    {"project.kernel": "out"},
    {"expand.kernel": "up.kernel", "reduce.bias": "down.bias"},
    {"scale": "gamma"},
    {"reduce.kernel": "layers.0.0", "expand.bias": "layers.1.1"},
]
NAMES = [make.__name__ for make, *_ in LAYERS]
RIGHT = [(make, block, wired) for (make, block, _), wired in zip(LAYERS, WIRED, strict=True)]
#: one of so many runs every day, the deep tests run all
EVERYDAY = 4
EVERY = [(make, block, fault, *said) for make, block, faults in LAYERS for fault, said in faults.items()]
FAULTS = [
    pytest.param(*one, id=f"{one[0].__name__}: {one[2]}", marks=[pytest.mark.deep] if n % EVERYDAY else [])
    for n, one in enumerate(EVERY)
]


@pytest.mark.parametrize(("make", "block", "wired"), RIGHT, ids=NAMES)
def test_a_right_layer_agrees(make: Any, block: Any, wired: dict[str, str]) -> None:
    assert_right(make(""), block, wired, cases=1)


@pytest.mark.parametrize(("make", "block", "fault", "taps", "reason", "text"), FAULTS)
def test_a_fault_is_found_at_its_place(make: Any, block: Any, fault: str, taps: str, reason: str, text: str) -> None:
    assert_found(make(fault), block, taps, reason, WILD, text, cases=1)


def test_nothing_is_changed() -> None:
    before = jax.config.jax_enable_x64
    for layer in (Heads(), network()):
        held = jax.tree_util.tree_leaves(vars(layer))
        arrays = [np.array(x) for x in held if isinstance(x, jax.Array)]
        double = tracer.double(layer)
        tracer.trace(double, [np.random.default_rng(0).normal(size=(2, 5, 12))], {})
        assert all(a is b for a, b in zip(jax.tree_util.tree_leaves(vars(layer)), held, strict=True))
        now = [x for x in held if isinstance(x, jax.Array)]
        assert all(x.dtype == np.float32 and np.array_equal(x, y) for x, y in zip(now, arrays, strict=True))
    assert jax.config.jax_enable_x64 is before
    assert jnp.ones(2).dtype == (np.float64 if before else np.float32)

    def fails(x: Any) -> Any:
        raise KeyError("no")

    with pytest.raises(NotATarget, match="KeyError"):
        ar.conform(fails, mha(), framework="jax")
    assert jax.config.jax_enable_x64 is before


def test_every_operation_is_run_in_loops_and_branches() -> None:
    """The values are those that JAX itself gives."""

    @jax.custom_vjp
    def twice(x: Any) -> Any:
        return 2 * x

    twice.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))

    def layer(x: Any, times: int = 3) -> dict[str, Any]:
        y = jax.checkpoint(jnp.sin)(twice(x))
        y = lax.cond(y.sum() > 1e9, lambda a: a, lambda a: a - 1, y)
        n, y = lax.while_loop(lambda c: c[0] < times, lambda c: (c[0] + 1, c[1] * 2), (0, y))
        y = lax.fori_loop(0, n, lambda i, a: a + i, y)
        total, parts = lax.scan(lambda c, a: (c + a, c * a), y[0], y, reverse=True)
        return {"y": parts, "total": [total, jax.vmap(jax.nn.softmax)(y), lax.map(jnp.cos, y)], "n": n}

    x = np.random.default_rng(0).normal(size=(4, 3))
    found = tracer.trace(tracer.double(layer), [x], {})
    with jax.enable_x64(True):
        want = [np.asarray(y) for y in jax.tree_util.tree_leaves(jax.jit(layer)(x)) if y.dtype == np.float64]
    assert len(want) == len(found.output) == 4
    by_size = sorted(found.output, key=lambda y: (y.size, float(y.sum())))
    for a, b in zip(by_size, sorted(want, key=lambda y: (y.size, float(y.sum()))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert len([r for r in found.records if r.operation == "add" and r.value.shape == (4, 3)]) == 3


def test_the_line_of_a_helper_that_was_compiled_before_is_that_of_its_call() -> None:
    """``jnp.where`` is compiled once, for whoever called it first."""
    x = np.random.default_rng(0).normal(size=(4, 3))
    with jax.enable_x64(True):
        jnp.where(jnp.asarray(x) > 0, jnp.asarray(x), 0.0)

    def layer(x: Any) -> Any:
        return jnp.where(x > 0, x, 0.0)  # here

    found = tracer.trace(tracer.double(layer), [x], {})
    assert found.records[-1].operation == "select_n"
    assert found.records[-1].line is not None
    assert found.records[-1].line.code.endswith("# here")


def test_what_is_fixed_in_float32_is_judged_so() -> None:
    class Narrow(Excite):
        def __call__(self, x: Any) -> Any:
            return super().__call__(x.astype(jnp.float32))

    verdict = ar.conform(Narrow(), ar.SqueezeExcitation(channels=8, reduction=4), cases=2)
    assert verdict.ok, str(verdict)
    assert any("float32" in note for note in verdict.notes)


def test_a_parameter_that_nothing_takes_is_told() -> None:
    layer = network()
    layer.up["spare"] = jnp.ones(3)
    verdict = ar.conform(layer, LAYERS[2][1], cases=1)
    assert verdict.notes == ["parameters that no operation takes: up.spare"]


def test_the_framework_is_told_by_what_code_refers_to() -> None:
    assert frameworks(rms()) == ["jax"]
    assert frameworks(packed()) == ["jax"]
    assert frameworks(gpt) == ["jax"]
    assert frameworks(Heads())[0] == "jax"


# flax -----------------------------------------------------------------------------------------------------------------


def test_attention_of_nnx_is_read_as_it_is() -> None:
    nnx = pytest.importorskip("flax.nnx")
    layer = nnx.MultiHeadAttention(num_heads=3, in_features=12, decode=False, rngs=nnx.Rngs(0))
    verdict = ar.conform(layer, mha(), cases=3)
    assert verdict.ok, str(verdict)
    assert verdict.wiring["query.kernel"].startswith("query.kernel")
    assert layer.query.kernel.dtype == np.float32
    wrong = ar.conform(layer, mha(scale="total"), cases=3)
    assert (wrong.first, wrong.trap) == ("attention.scores", "option:scale")


def test_a_module_of_nnx_is_told_by_its_line() -> None:
    nnx = pytest.importorskip("flax.nnx")

    class Network(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self, rngs: Any) -> None:
            self.up, self.down = nnx.Linear(12, 20, rngs=rngs), nnx.Linear(20, 12, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.drop(self.down(nnx.relu(self.up(x))))

    layer = Network(nnx.Rngs(0))
    assert ar.conform(layer, ar.FeedForward(width=12, hidden_width=20, activation="relu"), cases=2).ok
    verdict = ar.conform(layer, ar.FeedForward(width=12, hidden_width=20, activation="gelu"), cases=2)
    assert verdict.first == "active"
    assert "nnx.relu" in verdict.places[0].line.code  # type: ignore[union-attr]


def test_attention_of_linen_is_read_as_it_is() -> None:
    nn = pytest.importorskip("flax.linen")
    module = nn.MultiHeadDotProductAttention(num_heads=3)
    with pytest.raises(NotATarget, match=r"give module.bind\(variables\)"):
        ar.conform(module, mha())
    variables = module.init(jax.random.key(0), jnp.ones((2, 5, 12)))
    verdict = ar.conform(module.bind(variables), mha(), cases=3)
    assert verdict.ok, str(verdict)
    assert verdict.wiring["query.kernel"].startswith("params.query.kernel")
