"""How a foreign model's shapes and ``config.json`` give a block's fields."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from attn_ref.block import Block
from attn_ref.foreign.entry import ABSENT, Entry, said
from attn_ref.foreign.nested import flat, folded
from attn_ref.places import CheckpointError

if TYPE_CHECKING:
    from attn_ref.port.checkpoint import Spec


class Told(NamedTuple):
    """A field's value, and who says so."""

    value: Any
    by: str


@dataclass(frozen=True, kw_only=True)
class FieldRules:
    """How canonical shapes and a ``config.json`` give a block's fields: tables, field by field."""

    #: field -> (canonical parameter, axis)
    sizes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    #: field -> (canonical parameter, axis of its shape in the file), where the canonical shape does not have it
    raw: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    #: field that is True -> canonical parameter that there is then
    present: Mapping[str, str] = field(default_factory=dict)
    #: under which key of config.json the model's own one lies, where it is that of a model around it
    inside: str = ""
    #: field -> canonical parameter -> the field's value where it is there; of several the first counts
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: field -> key of config.json
    config: Mapping[str, str] = field(default_factory=dict)
    #: field -> which of the numbers is meant, where config.json has a list
    parts: Mapping[str, int] = field(default_factory=dict)
    #: field -> value in config.json -> the field's value
    values: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    #: key of config.json -> the values that the block can express
    allowed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    #: field -> what the format means where there is a config.json and it is silent
    defaults: Mapping[str, Any] = field(default_factory=dict)
    #: field -> what the program of such files computes, which no file says
    always: Mapping[str, Any] = field(default_factory=dict)
    #: field -> (canonical parameter, value if there is one, value if not), where nobody says it
    unsaid: Mapping[str, tuple[str, Any, Any]] = field(default_factory=dict)
    #: path of a block inside the block -> its name; then fields have dots (``attn_ref.foreign.nested``)
    blocks: Mapping[str, str] = field(default_factory=dict)
    #: what keys of config.json say, both ways, in place of ``config`` and ``values``
    entries: tuple[Entry, ...] = ()
    #: fields that change the result, so that the block's own default will not do where nobody tells them
    asked: tuple[str, ...] = ()

    def from_shapes(
        self, cls: type[Block], specs: Mapping[str, Spec], keys: Mapping[str, str], held: Mapping[str, Spec]
    ) -> dict[str, Told]:
        """What shapes tell: ``specs`` by canonical name, ``held`` by the file's own, which ``keys`` has."""
        told = {}
        own = {parameter: held[key] for parameter, key in keys.items()}
        for where, table in ((specs, self.sizes), (own, self.raw)):
            for name, (parameter, axis) in table.items():
                if parameter in where and -len(where[parameter].shape) <= axis < len(where[parameter].shape):
                    told[name] = Told(where[parameter].shape[axis], f"the shape of {keys[parameter]}")
        for name, prefix in cls.counts.items() if self.sizes else ():
            start = len(prefix) + 1
            indices = {int(key[start:].partition(".")[0]) for key in specs if key.startswith(f"{prefix}.")}
            if indices and max(indices) >= len(specs):
                raise CheckpointError(f"there is a {prefix}.{max(indices)}, and only {len(specs)} tensors in all")
            if indices:
                told[name] = Told(max(indices) + 1, f"the names below {prefix}")
        if specs:
            for name, parameter in self.present.items():
                found = parameter in specs
                told[name] = Told(found, f"{parameter}, which is {'' if found else 'not '}there")
            for name, values in self.kinds.items():
                if parameter := next((parameter for parameter in values if parameter in specs), ""):
                    told[name] = Told(values[parameter], f"{parameter}, which is there")
            for name, (parameter, there, absent) in self.unsaid.items():
                found = parameter in specs
                told[name] = Told(there if found else absent, f"{parameter}, which is {'' if found else 'not '}there")
        return told

    def from_config(self, config: Mapping[str, Any], path: Any) -> dict[str, Told]:
        """What a ``config.json`` tells. CheckpointError that lists what the block cannot express."""
        if isinstance(inner := config.get(self.inside), Mapping):
            config = {**inner, **config, **({"model_type": inner["model_type"]} if "model_type" in inner else {})}
        lines = [
            f"{key} is {json.dumps(config[key])}; {' or '.join(map(json.dumps, values))} can be expressed"
            for key, values in self.allowed.items()
            if key in config and config[key] not in values
        ]
        told = {}
        for name, key in self.config.items():
            if key not in config:
                continue
            value = config[key]
            if name in self.parts and isinstance(value, list) and len(value) > self.parts[name]:
                value = value[self.parts[name]]
            if name in self.values:
                if not isinstance(value, str) or value not in self.values[name]:
                    lines.append(f"{key} is {json.dumps(value)}; {', '.join(self.values[name])} can be expressed")
                    continue
                value = self.values[name][value]
            told[name] = Told(value, f"{key} in config.json")
        for entry in self.entries:
            try:
                found = entry.read(config)
            except ValueError as error:
                lines.append(str(error))
            except (TypeError, AttributeError, LookupError, ArithmeticError):  # a value of another type than they have
                got = (f"{key} is {said(config.get(key))}" for key in entry.keys)
                lines.append(f"{' and '.join(got)}; that is no value of it")
            else:
                by = " and ".join(key for key in entry.keys if key in config) or f"{entry.keys[0]}, left out"
                told |= {name: Told(value, f"{by} in config.json") for name, value in found.items()}
        if lines:
            raise CheckpointError(f"{path} describes a model that the block cannot express:\n  " + "\n  ".join(lines))
        return told

    def to_config(self, block: Block) -> dict[str, Any]:
        """A ``config.json`` for ``block``, which is one that ``strays`` finds nothing in."""
        held, found = flat(block, self.blocks), {key: values[0] for key, values in self.allowed.items()}
        for entry in self.entries:
            found |= entry.write(held)
        return found

    def strays(self, block: Block, free: Collection[str]) -> list[tuple[str, str]]:
        """(what such files mean, what ``block`` has), for every field that they cannot mean.

        A config is written for the block and read again: what does not come back, no such file can say.
        """
        held = flat(block, self.blocks)
        inside = [name for name in held if name in self.blocks]
        lines = [
            (f"{name} = {self.blocks[name]}", str(held[name]))
            for name in inside
            if held[name] is not None and name not in self.unsaid
        ]
        if lines:
            return lines
        try:
            told = {name: value for name, (value, _) in self.from_config(self.to_config(block), "").items()}
            told = {**{name: held[name] for name in (*self.unsaid, *type(block).counts)}, **self.always, **told}
            other = flat(type(block).build(folded(told, self.blocks)), self.blocks)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            return [("no such block", f"fields that no config.json can say: {' '.join(str(error).split())}")]
        names = dict.fromkeys([*other, *held])
        return [
            (f"{name} = {other.get(name, ABSENT)!r}", repr(held.get(name, ABSENT)))
            for name in names
            if name not in free and other.get(name, ABSENT) != held.get(name, ABSENT)
        ]
