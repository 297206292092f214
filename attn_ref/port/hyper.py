"""Hyper-parameters of a block, from what shapes, ``config.json``, a file's metadata and the user say. Never guessed."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

from attn_ref.block import Block
from attn_ref.foreign.fields import Told
from attn_ref.foreign.nested import LIKE, flat, folded
from attn_ref.port.checkpoint import Checkpoint, CheckpointError, beyond

#: what holds where a file and a user do not agree
OWN = "the file's own word counts: leave it unsaid, or mend the file"


def parse(settings: Iterable[str]) -> dict[str, Any]:
    """``["num_heads=12", "pooling=mean"]`` → ``{"num_heads": 12, "pooling": "mean"}``.

    A value is a number, true, false or None; anything else is text, ``none`` too. ValueError if there is no ``=``.
    """
    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise ValueError(f"--set takes NAME=VALUE, as in --set num_heads=12; got {setting!r}")
        word = {"None": "null"}.get(value, value.lower())
        try:
            found[name] = json.loads(word if word in ("true", "false", "null") else value)
        except ValueError:
            found[name] = value
    return found


def settle(
    cls: type[Block],
    ranked: Iterable[Mapping[str, Told]],
    shapes: Mapping[str, Told],
    defaults: Mapping[str, Any],
    asked: Iterable[str] = (),
    *,
    free: Collection[str] = (),
    blocks: Mapping[str, str] | None = None,
    held: Checkpoint,
    before_asking: Callable[[], None] = lambda: None,
    missing: str,
) -> tuple[Block, dict[str, str]]:
    """The block, and for each field who told it. ``ranked`` is in order of precedence; ``shapes`` must agree with it.

    ``defaults`` hold where nobody tells; ``asked`` are fields with a default that must be told all the same;
    ``free`` those of which the first of ``ranked`` may say something else than the file: what one does with a model.
    ``blocks``: path of a block inside the block -> its name, for fields with dots.
    ``held`` are the file's tensors, which bound every field (``checkpoint.beyond``); ``missing`` says where one looked.
    ``before_asking`` is called before a field is asked for, and may say that none would help.
    Raises ValueError that lists all that is unknown, contradictory, mistyped or not told.
    """
    told: dict[str, Told] = {}
    lines = []
    for source in ranked:
        for name, item in source.items():
            if name not in told or told[name].value == item.value or name in shapes:  # which have the last word
                continue
            if name in free:
                told[name] = Told(told[name].value, f"{told[name].by}, against {item.value!r} by {item.by}")
            else:
                lines.append(f"{name} is {told[name].value} by {told[name].by}, and {item.value!r} by {item.by}; {OWN}")
        told = {**source, **told}
    known = {item.name: item for item in fields(cls)}
    if unknown := [name for name in told if name.partition(".")[0] not in known]:
        raise ValueError(f"{cls.__name__} has no option {', '.join(unknown)}; its options are {', '.join(known)}")
    lines += [problem for name, (value, by) in told.items() if (problem := mistyped(cls, name, value, by))]
    lines += [
        f"{name} is {told[name].value} by {told[name].by}, and {value} by {by}"
        for name, (value, by) in shapes.items()
        if name in told and told[name].value not in (None, value)  # None follows from others; shapes are compared later
    ]
    told = told | {name: item for name, item in shapes.items() if name not in told}
    lines += [f"{line} ({by})" for name, (value, by) in told.items() if (line := beyond(cls, name, value, held))]
    if lines:
        raise CheckpointError(f"{cls.__name__}: what is said about it does not fit together:\n  " + "\n  ".join(lines))
    told = {**{name: Told(value, "the map's default") for name, value in defaults.items()}, **told}
    nested = {*blocks, *LIKE} if blocks else set()
    whole = {outer for name in told if (outer := name.partition(".")[0]) in nested} - {*told}
    required = [name for name, item in known.items() if item.default is MISSING and item.default_factory is MISSING]
    if untold := [
        name
        for name in dict.fromkeys([*required, *asked])
        if name not in told and name not in whole and name.partition(".")[0] not in told
    ]:
        before_asking()
        give = " ".join(f"--set {name}=…" for name in untold)
        raise CheckpointError(f"{cls.__name__}: {', '.join(untold)} cannot be told from {missing}; give {give}")
    given = {name: value for name, (value, _) in told.items()}
    apart = {name: value for name, value in given.items() if name.partition(".")[0] not in whole}
    given = {**apart, **folded({name: given[name] for name in given if name not in apart}, blocks or {})}
    try:
        block = cls.build(given)
    except (TypeError, OverflowError) as error:  # a check inside the block met a value that it was not written for
        raise ValueError(f"{cls.__name__}: {error}") from error
    names = dict.fromkeys([*known, *(flat(block, blocks) if blocks else ())])
    found = {name: told[name].by if name in told else "the block's default" for name in names}
    for name in whole:
        found[name] = ", ".join(dict.fromkeys(by for inner, (_, by) in told.items() if inner.startswith(f"{name}.")))
    return block, found


def mistyped(cls: type[Block], name: str, value: Any, by: str) -> str | None:
    """What is wrong with the type of a field's value, if anything."""
    if "." in name:  # an option of a block among the fields, which says so itself
        return None
    hint = get_type_hints(cls)[name]
    kinds = get_args(hint) or (hint,)
    if Block in kinds and (isinstance(value, Mapping | Block) or (value is None and type(None) in kinds)):
        return None
    fits = type(value) in kinds or (value is None and type(None) in kinds) or (type(value) is int and float in kinds)
    if fits or not all(isinstance(kind, type) for kind in kinds) or isinstance(value, list | tuple):
        return None
    return f"{name} should be {' or '.join(kind.__name__ for kind in kinds)}; got {value!r} by {by}"
