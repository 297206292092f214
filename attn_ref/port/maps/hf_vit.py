"""Hugging Face's ``ViTModel``: every token after the last norm, of a vision transformer.

Source: ``transformers/models/vit/modeling_vit.py``; the names are those that ``save_pretrained`` writes. Since the
layers were renamed inside the model, its ``state_dict`` has others, which are the spelling "state_dict" here.
"""

from dataclasses import replace

from attn_ref.port.hyper import FieldRules
from attn_ref.port.mapping import Map, Rule, conv, linear, norm

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
    values={
        "activation": {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"},
    },
    allowed={"model_type": ("vit",), "qkv_bias": (True,)},
    # what ViTConfig takes where config.json is silent, and what ViTModel gives
    defaults={
        "image_height": 224, "image_width": 224, "activation": "gelu", "eps": 1e-12, "pooling": "none",
    },
    asked=("image_height", "image_width", "activation", "eps"),
)  # fmt: skip

MAP = Map(
    name="hf.ViTModel",
    summary="Hugging Face ViTModel, without its pooler",
    formats=("safetensors", "torch_pt"),
    end="attn_ref_torch.peers.hf_vit:run_file",
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
    only={"class_token": (True,), "positions": (True,), "norm_first": (True,), "final_norm": (True,)},
    fields=FIELDS,
)

#: ``hf_vit_classifier`` has the same model below "vit.", and a head
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
