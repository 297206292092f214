"""Vision models of transformers as the ends of the porter: loaded from a file, called, and listened to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Peer, Spot
from attn_ref.models.vision_transformer import VisionTransformer


def loaded(
    kind: Any, path: Path, config_path: Path | None, config: Any, *, idle: tuple[str, ...] = (), **options: Any
) -> Any:
    """The model in float64. ValueError if the file leaves a parameter without a value: transformers would draw one.

    ``idle`` are parameters that only training reads.
    """
    import torch

    from attn_ref_torch.peers.hf_bert import folder_of

    with folder_of(path, config_path, config) as folder:
        model, info = kind.from_pretrained(
            folder, dtype=torch.float64, attn_implementation="sdpa", output_loading_info=True, local_files_only=True,
            **options,
        )  # fmt: skip
    missing = [name for name in info["missing_keys"] if name not in idle]
    if wrong := [*missing, *info["mismatched_keys"]]:
        raise ValueError(f"transformers finds no value for {', '.join(map(str, wrong))}")
    return model.eval()


def made(kind: Any, config: Any, dtype: str, **options: Any) -> Any:
    """A new model, with torch's own attention: transformers' takes the softmax in float32."""
    import torch

    config._attn_implementation = "sdpa"
    return kind(config, **options).to(getattr(torch, dtype))


def outcome(peer: Peer, model: Any, job: Job) -> Outcome:
    """What the model gives, and the values inside that the block taps."""
    import torch
    import transformers

    from attn_ref.engines import backend
    from attn_ref_torch.foreign import Foreign

    run = backend("torch").run(Foreign(peer, job.block, model).eval(), job.inputs)
    by = f"transformers {transformers.__version__} {type(model).__name__} on torch {torch.__version__}, float64"
    return Outcome(run.output, run.taps, by)


def fields_of(block: VisionTransformer, activations: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """The arguments that the configurations of these models have in common."""
    return {
        "image_size": block.image_height,
        "patch_size": block.patch,
        "num_channels": block.channels,
        "hidden_size": block.width,
        "num_hidden_layers": block.num_layers,
        "num_attention_heads": block.num_heads,
        "hidden_act": activations[block.activation],
        "layer_norm_eps": block.eps,
        **more,
    }


def square(block: VisionTransformer) -> list[str]:
    """That an image is as wide as it is high, a line where it is not: these models have one size for both."""
    if block.image_height == block.image_width and block.image_height is not None:
        return []
    return [f"image_height = {block.image_height} beside image_width = {block.image_width} (only the same number)"]


def normed(block: VisionTransformer, spots: Iterator[Spot]) -> Iterator[Spot]:
    """The same spots; with layer scale a layer's norm is a block, whose last tap is its result."""
    for spot in spots:
        inner = block.layer_scale is not None and spot.tap.endswith(("attention_norm", "feed_forward_norm"))
        yield spot._replace(tap=f"{spot.tap}.shifted") if inner else spot


def of_block(job: Job) -> VisionTransformer:
    """The block of a job of these maps, which hold no other."""
    return cast(VisionTransformer, job.block)
