"""Vision models of transformers as the ends of the porter: loaded from a file, called, and listened to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Peer, Spot
from attn_ref.models.vision_transformer import VisionTransformer
from attn_ref_torch.hugging_face import outcome, pretrained


def kind_of(told: Map) -> Any:
    """The class that a map is called after."""
    import transformers

    return getattr(transformers, told.name.removeprefix("hf."))


def headless(block: VisionTransformer) -> dict[str, Any]:
    """The option of a model without a head: it has no pooler either."""
    return {} if block.num_classes else {"add_pooling_layer": False}


def labels(block: VisionTransformer) -> dict[str, Any]:
    """The options with which a file of such a model is loaded: how many classes there are, or that there is no head."""
    return {"num_labels": block.num_classes} if block.num_classes else headless(block)


def made(kind: Any, config: Any, dtype: str, **options: Any) -> Any:
    """A new model, with torch's own attention: transformers' takes the softmax in float32."""
    import torch

    config._attn_implementation = "sdpa"
    return kind(config, **options).to(getattr(torch, dtype))


def peer(
    name: str, map_of: Callable[[VisionTransformer], Map], *, weights: Any, make: Any, call: Any, spots: Any
) -> Peer:
    """A vision model of transformers; ``map_of`` its file's map says which blocks it refuses."""
    return Peer(
        name=name, block="VisionTransformer", engine="torch", needs=("torch", "transformers"),
        refuses=lambda block: map_of(block).inexpressible(block), inputs=("image",), weights=weights, make=make,
        call=call, spots=spots,
    )  # fmt: skip


def of_states(model: Any, block: VisionTransformer, given: Mapping[str, Any]) -> Any:
    """The model on canonical inputs: its logits, or of its last states those that the block's pooling takes."""
    result = model(pixel_values=given["image"])
    if block.num_classes:
        return result.logits
    states = result.last_hidden_state
    patches = states[:, block.prefix :]
    return {"none": states, "class": states[:, 0], "mean": patches.mean(dim=1)}[block.pooling]


def run(end: Peer, job: Job, kind: Any, config: Any, **options: Any) -> Outcome:
    """Run the file of ``job`` and read the values that the block taps."""
    model = pretrained(kind, job, config, attention="sdpa", **options)
    return outcome(end, of_block(job), model, job)


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
