"""Live models of Keras: the numbers that they hold, a copy that runs in float64, and numbers put into either."""

from __future__ import annotations

import copy as copying
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import keras
import numpy as np

from attn_ref_keras.trace import lift, trace
from attn_ref_keras.trace.copies import Copy, by_name, double, on

#: endings of files that it writes
ENDINGS = (".weights.h5",)


def is_model(x: Any) -> bool:
    """Is it a layer or model?"""
    return isinstance(x, keras.layers.Layer)


def ready(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Call a model that has no weights yet once, so that it makes them."""
    if not model.built or not model.weights:
        dtype = model.compute_dtype or "float32"
        model(*(lift(x, dtype) for x in args), **{name: lift(x, dtype) for name, x in kwargs.items()})


def variables(model: Any) -> dict[str, Any]:
    """Weights of real numbers by path."""
    return {name: v for name, v in by_name(model.weights).items() if "float" in str(v.dtype)}


def numbers_of(variable: Any) -> np.ndarray:
    """Its numbers in float64."""
    value = variable.value
    wide = keras.ops.cast(value, "float32") if "bfloat16" in str(variable.dtype) else value
    return np.array(keras.ops.convert_to_numpy(wide), np.float64)


def arrays(model: Any) -> dict[str, np.ndarray]:
    """Their numbers in float64."""
    return {name: numbers_of(v) for name, v in variables(model).items()}


def twin(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Callable[[], None]]:
    """What runs in float64, called once, and what undoes it: a copy; where there is none, the model for a while."""
    made = double(model)
    if isinstance(made, Copy):
        try:
            trace(made, args, kwargs, 0)
            return made, lambda: None
        except ValueError as error:
            if "has other weights" not in str(error):
                raise
    return model, widened(model)


def widened(model: Any) -> Callable[[], None]:
    """Let a model run in float64, on variables of its own; what is given has the model as it was."""
    kept: list[tuple[Any, str, Any]] = []

    def change(x: Any, name: str, value: Any) -> None:
        kept.append((x, name, getattr(x, name)))
        setattr(x, name, value)

    def undo() -> None:
        for x, name, value in reversed(kept):
            setattr(x, name, value)

    if not on("tensorflow"):
        before = arrays(model)

        def back() -> None:
            write(model, before)

        return back
    import tensorflow as tf

    seen: set[int] = set()
    for layer in layers_of(model):
        change(layer, "_dtype_policy", keras.DTypePolicy("float64"))
        for v in layer.variables:
            if id(v) not in seen:
                seen.add(id(v))
                real = "float" in str(v.dtype)
                change(v, "_value", tf.Variable(v.value.numpy().astype("float64") if real else v.value.numpy()))
                if real:
                    change(v, "_dtype", "float64")
    return undo


def put(copy: Any, model: Any, numbers: Mapping[str, np.ndarray]) -> None:
    """Numbers into a copy, by the names of the model's."""
    made = copy.made if isinstance(copy, Copy) else copy
    for (name, _), mine in zip(by_name(model.weights).items(), made.weights, strict=True):
        if name in numbers:
            mine.assign(keras.ops.cast(keras.ops.convert_to_tensor(numbers[name]), mine.dtype))


def write(model: Any, numbers: Mapping[str, np.ndarray]) -> list[str]:
    """Numbers into the model itself, all or none; the names of those that its dtype rounds."""
    own = variables(model)
    before = {name: keras.ops.copy(own[name].value) for name in numbers}
    rounded = []
    try:
        for name, x in numbers.items():
            own[name].assign(keras.ops.cast(keras.ops.convert_to_tensor(x), own[name].dtype))
            if not np.array_equal(numbers_of(own[name]), x, equal_nan=True):
                rounded.append(name)
    except BaseException:
        for name, x in before.items():
            own[name].assign(x)
        raise
    return rounded


@contextmanager
def kept() -> Iterator[None]:
    """While it lasts the random state and the counts of names may change; then they are as before."""
    state = import_module("keras.src.backend.common.global_state")
    names = copying.deepcopy(state.get_global_attribute("object_name_uids"))
    seeds = state.get_global_attribute("global_seed_generator")
    seed = None if seeds is None else keras.ops.copy(seeds.state.value)
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        state.set_global_attribute("object_name_uids", names)
        if seeds is not None:
            seeds.state.assign(seed)


def layers_of(model: Any) -> list[Any]:
    """It, and every layer inside, in an order that a copy has too."""
    return [model, *model._flatten_layers(include_self=False)]


def named(copy: Any, model: Any) -> dict[str, str]:
    """Names of layers in a copy -> in the model."""
    made = copy.made if isinstance(copy, Copy) else copy
    return {mine.name: its.name for mine, its in zip(layers_of(made), layers_of(model), strict=False)}


def at(model: Any, path: str) -> list[Any]:
    """The layers that the path of a step may name: those of its last name, with its path where they say one."""
    found = [one for one in layers_of(model) if one.name == path.rpartition("/")[2]]
    return [one for one in found if getattr(one, "path", None) == path] or found


def settings(model: Any, path: str) -> dict[str, Any]:
    """What the layer of that path was told when it was made."""
    found = at(model, path)
    try:
        return dict(found[0].get_config()) if len(found) == 1 else {}
    except Exception:  # a stranger's configuration
        return {}


def tell(copy: Any, model: Any, path: str, name: str, value: Any) -> None:
    """Tell a layer of a copy something else."""
    made = copy.made if isinstance(copy, Copy) else copy
    its = {id(one): mine for mine, one in zip(layers_of(made), layers_of(model), strict=False)}
    for one in at(model, path):
        setattr(its[id(one)], name, value)


def save(model: Any, path: str) -> None:
    """Write the weights as Keras does."""
    model.save_weights(path)
