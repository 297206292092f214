"""Hugging Face's ``DeiTModel`` and its classifiers: a ViT with a distilled token behind the class token.

Source: ``transformers/models/deit/modeling_deit.py``. ``DeiTForImageClassificationWithTeacher`` averages the logits of
two heads, one for each of the two tokens; ``DeiTForImageClassification`` has one head, of the class token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map, Variant
from attn_ref.foreign.peer import Spot, of_layers
from attn_ref.foreign.rules import Rule, linear
from attn_ref.models.vision_transformer import VisionTransformer
from attn_ref_torch import hugging_face_vision
from attn_ref_torch.hugging_face import ACTIVATIONS
from attn_ref_torch.peers import hf_vit


def rules(prefix: str) -> tuple[Rule, ...]:
    """Those of ViT, and the distilled token's."""
    token = Rule(f"{prefix}embeddings.distillation_token", "distilled_token", "batch")
    return (*hf_vit.rules(prefix), token)


FIELDS = replace(
    hf_vit.FIELDS,
    present={**hf_vit.FIELDS.present, "distilled_token": "distilled_token"},
    allowed={"model_type": ("deit",), "qkv_bias": (True,)},
)
ONLY = {**hf_vit.MAP.only, "distilled_token": (True,)}

MAP = replace(
    hf_vit.MAP,
    name="hf.DeiTModel",
    summary="Hugging Face DeiTModel, without its pooler",
    rules=rules(""),
    marks=("embeddings.distillation_token",),
    only=ONLY,
    fields=FIELDS,
)
CLASSIFIER = replace(
    MAP,
    name="hf.DeiTForImageClassification",
    summary="Hugging Face DeiTForImageClassification",
    rules=(*rules("deit."), *linear("classifier", "head")),
    marks=("deit.embeddings.distillation_token",),
    unused={f"deit.{name}": why for name, why in MAP.unused.items()},
    spellings=hf_vit.spellings("deit."),
    only={**ONLY, "pooling": ("class",)},
    fields=replace(FIELDS, defaults={**FIELDS.defaults, "pooling": "class"}),
)
TEACHER = replace(
    CLASSIFIER,
    name="hf.DeiTForImageClassificationWithTeacher",
    summary="Hugging Face DeiTForImageClassificationWithTeacher, the mean of two heads",
    rules=(
        *rules("deit."), *linear("cls_classifier", "head"), *linear("distillation_classifier", "distilled_head"),
    ),
    only={**ONLY, "pooling": ("distilled",)},
    fields=replace(FIELDS, defaults={**FIELDS.defaults, "pooling": "distilled"}),
)  # fmt: skip

MAPS = (MAP, CLASSIFIER, TEACHER)


def map_of(block: VisionTransformer) -> Map:
    """The map of its files: with two heads, with one, or without."""
    if not block.num_classes:
        return MAP
    return TEACHER if block.pooling == "distilled" else CLASSIFIER


def spots(block: VisionTransformer) -> Iterator[Spot]:
    """Where the taps are; the mean of both heads is taken in none of the modules."""
    inner = "deit." if block.num_classes else ""
    yield from (Spot(f"{inner}{module}", what, tap, labels) for module, what, tap, labels in hf_vit.MODEL)
    yield from of_layers(f"{inner}layers", block.num_layers, hf_vit.LAYER)
    if map_of(block) is CLASSIFIER:
        yield Spot("classifier", "out", "logits", "b k")


def config(block: VisionTransformer) -> Any:
    """The configuration of a DeiT that computes ``block``."""
    import transformers

    more: dict[str, Any] = {"num_labels": block.num_classes} if block.num_classes else {}
    fields = hugging_face_vision.fields_of(
        block, ACTIVATIONS, intermediate_size=block.hidden_width, hidden_dropout_prob=block.dropout,
        attention_probs_dropout_prob=block.attention_dropout, **more,
    )  # fmt: skip
    return transformers.DeiTConfig(**{**fields, "image_size": [block.image_height or 0, block.image_width or 0]})


def weights(block: VisionTransformer) -> Iterator[Rule]:
    """Its names inside the model."""
    told, kind = map_of(block), type(block).__name__
    for rule in told.rules_for(block):
        yield replace(rule, foreign=told.spell(rule.foreign, Variant(spelling="state_dict"), kind))


def make(block: VisionTransformer, dtype: str) -> Any:
    """A new model."""
    return hugging_face_vision.made(
        hugging_face_vision.kind_of(map_of(block)), config(block), dtype, **hugging_face_vision.headless(block)
    )


PEER = hugging_face_vision.peer(
    "hf.DeiTModel", map_of, weights=weights, make=make, call=hugging_face_vision.of_states, spots=spots
)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job`` and read the values that the block taps."""
    block = hugging_face_vision.of_block(job)
    return hugging_face_vision.run(
        PEER, job, hugging_face_vision.kind_of(map_of(block)), config(block), **hugging_face_vision.labels(block)
    )
