"""Hugging Face's ``Dinov2Model`` and ``Dinov2WithRegistersModel``: a ViT with layer scale, and with registers.

Source: ``transformers/models/dinov2/modeling_dinov2.py`` and ``…/dinov2_with_registers/…``. Images of another size than
the positions are of are interpolated there, in float32; here the size is the positions' own. A gated network
(``use_swiglu_ffn``) is not expressed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map, Variant
from attn_ref.foreign.peer import Spot, of_layers
from attn_ref.foreign.rules import Rule, conv, linear, norm
from attn_ref.models.vision_transformer import VisionTransformer
from attn_ref_torch import hugging_face_vision
from attn_ref_torch.hugging_face import ACTIVATIONS
from attn_ref_torch.peers import hf_vit

HERE, THERE = "encoder.layer.{i}", "layers.{i}"
#: a layer's linear maps in a file -> in the model's own state_dict
RENAMED = {
    "attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj",
}  # fmt: skip
RULES = (
    Rule("embeddings.cls_token", "class_token", "batch"),
    Rule("embeddings.position_embeddings", "position.embedding", "batch"),
    *conv("embeddings.patch_embeddings.projection", "patch_embedding.project"),
    *linear(f"{HERE}.attention.attention.query", f"{THERE}.attention.query"),
    *linear(f"{HERE}.attention.attention.key", f"{THERE}.attention.key"),
    *linear(f"{HERE}.attention.attention.value", f"{THERE}.attention.value"),
    *linear(f"{HERE}.attention.output.dense", f"{THERE}.attention.project"),
    Rule(f"{HERE}.layer_scale1.lambda1", f"{THERE}.attention_scale"),
    Rule(f"{HERE}.layer_scale2.lambda1", f"{THERE}.feed_forward_scale"),
    *norm(f"{HERE}.norm1", f"{THERE}.attention_norm"),
    *norm(f"{HERE}.norm2", f"{THERE}.feed_forward_norm"),
    *linear(f"{HERE}.mlp.fc1", f"{THERE}.feed_forward.expand"),
    *linear(f"{HERE}.mlp.fc2", f"{THERE}.feed_forward.reduce"),
    *norm("layernorm", "final_norm"),
)
SHARED = {key: value for key, value in hf_vit.FIELDS.config.items() if key != "hidden_width"}
FIELDS = replace(
    hf_vit.FIELDS,
    config={**SHARED, "layer_scale": "layerscale_value"},
    kinds={"layer_scale": {"layers.0.attention_scale": 1.0}},
    allowed={"model_type": ("dinov2",), "qkv_bias": (True,), "use_swiglu_ffn": (False,)},
    # what Dinov2Config takes where config.json is silent, and what Dinov2Model gives
    defaults={**hf_vit.FIELDS.defaults, "eps": 1e-6},
)


def besides(block: VisionTransformer) -> list[str]:
    """What else such files cannot mean."""
    lines = hugging_face_vision.square(block)
    if block.layer_scale is None:
        lines.append("layer_scale = None (only a number)")
    if block.hidden_width % block.width:
        lines.append(f"hidden_width = {block.hidden_width} (only a multiple of width = {block.width})")
    return lines


#: what may be as a file says
SAID = ("layer_scale", "register_tokens")

MAP = replace(
    hf_vit.MAP,
    name="hf.Dinov2Model",
    summary="Hugging Face Dinov2Model",
    rules=RULES,
    unused={
        "embeddings.mask_token": "takes the place of masked patches in pre-training only",
        "classifier.*": "the classifier's head, of the class token and the mean of the patches beside one another",
    },
    heads=("classifier",),
    prefixes=("", "dinov2.", "dinov2_with_registers."),
    spellings={
        "state_dict": {
            f"{HERE}.{here}.{leaf}": f"{HERE}.{there}.{leaf}"
            for here, there in RENAMED.items()
            for leaf in ("weight", "bias")
        }
    },
    only={
        **{name: values for name, values in hf_vit.MAP.only.items() if name not in SAID},
        "register_tokens": (0,), "num_classes": (None,),
    },
    besides=besides,
    fields=FIELDS,
)  # fmt: skip
REGISTERS = replace(
    MAP,
    name="hf.Dinov2WithRegistersModel",
    summary="Hugging Face Dinov2WithRegistersModel",
    rules=(*RULES, Rule("embeddings.register_tokens", "register_tokens", "batch")),
    marks=("embeddings.register_tokens",),
    only={name: values for name, values in MAP.only.items() if name != "register_tokens"},
    fields=replace(
        FIELDS,
        raw={"register_tokens": ("register_tokens", 1)},
        config={**FIELDS.config, "register_tokens": "num_register_tokens"},
        allowed={**FIELDS.allowed, "model_type": ("dinov2_with_registers",)},
    ),
    besides=lambda block: [*besides(block), *([] if block.register_tokens else ["register_tokens = 0"])],
)
MAPS = (MAP, REGISTERS)

#: a layer's spots: those of ViT under the names here
LAYER = [
    (
        {"layernorm_before": "norm1", "layernorm_after": "norm2"}.get(module, module), what, tap, labels,
    )
    for module, what, tap, labels in hf_vit.LAYER
]  # fmt: skip


def map_of(block: VisionTransformer) -> Map:
    """The map of its files."""
    return REGISTERS if block.register_tokens else MAP


def spots(block: VisionTransformer) -> Iterator[Spot]:
    """Where the taps are."""
    placed = "with_registers" if block.register_tokens else "positioned"
    for module, what, tap, labels in hf_vit.MODEL:
        yield Spot(module, what, placed if tap == "positioned" else tap, labels)
    yield from hugging_face_vision.normed(block, of_layers("encoder.layer", block.num_layers, LAYER))


def config(block: VisionTransformer) -> Any:
    """The configuration of a DINOv2 that computes ``block``."""
    import transformers

    fields = hugging_face_vision.fields_of(
        block, ACTIVATIONS, mlp_ratio=block.hidden_width // block.width, hidden_dropout_prob=block.dropout,
        attention_probs_dropout_prob=block.attention_dropout, layerscale_value=block.layer_scale,
    )  # fmt: skip
    if block.register_tokens:
        return transformers.Dinov2WithRegistersConfig(**fields, num_register_tokens=block.register_tokens)
    return transformers.Dinov2Config(**fields)


def weights(block: VisionTransformer) -> Iterator[Rule]:
    """Its names inside the model."""
    told, kind = map_of(block), type(block).__name__
    for rule in told.rules_for(block):
        yield replace(rule, foreign=told.spell(rule.foreign, Variant(spelling="state_dict"), kind))


def make(block: VisionTransformer, dtype: str) -> Any:
    """A new model."""
    return hugging_face_vision.made(hugging_face_vision.kind_of(map_of(block)), config(block), dtype)


#: how it is run as an end; few cases of a check would fit it
END = hugging_face_vision.peer(
    "hf.Dinov2Model", map_of, weights=weights, make=make, call=hugging_face_vision.of_states, spots=spots
)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job`` and read the values that the block taps."""
    block = hugging_face_vision.of_block(job)
    return hugging_face_vision.run(
        END, job, hugging_face_vision.kind_of(map_of(block)), config(block), idle=("embeddings.mask_token",)
    )
