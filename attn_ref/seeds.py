"""The seed systems S1 to S19: what published tutorials compute, exactly, as a block, its options and traps.

``ar.seed("S16")`` is callable as the tutorial's function is, on the reference and, with an engine's name, on a mirror:

>>> import attn_ref as ar, numpy as np
>>> s16 = ar.seed("S16")
>>> x = np.ones((1, 2, 3, 4))
>>> s16({}, x, x, x, mask=np.zeros((3, 3))).shape
(1, 2, 3, 4)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref import mode, traps
from attn_ref.backend import Run
from attn_ref.block import Block
from attn_ref.catalogue import block as find_block
from attn_ref.engines import backend
from attn_ref.tap import Probe, Tapped, probe
from attn_ref.traps import Trap

Options = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A seed system: which block it is, under which options and traps."""

    row: str
    title: str
    block: str
    #: sizes that its caller gives, with small examples
    sizes: Options
    #: sizes -> the block's options
    options: Callable[[Options], Options]
    #: sizes -> the traps that apply
    trapped: Callable[[Options], Sequence[Trap]] = field(default=lambda sizes: ())
    #: the names of its arguments, in order; None: the block's
    arguments: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Seed:
    """A row with its sizes."""

    row: Row
    sizes: Options

    @cached_property
    def block(self) -> Block:
        """The block with its options."""
        return find_block(self.row.block).build(self.row.options(self.sizes))

    @property
    def traps(self) -> Sequence[Trap]:
        """What deviates from the block's definition."""
        return self.row.trapped(self.sizes)

    def __call__(self, weights: Mapping[str, Any], *args: Any, engine: str | None = None, **kwargs: Any) -> np.ndarray:
        """What the seed's function gives; with ``engine`` by that engine's mirror."""
        return self.run(weights, *args, engine=engine, **kwargs).output

    def run(
        self,
        weights: Mapping[str, Any],
        *args: Any,
        engine: str | None = None,
        training: bool = False,
        **kwargs: Any,
    ) -> Run:
        """The same, with every tap. In ``training`` a mirror drops by chance, where the seed does."""
        inputs = self.inputs(*args, **kwargs)
        added, replaced = self.changes("add", weights, inputs), self.changes("replace", weights, inputs)
        if engine is None:
            with mode.training(training), probe(Probe(add=added, replace=replaced)) as heard:
                run = Run(self.block(weights, **inputs), heard.seen)
        else:
            served = backend(engine)
            layer = served.load(served.build(self.block), weights)
            run = served.run(layer, inputs, add=added, replace=replaced, training=training)
        for trap in self.traps:
            if trap.output:
                run.output = trap.output(run.output)
        return run

    def inputs(self, *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        """The block's inputs from the seed's arguments."""
        names = self.row.arguments or tuple(self.block.inputs)
        if len(args) > len(names):
            raise ValueError(f"{self.row.row} takes {len(names)} arguments, {', '.join(names)}; got {len(args)}")
        given = dict(zip(names, args, strict=False)) | kwargs
        arrays = {name: np.asarray(x) for name, x in given.items() if x is not None}
        for trap in self.traps:
            arrays = trap.inputs(arrays) if trap.inputs else arrays
        return arrays

    def changes(self, kind: str, weights: Mapping[str, Any], inputs: dict[str, np.ndarray]) -> dict[str, Tapped]:
        """What the traps add to taps or put in their place."""
        found: dict[str, Tapped] = {}
        for trap in self.traps:
            if make := getattr(trap, kind):
                found |= make(self.block, weights, inputs)
        return found


def seeds() -> dict[str, Row]:
    """Every row by name, S1 first."""
    return {row.row: row for row in ROWS}


def seed(name: str, **sizes: Any) -> Seed:
    """The seed system ``name``; sizes that are not given are those of its example. ValueError for unknown names."""
    known = seeds()
    if name not in known:
        raise ValueError(f"unknown seed system {name!r}; there are {', '.join(known)}")
    if unknown := [size for size in sizes if size not in known[name].sizes]:
        raise ValueError(f"{name} has no {', '.join(unknown)}; it has {', '.join(known[name].sizes)}")
    return Seed(known[name], {**known[name].sizes, **sizes})


def same(sizes: Options) -> Options:
    """The sizes are the options."""
    return dict(sizes)


def total_widths(sizes: Options) -> Options:
    """S1: widths over all heads, which divide them; the scale too is by all of them."""
    heads = sizes["num_heads"]
    for name in ("key_dim", "value_dim"):
        if heads < 1 or sizes[name] % heads:
            raise ValueError(f"S1: num_heads should divide {name}; got num_heads {heads}, {name} {sizes[name]}")
    return {
        "width": sizes["width"],
        "num_heads": heads,
        "head_width": sizes["key_dim"] // heads,
        "value_head_width": sizes["value_dim"] // heads,
        "output_width": sizes["value_dim"],
        "scale": "total",
        "dropout": sizes["dropout"],
    }


def mean_pooled_vit(sizes: Options) -> Options:
    """S4: no norm, no position, no class token, the mean over tokens."""
    plain = {"class_token": False, "positions": False, "norm_first": None, "final_norm": False, "pooling": "mean"}
    return {**sizes, **plain, "activation": "relu"}


def small_kernel(sizes: Options) -> Options:
    """S9 and S10: a kernel of 3, 5 or 7."""
    if sizes["kernel_size"] not in (3, 5, 7):
        raise ValueError(f"kernel_size should be 3, 5 or 7; got {sizes['kernel_size']!r}")
    return dict(sizes)


PIXELS = {"scale": None, "activation": "relu", "position": "content", "project": False, "residual": False}

ROWS = (
    Row(
        row="S1", title="multi_head_attention, a function", block="MultiHeadAttention",
        sizes={"width": 6, "num_heads": 2, "key_dim": 8, "value_dim": 10, "dropout": 0.1}, options=total_widths,
        trapped=lambda sizes: [traps.always_dropping(sizes["dropout"])],
    ),
    Row(
        row="S2", title="attention over the pixels of a feature map", block="MultiHeadAttention2d",
        sizes={"channels": 8, "num_heads": 2}, options=same,
    ),
    Row(
        row="S3", title="the attention of a vision transformer", block="MultiHeadAttention",
        sizes={"width": 8, "num_heads": 2}, options=same, arguments=("x",),
        trapped=lambda _: [traps.renamed(x="query")],
    ),
    Row(
        row="S4", title="a vision transformer for classes, without norm and positions", block="VisionTransformer",
        sizes={"patch": 2, "channels": 3, "width": 8, "num_layers": 2, "num_heads": 2, "hidden_width": 12,
               "num_classes": 5, "dropout": 0.1},
        options=mean_pooled_vit, trapped=lambda _: [traps.dropping_only("feed_forward.keep")],
    ),
    Row(
        row="S5", title="mhsa_block, which has one head", block="MultiHeadAttention2d", sizes={"channels": 8},
        options=lambda sizes: {**sizes, "num_heads": 1, **PIXELS},
    ),
    Row(
        row="S6", title="the same, cut into heads", block="MultiHeadAttention2d", sizes={"channels": 8, "num_heads": 4},
        options=lambda sizes: {**sizes, **PIXELS},
    ),
    Row(
        row="S7", title="squeeze-and-excitation", block="SqueezeExcitation", sizes={"channels": 8, "reduction": 2},
        options=lambda sizes: {**sizes, "use_bias": False},
    ),
    Row(
        row="S8", title="the channel attention of CBAM", block="ChannelAttention",
        sizes={"channels": 8, "reduction": 4}, options=same,
    ),
    Row(
        row="S9", title="the spatial attention of CBAM", block="SpatialAttention", sizes={"kernel_size": 3},
        options=small_kernel,
    ),
    Row(
        row="S10", title="a residual block with CBAM", block="CBAMResidual",
        sizes={"channels": 3, "output_channels": 8, "kernel_size": 3, "stride": 2, "reduction": 4},
        options=small_kernel,
    ),
    Row(
        row="S11", title="selective kernels", block="SelectiveKernel",
        sizes={"channels": 8, "branches": 2, "groups": 2, "stride": 1, "min_width": 32, "reduction": 2},
        options=lambda sizes: {**sizes, "use_bias": True, "bottleneck_norm": False},
    ),
    Row(
        row="S12", title="spatial self-attention, SAGAN", block="SpatialSelfAttention",
        sizes={"channels": 8, "head_width": 2}, options=same,
    ),
    Row(
        row="S13", title="channel self-attention", block="ChannelSelfAttention",
        sizes={"channels": 8, "inner_width": 6}, options=same,
    ),
    Row(
        row="S14", title="a non-local block in 1, 2 or 3 dimensions", block="NonLocal",
        sizes={"channels": 8, "dimensions": 2, "inner_width": None, "sub_sample": True, "batch_norm": True},
        options=same,
    ),
    Row(
        row="S15", title="multi-head attention with a mask, 0 = drop", block="MultiHeadAttention",
        sizes={"width": 8, "num_heads": 2}, options=same, arguments=("query", "key", "value", "mask"),
        trapped=lambda _: [traps.mask_of_numbers(0, rank=4), traps.uniform_where_nothing_is_kept()],
    ),
    Row(
        row="S16", title="scaled dot-product attention with a mask, 1 = drop", block="ScaledDotProductAttention",
        sizes={}, options=same, arguments=("query", "key", "value", "mask"), trapped=lambda _: [traps.mask_added()],
    ),
    Row(
        row="S17", title="a multi-head attention layer, called as (v, k, q, mask)", block="MultiHeadAttention",
        sizes={"width": 8, "num_heads": 2}, options=same, arguments=("value", "key", "query", "mask"),
        trapped=lambda _: [traps.mask_added(rank=4)],
    ),
    Row(
        row="S18", title="the point-wise feed-forward network", block="FeedForward",
        sizes={"width": 8, "hidden_width": 12}, options=same,
    ),
    Row(
        row="S19", title="an encoder layer, norm after", block="EncoderLayer",
        sizes={"width": 8, "num_heads": 2, "hidden_width": 12, "dropout": 0.1},
        options=lambda sizes: {**sizes, "eps": 1e-6}, arguments=("x", "mask"),
        trapped=lambda _: [traps.mask_added(rank=4), traps.dropping_only("keep_attention", "keep_feed_forward")],
    ),
)  # fmt: skip
