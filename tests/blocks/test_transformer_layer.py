"""Evidence of ``TransformerLayer``: a scalar loop, faults that must be caught, and layers of torch and transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evidence import Fault, inside
from oracles import transformer_layer as oracle

import attn_ref as ar
from attn_ref.weights import uniform

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    inside("FeedForward", "bias of the first layer dropped", "feed_forward"),
    Fault(
        "in parallel, feed-forward reads what attention gave",
        "feed_forward.hidden|feed_forward.gate",
        torch=("self.feed_forward(own)", "self.feed_forward(own + attended)"),
        keras=("feed(own)", "feed(own + attended)"),
    ),
    Fault(
        "no residual",
        "attended|crossed|fed",
        torch=("self.skip_scale * x + self.result(name, y)", "self.result(name, y)"),
        reference=("self.skip_scale * x + self.result(w, name, y)", "self.result(w, name, y)"),
        keras=("self.skip_scale * x + self.result(name, y, training)", "self.result(name, y, training)"),
    ),
    Fault(
        "layer scale left out",
        "attended|fed",
        torch=("y if factor is None else factor * y", "y"),
        reference=('y if self.layer_scale is None else w[f"{name}_scale"] * y', "y"),
        keras=("y if factor is None else factor * y", "y"),
    ),
    Fault(
        "residual scale on the residual",
        "attended|fed",
        torch=("return self.residual_scale * y", "return self.skip_scale * y"),
        reference=("return self.residual_scale * y", "return self.skip_scale * y"),
        keras=("return self.residual_scale * y", "return self.skip_scale * y"),
    ),
    Fault(
        "cross-attention reads its own tokens",
        "cross_attention.key",
        torch=("self.cross_attention(x, memory,", "self.cross_attention(x, memory * 1.5,"),
        keras=("self.cross_attention(x, memory,", "self.cross_attention(x, memory * 1.5,"),
    ),
]


def tensors(torch: Any, w: dict[str, np.ndarray], names: dict[str, str]) -> dict[str, Any]:
    """A state dict of torch from ours: kernels are turned."""
    found = {}
    for ours, theirs in names.items():
        for leaf, suffix in (("kernel", "weight"), ("bias", "bias"), ("scale", "weight"), ("offset", "bias")):
            if f"{ours}.{leaf}" in w:
                value = w[f"{ours}.{leaf}"]
                found[f"{theirs}.{suffix}"] = torch.from_numpy((value.T if leaf == "kernel" else value).copy())
    return found


WIDTH, HEADS = 8, 2


def attention(**options: Any) -> ar.MultiHeadAttention:
    return ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS, **options)


LLAMA = {
    "attention.query": "self_attn.q_proj", "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj", "attention.project": "self_attn.o_proj",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.expand": "mlp.up_proj",
    "feed_forward.reduce": "mlp.down_proj",
}  # fmt: skip
ONE = {"attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}
FOUR = {
    "attention_norm": "input_layernorm", "attention_post_norm": "post_attention_layernorm",
    "feed_forward_norm": "pre_feedforward_layernorm", "feed_forward_post_norm": "post_feedforward_layernorm",
}  # fmt: skip


def family(name: str) -> tuple[Any, ar.TransformerLayer, dict[str, str]]:
    """A layer of transformers, the block that it is, and our names -> its names."""
    pytest.importorskip("transformers")
    from importlib import import_module

    title = {"llama": "Llama", "gemma2": "Gemma2"}[name]
    configuration = import_module(f"transformers.models.{name}.configuration_{name}")
    modeling = import_module(f"transformers.models.{name}.modeling_{name}")
    sizes = {
        "hidden_size": WIDTH, "intermediate_size": 12, "num_attention_heads": HEADS, "num_key_value_heads": 1,
        "head_dim": 4, "max_position_embeddings": 16, "attn_implementation": "eager", "num_hidden_layers": 1,
    }  # fmt: skip
    told = getattr(configuration, f"{title}Config")(**sizes)
    layer = getattr(modeling, f"{title}DecoderLayer")(told, 0)
    plain = {"use_bias": False, "output_bias": False, "rotary": "half", "causal": "top_left"}
    parts: dict[str, Any] = {"width": WIDTH, "feed_forward": ar.GatedFeedForward(width=WIDTH, hidden_width=12)}
    if name == "llama":
        parts |= {"attention": attention(num_kv_heads=1, **plain), "norm": ar.RMSNorm(width=WIDTH)}
        return layer, ar.TransformerLayer(**parts), {**LLAMA, **ONE}
    more = {"num_kv_heads": 1, "scale": 256**-0.5, "softcap": 50.0}
    parts["feed_forward"] = ar.GatedFeedForward(width=WIDTH, hidden_width=12, activation="gelu_tanh")
    parts |= {"attention": attention(**plain, **more), "norm": ar.RMSNorm(width=WIDTH, zero_centered=True)}
    return layer, ar.TransformerLayer(**parts, norm_place="around"), {**LLAMA, **FOUR}


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_the_layers_of_transformers_agree(name: str) -> None:
    """Llama's, before; Gemma 2's, around, with soft capping and γ − 1. Norms in float32 are theirs."""
    torch = pytest.importorskip("torch")
    layer, block, names = family(name)
    w, x = block.init(5), uniform((2, 5, WIDTH), 1, "x")
    layer.double().eval().load_state_dict(tensors(torch, w, names))
    angles = np.arange(5)[:, None] / 10000.0 ** (2 * np.arange(2) / 4)
    turns = [torch.from_numpy(np.tile(f(angles), 2))[None] for f in (np.cos, np.sin)]
    masked = torch.full((5, 5), float("-inf"), dtype=torch.float64).triu(1)[None, None]
    with torch.no_grad():
        got = layer(torch.from_numpy(x), position_embeddings=tuple(turns), attention_mask=masked)
    got = (got[0] if isinstance(got, tuple) else got).numpy()
    np.testing.assert_allclose(got, block(w, x), rtol=0, atol=3e-6)


@pytest.mark.parametrize("first", [True, False])
def test_the_decoder_layer_of_torch_agrees(first: bool) -> None:
    """With a memory; norms before, and after."""
    torch = pytest.importorskip("torch")
    norm = ar.LayerNorm(width=WIDTH)
    block = ar.TransformerLayer(
        width=WIDTH, attention=attention(), cross_attention=attention(), norm=norm,
        feed_forward=ar.FeedForward(width=WIDTH, hidden_width=12), norm_place="before" if first else "after",
    )  # fmt: skip
    w, x, memory = block.init(5), uniform((2, 5, WIDTH), 1, "x"), uniform((2, 3, WIDTH), 1, "memory")
    layer = torch.nn.TransformerDecoderLayer(
        WIDTH, HEADS, 12, dropout=0.0, batch_first=True, norm_first=first, dtype=torch.float64
    ).eval()
    names = {"feed_forward.expand": "linear1", "feed_forward.reduce": "linear2", "attention_norm": "norm1",
             "cross_attention_norm": "norm2", "feed_forward_norm": "norm3", "attention.project": "self_attn.out_proj",
             "cross_attention.project": "multihead_attn.out_proj"}  # fmt: skip
    state = tensors(torch, w, names)
    for ours, theirs in (("attention", "self_attn"), ("cross_attention", "multihead_attn")):
        three = ("query", "key", "value")
        packed = np.concatenate([w[f"{ours}.{name}.kernel"].T for name in three])
        state[f"{theirs}.in_proj_weight"] = torch.from_numpy(packed)
        state[f"{theirs}.in_proj_bias"] = torch.from_numpy(np.concatenate([w[f"{ours}.{name}.bias"] for name in three]))
    layer.load_state_dict(state)
    keep = uniform((2, 3), 4, "keep") > -0.5
    with torch.no_grad():
        got = layer(
            torch.from_numpy(x), torch.from_numpy(memory), memory_key_padding_mask=torch.from_numpy(~keep)
        ).numpy()
    np.testing.assert_allclose(got, block(w, x, memory, memory_mask=keep[:, None, None]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("first", [True, False, None])
def test_an_encoder_layer_is_the_plain_case(first: bool | None) -> None:
    """The same parameters by the same names, and the same bits."""
    norm = None if first is None else ar.LayerNorm(width=WIDTH)
    block = ar.TransformerLayer(
        width=WIDTH, attention=attention(), feed_forward=ar.FeedForward(width=WIDTH, hidden_width=12), norm=norm,
        norm_place="after" if first is False else "before",
    )  # fmt: skip
    other = ar.EncoderLayer(width=WIDTH, num_heads=HEADS, hidden_width=12, norm_first=first)
    assert {n: p.shape for n, p in block.params().items()} == {n: p.shape for n, p in other.params().items()}
    w, x = block.init(2), uniform((2, 5, WIDTH), 1, "x")
    mask = uniform((2, 1, 1, 5), 4, "keep") > -0.5
    np.testing.assert_array_equal(block(w, x, attention_mask=mask), other(w, x, attention_mask=mask))


PARTS = {"attention": attention(), "feed_forward": ar.FeedForward(width=WIDTH, hidden_width=12)}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"norm": PARTS["feed_forward"]},
            "norm should be a block whose role is norm, or None, such as LayerNorm and RMSNorm; got Fe",
        ),
        ({"norm": ar.RMSNorm}, "norm should be a block whose role is norm, or None"),
        ({"norm": ar.RMSNorm(width=9)}, r"norm should have width = 8; got RMSNorm\(width=9\)"),
        (
            {"attention": None},
            "role is attention, such as MultiHeadAttention; got None",
        ),
        ({"attention": attention(key_width=3)}, "attention should read keys and values of width = 8; got Mul"),
        ({"attention": attention(output_width=3)}, "attention should have width = 8; got MultiHeadAttention"),
        ({"cross_attention": attention(value_width=3)}, "cross_attention should read keys and values of one width"),
        ({"norm_place": "after"}, "norm_place needs norm, which is None"),
        ({"parallel": "shared"}, "parallel = 'shared' needs norm"),
        ({"parallel": "own", "cross_attention": attention()}, "parallel takes norm_place = 'before' and no cross_att"),
        (
            {"attention": {"block": "TransformerLayer", "fields": {}}},
            "attention should be a block whose role is attention; got 'T",
        ),
        (
            {"attention": {"block": "Nothing", "fields": {}}},
            "block whose role is attention; got 'Nothing'",
        ),
        ({"attention": {"fields": {}}}, "attention is no block with fields, as RMSNorm"),
        ({"width": {"block": "RMSNorm", "fields": {"width": 8}}}, "width is no block with fields"),
        ({"attention": {"block": "MultiHeadAttention", "fields": {"width": 8}}}, "MultiHeadAttention needs num_heads"),
        ({"attention.cause": "top_left"}, "MultiHeadAttention has no option cause"),
        ({"norm": "RMSNorm"}, "RMSNorm needs width"),
        ({"norm": "RMSNorm(width=9)"}, r"norm should have width = 8; got RMSNorm\(width=9\)"),
        ({"norm": "BatchNorm"}, "norm should be a block whose role is norm, or None, .*; got 'BatchNorm'"),
        ({"norm": {"block": "RMSNorm", "width": 8}}, "RMSNorm needs width"),
        ({"norm": ar.RMSNorm}, r"call it: RMSNorm\(…\)"),
        ({"norm.eps": 1.0}, "has no block norm for the option norm.eps; it is None"),
    ],
)
def test_a_block_that_does_not_fit_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ar.TransformerLayer.build({"width": WIDTH, "norm": None, **PARTS, **options})


def test_a_memory_that_nothing_reads_is_refused() -> None:
    block, x = ar.TransformerLayer(width=WIDTH, **PARTS), np.ones((1, 3, WIDTH))
    with pytest.raises(ValueError, match="has no input 'memory'; memory needs cross_attention, which is None"):
        block(block.init(), x, memory=x)


def test_a_block_nested_in_itself_ends_at_once() -> None:
    told: dict[str, Any] = {"width": WIDTH, **PARTS}
    told["attention"] = {"block": "TransformerLayer", "fields": told}
    with pytest.raises(ValueError, match="attention should be a block whose role is attention; got 'TransformerLayer'"):
        ar.TransformerLayer.build(told)


def test_a_block_may_be_written_as_a_call() -> None:
    """As ``--set norm=RMSNorm(width=8)`` gives it."""
    given = {"width": WIDTH, **PARTS}
    assert ar.TransformerLayer.build({**given, "norm": "RMSNorm(width=8, eps=0.5)"}).norm == ar.RMSNorm(
        width=8, eps=0.5
    )
    assert ar.TransformerLayer.build({**given, "norm": "none"}).norm is None


def test_a_mirror_in_the_place_of_a_definition_is_told() -> None:
    mirror = ar.backend("torch").build(ar.RMSNorm(width=WIDTH))
    with pytest.raises(ValueError, match=r"which is a mirror; give its definition, attn_ref\.RMSNorm\(width=8\)"):
        ar.TransformerLayer(width=WIDTH, norm=mirror, **PARTS)


def test_blocks_travel_as_plain_data(tmp_path: Any) -> None:
    """To JSON and back, into files of weights and back, into a Keras configuration and back."""
    import json

    block = ar.TransformerLayer(width=WIDTH, norm=ar.RMSNorm(width=WIDTH, eps=1e-3), **PARTS)
    told = json.loads(json.dumps(block.as_data()))
    assert ar.block(told["block"]).build(told["fields"]) == block
    assert ar.TransformerLayer.build({**told["fields"], "norm.eps": 0.5}).norm == ar.RMSNorm(width=WIDTH, eps=0.5)
    w = block.init(1)
    for ending in ("npz", "safetensors", "weights.h5"):
        path = tmp_path / f"w.{ending}"
        ar.port.write(path, w, {"map": "canonical", "block": "TransformerLayer", "fields": block.fields()})
        with ar.port.read(path) as held:
            assert held.block == block
            assert all(np.array_equal(held[name], value) for name, value in w.items())
