"""The contract: seeds, inputs, weights, taps."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

import attn_ref as ar
from attn_ref.weights import uniform


def test_seeded_arrays_never_change() -> None:
    block = ar.MultiHeadAttention(width=12, num_heads=3)
    digest = hashlib.sha256(b"".join(v.tobytes() for v in block.init(seed=5).values())).hexdigest()
    assert digest[:16] == "05cb239a6e97069a"
    assert uniform((2,), 1, "x").tolist() == [0.71123366864869, -0.05503375207447547]


def test_importing_attn_ref_imports_no_framework() -> None:
    frameworks = ("torch", "tensorflow", "keras", "jax", "scipy", "h5py", "transformers")

    def loaded(code: str) -> str:
        ask = f"{code}; import sys; print([m for m in {frameworks} if m in sys.modules])"
        return subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()

    everything = (
        "import attn_ref as ar; ar.blocks(); ar.backends(); [b.mirrors('FeedForward') for b in ar.backends().values()]"
    )
    assert loaded(everything) == "[]"
    assert loaded("import attn_ref.cli, attn_ref.commands.check, attn_ref.commands.list") == "[]"
    assert loaded("import attn_ref, torch") == "['torch']", "the test itself can fail"


BLOCK = ar.MultiHeadAttention(width=8, num_heads=4, key_width=6)
X, Y = np.ones((2, 3, 8)), np.ones((2, 5, 6))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"query": np.ones((2, 3, 9))},
            "query should have axes 'b t {width}' = (2, 3, 8); got (2, 3, 9): axis {width} is 9, not 8",
        ),
        ({"query": np.ones((3, 8))}, "got (3, 8): rank 2, and 3 is accepted"),
        ({"query": np.ones((2, 3, 8), int)}, "query should be of kind real; a floating dtype; got dtype int64"),
        (
            {"attention_mask": np.ones((3, 5))},
            "attention_mask should be of kind bool; True = attend; got dtype float64",
        ),
        (
            {"attention_mask": np.ones((2, 3, 5), bool)},
            "rank 3, and 4 is accepted; write an axis left out as 1",
        ),
        ({"attention_mask": np.ones((1, 1, 3, 4), bool)}, "axis s is 4, not 5"),
        ({"attention_mask": np.ones((2, 3, 3, 5), bool)}, "axis {num_heads} is 3, not 4"),
        ({"key": np.ones((3, 5, 6))}, "axis b is 3, not 2"),
        ({"keys": Y}, "has no input 'keys'; did you mean key? its inputs are query, key, value, attention_mask, bias"),
        ({"query": None}, "missing input 'query'"),
        ({"query": np.full((2, 3, 8), np.nan)}, "query holds a value that is not finite at (0, 0, 0)"),
        ({"bias": np.full((1, 1, 3, 5), -np.inf)}, "use the bool mask to leave a key out, not -inf"),
    ],
)
def test_wrong_input_is_refused_with_the_rule_and_the_numbers(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError) as error:
        BLOCK(BLOCK.init(), **{"query": X, "key": Y, **given})
    assert said in str(error.value)


def test_left_out_key_must_fit() -> None:
    with pytest.raises(ValueError, match=r"key should have axes 'b s {key_in}'.*axis {key_in} is 8, not 6"):
        BLOCK(BLOCK.init(), X)


def test_left_out_key_tells_the_key_length() -> None:
    block = ar.MultiHeadAttention(width=8, num_heads=4)
    with pytest.raises(ValueError, match="axis s is 9, not 3"):
        block(block.init(), X, attention_mask=np.ones((1, 1, 3, 9), bool))


@pytest.mark.parametrize("kind", ["torch", "tensorflow"])
def test_mirrors_refuse_the_same_shapes(kind: str) -> None:
    """A (b, t, s) mask would mask head i with sample i's mask where b = h: refused, not broadcast."""
    backend = ar.backend(kind)
    layer = backend.load(backend.build(BLOCK), BLOCK.init())
    if kind == "torch":
        import torch

        x, y, mask = torch.ones(4, 3, 8).double(), torch.ones(4, 5, 6).double(), torch.ones(4, 3, 5, dtype=torch.bool)
    else:
        import keras

        x, y, mask = (
            keras.ops.ones(s, d) for s, d in (((4, 3, 8), "float64"), ((4, 5, 6), "float64"), ((4, 3, 5), "bool"))
        )
    with pytest.raises(ValueError, match="rank 3, and 4 is accepted"):
        layer(x, y, attention_mask=mask)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 8, "num_heads": 3}, "num_heads = 3 does not divide width = 8; give head_width"),
        ({"width": 8, "num_heads": 4, "num_kv_heads": 3}, "num_kv_heads = 3 does not divide num_heads = 4"),
        ({"width": 8, "num_heads": 0}, "num_heads should be an integer above zero; got 0"),
        (
            {"width": 8, "num_heads": 2, "causal": True},
            "causal should be one of None, 'top_left', 'bottom_right'; got True",
        ),
        (
            {"width": 8, "num_heads": 2, "scale": "model"},
            "scale should be 'head', 'total', a number or None; got 'model'",
        ),
        ({"width": 8, "num_heads": 2, "dropout": 1.0}, "dropout should be a number in [0, 1)"),
        (
            {"width": 8, "num_heads": 2, "heads": 2},
            "has no option heads; did you mean num_heads or num_kv_heads? its options are width, num_heads",
        ),
        ({"width": 8}, "needs num_heads"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError) as error:
        ar.MultiHeadAttention.build(options)
    assert said in str(error.value)


def test_token_ids_out_of_range() -> None:
    block = ar.TextEncoder(**ar.TextEncoder.example)
    with pytest.raises(
        ValueError, match=r"token_ids holds 11 at \(0, 1\); indices run from 0 to 10 \(vocab_size = 11\)"
    ):
        block(block.init(), np.array([[1, 11]]))
    with pytest.raises(ValueError, match="holds -1"):
        block(block.init(), np.array([[1, -1]]))
    with pytest.raises(ValueError, match="t is 8, and at most max_length = 7 is possible"):
        block(block.init(), np.ones((1, 8), int))


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"unknown block 'MultiheadAtention'; did you mean MultiHeadAttention\?"):
        ar.block("MultiheadAtention")
    with pytest.raises(
        ValueError, match="unknown engine 'mlx'; the engines are torch, torch-compile, torch-export, tensorflow,"
    ):
        ar.backend("mlx")
    with pytest.raises(AttributeError):
        _ = ar.NoSuchBlock


def test_wrong_weights_are_listed_at_once() -> None:
    weights = BLOCK.init()
    weights["extra"] = weights.pop("key.bias")
    weights["query.kernel"] = weights["query.kernel"][:3]
    with pytest.raises(ValueError) as error:
        BLOCK(weights, X, Y)
    text = str(error.value)
    assert "3 wrong weights" in text
    for line in (
        "missing: key.bias (8,)",
        "unexpected: extra (8,)",
        "wrong shape: query.kernel should be (8, 8), got (3, 8)",
    ):
        assert line in text


def test_a_field_that_keras_reserves_is_refused_at_definition() -> None:
    with pytest.raises(TypeError, match=r"weights is reserved by keras\.Layer"):
        type("Bad", (ar.Block,), {"__annotations__": {"weights": int}})


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
@pytest.mark.parametrize("observe", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_kept_key_with_the_lowest_bias_beats_every_masked_one(engine: str, observe: bool, dtype: str) -> None:
    """An additive mask of the lowest number meets a bool mask: a key that is kept is kept, however low its score."""
    block, backend = ar.ScaledDotProductAttention(), ar.backend(engine)
    inputs = {
        "query": np.zeros((1, 1, 1, 2), dtype),
        "key": np.zeros((1, 1, 3, 2), dtype),
        "value": np.array([[[[1, 1], [2, 2], [4, 4]]]], dtype),
        "bias": np.array([[np.finfo(dtype).min, 0, 0]], dtype),
        "attention_mask": np.array([True, False, False]),
    }
    run = backend.run(backend.build(block, dtype), inputs, observe=observe)
    assert block({}, **inputs).tolist() == run.output.tolist() == [[[[1, 1]]]]


# taps -----------------------------------------------------------------------------------------------------------------


def test_taps_add_and_replace() -> None:
    w = BLOCK.init()
    with ar.record() as taps:
        plain = BLOCK(w, X, Y)
    scores = taps["attention.scores"]
    assert scores.labels == "b h t s"
    assert scores.value.shape == (2, 4, 3, 5)
    with ar.add({"projected": np.full((2, 3, 8), 2.0)}):
        np.testing.assert_allclose(BLOCK(w, X, Y), plain + 2.0)
    with ar.replace({"attention.weights": lambda x: np.zeros_like(x)}):
        np.testing.assert_allclose(BLOCK(w, X, Y), np.broadcast_to(w["project.bias"], plain.shape))
    turned = ar.Tapped(scores.value.transpose(2, 3, 0, 1), "t s b h")
    with ar.replace({"attention.scores": turned}):
        np.testing.assert_array_equal(BLOCK(w, X, Y), plain)
    np.testing.assert_array_equal(BLOCK(w, X, Y), plain)


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_taps_add_and_replace_in_mirrors(engine: str) -> None:
    backend, w = ar.backend(engine), BLOCK.init()
    layer, inputs = backend.load(backend.build(BLOCK), w), {"query": X, "key": Y}
    plain = backend.run(layer, inputs)
    added = backend.run(layer, inputs, add={"projected": ar.Tapped(np.full((2, 8, 3), 2.0), "b c t")})
    np.testing.assert_allclose(added.output, plain.output + 2.0)
    zeros = ar.Tapped(np.zeros((2, 4, 3, 5)), "b h t s")
    gone = backend.run(layer, inputs, replace={"attention.weights": zeros})
    np.testing.assert_allclose(gone.output, np.broadcast_to(w["project.bias"], plain.output.shape))
    with pytest.raises(
        ValueError, match=r"no such tap: attention\.weight; did you mean attention\.weights\? the taps are"
    ):
        backend.run(layer, inputs, add={"attention.weight": zeros})


def test_an_unknown_tap_is_an_error_that_lists_the_taps() -> None:
    with (
        pytest.raises(ValueError, match=r"no such tap: score; did you mean attention\.scores\? the taps are"),
        ar.add({"score": 1.0}),
    ):
        BLOCK(BLOCK.init(), X, Y)


def test_a_sub_block_called_twice_needs_a_scope() -> None:
    with ar.record():
        ar.tap("x", 1.0, "")
        with pytest.raises(ValueError, match="passed twice"):
            ar.tap("x", 1.0, "")
    with ar.record() as taps:
        for name in ("average", "maximum"):
            with ar.scope(name):
                ar.tap("x", 1.0, "")
    assert list(taps) == ["average.x", "maximum.x"]


def test_a_case_is_reproduced_tap_by_tap(tmp_path, capsys) -> None:
    from planting import planted

    from attn_ref.check.cases import cases
    from attn_ref.cli import cli

    case = cases(ar.MultiHeadAttention, 3)[1]
    (tmp_path / "case.json").write_text(case.to_json())
    assert cli(["reproduce", str(tmp_path / "case.json")], standalone_mode=False) == 0
    shown = capsys.readouterr().out
    assert "attention.weights" in shown
    assert "agree" in shown
    with planted("attn_ref_torch.blocks.multi_head_attention", "self.value(value)", "self.value(value * 1.001)"):
        assert cli(["reproduce", case.to_json(), "--executor", "inline"], standalone_mode=False) == 1
    assert "differs first at value" in capsys.readouterr().out
    with pytest.raises(ValueError, match="not a case: 'shapes'"):
        cli(["reproduce", "{}"], standalone_mode=False)


def test_cases_draw_what_an_attack_found_missing() -> None:
    from attn_ref.check.cases import cases

    drawn = cases(ar.MultiHeadAttention, 200)
    assert any({"key", "value"}.isdisjoint(case.shapes) for case in drawn), "self-attention, from the query alone"
    styles = {style for case in drawn for style in case.styles.values()}
    assert {"huge", "shifted"} <= styles, "inputs that overflow exp, and whose mean is far from 0"
