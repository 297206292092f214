"""Third-party layers against the reference, in float64, with the same weights.

Where the semantics are the same, agreement is to ``TOLERANCE``. Where an engine computes in float32 on the way, the
error is held between a bound and float64's noise, so that an entry that no longer holds fails. Where the semantics
differ, what the peer gives instead is asserted. Causes are quoted as path:line of torch 2.13.0, keras 3.15.1,
tensorflow 2.21.0 and jax 0.10.2.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from bound import Bound
from test_every_block import witnessed

import attn_ref as ar
from attn_ref.check.cases import Seeded, draw
from attn_ref.weights import uniform

TOLERANCE = 1e-12
#: far above rounding, which is below 1e-14 here
NOISE = 1e-10
B, T, S = 2, 5, 7


def real(name: str, *shape: int) -> np.ndarray:
    return uniform(shape, 3, name)


def coin(*shape: int) -> np.ndarray:
    """Seeded booleans, three quarters True, with every query allowed at least the first key."""
    mask = uniform(shape, 3, "mask") > -0.5
    mask[..., 0] = True
    return mask


def block_of(heads: int, d: int, *, cross: bool = False, bias: bool = True, **fields: Any) -> Any:
    """Heads · d wide; cross: key and value inputs of other widths."""
    widths = {"key_width": 11, "value_width": 17} if cross else {}
    return ar.MultiHeadAttention(
        width=heads * d, num_heads=heads, use_bias=bias, output_bias=bias, **{**widths, **fields}
    )


def inputs_of(block: Any, **more: np.ndarray) -> dict[str, np.ndarray]:
    """A query of length T for self-attention; also key and value of length S, if their widths are given."""
    if block.key_width is None:
        return {"query": real("q", B, T, block.width), **more}
    keys = {"key": real("k", B, S, block.key_in), "value": real("v", B, S, block.value_in)}
    return {"query": real("q", B, T, block.width), **keys, **more}


def masks_of(block: Any) -> dict[str, dict[str, np.ndarray]]:
    """Bool masks of the shapes that mean different things to the peers; no row is without a key."""
    h, s = block.num_heads, T if block.key_width is None else S
    return {"none": {}, "rows": {"attention_mask": coin(1, 1, T, s)}, "padding": {"attention_mask": coin(B, 1, 1, s)},
            "one head": {"attention_mask": coin(B, 1, T, s)}, "all": {"attention_mask": coin(B, h, T, s)}}  # fmt: skip


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest value; infinite for NaN."""
    assert actual.dtype == expected.dtype == np.float64
    assert actual.shape == expected.shape
    return float(np.nan_to_num(np.abs(actual - expected), nan=np.inf).max() / np.abs(expected).max())


# nn.MultiheadAttention ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_mha() -> Any:
    return Bound("attn_ref_torch.peers.multihead_attention")


PATHS = [{"need_weights": n, "gradients": g} for n in (True, False) for g in (True, False)]
HEADS = [(2, 8), (3, 8), (2, 16), (3, 16)]  # an even number of heads may take the native path, an odd one never


@pytest.mark.parametrize(("heads", "d"), HEADS)
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("causal", [None, "top_left", "bottom_right"])
def test_torch_agrees(torch_mha: Any, heads: int, d: int, cross: bool, bias: bool, causal: str | None) -> None:
    block = block_of(heads, d, cross=cross, bias=bias, causal=causal)
    w = block.init(1)
    peer = torch_mha.build(block, w)
    for masks in masks_of(block).values():
        given = inputs_of(block, **masks)
        expected = block(w, **given)
        for path in PATHS:
            assert error(torch_mha.run(peer, given, **path), expected) < TOLERANCE, (list(masks), path)


@pytest.mark.parametrize("shape", [(1, 1, T, S), (B, 3, T, S), (1, 3, 1, S)], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_torch_adds_a_bias(torch_mha: Any, shape: tuple[int, ...], masked: bool) -> None:
    block = block_of(3, 8, cross=True, causal="bottom_right")
    w, given = block.init(1), inputs_of(block, bias=real("bias", *shape))
    given |= {"attention_mask": coin(B, 1, T, S)} if masked else {}
    peer, expected = torch_mha.build(block, w), block(w, **given)
    for path in PATHS:
        assert error(torch_mha.run(peer, given, **path), expected) < TOLERANCE, path


def test_torch_self_attention_adds_a_bias(torch_mha: Any) -> None:
    """A float mask keeps it off its native path (torch/nn/modules/activation.py:1327), which would misread it."""
    block = block_of(2, 8)
    w, given = block.init(1), inputs_of(block, bias=real("bias", 1, 1, T, T))
    assert error(torch_mha.run(torch_mha.build(block, w), given), block(w, **given)) < TOLERANCE


def test_torch_key_without_value(torch_mha: Any) -> None:
    block = block_of(2, 8, key_width=11)
    w, given = block.init(1), {"query": real("q", B, T, 16), "key": real("k", B, S, 11)}
    assert error(torch_mha.run(torch_mha.build(block, w), given), block(w, **given)) < TOLERANCE


def test_torch_packs_its_kernels_until_widths_differ(torch_mha: Any) -> None:
    """One (3d, d) matrix, or three (d, width) ones: torch/nn/modules/activation.py:1195-1212."""
    packed, apart = (torch_mha.build(b, b.init(1)).layer for b in (block_of(3, 8), block_of(3, 8, cross=True)))
    assert packed.in_proj_weight.shape == (72, 24)
    assert packed.q_proj_weight is None
    assert apart.in_proj_weight is None
    assert [tuple(getattr(apart, f"{n}_proj_weight").shape) for n in "qkv"] == [(24, 24), (24, 11), (24, 17)]
    assert apart.in_proj_bias.shape == (72,)


def test_torch_reads_true_as_drop(torch_mha: Any) -> None:
    """Given as it is, our mask means its opposite: torch/nn/modules/activation.py:1297."""
    import torch

    block, mask = block_of(3, 8), coin(1, 1, T, T)
    mask[..., 1] = False  # or its opposite would have rows without a key
    w, given = block.init(1), inputs_of(block)
    x = torch.from_numpy(given["query"])
    layer = torch_mha.build(block, w).layer
    y = layer(x, x, x, attn_mask=torch.from_numpy(mask[0, 0]))[0].detach().numpy()
    assert error(y, block(w, **given, attention_mask=~mask)) < TOLERANCE
    assert error(y, block(w, **given, attention_mask=mask)) > 1e-3


def test_torch_causal_is_only_a_hint(torch_mha: Any) -> None:
    """``is_causal`` without the mask itself is refused: torch/nn/functional.py:6810."""
    import torch

    block = block_of(3, 8)
    x = torch.from_numpy(inputs_of(block)["query"])
    layer = torch_mha.build(block, block.init(1)).layer
    with pytest.raises(RuntimeError, match="Need attn_mask if specifying the is_causal hint"):
        layer(x, x, x, is_causal=True)


@pytest.mark.parametrize(
    ("heads", "cross", "path", "nan"),
    [
        # weights asked for: softmax of a row of −inf, torch/nn/functional.py:7031-7038
        (3, True, {"need_weights": True, "gradients": True}, True),
        (3, True, {"need_weights": True, "gradients": False}, True),
        (2, False, {"need_weights": True, "gradients": True}, True),
        # not asked for: scaled_dot_product_attention, torch/nn/functional.py:7077, whose rows are zeros
        (3, True, {"need_weights": False, "gradients": True}, False),
        (3, True, {"need_weights": False, "gradients": False}, False),
        (2, False, {"need_weights": False, "gradients": True}, False),
        (3, False, {"need_weights": False, "gradients": False}, False),
        # native path: NaN whatever is asked for, torch/nn/modules/activation.py:1433
        (2, False, {"need_weights": True, "gradients": False}, True),
        (2, False, {"need_weights": False, "gradients": False}, True),
    ],
)
@pytest.mark.parametrize("padding", [False, True])
def test_torch_with_nothing_to_attend_to(
    torch_mha: Any, heads: int, cross: bool, path: dict[str, bool], nan: bool, padding: bool
) -> None:
    """NaN, or zeros before the projection: then what comes out is the output bias, as in the definition."""
    block = block_of(heads, 8, cross=cross)
    w, s = block.init(1), S if cross else T
    mask = coin(B, 1, 1, s) if padding else coin(1, 1, T, s)
    gone = (0, slice(None)) if padding else (slice(None), 2)
    mask[0 if padding else (..., 2, slice(None))] = False
    given = inputs_of(block, attention_mask=mask)
    expected, actual = block(w, **given), torch_mha.run(torch_mha.build(block, w), given, **path)
    assert (expected[gone] == w["project.bias"]).all()
    if nan:
        assert np.isnan(actual[gone]).all()
        actual[gone] = expected[gone]
    assert error(actual, expected) < TOLERANCE


def test_torch_cannot_express(torch_mha: Any) -> None:
    for field, value in {"num_kv_heads": 2, "output_width": 7, "head_width": 3, "value_head_width": 3,
                         "output_bias": False, "scale": "total"}.items():  # fmt: skip
        block = ar.MultiHeadAttention(**{"width": 16, "num_heads": 4, field: value})
        with pytest.raises(ValueError, match=rf"nn\.MultiheadAttention cannot express .*{field} = {value!r} \(only "):
            torch_mha.build(block, block.init())
    both = ar.MultiHeadAttention(width=16, num_heads=4, scale=None, use_bias=False)
    with pytest.raises(ValueError, match=r"output_bias = True \(only use_bias\); scale = None \(only 'head'\)"):
        torch_mha.build(both, both.init())


def test_torch_widths_that_follow_may_be_said(torch_mha: Any) -> None:
    """What is refused is the value, not that the field was given."""
    said = {"num_kv_heads": 2, "key_width": 16, "output_width": 16, "head_width": 8, "value_head_width": 8}
    block = ar.MultiHeadAttention(width=16, num_heads=2, dropout=0.5, **said)
    w, given = block.init(1), inputs_of(block_of(2, 8))
    peer = torch_mha.build(block, w)
    assert peer.layer.dropout == 0.5
    assert error(torch_mha.run(peer, given), block(w, **given)) < TOLERANCE  # inference: nothing is dropped


# nn.TransformerEncoderLayer -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_layer() -> Any:
    return Bound("attn_ref_torch.peers.transformer_encoder_layer")


def layer_of(heads: int, d: int = 8, **fields: Any) -> Any:
    return ar.EncoderLayer(width=heads * d, num_heads=heads, hidden_width=13, **fields)


@pytest.mark.parametrize(("heads", "d"), HEADS)
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(("activation", "eps"), [("relu", 1e-5), ("gelu", 1e-12), ("gelu_tanh", 0.1)])
def test_torch_layer_agrees(
    torch_layer: Any, heads: int, d: int, norm_first: bool, activation: str, eps: float
) -> None:
    block = layer_of(heads, d, norm_first=norm_first, activation=activation, eps=eps)
    w, x = block.init(1), real("x", B, T, heads * d)
    peer = torch_layer.build(block, w)
    masks = [{}, *({"attention_mask": coin(*shape)} for shape in [(1, 1, T, T), (B, 1, 1, T), (B, heads, T, T)])]
    for mask in masks:
        for gradients in (True, False):
            actual = torch_layer.run(peer, {"x": x, **mask}, gradients=gradients)
            assert error(actual, block(w, x, **mask)) < TOLERANCE, (list(mask), gradients)


@pytest.mark.parametrize("norm_first", [False, True])
def test_torch_layer_reads_a_bias_as_a_mask(torch_layer: Any, norm_first: bool) -> None:
    """On the native path what is not 0 is dropped; elsewhere it is added.

    torch/nn/modules/transformer.py:836-871 has no check of the mask's dtype before it takes that path, where the mask
    becomes bool; the layer inside has one (torch/nn/modules/activation.py:1327, pytorch#107084).
    """
    block, bias = layer_of(2, norm_first=norm_first), np.tril(real("bias", 1, 1, T, T), -1)
    w, x = block.init(1), real("x", B, T, 16)
    peer, added = torch_layer.build(block, w), block(w, x, bias=bias)
    assert error(torch_layer.run(peer, {"x": x, "bias": bias}, gradients=True), added) < TOLERANCE
    native = torch_layer.run(peer, {"x": x, "bias": bias}, gradients=False)
    assert error(native, block(w, x, attention_mask=bias == 0)) < TOLERANCE
    assert error(native, added) > 1e-2


@pytest.mark.parametrize("shape", [(1, 1, T, T), (B, 1, 1, T)], ids=["row", "padding"])
def test_torch_layer_with_nothing_to_attend_to(torch_layer: Any, shape: tuple[int, ...]) -> None:
    """NaN on the native path (torch/nn/modules/transformer.py:917), the definition's value elsewhere."""
    block, mask = layer_of(2), coin(*shape)
    w, x = block.init(1), real("x", B, T, 16)
    mask[1 if len(mask) == B else (..., 1, slice(None))] = False
    peer, expected = torch_layer.build(block, w), block(w, x, attention_mask=mask)
    assert error(torch_layer.run(peer, {"x": x, "attention_mask": mask}, gradients=True), expected) < TOLERANCE
    native = torch_layer.run(peer, {"x": x, "attention_mask": mask}, gradients=False)
    gone = (slice(None), 1) if shape == (1, 1, T, T) else (1, slice(None))
    assert np.isnan(native[gone]).all()
    native[gone] = expected[gone]
    assert error(native, expected) < TOLERANCE


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_torch_stack_zeroes_padding_and_a_layer_does_not(torch_layer: Any) -> None:
    """The stack packs the real tokens and pads with zeros again: torch/nn/modules/transformer.py:529 and 546."""
    import torch
    from torch import nn

    block = layer_of(2)
    w, x, real_token = block.init(1), real("x", B, T, 16), np.arange(T) < np.array([[3], [T]])
    given = {"x": x, "attention_mask": real_token[:, None, None]}
    peer, expected = torch_layer.build(block, w), block(w, **given)
    assert np.abs(expected[~real_token]).min() > 1e-6
    for gradients in (True, False):
        assert error(torch_layer.run(peer, given, gradients=gradients), expected) < TOLERANCE
    stack = nn.TransformerEncoder(peer.layer, 1)
    with_gradients = stack(torch.from_numpy(x), src_key_padding_mask=torch.from_numpy(~real_token)).detach().numpy()
    with torch.no_grad():
        without = stack(torch.from_numpy(x), src_key_padding_mask=torch.from_numpy(~real_token)).numpy()
    assert error(with_gradients, expected) < TOLERANCE
    assert (without[~real_token] == 0).all()
    assert error(without[real_token], expected[real_token]) < TOLERANCE


def test_torch_layer_cannot_express(torch_layer: Any) -> None:
    block = layer_of(2, dropout=0.1)
    with pytest.raises(ValueError, match=r"cannot express attention_dropout = 0\.0 \(only dropout, which is 0\.1\)"):
        torch_layer.build(block, block.init())


# keras.layers.MultiHeadAttention on TensorFlow ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_mha() -> Any:
    ar.backend("tensorflow")  # says which engine Keras runs on, before it is imported
    return Bound("attn_ref_keras.peers.multi_head_attention")


def dense(layer: Any) -> tuple[Any, Any, Any, Any]:
    """Its projections."""
    return layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense


PATHS_KERAS = [{"return_scores": False}, {"return_scores": True}]


@pytest.mark.parametrize("heads", [2, 3])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("causal", [None, "top_left"])
def test_keras_agrees(keras_mha: Any, heads: int, cross: bool, bias: bool, causal: str | None) -> None:
    """Head width 16: 1/√16 is exact in float32. Causal aligns at the top left, t ≠ s included."""
    block = block_of(heads, 16, cross=cross, bias=bias, causal=causal)
    w = block.init(1)
    peer = keras_mha.build(block, w)
    for masks in masks_of(block).values():
        given = inputs_of(block, **masks)
        for path in PATHS_KERAS:
            assert error(keras_mha.run(peer, given, **path), block(w, **given)) < TOLERANCE, (list(masks), path)


def test_keras_widths(keras_mha: Any) -> None:
    """Every width of its own, and kernels (width, h, d) and (h, e, width)."""
    block = block_of(3, 16, cross=True, head_width=4, value_head_width=5, output_width=7)
    w, given = block.init(1), inputs_of(block)
    peer = keras_mha.build(block, w)
    shapes = [tuple(sub.kernel.shape) for sub in dense(peer.layer)]
    assert shapes == [(48, 3, 4), (11, 3, 4), (17, 3, 5), (3, 5, 7)]
    assert error(keras_mha.run(peer, given), block(w, **given)) < TOLERANCE


@pytest.mark.parametrize("path", PATHS_KERAS, ids=["fused", "with scores"])
@pytest.mark.parametrize("causal", [None, "top_left"])
def test_keras_rounds_the_scale_to_float32(keras_mha: Any, path: dict[str, bool], causal: str | None) -> None:
    """Head width 8: float64 is off by 4e-9, because a Python float becomes a float32 tensor before it is cast.

    tensorflow/python/ops/math_ops.py:1044 (convert_to_tensor without a dtype, in cast), called by
    keras/src/backend/tensorflow/nn.py:1708 in the fused function, and with scores returned by
    keras/src/layers/attention/multi_head_attention.py:584. That it is all: with the scale rounded so, the definition
    agrees.
    """
    block = block_of(3, 8, causal=causal)
    w, given = block.init(1), inputs_of(block)
    actual = keras_mha.run(keras_mha.build(block, w), given, **path)
    assert NOISE < error(actual, block(w, **given)) < 5e-8
    rounded = dataclasses.replace(block, scale=float(np.float32(8**-0.5)))
    assert error(actual, rounded(w, **given)) < TOLERANCE


@pytest.mark.parametrize("causal", [None, "top_left"])
def test_keras_with_nothing_to_attend_to(keras_mha: Any, causal: str | None) -> None:
    """The fused function gives the mean of all values, the future ones too; the other path zeros, as the definition.

    keras/src/backend/tensorflow/nn.py:1698 puts the same number for every masked score; the layer Softmax zeroes masked
    weights afterwards (keras/src/layers/activations/softmax.py:105), and is what scores or dropout lead to
    (keras/src/layers/attention/multi_head_attention.py:521).
    """
    block, mask = block_of(3, 16, cross=True, causal=causal), coin(1, 1, T, S)
    mask[..., 2, : 3 if causal else S] = False  # causality masks the rest
    w, given = block.init(1), inputs_of(block, attention_mask=mask)
    expected = block(w, **given)
    assert (expected[:, 2] == w["project.bias"]).all()

    fused = keras_mha.run(keras_mha.build(block, w), given)
    value = given["value"].mean(axis=1) @ w["value.kernel"] + w["value.bias"]
    mean = value @ w["project.kernel"] + w["project.bias"]
    assert error(fused[:, 2], mean) < TOLERANCE
    rest = np.arange(T) != 2
    assert error(fused[:, rest], expected[:, rest]) < TOLERANCE

    assert error(keras_mha.run(keras_mha.build(block, w), given, return_scores=True), expected) < TOLERANCE
    dropping = keras_mha.build(dataclasses.replace(block, dropout=0.1), w)
    assert error(keras_mha.run(dropping, given), expected) < TOLERANCE


def test_keras_cannot_express(keras_mha: Any) -> None:
    for field, value in {"num_kv_heads": 2, "output_bias": False, "scale": "total", "causal": "bottom_right"}.items():
        block = ar.MultiHeadAttention(**{"width": 16, "num_heads": 4, field: value})
        with pytest.raises(ValueError, match=rf"MultiHeadAttention cannot express {field} = {value!r} \(only "):
            keras_mha.build(block, block.init())
    block = block_of(2, 16)
    peer = keras_mha.build(block, block.init(1))
    with pytest.raises(ValueError, match="cannot express the input bias"):
        keras_mha.run(peer, inputs_of(block, bias=real("bias", 1, 1, T, T)))


@pytest.mark.parametrize("name", ["torch_mha", "torch_layer", "keras_mha"])
def test_a_peer_has_an_option_or_refuses_it(name: str, request: pytest.FixtureRequest) -> None:
    """Whatever option a block gets: a peer that does not know it would compute something else without a word."""
    peers = request.getfixturevalue(name)
    cls = ar.EncoderLayer if name == "torch_layer" else ar.MultiHeadAttention
    refused = set()
    for field, _, other in witnessed(cls):
        w = other.init(1)
        try:
            peer = peers.build(other, w)
        except ValueError as refusal:
            refused |= {field} if f"{field} = " in str(refusal).partition(" cannot express ")[2] else set()
            continue
        given = draw(other, Seeded(field), 1, sizes=lambda label, *options: 5).inputs()
        given = {n: x for n, x in given.items() if n in peers.INPUTS and n not in ("attention_mask", "bias")}
        assert error(peers.run(peer, given), other(w, **given)) < 1e-7, field
    if cls is ar.MultiHeadAttention:
        assert refused >= {"softcap", "window_left", "window_right", "qk_norm", "rotary", "use_sinks", "num_kv_heads"}


@pytest.mark.parametrize("name", ["torch_mha", "keras_mha"])
def test_a_peer_refuses_inputs_that_it_does_not_know(name: str, request: pytest.FixtureRequest) -> None:
    peers, block = request.getfixturevalue(name), block_of(2, 16, causal="top_left")
    peer = peers.build(block, block.init(1))
    more = {"query_offset": np.array([1] * B), "key_lengths": np.array([1] * B)}
    with pytest.raises(ValueError, match="cannot express the input query_offset and key_lengths; it takes query, key,"):
        peers.run(peer, inputs_of(block, **more))


def test_peers_of_another_dtype(torch_mha: Any, torch_layer: Any, keras_mha: Any) -> None:
    """float32 layers take float32 in and give it back."""
    attention, layer = block_of(2, 8), layer_of(2)
    x = real("q", B, T, 16)
    for peers, block in ((torch_mha, attention), (keras_mha, attention), (torch_layer, layer)):
        w = block.init(1)
        y = peers.run(peers.build(block, w, "float32"), {next(iter(block.inputs)): x})
        assert y.dtype == np.float32
        assert 1e-9 < error(y.astype(np.float64), block(w, x)) < 1e-5


# the seed systems, composed of layers that are not ours ---------------------------------------------------------------


def kernel(w: Any, name: str) -> np.ndarray:
    """(in, out); that of a 1 × 1 convolution too."""
    return np.array(w[f"{name}.kernel"].reshape(w[f"{name}.kernel"].shape[-2:]))


class OnTorch:
    """torch's layers, arrays in and out, channels last."""

    @staticmethod
    def linear(w: Any, name: str, x: np.ndarray) -> np.ndarray:
        """``nn.Linear``; ``nn.Conv2d`` with a kernel of 1 where the block has one."""
        import torch
        from torch import nn

        weight, spatial = torch.from_numpy(kernel(w, name).T.copy()), w[f"{name}.kernel"].ndim == 4
        fan_out, fan_in = weight.shape
        layer = (nn.Conv2d(fan_in, fan_out, 1) if spatial else nn.Linear(fan_in, fan_out)).double()
        state = {"weight": weight[..., None, None] if spatial else weight, "bias": torch.from_numpy(w[f"{name}.bias"])}
        layer.load_state_dict(state)
        y = layer(torch.from_numpy(np.moveaxis(x, -1, 1) if spatial else x)).detach().numpy()
        return np.moveaxis(y, 1, -1) if spatial else y

    @staticmethod
    def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, drop: np.ndarray | None) -> np.ndarray:
        """(b, t, d), (b, s, d), (b, s, e); the mask, 1 meaning drop, times −1e9 is added."""
        import torch

        mask = None if drop is None else torch.from_numpy(drop * -1e9)
        given = (torch.from_numpy(np.ascontiguousarray(x)) for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(*given, attn_mask=mask, scale=scale).numpy()


class OnKeras:
    """The same of Keras' layers."""

    @staticmethod
    def linear(w: Any, name: str, x: np.ndarray) -> np.ndarray:
        import keras

        values, spatial = w[f"{name}.kernel"], w[f"{name}.kernel"].ndim == 4
        kind, more = (keras.layers.Conv2D, {"kernel_size": 1}) if spatial else (keras.layers.Dense, {})
        layer = kind(values.shape[-1], **more, dtype="float64")
        layer.build(x.shape)
        layer.set_weights([values, w[f"{name}.bias"]])
        return np.asarray(layer(x))

    @staticmethod
    def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, drop: np.ndarray | None) -> np.ndarray:
        import keras

        layer = keras.layers.Attention(use_scale=True, dtype="float64")
        layer.build([q.shape, v.shape, k.shape])
        layer.set_weights([np.array(scale)])
        mask = None if drop is None else [None, np.broadcast_to(drop == 0, (len(q), q.shape[1], k.shape[1]))]
        return np.asarray(layer([q, v, k], mask=mask))


def in_heads(on: Any, q: Any, k: Any, v: Any, heads: int, scale: float, drop: Any = None) -> np.ndarray:
    """(b, t, h·d) → (b, t, h·e): heads are contiguous slices, and samples of their own to the layer."""

    def split(x: np.ndarray) -> np.ndarray:
        b, t, c = x.shape
        return x.reshape(b, t, heads, c // heads).swapaxes(1, 2).reshape(b * heads, t, c // heads)

    y = on.attend(split(q), split(k), split(v), scale, drop)
    return y.reshape(len(q), heads, *y.shape[1:]).swapaxes(1, 2).reshape(len(q), y.shape[1], -1)


def s1(on: Any, w: Any, x: np.ndarray) -> np.ndarray:
    """Scale by the total width of the keys, 8."""
    y = in_heads(on, *(on.linear(w, name, x) for name in ("query", "key", "value")), heads=2, scale=8**-0.5)
    return on.linear(w, "project", y)


def pixels(heads: int) -> Any:
    """S5 and S6: position by a 1 × 1 convolution, ReLU everywhere, no scale."""

    def expected(on: Any, w: Any, x: np.ndarray) -> np.ndarray:
        x = x + np.maximum(on.linear(w, "position", x), 0)
        q, k, v = (np.maximum(on.linear(w, name, x), 0) for name in ("query", "key", "value"))
        flat = (y.reshape(len(y), -1, y.shape[-1]) for y in (q, k, v))
        return in_heads(on, *flat, heads=heads, scale=1.0).reshape(v.shape)

    return expected


def s13(on: Any, w: Any, x: np.ndarray) -> np.ndarray:
    """Channels attend to channels."""
    q, k, v = (on.linear(w, name, x) for name in ("query", "key", "value"))
    y = on.attend(*(y.reshape(len(y), -1, y.shape[-1]).swapaxes(1, 2) for y in (q, k, v)), 1.0, None)
    return w["gate"] * y.swapaxes(1, 2).reshape(v.shape) + on.linear(w, "shortcut", x)


def s16(on: Any, w: Any, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    flat = (x.reshape(-1, *x.shape[2:]) for x in (q, k, v))
    return on.attend(*flat, q.shape[-1] ** -0.5, mask).reshape(*q.shape[:-1], v.shape[-1])


def s18(on: Any, w: Any, x: np.ndarray) -> np.ndarray:
    return on.linear(w, "reduce", np.maximum(on.linear(w, "expand", x), 0))


def packed(w: Any, *given: np.ndarray, **masks: np.ndarray) -> np.ndarray:
    """``nn.MultiheadAttention``, called as it is; its float masks are added, its bool ones are True = drop."""
    import torch

    w = {name: kernel(w, name.removesuffix(".kernel")) if name.endswith("kernel") else x for name, x in w.items()}
    layer = (
        Bound("attn_ref_torch.peers.multihead_attention")
        .build(ar.MultiHeadAttention(width=given[0].shape[-1], num_heads=2), w)
        .layer
    )
    masks = {name: torch.from_numpy(mask) for name, mask in masks.items()}
    return layer(*(torch.from_numpy(x) for x in given), **masks)[0].detach().numpy()


def s2(w: Any, x: np.ndarray) -> np.ndarray:
    tokens = x.reshape(len(x), -1, x.shape[-1])
    return packed(w, tokens, tokens, tokens).reshape(x.shape)


def s7(w: Any, x: np.ndarray) -> np.ndarray:
    """The layer of RegNet, whose biases are 0 then."""
    import torch

    regnet = pytest.importorskip("transformers.models.regnet.modeling_regnet")
    layer = regnet.RegNetSELayer(8, 4).double()
    with torch.no_grad():
        for at, name in ((0, "reduce"), (2, "expand")):
            layer.attention[at].weight.copy_(torch.from_numpy(kernel(w, name).T.copy())[..., None, None])
            layer.attention[at].bias.zero_()
        return np.moveaxis(layer(torch.from_numpy(np.moveaxis(x, -1, 1))).numpy(), 1, -1)


def s19(w: Any, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    import torch

    layer = Bound("attn_ref_torch.peers.transformer_encoder_layer").build(ar.seed("S19", dropout=0.0).block, w).layer
    drop = torch.from_numpy(mask[:, 0, 0] == 1)
    return layer(torch.from_numpy(x), src_key_padding_mask=drop).detach().numpy()


TOKENS, MAPS = real("x", B, T, 8), real("map", B, 3, 4, 8)
QKV = real("q", B, T, 8), real("k", B, S, 8), real("v", B, S, 8)
FOURS = real("q", B, 3, T, 4), real("k", B, 3, S, 4), real("v", B, 3, S, 6)
DROPS, PADDING = ~coin(B, 1, T, S), ~coin(B, 1, 1, S)  # True = drop

#: row -> sizes, inputs, and what the layers make of weights and inputs
ALONE: dict[str, tuple[dict[str, Any], tuple[np.ndarray, ...], Any]] = {
    "S2": ({}, (MAPS,), s2),
    "S3": ({}, (TOKENS,), lambda w, x: packed(w, x, x, x)),
    "S7": ({}, (MAPS,), s7),
    "S15": ({}, (*QKV, 1.0 - DROPS), lambda w, q, k, v, m: packed(w, q, k, v, attn_mask=np.repeat(m[:, 0] == 0, 2, 0))),
    "S17": ({}, (*QKV[::-1], PADDING * 1.0),
            lambda w, v, k, q, m: packed(w, q, k, v, key_padding_mask=m[:, 0, 0] * -1e9)),
    "S19": ({"dropout": 0.0}, (TOKENS, PADDING[..., :T] * 1.0), s19),
}  # fmt: skip
#: the same of what is composed of the layers of either framework
COMPOSED: dict[str, tuple[dict[str, Any], tuple[np.ndarray, ...], Any]] = {
    "S1": ({"dropout": 0.0}, (real("x", B, T, 6),), s1),
    "S5": ({}, (MAPS,), pixels(1)),
    "S6": ({}, (MAPS,), pixels(4)),
    "S13": ({}, (MAPS,), s13),
    "S16": ({}, (*FOURS, DROPS[0, 0] * 1.0), s16),
    "S18": ({}, (TOKENS,), s18),
}


@pytest.mark.parametrize(
    ("name", "on"),
    [*((name, None) for name in ALONE), *((name, on) for name in COMPOSED for on in (OnTorch, OnKeras))],
    ids=lambda value: getattr(value, "__name__", value or "itself"),
)
def test_seed_is_layers_of_others(name: str, on: Any) -> None:
    """S4, S8 and S9 have no counterpart; the blocks of S10 to S12 and of S14 meet theirs in tests of their own."""
    pytest.importorskip("torch")
    ar.backend("tensorflow")  # says which engine Keras runs on, before it is imported
    sizes, given, layers = COMPOSED[name] if on else ALONE[name]
    seed = ar.seed(name, **sizes)
    w = seed.block.init(11)
    actual = layers(on, w, *given) if on else layers(w, *given)
    assert error(actual, seed(w, *given)) < 1e-13


# the same on JAX, in a process of its own: Keras has one engine per process -------------------------------------------

ON_JAX = """
import json
import numpy as np
import attn_ref as ar
from attn_ref.weights import uniform
ar.backend("jax")  # switches x64 on
from attn_ref_keras.foreign import build, run
from attn_ref_keras.peers.multi_head_attention import PEER

block = ar.MultiHeadAttention(width=24, num_heads=3)
w, x = block.init(1), {"query": uniform((2, 5, 24), 3, "q")}
peer, y = build(PEER, block, w), block(w, **x)
runs = {name: run(peer, x, return_scores=name == "scores") for name in ("fused", "scores")}
found = {name: [str(z.dtype), float(np.abs(z - y).max() / np.abs(y).max())] for name, z in runs.items()}

wide = ar.MultiHeadAttention(width=24, num_heads=3, value_head_width=5)
w = wide.init(1)
peer, y = build(PEER, wide, w), wide(w, **x)
found["value width, scores"] = float(np.abs(run(peer, x, return_scores=True) - y).max() / np.abs(y).max())
try:
    found["value width"] = str(run(peer, x).shape)
except TypeError as error:
    found["value width"] = str(error)
print(json.dumps(found))
"""


@pytest.mark.deep
def test_keras_on_jax_computes_the_fused_softmax_in_float32() -> None:
    """The result is float64 and off by 1e-7, whatever the head width; once scores are returned it is exact.

    jax/_src/nn/functions.py:970 casts the scores to float32 for the softmax. A value head width of its own raises:
    jax/_src/nn/functions.py:1187 refuses it, and what keras/src/backend/jax/nn.py:1805 then falls back to reshapes the
    result to the query's shape (line 1869).
    """
    pytest.importorskip("jax")
    env = {**os.environ, "KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", ON_JAX], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [found["fused"][0], found["scores"][0]] == ["float64", "float64"]
    assert NOISE * 10 < found["fused"][1] < 1e-6
    assert found["scores"][1] < TOLERANCE
    assert found["value width, scores"] < TOLERANCE
    assert "cannot reshape array of shape" in found["value width"]
