"""Hugging Face's ``CLIPVisionModel`` and ``CLIPVisionModelWithProjection``: the vision tower of CLIP.

Source: ``transformers/models/clip/modeling_clip.py``. The last norm is of the class token alone, which is the same as
of all tokens and then the class token. What is written by ``CLIPModel`` has both towers; its text tower is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Spot, of_layers
from attn_ref.foreign.rules import Rule, linear, norm
from attn_ref.models.vision_transformer import VisionTransformer
from attn_ref_torch import hugging_face_vision
from attn_ref_torch.hugging_face import ACTIVATIONS
from attn_ref_torch.peers import hf_vit

HERE, THERE = "encoder.layers.{i}", "layers.{i}"


def layer_rules(prefix: str = "") -> tuple[Rule, ...]:
    """The rules of a layer, which SigLIP has too."""
    here = f"{prefix}{HERE}"
    return (
        *linear(f"{here}.self_attn.q_proj", f"{THERE}.attention.query"),
        *linear(f"{here}.self_attn.k_proj", f"{THERE}.attention.key"),
        *linear(f"{here}.self_attn.v_proj", f"{THERE}.attention.value"),
        *linear(f"{here}.self_attn.out_proj", f"{THERE}.attention.project"),
        *norm(f"{here}.layer_norm1", f"{THERE}.attention_norm"),
        *norm(f"{here}.layer_norm2", f"{THERE}.feed_forward_norm"),
        *linear(f"{here}.mlp.fc1", f"{THERE}.feed_forward.expand"),
        *linear(f"{here}.mlp.fc2", f"{THERE}.feed_forward.reduce"),
    )


def rules(prefix: str = "") -> tuple[Rule, ...]:
    """The rules of the tower below ``prefix``."""
    return (
        Rule(f"{prefix}embeddings.class_embedding", "class_token", "row"),
        Rule(f"{prefix}embeddings.patch_embedding.weight", "patch_embedding.project.kernel", "conv"),
        Rule(f"{prefix}embeddings.position_embedding.weight", "position.embedding"),
        *norm(f"{prefix}pre_layrnorm", "embedding_norm"),
        *layer_rules(prefix),
        *norm(f"{prefix}post_layernorm", "final_norm"),
    )


SHARED = {key: value for key, value in hf_vit.FIELDS.config.items() if "dropout" not in key}
FIELDS = FieldRules(
    sizes=hf_vit.FIELDS.sizes,
    present={
        **hf_vit.FIELDS.present,
        "patch_bias": "patch_embedding.project.bias",
        "embedding_norm": "embedding_norm.scale",
    },
    config={**SHARED, "attention_dropout": "attention_dropout"},
    parts=hf_vit.FIELDS.parts,
    values=hf_vit.FIELDS.values,
    allowed={"model_type": ("clip_vision_model", "clip")},
    # what CLIPVisionConfig takes where config.json is silent
    defaults={"image_height": 224, "image_width": 224, "activation": "quick_gelu", "eps": 1e-5, "num_heads": 12},
    inside="vision_config",
    asked=hf_vit.FIELDS.asked,
)
LEFT = {
    "text_model.*": "the text tower",
    "text_projection.weight": "the text tower's projection",
    "logit_scale": "scales the products of both towers' results",
    "*embeddings.position_ids": "0, 1, 2 …, which newer versions do not save",
}
MAP = Map(
    name="hf.CLIPVisionModel",
    summary="the vision tower of CLIP, its class token after the last norm",
    formats=("safetensors", "torch_pt"),
    needs=("torch", "transformers"),
    extra="port",
    block="VisionTransformer",
    rules=rules(),
    unused={"*embeddings.position_ids": LEFT["*embeddings.position_ids"]},
    prefixes=("", "vision_model."),
    beside=("dropout",),
    only={
        **hf_vit.PLAIN, "class_token": (True,), "positions": (True,), "norm_first": (True,), "final_norm": (True,),
        "patch_bias": (False,), "embedding_norm": (True,), "pooling": ("class",),
    },
    besides=hugging_face_vision.square,
    fields=FIELDS,
)  # fmt: skip
PROJECTION = replace(
    MAP,
    name="hf.CLIPVisionModelWithProjection",
    summary="the vision tower of CLIP with its projection, also out of a file of CLIPModel",
    rules=(*rules("vision_model."), Rule("visual_projection.weight", "head.kernel", "transpose")),
    marks=("visual_projection.weight",),
    unused=LEFT,
    prefixes=("",),
    only={**MAP.only, "head_bias": (False,)},
    fields=replace(
        FIELDS,
        present={**FIELDS.present, "head_bias": "head.bias"},
        config={**FIELDS.config, "num_classes": "projection_dim"},
    ),
)
MAPS = (MAP, PROJECTION)

LAYER = [
    ("layer_norm1", "out", "attention_norm", "b t c"),
    ("self_attn.q_proj", "heads", "attention.query", "b h t d"),
    ("self_attn.k_proj", "heads", "attention.key", "b g s d"),
    ("self_attn.v_proj", "heads", "attention.value", "b g s e"),
    ("self_attn.out_proj", "in", "attention.merged", "b t c"),
    ("self_attn.out_proj", "out", "attention.projected", "b t c"),
    ("layer_norm2", "read", "attended", "b t c"),
    ("layer_norm2", "out", "feed_forward_norm", "b t c"),
    ("mlp.fc1", "out", "feed_forward.hidden", "b t f"),
    ("mlp.activation_fn", "out", "feed_forward.active", "b t f"),
    ("mlp.fc2", "out", "feed_forward.reduced", "b t c"),
]


def map_of(block: VisionTransformer) -> Map:
    """The map of its files: with a projection, or without."""
    return PROJECTION if block.num_classes else MAP


def spots(block: VisionTransformer) -> Iterator[Spot]:
    """Where the taps are."""
    inner = "vision_model." if block.num_classes else ""
    yield Spot(f"{inner}embeddings.patch_embedding", "out", "patch_embedding.projected", "b c H W")
    yield Spot(f"{inner}pre_layrnorm", "in", "positioned", "b t c")
    yield Spot(f"{inner}pre_layrnorm", "out", "embedding_norm", "b t c")
    yield from of_layers(f"{inner}encoder.layers", block.num_layers, LAYER)
    yield Spot(f"{inner}post_layernorm", "out", "pooled", "b c")
    if block.num_classes:
        yield Spot("visual_projection", "out", "logits", "b k")


def config(block: VisionTransformer) -> Any:
    """The configuration of a tower that computes ``block``."""
    import transformers

    more: dict[str, Any] = {"projection_dim": block.num_classes} if block.num_classes else {}
    fields = hugging_face_vision.fields_of(
        block, ACTIVATIONS, intermediate_size=block.hidden_width, attention_dropout=block.attention_dropout, **more
    )
    return transformers.CLIPVisionConfig(**fields)


def weights(block: VisionTransformer) -> list[Rule]:
    """Its names inside the model."""
    return map_of(block).rules_for(block)


def make(block: VisionTransformer, dtype: str) -> Any:
    """A new model."""
    return hugging_face_vision.made(hugging_face_vision.kind_of(map_of(block)), config(block), dtype)


def call(model: Any, block: VisionTransformer, given: Mapping[str, Any]) -> Any:
    """The model on canonical inputs."""
    result = model(pixel_values=given["image"])
    return result.image_embeds if block.num_classes else result.pooler_output


#: how it is run as an end; few cases of a check would fit it
END = hugging_face_vision.peer("hf.CLIPVisionModel", map_of, weights=weights, make=make, call=call, spots=spots)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job`` and read the values that the block taps."""
    block = hugging_face_vision.of_block(job)
    return hugging_face_vision.run(END, job, hugging_face_vision.kind_of(map_of(block)), config(block))
