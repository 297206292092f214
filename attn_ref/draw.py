"""Pictures of attention, by matplotlib: ``pip install 'attn_ref[draw]'``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def heat(axes: Any, image: Any, grid: Any, *, color: str = "#e8001c", opacity: float = 0.85) -> Any:
    """Draw ``image`` (H, W) or (H, W, channels) on matplotlib's ``axes``, and over it the patches of ``grid``.

    ``grid`` (rows, columns) is stretched over the image, each patch in one ``color``, as opaque as its share of the
    largest: where nothing is attended to the (faded) image shows as it is, and nothing is smoothed over.
    """
    from matplotlib.colors import to_rgba

    image, grid = np.asarray(image), np.asarray(grid)
    height, width = image.shape[:2]
    extent = (0, width, height, 0)
    axes.imshow(image.squeeze(), cmap="gray", extent=extent, interpolation="nearest", alpha=0.45)
    colors = np.broadcast_to(to_rgba(color), (*grid.shape, 4)).copy()
    colors[..., 3] = opacity * grid / max(grid.max(), np.finfo(float).tiny)
    drawn = axes.imshow(colors, extent=extent, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    return drawn


def sheet(images: Sequence[Any], columns: dict[str, Sequence[Any]], labels: Sequence[str] = (), title: str = "") -> Any:
    """A matplotlib figure: a row for every image, first by itself, then under each of ``columns``' grids.

    ``columns``: heading → a grid (rows, columns) for every image. ``labels``: what stands beside each row. Every heat
    map has a scale of its own; the largest share of attention in it is written below.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.35 * (1 + len(columns)) + 0.5, 1.52 * len(images) + 0.6), layout="constrained")
    boxes: Any = figure.subplots(len(images), 1 + len(columns), squeeze=False)
    for row, image in enumerate(images):
        first = boxes[row][0]
        first.imshow(np.asarray(image).squeeze(), cmap="gray", interpolation="nearest")
        first.set_xticks([])
        first.set_yticks([])
        if labels:
            first.set_ylabel(labels[row], fontsize=9)
        for box, (heading, grids) in zip(boxes[row][1:], columns.items(), strict=True):
            grid = np.asarray(grids[row])
            heat(box, image, grid)
            box.set_xlabel(f"max {grid.max():.0%}", fontsize=7, labelpad=2)
            if row == 0:
                box.set_title(heading, fontsize=9)
    boxes[0][0].set_title("image", fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure
