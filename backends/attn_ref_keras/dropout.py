"""Dropout whose keep can be observed and replaced."""

from __future__ import annotations

from typing import Any

from keras import ops

from attn_ref.tap import probing, tap


def dropout(layer: Any, x: Any, labels: str, training: bool | None, name: str = "keep") -> Any:
    """``layer(x)``. While something listens, the same as x times a tapped keep of 0 and 1 / (1 − rate).

    With a rate of 0 ``x``: the call of a Keras layer takes time even where it does nothing.
    """
    if not layer.rate:
        return x
    if probing():
        return x * tap(name, layer(ops.ones_like(x), training=training), labels)
    return layer(x, training=training)
