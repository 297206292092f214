"""Attention of other libraries, unmodified and undescribed: how it is called, and what its masks mean, is found."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from timm_layers import timm_layer

import attn_ref as ar

pytest.importorskip("torch")

MHA = ar.MultiHeadAttention
ADDED = "attention_mask: attention_mask (b, 1, t, s), 0 means keep, −∞ drop: it is added"
LLAMA = {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 20}
#: family, class, configuration, the block, a sentence about its mask
HUGGING: list[tuple[str, str, dict[str, int], Any, str]] = [
    ("gpt2", "GPT2Attention", {"n_embd": 12, "n_head": 3, "n_positions": 64}, MHA(width=12, num_heads=3), ADDED),
    (
        "llama", "LlamaAttention", LLAMA,
        MHA(width=24, num_heads=4, num_kv_heads=2, use_bias=False, output_bias=False, rotary="half"), ADDED,
    ),
    (
        "t5", "T5Attention", {"d_model": 12, "d_kv": 4, "num_heads": 3},
        MHA(width=12, num_heads=3, use_bias=False, output_bias=False, scale=None),
        ADDED.replace("attention_mask:", "mask:", 1),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("family", "name", "sizes", "block", "mask"), HUGGING, ids=[one[1] for one in HUGGING])
def test_attention_of_transformers(family: str, name: str, sizes: dict[str, int], block: Any, mask: str) -> None:
    transformers = pytest.importorskip("transformers")
    module = import_module(f"transformers.models.{family}.modeling_{family}")
    config = getattr(transformers, {"gpt2": "GPT2Config", "llama": "LlamaConfig", "t5": "T5Config"}[family])(**sizes)
    config._attn_implementation = "eager"
    layer = getattr(module, name)(config, layer_idx=0)
    verdict = ar.conform(layer, block, cases=6)
    assert verdict.ok, str(verdict)
    assert mask in verdict.masks
    assert "a query with nothing to attend to gives NaN" in verdict.notes


def test_attention_of_timm() -> None:
    layer = timm_layer("attention").Attention(12, num_heads=3, qkv_bias=True)
    verdict = ar.conform(layer, MHA(width=12, num_heads=3), cases=6)
    assert verdict.ok, str(verdict)
    assert "attn_mask: attention_mask (b, 1, t, s), True means keep" in verdict.masks


@pytest.mark.deep
def test_attention_of_x_transformers() -> None:
    library = pytest.importorskip("x_transformers.x_transformers", reason="x-transformers is not installed")
    layer = library.Attention(dim=12, heads=3, dim_head=4)
    verdict = ar.conform(layer, MHA(width=12, num_heads=3, use_bias=False, output_bias=False), cases=4)
    assert verdict.ok, str(verdict)
    assert "mask: attention_mask (b, s), True means keep" in verdict.masks


@pytest.mark.deep
def test_an_encoder_layer_of_keras_hub() -> None:
    ar.backend("tensorflow")
    library = pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    block = ar.EncoderLayer(width=12, num_heads=3, hidden_width=20, activation="relu", eps=1e-5)
    verdict = ar.conform(library.layers.TransformerEncoder(20, 3, activation="relu"), block, cases=4)
    assert verdict.ok, str(verdict)
    assert "padding_mask: attention_mask (b, s), True means keep" in verdict.masks
