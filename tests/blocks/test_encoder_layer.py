"""Evidence of ``EncoderLayer``: a scalar loop, and faults that must be caught where they are."""

from __future__ import annotations

from evidence import Fault
from oracles import encoder_layer as oracle

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "the framework's own eps",
        "attention_norm",
        torch=("self.attention_norm = nn.LayerNorm(width, eps=eps)", "self.attention_norm = nn.LayerNorm(width)"),
        keras=(
            "self.attention_norm = keras.layers.LayerNormalization(epsilon=eps, ",
            "self.attention_norm = keras.layers.LayerNormalization(",
        ),
    ),
    Fault(
        "pre-norm residual taken after the norm",
        "attended",
        torch=("x + self.attend(normed", "normed + self.attend(normed"),
        keras=("x + self.attend(normed", "normed + self.attend(normed"),
    ),
    Fault(
        "no residual around the network where there are no norms",
        "fed",
        torch=('            return tap("fed", x + self.feed(x)', '            return tap("fed", self.feed(x)'),
        reference=('return tap("fed", x + feed(x), "b t c")', 'return tap("fed", feed(x), "b t c")'),
        keras=(
            '            return tap("fed", x + self.feed(x, training)',
            '            return tap("fed", self.feed(x, training)',
        ),
    ),
]
