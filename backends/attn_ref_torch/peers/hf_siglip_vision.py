"""Hugging Face's ``SiglipVisionModel``: no class token, and a learned query that attends to all patches.

Source: ``transformers/models/siglip/modeling_siglip.py``. What comes out is what its head pools. A model without that
head (``vision_use_head``) is not expressed. Older files have ``vision_model.`` before every name, and those that
``SiglipModel`` writes have both towers; the text tower is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Spot, of_layers
from attn_ref.foreign.rules import Rule, conv, linear, norm
from attn_ref.models.vision_transformer import VisionTransformer
from attn_ref_torch import hugging_face_vision
from attn_ref_torch.hugging_face import ACTIVATIONS
from attn_ref_torch.peers import hf_clip_vision, hf_vit, multihead_attention


def rules() -> Iterator[Rule]:
    """The rules."""
    yield from conv("embeddings.patch_embedding", "patch_embedding.project")
    yield Rule("embeddings.position_embedding.weight", "position.embedding")
    yield from hf_clip_vision.layer_rules()
    yield from norm("post_layernorm", "final_norm")
    yield Rule("head.probe", "pool.probe", "batch")
    packed = multihead_attention.BLOCKS[0]
    yield from multihead_attention.weights(packed, "head.attention.", "pool.attention.")
    yield from norm("head.layernorm", "pool.norm")
    yield from linear("head.mlp.fc1", "pool.feed_forward.expand")
    yield from linear("head.mlp.fc2", "pool.feed_forward.reduce")


SHARED = {key: value for key, value in hf_vit.FIELDS.config.items() if "dropout" not in key}
FIELDS = replace(
    hf_vit.FIELDS,
    kinds={"pooling": {"pool.probe": "attention"}},
    config={**SHARED, "attention_dropout": "attention_dropout"},
    allowed={"model_type": ("siglip_vision_model", "siglip"), "vision_use_head": (True, None)},
    # what SiglipVisionConfig takes where config.json is silent
    defaults={"image_height": 224, "image_width": 224, "activation": "gelu_tanh", "eps": 1e-6, "num_heads": 12},
    inside="vision_config",
)
MAP = replace(
    hf_vit.MAP,
    name="hf.SiglipVisionModel",
    summary="the vision tower of SigLIP, pooled by its head, also out of a file of SiglipModel",
    rules=tuple(rules()),
    unused={
        "text_model.*": "the text tower", "logit_scale": "scales the products of both towers' results",
        "logit_bias": "is added to the products of both towers' results",
        "*embeddings.position_ids": "0, 1, 2 …, which newer versions do not save",
    },
    spellings={},
    prefixes=("", "vision_model."),
    beside=("dropout",),
    only={
        **hf_vit.PLAIN, "class_token": (False,), "positions": (True,), "norm_first": (True,), "final_norm": (True,),
        "pooling": ("attention",), "num_classes": (None,),
    },
    besides=hugging_face_vision.square,
    fields=FIELDS,
)  # fmt: skip
MAPS = (MAP,)


def spots(block: VisionTransformer) -> Iterator[Spot]:
    """Where the taps are."""
    yield Spot("embeddings.patch_embedding", "out", "patch_embedding.projected", "b c H W")
    yield Spot("embeddings", "out", "positioned", "b t c")
    yield from of_layers("encoder.layers", block.num_layers, hf_clip_vision.LAYER)
    yield Spot("post_layernorm", "out", "final_norm", "b t c")
    yield Spot("head.attention", "out", "pool.attended", "b u c")
    yield Spot("head.layernorm", "out", "pool.normed", "b u c")
    yield Spot("head", "out", "pooled", "b c")


def config(block: VisionTransformer) -> Any:
    """The configuration of a tower that computes ``block``."""
    import transformers

    fields = hugging_face_vision.fields_of(
        block, ACTIVATIONS, intermediate_size=block.hidden_width, attention_dropout=block.attention_dropout
    )
    return transformers.SiglipVisionConfig(**fields)


def weights(block: VisionTransformer) -> list[Rule]:
    """Its names inside the model."""
    return MAP.rules_for(block)


def make(block: VisionTransformer, dtype: str) -> Any:
    """A new model."""
    return hugging_face_vision.made(hugging_face_vision.kind_of(MAP), config(block), dtype)


def call(model: Any, block: VisionTransformer, given: Mapping[str, Any]) -> Any:
    """The model on canonical inputs."""
    return model(pixel_values=given["image"]).pooler_output


#: how it is run as an end; few cases of a check would fit it
END = hugging_face_vision.peer(
    "hf.SiglipVisionModel", lambda block: MAP, weights=weights, make=make, call=call, spots=spots
)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job`` and read the values that the block taps."""
    return hugging_face_vision.run(
        END, job, hugging_face_vision.kind_of(MAP), config(hugging_face_vision.of_block(job))
    )
