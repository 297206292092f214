"""Hugging Face's ``ViTModel``, every token after the last norm, and ``ViTForImageClassification``, with a head.

Source: ``transformers/models/vit/modeling_vit.py``; the names are those that ``save_pretrained`` writes. Since the
layers were renamed inside the model, its ``state_dict`` has others, which are the spelling "state_dict" here. Files are
loaded by ``from_pretrained``. Its attention is torch's fused one: transformers' own ("eager") takes the softmax in
float32 whatever the dtype. So the weights of attention are not read. The names of modules are those of transformers 5.9
and later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map, Variant
from attn_ref.foreign.peer import Spot, of_layers
from attn_ref.foreign.rules import Rule, conv, linear, norm
from attn_ref.models.vision_transformer import VisionTransformer
from attn_ref_torch import hugging_face_vision
from attn_ref_torch.hugging_face import ACTIVATIONS, WORDS

HERE, THERE = "encoder.layer.{i}", "layers.{i}"

#: a linear layer's or a norm's name in a file -> in the model's own state_dict
RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "layernorm_before": "layernorm_before",
    "layernorm_after": "layernorm_after",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def rules(prefix: str) -> tuple[Rule, ...]:
    """The rules of the model below ``prefix``."""
    here = f"{prefix}{HERE}"
    return (
        Rule(f"{prefix}embeddings.cls_token", "class_token", "batch"),
        Rule(f"{prefix}embeddings.position_embeddings", "position.embedding", "batch"),
        *conv(f"{prefix}embeddings.patch_embeddings.projection", "patch_embedding.project"),
        *linear(f"{here}.attention.attention.query", f"{THERE}.attention.query"),
        *linear(f"{here}.attention.attention.key", f"{THERE}.attention.key"),
        *linear(f"{here}.attention.attention.value", f"{THERE}.attention.value"),
        *linear(f"{here}.attention.output.dense", f"{THERE}.attention.project"),
        *norm(f"{here}.layernorm_before", f"{THERE}.attention_norm"),
        *norm(f"{here}.layernorm_after", f"{THERE}.feed_forward_norm"),
        *linear(f"{here}.intermediate.dense", f"{THERE}.feed_forward.expand"),
        *linear(f"{here}.output.dense", f"{THERE}.feed_forward.reduce"),
        *norm(f"{prefix}layernorm", "final_norm"),
    )


def spellings(prefix: str) -> dict[str, dict[str, str]]:
    """The names of the model's own state_dict."""
    names = {
        f"{prefix}{HERE}.{here}.{leaf}": f"{prefix}layers.{{i}}.{there}.{leaf}"
        for here, there in RENAMED.items()
        for leaf in ("weight", "bias")
    }
    return {"state_dict": names}


FIELDS = FieldRules(
    sizes={
        "patch": ("patch_embedding.project.kernel", 0),
        "channels": ("patch_embedding.project.kernel", 2),
        "width": ("patch_embedding.project.kernel", 3),
        "hidden_width": ("layers.0.feed_forward.expand.kernel", 1),
        "num_classes": ("head.kernel", 1),
    },
    present={"class_token": "class_token", "positions": "position.embedding", "final_norm": "final_norm.scale"},
    config={
        "patch": "patch_size",
        "channels": "num_channels",
        "image_height": "image_size",
        "image_width": "image_size",
        "width": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "hidden_width": "intermediate_size",
        "activation": "hidden_act",
        "eps": "layer_norm_eps",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
    },
    parts={"patch": 0, "image_height": 0, "image_width": 1},
    values={"activation": WORDS},
    allowed={"model_type": ("vit",), "qkv_bias": (True,)},
    # what ViTConfig takes where config.json is silent, and what ViTModel gives
    defaults={
        "image_height": 224, "image_width": 224, "activation": "gelu", "eps": 1e-12, "pooling": "none",
    },
    asked=("image_height", "image_width", "activation", "eps"),
)  # fmt: skip

#: what a ViT of the paper has not
PLAIN: dict[str, tuple[Any, ...]] = {
    "distilled_token": (False,), "register_tokens": (0,), "patch_bias": (True,), "class_position": (True,),
    "embedding_norm": (False,), "layer_scale": (None,), "pooled_norm": (False,), "head_bias": (True,),
}  # fmt: skip

MAP = Map(
    name="hf.ViTModel",
    summary="Hugging Face ViTModel, without its pooler",
    formats=("safetensors", "torch_pt"),
    needs=("torch", "transformers"),
    extra="port",
    block="VisionTransformer",
    rules=rules(""),
    unused={
        "pooler.dense.*": "the pooler, a layer after the last norm that no classifier reads",
        "embeddings.mask_token": "takes the place of masked patches in pre-training only",
    },
    spellings=spellings(""),
    beside=("pooling",),
    only={
        "class_token": (True,), "positions": (True,), "norm_first": (True,), "final_norm": (True,),
        "pooling": ("none", "class", "mean"), **PLAIN,
    },
    fields=FIELDS,
)  # fmt: skip

#: the same model below "vit.", and a head
CLASSIFIER = replace(
    MAP,
    name="hf.ViTForImageClassification",
    summary="Hugging Face ViTForImageClassification",
    rules=(*rules("vit."), *linear("classifier", "head")),
    unused={f"vit.{name}": why for name, why in MAP.unused.items()},
    spellings=spellings("vit."),
    only={**MAP.only, "pooling": ("class",)},
    fields=replace(FIELDS, defaults={**FIELDS.defaults, "pooling": "class"}),
)

MAPS = (MAP, CLASSIFIER)

MODEL = [
    ("embeddings.patch_embeddings.projection", "out", "patch_embedding.projected", "b c H W"),
    ("embeddings.patch_embeddings", "out", "patch_embedding.tokens", "b t c"),
    ("embeddings.dropout", "in", "positioned", "b t c"),
    ("layernorm", "out", "final_norm", "b t c"),
]
LAYER = [
    ("layernorm_before", "out", "attention_norm", "b t c"),
    ("attention.q_proj", "heads", "attention.query", "b h t d"),
    ("attention.k_proj", "heads", "attention.key", "b g s d"),
    ("attention.v_proj", "heads", "attention.value", "b g s e"),
    ("attention.o_proj", "in", "attention.merged", "b t c"),
    ("attention.o_proj", "out", "attention.projected", "b t c"),
    ("layernorm_after", "read", "attended", "b t c"),
    ("layernorm_after", "out", "feed_forward_norm", "b t c"),
    ("mlp.fc1", "out", "feed_forward.hidden", "b t f"),
    ("mlp.activation_fn", "out", "feed_forward.active", "b t f"),
    ("mlp.fc2", "out", "feed_forward.reduced", "b t c"),
]


def spots(block: VisionTransformer) -> Iterator[Spot]:
    """Where the taps are."""
    inner = "vit." if block.num_classes else ""
    yield from (Spot(f"{inner}{module}", what, tap, labels) for module, what, tap, labels in MODEL)
    yield from of_layers(f"{inner}layers", block.num_layers, LAYER)
    if block.num_classes:
        yield Spot("classifier", "out", "logits", "b k")


def config(block: VisionTransformer) -> Any:
    """The configuration of a ViT that computes ``block``."""
    import transformers

    options: dict[str, Any] = {"num_labels": block.num_classes} if block.num_classes else {}
    return transformers.ViTConfig(
        image_size=[block.image_height or 0, block.image_width or 0],
        patch_size=block.patch,
        num_channels=block.channels,
        hidden_size=block.width,
        num_hidden_layers=block.num_layers,
        num_attention_heads=block.num_heads,
        intermediate_size=block.hidden_width,
        hidden_act=ACTIVATIONS[block.activation],
        layer_norm_eps=block.eps,
        hidden_dropout_prob=block.dropout,
        attention_probs_dropout_prob=block.attention_dropout,
        **options,
    )


def map_of(block: VisionTransformer) -> Map:
    """The map of its files: with a head, or without."""
    return CLASSIFIER if block.num_classes else MAP


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
    "hf.ViTModel", map_of, weights=weights, make=make, call=hugging_face_vision.of_states, spots=spots
)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job`` and read the values that the block taps."""
    block = hugging_face_vision.of_block(job)
    return hugging_face_vision.run(
        PEER, job, hugging_face_vision.kind_of(map_of(block)), config(block), **hugging_face_vision.labels(block)
    )
