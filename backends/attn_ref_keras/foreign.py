"""A layer of another library as a mirror is: with a block, canonical inputs and canonical parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

import keras
import numpy as np

from attn_ref.backend import Slot
from attn_ref.block import Block
from attn_ref.expresses import refuse, refuse_inputs
from attn_ref.foreign.peer import Peer
from attn_ref.foreign.rules import LAYOUTS
from attn_ref_keras.program import lift


class Foreign:
    """Another library's ``layer``, called by canonical inputs. It has what is asked of a Keras layer."""

    built = True

    def __init__(self, peer: Peer, block: Block, layer: keras.layers.Layer) -> None:
        self.peer, self.block, self.layer = peer, block, layer
        self.compute_dtype = layer.compute_dtype

    def call(self, **given: Any) -> Any:
        return self.peer.call(self.layer, self.block, given)

    def __call__(self, **given: Any) -> Any:
        return self.call(**given)

    def places(self) -> Iterator[tuple[str, Any]]:
        """See ``attn_ref_keras.codec.places``."""
        rules = {rule.canonical: rule for rule in self.peer.weights(self.block)}
        for name in self.block.params():
            yield name, attrgetter(rules[name].foreign)(self.layer)

    def slots(self) -> dict[str, Slot]:
        """See ``attn_ref.backend.Backend.slots``."""
        layouts = {rule.canonical: LAYOUTS[rule.layout] for rule in self.peer.weights(self.block)}
        shapes = {name: param.shape for name, param in self.block.params().items()}

        def slot(name: str, variable: Any) -> Slot:
            return Slot(
                shapes[name],
                str(variable.dtype),
                lambda: layouts[name].inward(np.array(keras.ops.convert_to_numpy(variable))),
                lambda value: variable.assign(layouts[name].outward(value).reshape(variable.shape)),
                bool(variable.trainable),
            )

        return {name: slot(name, variable) for name, variable in self.places()}


def build(peer: Peer, block: Block, weights: Mapping[str, np.ndarray], dtype: str = "float64") -> Foreign:
    """The layer with ``block``'s options and canonical ``weights``. ValueError: the fields that it cannot express."""
    refuse(peer.name, peer.refuses(block))
    block.check_weights(weights)
    made = Foreign(peer, block, peer.make(block, dtype))
    for name, slot in made.slots().items():
        slot.set(weights[name])
    return made


def run(made: Foreign, inputs: Mapping[str, np.ndarray], **options: Any) -> np.ndarray:
    """Run on canonical inputs, True = attend."""
    peer = made.peer
    refuse_inputs(peer.name, inputs, peer.inputs)
    given = {name: lift(value, made.compute_dtype) for name, value in made.block.checked(**inputs).items()}
    return keras.ops.convert_to_numpy(peer.call(made.layer, made.block, given, **options))
