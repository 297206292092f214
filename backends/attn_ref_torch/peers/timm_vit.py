"""timm's ``VisionTransformer``, and the one with a distilled token of its DeiT.

Source: ``timm/models/vision_transformer.py`` and ``timm/models/deit.py``. Query, key and value are packed. Its files
say neither the size of the image nor how many heads there are. Where there are registers, neither they nor the class
token have positions (``no_embed_class``); registers with positions are not expressed. A norm before the layers comes
with patches that have no bias. With the mean its norm is behind the pooling (``fc_norm``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from attn_ref.expresses import inexpressible
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.part import Part
from attn_ref.foreign.peer import Peer, Spot, of_layers
from attn_ref.foreign.rules import Rule, conv, linear, norm
from attn_ref.models.vision_transformer import VisionTransformer
from attn_ref_torch import hugging_face_vision
from attn_ref_torch.peers import timm_attention

HERE, THERE = "blocks.{i}", "layers.{i}"
#: how timm calls what is pooled
POOLING = {"class": "token", "mean": "avg", "none": "", "attention": "map", "distilled": "token"}


def rules() -> Iterator[Rule]:
    """The rules of all that it may have."""
    yield Rule("cls_token", "class_token", "batch")
    yield Rule("dist_token", "distilled_token", "batch")
    yield Rule("reg_token", "register_tokens", "batch")
    yield Rule("pos_embed", "position.embedding", "batch")
    yield from conv("patch_embed.proj", "patch_embedding.project")
    yield from norm("norm_pre", "embedding_norm")
    yield from (r for r in timm_attention.rules(f"{HERE}.attn.", f"{THERE}.attention.") if "_norm" not in r.foreign)
    yield Rule(f"{HERE}.ls1.gamma", f"{THERE}.attention_scale")
    yield Rule(f"{HERE}.ls2.gamma", f"{THERE}.feed_forward_scale")
    yield from norm(f"{HERE}.norm1", f"{THERE}.attention_norm")
    yield from norm(f"{HERE}.norm2", f"{THERE}.feed_forward_norm")
    yield from linear(f"{HERE}.mlp.fc1", f"{THERE}.feed_forward.expand")
    yield from linear(f"{HERE}.mlp.fc2", f"{THERE}.feed_forward.reduce")
    yield from norm("norm", "final_norm")
    yield from norm("fc_norm", "pooled_norm")
    yield from pool_rules()
    yield from linear("head", "head")
    yield from linear("head_dist", "distilled_head")


def pool_rules() -> Iterator[Rule]:
    """The rules of its attention pooling, whose key and value are packed and whose query is not."""
    yield Rule("attn_pool.latent", "pool.probe", "batch")
    yield from linear("attn_pool.q", "pool.attention.query")
    for n, name in enumerate(("key", "value")):
        yield Rule("attn_pool.kv.weight", f"pool.attention.{name}.kernel", "transpose", Part(n, 1, 2))
        yield Rule("attn_pool.kv.bias", f"pool.attention.{name}.bias", part=Part(n, 1, 2))
    yield from linear("attn_pool.proj", "pool.attention.project")
    yield from norm("attn_pool.norm", "pool.norm")
    yield from linear("attn_pool.mlp.fc1", "pool.feed_forward.expand")
    yield from linear("attn_pool.mlp.fc2", "pool.feed_forward.reduce")


#: fields of which it takes any value
ANYTHING = (
    "patch", "channels", "image_height", "image_width", "width", "num_layers", "num_heads", "hidden_width",
    "activation", "class_token", "distilled_token", "register_tokens", "patch_bias", "positions", "class_position",
    "embedding_norm", "layer_scale", "final_norm", "eps", "pooling", "pooled_norm", "num_classes",
    "dropout", "attention_dropout",
)  # fmt: skip


def refuses(block: VisionTransformer) -> list[str]:
    """What such files cannot mean."""
    lines = inexpressible(block, ANYTHING, {"norm_first": (block.norm_first is True, "True")})
    if block.embedding_norm == block.patch_bias:
        lines.append(
            f"embedding_norm = {block.embedding_norm} beside patch_bias = {block.patch_bias} (only one of both)"
        )
    if block.final_norm and block.pooled_norm:
        lines.append("final_norm = True beside pooled_norm = True (only one of both)")
    if block.register_tokens and block.positions and block.class_token and block.class_position:
        lines.append("class_position = True beside register_tokens (only False)")
    if block.distilled_token and (block.pooling != "distilled" or block.register_tokens):
        lines.append(f"distilled_token beside pooling = {block.pooling!r} or registers (only 'distilled', without)")
    if block.image_height is None or block.image_width is None:
        lines.append("image_height = None or image_width = None (only a size)")
    return lines


MAP = Map(
    name="timm.VisionTransformer",
    summary="timm's VisionTransformer under its own names: ViT, DeiT, with registers, layer scale or attention pooling",
    formats=("safetensors", "torch_pt"),
    needs=("torch", "timm"),
    extra="torch",
    block="VisionTransformer",
    rules=tuple(rules()),
    by_name=True,
    marks=("patch_embed.proj.weight", "blocks.0.attn.qkv.weight"),
    beside=("dropout", "attention_dropout"),
    refuses=refuses,
    fields=FieldRules(
        sizes={
            "patch": ("patch_embedding.project.kernel", 0),
            "channels": ("patch_embedding.project.kernel", 2),
            "width": ("patch_embedding.project.kernel", 3),
            "hidden_width": ("layers.0.feed_forward.expand.kernel", 1),
            "num_classes": ("head.kernel", 1),
        },
        raw={"register_tokens": ("register_tokens", 1)},
        present={
            "class_token": "class_token", "distilled_token": "distilled_token", "positions": "position.embedding",
            "patch_bias": "patch_embedding.project.bias", "embedding_norm": "embedding_norm.scale",
            "final_norm": "final_norm.scale", "pooled_norm": "pooled_norm.scale",
        },
        kinds={
            "layer_scale": {"layers.0.attention_scale": 1.0},
            "class_position": {"register_tokens": False, "position.embedding": True},
            "pooling": {
                "pool.probe": "attention", "distilled_head.kernel": "distilled", "pooled_norm.scale": "mean",
                "class_token": "class", "patch_embedding.project.kernel": "mean",
            },
        },
        always={"norm_first": True},
        asked=("image_height", "image_width"),
    ),
)  # fmt: skip
MAPS = (MAP,)

LAYER = [
    ("norm1", "out", "attention_norm", "b t c"),
    ("attn.q_norm", "in", "attention.query", "b h t d"),
    ("attn.k_norm", "in", "attention.key", "b g s d"),
    ("attn.norm", "in", "attention.merged", "b t c"),
    ("attn.proj", "out", "attention.projected", "b t c"),
    ("norm2", "read", "attended", "b t c"),
    ("norm2", "out", "feed_forward_norm", "b t c"),
    ("mlp.fc1", "out", "feed_forward.hidden", "b t f"),
    ("mlp.act", "out", "feed_forward.active", "b t f"),
    ("mlp.fc2", "out", "feed_forward.reduced", "b t c"),
]


def spots(block: VisionTransformer) -> Iterator[Spot]:
    """Where the taps are; the mean of two heads is taken in none of the modules."""
    yield Spot("patch_embed.proj", "out", "patch_embedding.projected", "b c H W")
    yield Spot("patch_embed", "out", "patch_embedding.tokens", "b t c")
    if block.embedding_norm:
        yield Spot("norm_pre", "out", "embedding_norm", "b t c")
    yield from hugging_face_vision.normed(block, of_layers("blocks", block.num_layers, LAYER))
    if block.final_norm:
        yield Spot("norm", "out", "final_norm", "b t c")
    if block.pool:
        yield Spot("attn_pool", "out", "pooled", "b c")
    if block.pooled_norm:
        yield Spot("fc_norm", "out", "pooled_norm", "b c")
    if block.num_classes and block.pooling != "distilled":
        yield Spot("head", "out", "logits", "b t k" if block.pooling == "none" else "b k")


def weights(block: VisionTransformer) -> list[Rule]:
    """Its names."""
    return MAP.rules_for(block)


def make(block: VisionTransformer, dtype: str) -> Any:
    """A new model."""
    import torch
    from torch import nn

    from attn_ref_torch import timm

    distilled = block.pooling == "distilled"
    module = timm.module("models.deit" if distilled else "models.vision_transformer")
    kind = module.VisionTransformerDistilled if distilled else module.VisionTransformer
    model = kind(
        img_size=(block.image_height, block.image_width), patch_size=block.patch, in_chans=block.channels,
        num_classes=block.num_classes or 0, global_pool=POOLING[block.pooling], embed_dim=block.width,
        depth=block.num_layers, num_heads=block.num_heads, mlp_ratio=(block.hidden_width + 0.5) / block.width,
        init_values=block.layer_scale, class_token=block.class_token, pos_embed="learn" if block.positions else "",
        no_embed_class=not block.class_position, reg_tokens=block.register_tokens, pre_norm=block.embedding_norm,
        final_norm=block.final_norm or block.pooled_norm, fc_norm=block.pooled_norm,
        pos_drop_rate=block.dropout, proj_drop_rate=block.dropout, attn_drop_rate=block.attention_dropout,
        norm_layer=partial(nn.LayerNorm, eps=block.eps), act_layer=block.activation,
    ).to(getattr(torch, dtype))  # fmt: skip
    for inner in model.modules():  # or what comes in, a tap, would be what goes out
        if hasattr(inner, "inplace"):
            inner.inplace = False
    return model


def call(model: Any, block: VisionTransformer, given: Mapping[str, Any]) -> Any:
    """The model on canonical inputs."""
    return model(given["image"])


#: how it is run as an end; few cases of a check would fit it
END = Peer(
    name="timm.VisionTransformer",
    block="VisionTransformer",
    engine="torch",
    needs=("torch", "timm"),
    refuses=refuses,
    inputs=("image",),
    weights=weights,
    make=make,
    call=call,
    spots=spots,
)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.ends import run_tapped

    return run_tapped(END, job)
