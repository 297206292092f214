"""Dropout whose keep can be observed and replaced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_ref.tap import probing, tap


def dropout(layer: nn.Dropout, x: Tensor, labels: str, name: str = "keep") -> Tensor:
    """``layer(x)``. While something listens, the same as x times a tapped keep of 0 and 1 / (1 − rate).

    With a rate of 0 ``x``: a call that does nothing takes 2.6 µs, as long as a layer norm.
    """
    if not layer.p:
        return x
    if probing():
        return x * tap(name, layer(torch.ones_like(x)), labels)
    return layer(x)
