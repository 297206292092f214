"""A layer of another library as a mirror is: with a block, canonical inputs and parameters, and taps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import nn

from attn_ref.block import Block
from attn_ref.expresses import refuse, refuse_inputs
from attn_ref.foreign.peer import Peer, Spot
from attn_ref.foreign.rules import LAYOUTS, Rule
from attn_ref.tap import differentiating, probing, tap
from attn_ref_torch.codec import Turn, to_numpy
from attn_ref_torch.program import lift


class Foreign(nn.Module):
    """Another library's ``layer``, called by canonical inputs."""

    def __init__(self, peer: Peer, block: Block, layer: nn.Module) -> None:
        super().__init__()
        self.peer, self.block, self.layer = peer, block, layer
        self.calls: Counter[Spot] = Counter()
        for spot in peer.spots(block):
            listen(layer.get_submodule(spot.module), spot, spot.heads or getattr(block, "num_heads", 1), self.calls)

    def forward(self, **given: torch.Tensor) -> torch.Tensor:
        self.calls.clear()
        return self.peer.call(self.layer, self.block, given)

    def places(self) -> Iterator[tuple[str, nn.Parameter, Turn, Turn]]:
        """See ``attn_ref_torch.codec.places``."""
        rules = {rule.canonical: rule for rule in self.peer.weights(self.block)}
        for name in self.block.params():
            parameter = attrgetter(rules[name].foreign)(self.layer)
            yield name, parameter, *turns(rules[name], parameter)


def turns(rule: Rule, parameter: nn.Parameter) -> tuple[Turn, Turn]:
    """(its layout → canonical, canonical → its layout), of a part of it where the rule is of one."""
    layout = LAYOUTS[rule.layout]
    if rule.part is None:
        return layout.inward, layout.outward
    part = rule.part

    def inward(value: np.ndarray) -> np.ndarray:
        whole = to_numpy(parameter)
        part.place(whole, layout.outward(value))
        return whole

    return lambda x: layout.inward(part.take(x)), inward


def listen(module: nn.Module, spot: Spot, heads: int, calls: Counter[Spot]) -> None:
    """Make a value of ``module`` a tap whenever it is called and someone listens; ``calls`` counts how often."""

    def tapped(value: Any) -> Any:
        name = spot.tap.replace("{n}", str(calls[spot]))
        calls[spot] += 1
        if spot.what in ("flat", "flat in"):
            return tap(name, value.flatten(1), spot.labels).reshape(value.shape)
        if spot.what != "heads":
            return tap(name, value, spot.labels)
        return tap(name, value.unflatten(-1, (heads, -1)).transpose(1, 2), spot.labels).transpose(1, 2).flatten(2)

    def before(_: Any, given: tuple[Any, ...]) -> Any:
        if not probing() or (spot.what == "read" and differentiating()):
            return None
        value = tapped(given[0])
        return None if spot.what == "read" else (value, *given[1:])

    def after(_: Any, given: tuple[Any, ...], result: Any) -> Any:
        if not probing():
            return None
        return (tapped(result[0]), *result[1:]) if isinstance(result, tuple) else tapped(result)

    if spot.what in ("in", "read", "flat in"):
        module.register_forward_pre_hook(before)
    else:
        module.register_forward_hook(after)


def build(peer: Peer, block: Block, weights: Mapping[str, np.ndarray], dtype: str = "float64") -> Foreign:
    """The layer with ``block``'s options and canonical ``weights``. ValueError: the fields that it cannot express."""
    refuse(peer.name, peer.refuses(block))
    block.check_weights(weights)
    made = Foreign(peer, block, peer.make(block, dtype)).eval()
    with torch.no_grad():
        for name, parameter, _, inward in made.places():
            parameter.copy_(torch.from_numpy(np.array(inward(weights[name]), order="C")))
    return made


def run(made: Foreign, inputs: Mapping[str, np.ndarray], *, gradients: bool = False, **options: Any) -> np.ndarray:
    """Run on canonical inputs, True = attend. ``gradients`` keeps the layer off its native path."""
    peer = made.peer
    refuse_inputs(peer.name, inputs, peer.inputs)
    dtype = next(made.parameters()).dtype
    given = {name: lift(value, dtype) for name, value in made.block.checked(**inputs).items()}
    with torch.set_grad_enabled(gradients):
        return to_numpy(peer.call(made.layer, made.block, given, **options))
