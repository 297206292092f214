"""Evidence of ``EncoderDecoder``: a scalar loop, faults that must be caught, decoding by steps, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evidence import Fault, inside
from oracles_models import encoder_decoder as oracle

import attn_ref as ar
from attn_ref.kv_cache import remembered
from attn_ref.models.encoder_decoder import stack
from attn_ref.weights import uniform

__all__ = ["CASES", "FAULTS", "oracle"]

CASES = 25
FAULTS = [
    inside("TransformerStack", "positions from the first row of their table", "decoder"),
    Fault(
        "the source's embeddings not multiplied",
        "source",
        torch=("self.token(source_ids) * self.embedding_scale", "self.token(source_ids)"),
        keras=("self.token(source_ids) * self.embedding_scale", "self.token(source_ids)"),
    ),
    Fault(
        "the tied head upside down",
        "logits",
        torch=("kernel = self.token.weight if", "kernel = self.token.weight.flip(0) if"),
        reference=('w["token.embedding"].T', 'w["token.embedding"].T[:, ::-1]'),
        keras=("ops.cast(self.token.embeddings, x.dtype)", "ops.flip(ops.cast(self.token.embeddings, x.dtype), 0)"),
    ),
    Fault(
        "the head's scale left out",
        "logits",
        torch=("x = x * self.head_scale", "x = x * 1.0"),
        reference=("x = self.head_scale * x", "x = 1.0 * x"),
        keras=("x = x * self.head_scale", "x = x * 1.0"),
    ),
    Fault(
        "the source goes around the encoder",
        "encoder.embedded",
        torch=('self.encoder(x, padding_mask=source_mask), "b n c"', 'x, "b n c"'),
        keras=('self.encoder(x, padding_mask=source_mask, training=training), "b n c"', 'x, "b n c"'),
    ),
]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 9}, "encoder should have width = 9"),
        ({"encoder": stack(crosses=True)}, "encoder should have no cross_attention"),
        ({"decoder": stack()}, "decoder should have layers with a cross_attention that reads width = 8"),
        ({"stem": ar.ConvStem(channels=2, width=9)}, "stem should have width = 8"),
        ({"head": None, "head_bias": True}, "head_bias needs head, which is None"),
        ({"encoder": ar.RMSNorm(width=8)}, "encoder should be a block whose role is stack"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ar.EncoderDecoder(**{**ar.EncoderDecoder.example, **options})


def test_tokens_or_features_are_the_source() -> None:
    block = ar.EncoderDecoder(**ar.EncoderDecoder.example)
    heard = replace(block, stem=ar.ConvStem(channels=2, width=8), encoder=stack(max_length=3))
    ids = np.ones((1, 2), int)
    with pytest.raises(ValueError, match="has no input 'features'; features needs stem, which is None"):
        block(block.init(), ids, token_ids=ids, features=np.ones((1, 6, 2)))
    assert heard(heard.init(), features=np.ones((1, 6, 2)), token_ids=ids).shape == (1, 2, 11)
    with pytest.raises(ValueError, match=r"axis N is 5, not 6"):
        heard(heard.init(), features=np.ones((1, 5, 2)), token_ids=ids)


NEAR = ar.RelativePositionBias(num_heads=2, num_buckets=8, max_distance=9)
MODELS: dict[str, dict[str, Any]] = {
    "positions": {"decoder": stack(crosses=True, max_length=9, position_offset=2), "head": "tied"},
    "bias": {
        "encoder": stack(position_bias=NEAR),
        "decoder": stack(crosses=True, position_bias=replace(NEAR, bidirectional=False)),
    },
    "stem": {"stem": ar.ConvStem(channels=2, width=8)},
}


@pytest.mark.parametrize("engine", ["reference", "torch", "tensorflow"])
@pytest.mark.parametrize("kind", MODELS)
def test_steps_with_caches_are_the_full_pass(engine: str, kind: str) -> None:
    """The encoder runs once, in the first step, without the caches."""
    block = ar.EncoderDecoder(**{**ar.EncoderDecoder.example, **MODELS[kind]})
    w, ids, real = block.init(3), np.array([[1, 2, 3, 4, 5, 6], [9, 8, 7, 6, 5, 4]]), np.ones((2, 5), bool)
    real[1, 3:] = False
    source: dict[str, Any] = {"source_ids": np.array([[1, 5, 2, 5, 3], [4, 4, 2, 0, 0]]), "source_mask": real}
    if kind == "stem":
        source = {"features": uniform((2, 7, 2), 1)}
    whole = block(w, **source, token_ids=ids)
    if engine == "reference":
        run, lift, decoding = (lambda **x: block(w, **x)), np.asarray, ar.Decoding()
    elif engine == "torch":
        torch = pytest.importorskip("torch")
        layer = ar.backend("torch").load(ar.backend("torch").build(block), w).eval()
        run, lift, decoding = layer, torch.from_numpy, ar.Decoding(torch.cat)
        if kind == "stem":
            source = {"features": source["features"].swapaxes(1, 2).copy()}
    else:
        layer = ar.backend("tensorflow").load(ar.backend("tensorflow").build(block), w)
        import keras

        run, lift, decoding = layer, keras.ops.convert_to_tensor, ar.Decoding(keras.ops.concatenate)
    read = {name: lift(value) for name, value in source.items()}
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        with decoding.step():
            got = run(**read, token_ids=lift(ids[:, start:stop]))
        assert len(decoding) == stop
        assert len(decoding.caches) == 1, "one for each layer of the decoder, and none for the encoder's"
        got = got.detach() if engine == "torch" else got
        np.testing.assert_allclose(np.asarray(got), whole[:, start:stop], atol=1e-13)


def test_an_encoder_runs_in_the_first_step_alone() -> None:
    ran: list[int] = []
    decoding = ar.Decoding()
    for _ in range(3):
        with decoding.step():
            assert remembered(lambda: ran.append(1) or "memory") == "memory"
    assert ran == [1]
    assert [remembered(lambda: ran.append(1)) for _ in range(2)] == [None, None], (
        "outside of a decoding nothing is kept"
    )
    assert ran == [1, 1, 1]
