"""Pictures of attention, by matplotlib: ``pip install 'attn_ref[draw]'``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def heat(axes: Any, image: Any, grid: Any, *, opacity: float = 0.6) -> Any:
    """Draw ``image`` (H, W) or (H, W, channels) on matplotlib's ``axes``, and over it the patches of ``grid``.

    ``grid`` (rows, columns) is stretched over the image, each patch in one colour: nothing is smoothed over.
    """
    image, grid = np.asarray(image), np.asarray(grid)
    height, width = image.shape[:2]
    extent = (0, width, height, 0)
    axes.imshow(image.squeeze(), cmap="gray", extent=extent, interpolation="nearest")
    drawn = axes.imshow(
        grid, cmap="inferno", alpha=opacity, extent=extent, interpolation="nearest", vmin=0.0, vmax=grid.max()
    )
    axes.set_xticks([])
    axes.set_yticks([])
    return drawn


def sheet(images: Sequence[Any], columns: dict[str, Sequence[Any]], labels: Sequence[str] = (), title: str = "") -> Any:
    """A matplotlib figure: a row for every image, first by itself, then under each of ``columns``' grids.

    ``columns``: heading → a grid (rows, columns) for every image. ``labels``: what stands beside each row. Every heat
    map has its own scale, black for 0, and the largest share of attention in it is written below.
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
