"""Running a mirror: ``compiled`` gives the program and what compiles it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from attn_ref.backend import Request, Run
from attn_ref.tap import Tapped
from attn_ref_keras.codec import places, to_numpy
from attn_ref_keras.compiled import program_for
from attn_ref_keras.program import lift


def execute(engine: str, layer: Any, inputs: Mapping[str, np.ndarray], request: Request) -> Run:
    """See ``attn_ref.backend.Backend``."""
    if not layer.built:
        layer.build(None)
    given = {name: lift(value, layer.compute_dtype) for name, value in inputs.items()}
    add, replace = (
        {n: lift(t.value, layer.compute_dtype) for n, t in p.items()} for p in (request.add, request.replace)
    )
    program, function = program_for(engine, layer, inputs, request)
    asked = program.own or request.cotangent is not None
    parameters = {name: variable.value for name, variable in places(layer)} if asked else {}
    if request.cotangent is None:
        output, seen = function(parameters, given, add, replace)
        found = {}
    else:
        reals = {name: x for name, x in given.items() if inputs[name].dtype.kind == "f"}
        others = {name: x for name, x in given.items() if name not in reals}
        seed = lift(request.cotangent, layer.compute_dtype)
        output, seen, found = function(parameters, reals, others, add, replace, seed)
    taps = {name: Tapped(to_numpy(seen[name]), labels) for name, labels in program.labels.items()}
    gradients = {f"{kind} {name}": to_numpy(g) for kind, part in found.items() for name, g in part.items()}
    if hasattr(layer, "peer"):  # whose parameters have other shapes
        shapes = {f"parameter {name}": param.shape for name, param in layer.block.params().items()}
        gradients = {name: g.reshape(shapes.get(name, g.shape)) for name, g in gradients.items()}
    return Run(to_numpy(output), taps, gradients, keras.backend.standardize_dtype(output.dtype))
