"""What comes in through a door: arrays of any framework as NumPy arrays that every engine knows, or a clear error.

And whether a layer has a door: whether it refuses what its block refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attn_ref.inputs import kind_of


def native(value: Any) -> np.ndarray:
    """``value`` as an array in a dtype that NumPy and every engine know, exactly; one that has none stays as it is.

    Bytes come in the machine's order. NumPy lacks bfloat16 and float8, which float32 holds; integers become int64.

    >>> native(np.array([1.5, -2.0], ">f4")).dtype, native(np.array([7], np.uint16)).dtype
    (dtype('float32'), dtype('int64'))
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("its mask would be lost; give its data, and the mask as an input of its own")
    if hasattr(value, "detach"):  # a tensor of torch, which gives NumPy no bfloat16, and none that wants gradients
        value = value.detach().cpu()
        value = value.float() if "float" in str(value.dtype) and value.dtype.itemsize < 3 else value
    array = np.asarray(value)
    kind = array.dtype.kind
    if kind == "V" and array.dtype.names is None and kind_of(array) in ("real", "index"):  # of the package ml_dtypes
        return array.astype(np.float32 if kind_of(array) == "real" else np.int64)
    if kind in "iu":
        wide = array.astype(np.int64)
        return wide if array.dtype != np.uint64 or (wide >= 0).all() else array
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def as_array(value: Any, name: str) -> np.ndarray:
    """``native``, and ValueError that names ``value`` if no array can be made of it."""
    try:
        return native(value)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}".removeprefix("builtins.")
        dtype = f" of dtype {value.dtype}" if hasattr(value, "dtype") else ""
        raise ValueError(f"{name}: no NumPy array can be made of this {kind}{dtype}: {error}") from error


def for_engine(title: str, name: str, value: Any) -> np.ndarray:
    """``native``, and ValueError for what no engine takes: complex numbers, more than 64 bits, no numbers at all."""
    array = as_array(value, f"{title}: {name}")
    if array.dtype in (np.float16, np.float32, np.float64, np.int64, np.bool_):
        return array
    hints = {"c": "give its real part", "f": "round first: x.astype(np.float64)", "u": "2⁶³ and more are out of reach"}
    hint = hints.get(array.dtype.kind, "give an array of numbers")
    raise ValueError(
        f"{title}: {name} is of dtype {array.dtype}, and engines take float16, bfloat16, float32, float64, "
        f"integers and bools; {hint}"
    )


def refused(block: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """What is wrong -> inputs that the block refuses at its door: an axis more, or another batch than the others have.

    Where nobody checks, arithmetic broadcasts both without a word. The values are indices of the first axis.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, x in inputs.items():
        for what, index in (("an axis more", None), ("one example alone", slice(0, 1))):
            try:
                block.checked(**{**inputs, name: x[index]})
            except ValueError:
                found[f"{name} with {what}"] = {name: index}
            except IndexError:  # of a mask without axes
                continue
    return found


def taken(call: Callable[..., Any], given: Mapping[str, Any], block: Any, inputs: Mapping[str, np.ndarray]) -> str:
    """Which inputs that the block refuses at its door a layer takes; empty if none. ``given``: those of the engine."""
    for what, changes in refused(block, inputs).items():
        try:
            call(**{**given, **{name: given[name][index] for name, index in changes.items()}})
        except Exception:  # whatever it says: tests hold that to the words of the definition
            continue
        return f"it takes {what}, which the definition refuses"
    return ""
