"""Hugging Face's ViT, loaded by ``from_pretrained`` from the files it was published in, and read by hooks.

Its attention is torch's fused one: transformers' own ("eager") takes the softmax in float32 whatever the dtype. So the
weights of attention are not read. The names of modules are those of transformers 5.9 and later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
import transformers

from attn_ref.models.vision_transformer import VisionTransformer
from attn_ref.port.ends import Job, Outcome
from attn_ref.tap import Tapped
from attn_ref_torch.codec import to_numpy
from attn_ref_torch.peers.hf_bert import ACTIVATIONS, folder_of, listen

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
    ("layernorm_after", "in", "attended", "b t c"),
    ("layernorm_after", "out", "feed_forward_norm", "b t c"),
    ("mlp.fc1", "out", "feed_forward.hidden", "b t f"),
    ("mlp.activation_fn", "out", "feed_forward.active", "b t f"),
    ("mlp.fc2", "out", "feed_forward.reduced", "b t c"),
]


def config(block: VisionTransformer) -> transformers.ViTConfig:
    """The configuration of a ViT that computes ``block``."""
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


def load(path: Path, block: VisionTransformer, config_path: Path | None) -> Any:
    """The model in float64. ValueError if the files leave a parameter without a value: transformers would draw one."""
    kind: Any = transformers.ViTForImageClassification if block.num_classes else transformers.ViTModel
    options = {"num_labels": block.num_classes} if block.num_classes else {"add_pooling_layer": False}
    with folder_of(path, config_path, config(block)) as folder:
        model, info = kind.from_pretrained(
            folder,
            dtype=torch.float64,
            attn_implementation="sdpa",
            output_loading_info=True,
            local_files_only=True,
            **options,
        )
    if wrong := [*info["missing_keys"], *info["mismatched_keys"]]:
        raise ValueError(f"transformers finds no value for {', '.join(map(str, wrong))}")
    return model.eval()


def run_file(job: Job) -> Outcome:
    """Run the file of ``job`` and read the values that the block taps."""
    block = cast(VisionTransformer, job.block)  # the maps that name this function hold no other
    model = load(Path(job.path), block, Path(job.config) if job.config else None)
    inner = model.vit if block.num_classes else model
    taps: dict[str, Tapped] = {}
    for module, what, name, labels in MODEL:
        listen(inner.get_submodule(module), what, name, labels, block.num_heads, taps)
    for i, layer in enumerate(inner.layers):
        for module, what, name, labels in LAYER:
            listen(layer.get_submodule(module), what, f"layers.{i}.{name}", labels, block.num_heads, taps)
        listen(layer, "out", f"layer_{i}", "b t c", block.num_heads, taps)
    with torch.no_grad():
        result = model(pixel_values=torch.from_numpy(job.inputs["image"]).permute(0, 3, 1, 2))
    if block.num_classes:
        output = result.logits
        taps["logits"] = Tapped(to_numpy(output), "b k")
    else:
        states = result.last_hidden_state
        output = {"none": states, "class": states[:, 0], "mean": states[:, 1:].mean(dim=1)}[block.pooling]
    by = f"transformers {transformers.__version__} {type(model).__name__} on torch {torch.__version__}, float64"
    return Outcome(to_numpy(output), taps, by)
