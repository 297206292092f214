"""Evidence of ``LanguageModel``: a scalar loop, faults that must be caught where they are, and decoding by steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evidence import Fault, inside
from oracles_models import language_model as oracle

import attn_ref as ar
from attn_ref.models.language_model import gpt, llama

__all__ = ["FAULTS", "oracle"]

CASES = 25
GPT, LLAMA = gpt(), llama()
FAULTS = [
    inside("GatedFeedForward", "the gate is not activated", "layers.0.feed_forward"),
    Fault(
        "positions counted from the end",
        "embedded",
        torch=("self.position(positions[before:])", "self.position(positions[before:].flip(0))"),
        reference=(
            'w["position.embedding"][before : before + t]',
            'w["position.embedding"][before : before + t][::-1]',
        ),
        keras=("self.position(positions[before:])", "self.position(ops.flip(positions[before:]))"),
    ),
    Fault(
        "embeddings not multiplied",
        "embedded",
        torch=("self.token(token_ids) * self.embedding_scale", "self.token(token_ids)"),
        reference=("self.embedding_scale * ops.embedding", "1.0 * ops.embedding"),
        keras=("self.token(token_ids) * self.embedding_scale", "self.token(token_ids)"),
    ),
    Fault(
        "the tied head upside down",
        "logits",
        torch=("F.linear(x, self.token.weight)", "F.linear(x, self.token.weight.flip(0))"),
        reference=('w["token.embedding"].T', 'w["token.embedding"].T[:, ::-1]'),
        keras=("ops.cast(self.token.embeddings, x.dtype)", "ops.flip(ops.cast(self.token.embeddings, x.dtype), 0)"),
    ),
    Fault(
        "logits divided and not multiplied again",
        "capped",
        torch=("torch.tanh(x / self.softcap) * self.softcap", "torch.tanh(x / self.softcap)"),
        reference=("self.softcap * ops.tanh(x / self.softcap)", "ops.tanh(x / self.softcap)"),
        keras=("x.dtype) * self.softcap", "x.dtype)"),
    ),
    Fault(
        "a bias that keys lose by being near",
        "layers.0.attention.attention.biased",
        torch=("positions)[None]\n", "positions)[None] * -1.0\n"),
        reference=("in_precision(bias, x)[None]", "in_precision(-bias, x)[None]"),
        keras=("positions)[None]\n", "positions)[None] * -1.0\n"),
    ),
]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pattern": "x"}, 'pattern should be letters "l" and "o", as in "ol"; got \'x\''),
        ({"pattern": ""}, "pattern should be letters"),
        ({"pattern": "ol"}, 'an "o" in pattern and other_layer need each other'),
        ({"other_layer": LLAMA}, 'an "o" in pattern and other_layer need each other'),
        ({"width": 9}, "layer should have width = 8|layer should have width = 9"),
        ({"final_norm": ar.RMSNorm(width=9)}, r"final_norm should have width = 8; got RMSNorm\(width=9\)"),
        ({"position_bias": ar.LinearPositionBias(num_heads=3)}, "as many heads as position_bias"),
        ({"layer": replace(GPT, cross_attention=ar.MultiHeadAttention(width=8, num_heads=2))}, "no cross_attention"),
        ({"layer": ar.RMSNorm(width=8)}, "layer should be a block whose role is layer, such as TransformerLayer"),
        ({"head": None, "softcap": 1.0}, "softcap needs head, which is None"),
        ({"head": "mine"}, "head should be one of None, 'own', 'tied'; got 'mine'"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ar.LanguageModel(**{**ar.LanguageModel.example, **options})


def test_more_tokens_than_positions_are_refused() -> None:
    block = ar.LanguageModel(**{**ar.LanguageModel.example, "max_length": 3})
    with pytest.raises(ValueError, match="t is 4, and at most max_length = 3 is possible"):
        block(block.init(), np.ones((1, 4), int))


NEAR = replace(LLAMA, attention=replace(LLAMA.attention, window_left=2))
BIASED = replace(GPT, attention=replace(GPT.attention, softcap=2.0))
MODELS = {
    "learned positions": {"layer": GPT, "max_length": 9, "head": "tied"},
    "rotation, windows": {"other_layer": NEAR, "pattern": "lo"},
    "linear bias": {"layer": BIASED, "position_bias": ar.LinearPositionBias(num_heads=2)},
}


@pytest.mark.parametrize("engine", ["reference", "torch", "tensorflow"])
@pytest.mark.parametrize("kind", MODELS)
def test_steps_with_caches_are_the_full_pass(engine: str, kind: str) -> None:
    block = ar.LanguageModel(**{**ar.LanguageModel.example, **MODELS[kind]})
    w, ids, real = block.init(3), np.array([[1, 2, 3, 4, 5, 6], [9, 8, 7, 6, 5, 4]]), np.ones((2, 6), bool)
    real[1, 4] = False
    for mask in (None, real):
        whole = block(w, ids, mask)
        if engine == "reference":
            run, lift, decoding = (lambda *x: block(w, *x)), np.asarray, ar.Decoding()
        elif engine == "torch":
            torch = pytest.importorskip("torch")
            layer = ar.backend("torch").load(ar.backend("torch").build(block), w).eval()
            run, lift, decoding = layer, torch.from_numpy, ar.Decoding(torch.cat)
        else:
            layer = ar.backend("tensorflow").load(ar.backend("tensorflow").build(block), w)
            import keras

            run, lift, decoding = layer, keras.ops.convert_to_tensor, ar.Decoding(keras.ops.concatenate)
        for start, stop in ((0, 3), (3, 4), (4, 6)):
            now = [lift(ids[:, start:stop])] + ([] if mask is None else [lift(mask[:, start:stop])])
            with decoding.step():
                got = run(*now)
            assert len(decoding) == stop
            got = got.detach() if engine == "torch" else got
            np.testing.assert_allclose(np.asarray(got), whole[:, start:stop], atol=1e-13)


def test_a_step_that_fails_leaves_the_steps_before() -> None:
    block = ar.LanguageModel(**ar.LanguageModel.example)
    w, decoding = block.init(), ar.Decoding()

    def step(*given: Any, w: Any = w) -> np.ndarray:
        with decoding.step():
            return block(w, *map(np.array, given))

    step([[1, 2]])
    with pytest.raises(ValueError, match="token_ids holds 99"):
        step([[99]])
    with pytest.raises(FloatingPointError), np.errstate(invalid="raise"):
        step([[3]], w={**w, "final_norm.scale": np.full(8, np.inf)})  # the last thing that is computed
    with pytest.raises(ValueError, match="padding_mask is given in every step of a decoding, or in none"):
        step([[3]], [[True]])
    assert len(decoding) == 2
    np.testing.assert_allclose(step([[3]]), block(w, np.array([[1, 2, 3]]))[:, 2:], atol=1e-14)
