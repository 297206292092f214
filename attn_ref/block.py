"""The contract of a block: hyper-parameters, parameters, inputs, forward. A definition, in plain NumPy.

A block is a frozen dataclass. ``params()`` names its parameters, ``forward(w, …)`` reads like the equation, with taps.
Adding one is one file here and one file per backend; tests, command line and docs discover it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Self, dataclass_transform

import numpy as np

from attn_ref import inputs as axes
from attn_ref.discovery import find
from attn_ref.doors import as_array
from attn_ref.inputs import Input
from attn_ref.names import hints, listed
from attn_ref.option import option, options, same, witnesses
from attn_ref.tap import scope
from attn_ref.weights import Param, Weights, batch_norm, conv, dense, initial, mismatches, norm

__all__ = ["Block", "Input", "Param", "batch_norm", "conv", "dense", "nest", "norm", "option", "same"]

#: Attribute names that keras.Layer keeps for itself: a block field cannot have one, or no Keras mirror could exist.
RESERVED = frozenset(
    ["input", "inputs", "output", "outputs", "weights", "variables", "path", "dtype", "losses", "metrics", "name"]
)

#: ``pick(a, b, c)`` returns one of its arguments: a seeded generator's choice, or hypothesis' draw.
Pick = Callable[..., Any]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
@dataclass(frozen=True, kw_only=True)
class Block:
    """Base of every definition."""

    #: what a block that holds others may use it for: "attention", "feed-forward", "norm"; empty: for nothing
    role: ClassVar[str] = ""
    #: name -> axes and kind, in the order of ``forward``'s arguments; of a block, without those that need what it lacks
    inputs: ClassVar[dict[str, Input]] = {}
    #: axes of the one array that comes out
    output_axes: ClassVar[str] = ""
    #: label -> field: the size of the axis is at most the field's value, unless that is None
    limits: ClassVar[dict[str, str]] = {}
    #: label -> field: the size of the axis is at least the field's value
    least: ClassVar[dict[str, str]] = {}
    #: label -> attribute: the size of the axis is the attribute's value, unless that is None
    fixed: ClassVar[dict[str, str]] = {}
    #: field -> the list of parameters whose members it counts: ``num_layers`` -> ``layers``
    counts: ClassVar[dict[str, str]] = {}
    #: do faults hide where three of its options meet, so that the cases of a check have every three of them?
    triples: ClassVar[bool] = False
    #: the fields of a small valid block
    example: ClassVar[dict[str, Any]] = {}
    #: field -> a value that, against ``example``, changes the result (or the shape of the parameters); where other
    #: fields must be set for it to act, a mapping of all of them; those of options that say theirs are added
    witnesses: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [name for name, hint in inspect.get_annotations(cls).items() if "ClassVar" not in str(hint)]
        if taken := RESERVED.intersection(own):
            raise TypeError(
                f"{cls.__name__}: {', '.join(sorted(taken))} is reserved by keras.Layer; choose another name"
            )
        cls.witnesses = {**vars(cls).get("witnesses", {}), **witnesses(cls)}

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """TypeError, as Python raises it in ``__init__``, for what is no option; and it says which was meant."""
        known = defaults_of(cls)
        if args:
            told = ", ".join(f"{name}={written(value)}" for name, value in cls.example.items())
            raise TypeError(f"options of {cls.__name__} go by name: {cls.__name__}({told}); got {len(args)} without")
        if unknown := [name for name in options if name not in known]:
            raise TypeError(cls._no_option(unknown))
        return super().__new__(cls)

    @classmethod
    def _no_option(cls, unknown: Sequence[str]) -> str:
        """What is said to options that the block has not."""
        known = [field.name for field in fields(cls)]
        told = f"{hints(unknown, known)}its options are {listed(known)}"
        return f"{cls.__name__} has no option {', '.join(unknown)}; {told}"

    # what a block defines ---------------------------------------------------------------------------------------------

    def params(self) -> dict[str, Param]:
        """Canonical name -> Param; sub-blocks nest with dots."""
        return {}

    def forward(self, w: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """The definition: NumPy over ``ops``, taps inline; ``w["name"]`` is an array or a sub-block's weights."""
        raise NotImplementedError

    @classmethod
    def sample(cls, pick: Pick) -> Self:
        """A valid block, by construction; ``pick(a, b, …)`` chooses one of its arguments."""
        return cls(**{**cls.example, **cls.drawn(pick)})

    @classmethod
    def drawn(cls, pick: Pick) -> dict[str, Any]:
        """A value for every option that says what is drawn, in order."""
        return {name: pick(*said.draw) for name, (said, _) in options(cls).items() if said.draw}

    # what a block is given --------------------------------------------------------------------------------------------

    def init(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Seeded float64 weights by canonical name, for comparing implementations."""
        return initial(self.params(), seed)

    def __call__(self, w: Mapping[str, Any], *args: Any, **kwargs: Any) -> np.ndarray:
        """``block(weights, x, …)`` → one array. Raises ValueError for wrong weights or inputs."""
        if isinstance(w, Weights):  # called by the block that contains this one
            with scope(w.name):
                return self.forward(w, *args, **kwargs)
        self.check_weights(w)
        # laid out alike: how NumPy lays out a sum of two layouts depends on who else holds them, and its bits on that
        given = {name: np.asarray(x, order="C") for name, x in self.checked(*args, **kwargs).items()}
        return self.forward(Weights({name: as_array(value, name) for name, value in w.items()}), **given)

    def checked(self, *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        """The inputs by name as NumPy arrays, their names, kinds, shapes and values checked."""
        if len(args) > len(self.inputs):
            raise ValueError(
                f"{type(self).__name__} has {len(self.inputs)} inputs, {', '.join(self.inputs)}; got {len(args)}"
            )
        names = list(self.inputs)[: len(args)]
        if twice := [name for name in names if name in kwargs]:
            raise ValueError(f"{type(self).__name__}: input {', '.join(twice)} was given twice")
        named = dict(zip(names, args, strict=True)) | kwargs
        title = type(self).__name__
        given = {name: as_array(value, f"{title}: {name}") for name, value in named.items() if value is not None}
        axes.check_values(self, given, axes.bind(self, given))
        return given

    def check_weights(self, w: Mapping[str, Any]) -> None:
        """One ValueError that lists everything missing, unexpected or misshapen in ``w``."""
        title = type(self).__name__
        if not isinstance(w, Mapping):
            which = "w = block.init() gives some" if self.params() else "this block has none, so w = {}"
            call = f"block(w, {next(iter(self.inputs))}, …)"
            raise ValueError(f"{title}: weights come first, a dict by name: {call}; {which}; got a {type(w).__name__}")
        expected = {name: param.shape for name, param in self.params().items()}
        arrays = {name: as_array(value, f"{title}: {name}") for name, value in w.items()}
        lines = mismatches(expected, arrays)
        lines += [
            f"wrong dtype: {name} is {value.dtype}, and weights are floats"
            for name, value in arrays.items()
            if name in expected and axes.kind_of(value) != "real"
        ]
        if lines:
            foreign = any(name.endswith(".weight") for name in w)
            hint = "; names of a layer in torch: backend.dump(layer) gives those of the block" if foreign else ""
            raise ValueError(f"{title}: {len(lines)} wrong weights{hint}\n  " + "\n  ".join(lines))

    # hyper-parameters -------------------------------------------------------------------------------------------------

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """A block from a mapping that may hold other things too, such as a constructor's ``locals()``."""
        return cls(**{name: cls._part(name, options[name]) for name in defaults_of(cls) if name in options})

    @classmethod
    def build(cls, options: Mapping[str, Any]) -> Self:
        """A block from exactly these options, as a file or a command gives them. ValueError with the way out.

        A block among them is one, or is told as ``as_data`` tells it; ``attention.causal`` is an option of one of them.
        """
        known = {field.name: field for field in fields(cls)}
        options = {name: cls._part(name, value) for name, value in options.items()}
        for name in [name for name in options if "." in name]:
            outer, _, inner = name.partition(".")
            held = options.get(outer)
            if not isinstance(held, Block):
                raise ValueError(f"{cls.__name__} has no block {outer} for the option {name}; it is {held!r}")
            options[outer] = held.build({**held.fields(), inner: options.pop(name)})
        if unknown := [name for name in options if name not in known]:
            raise ValueError(cls._no_option(unknown))
        required = [
            name for name, field in known.items() if field.default is MISSING and field.default_factory is MISSING
        ]
        if missing := [name for name in required if name not in options]:
            raise ValueError(f"{cls.__name__} needs {', '.join(missing)}")
        return cls(**options)

    @classmethod
    def _part(cls, name: str, value: Any) -> Any:
        """An option as a block has it, of one that may be told as plain data: a list is a tuple, a mapping a block."""
        said = options(cls).get(name)
        if isinstance(value, list):
            return tuple(value)
        if isinstance(value, str) and said is not None and said[0].role:
            value = spoken(value)
        if not isinstance(value, Mapping):
            return value
        told, inner = value.get("block"), value.get("fields", {})
        if said is None or not said[0].role or not isinstance(told, str) or not isinstance(inner, Mapping):
            told = f"{cls.__name__}: {name} is no block with fields, as RMSNorm(width=8) is one"
            raise ValueError(f'{told}, or {{"block": "RMSNorm", "fields": {{"width": 8}}}}; got {value!r}')
        part = find(told)
        # its role first: so that what is nested in itself ends here
        if part is None or not issubclass(part, Block) or part.role != said[0].role:
            raise ValueError(f"{cls.__name__}: {name} should be {said[0].words(said[1])}; got {told!r}")
        return part.build(inner)

    def fields(self) -> dict[str, Any]:
        """The hyper-parameters by name."""
        return {name: getattr(self, name) for name in defaults_of(type(self))}

    def as_data(self) -> dict[str, Any]:
        """What JSON can hold of it: ``{"block": name, "fields": {…}}``; a block among the fields is told alike."""
        told = {name: x.as_data() if isinstance(x, Block) else x for name, x in self.fields().items()}
        return {"block": type(self).__name__, "fields": told}

    def __str__(self) -> str:
        """As one would write it: ``RMSNorm(width=8)``, without what is as it is by default."""
        defaults = defaults_of(type(self))
        told = [f"{name}={written(x)}" for name, x in self.fields().items() if x != defaults[name]]
        return f"{type(self).__name__}({', '.join(told)})"

    def __post_init__(self) -> None:
        """Hold every option that says its rule to it. A block that relates options does so after this."""
        idle: dict[str, list[str]] = {}
        for name, (said, types) in options(type(self)).items():
            got = getattr(self, name)
            if not said.fits(got, types):
                told = f"{name} should be {said.words(types)}{such_as(said.role)}; got {written(got)}"
                self.require(False, told + instead(said.role, got))
            if said.needs:
                idle.setdefault(said.needs, []).append(name)
        for needed, names in idle.items():
            self.require_with(needed, *names)
        if absent := [name for name, spec in self.inputs.items() if spec.needs and getattr(self, spec.needs) is None]:
            inputs = {name: spec for name, spec in self.inputs.items() if name not in absent}
            object.__setattr__(self, "inputs", inputs)

    def require(self, ok: bool, message: str, *got: Any) -> None:
        """Raise ``ValueError(message)``, with the block's name before it, unless ``ok``.

        ``got`` goes into the places {} of the message, when there is one: to write a block out takes longer than to
        make it.
        """
        if not ok:
            raise ValueError(f"{type(self).__name__}: {message.format(*got) if got else message}")

    def require_with(self, field: str, *others: str) -> None:
        """Require the ``others`` to be left at their defaults while ``field`` is None or False: they would not act."""
        defaults, got = defaults_of(type(self)), getattr(self, field)
        acting = [name for name in others if getattr(self, name) != defaults[name]]
        absent = got is None or got is False
        self.require(not (absent and acting), "{} needs {}, which is {}", ", ".join(acting), field, got)

    def require_odd(self, *names: str) -> None:
        """Require the fields to be odd kernel sizes, which k // 2 on every side keeps in place."""
        for name in names:
            got = getattr(self, name)
            self.require(got % 2 == 1, f"{name} should be odd, so that {name} // 2 pads both sides alike; got {got}")

    def require_bottleneck(self) -> None:
        """Require ``channels // reduction``, or the ``reduced_width`` given in its place, to leave something."""
        width = getattr(self, "reduced_width", None)
        channels, reduction = (getattr(self, name) for name in ("channels", "reduction"))
        self.require(
            width is not None or channels // reduction > 0,
            f"the bottleneck has channels // reduction = {channels} // {reduction} = 0 values; "
            "give a reduction up to channels, or reduced_width",
        )


def defaults_of(cls: type[Block]) -> Mapping[str, Any]:
    """Name -> default of every option, ``MISSING`` where there is none."""
    known: Any = cls
    return _defaults_of(known)


@cache
def _defaults_of(cls: Any) -> Mapping[str, Any]:
    return {field.name: field.default for field in fields(cls)}


def written(value: Any) -> str:
    """A value as one would write it: a block in short."""
    return str(value) if isinstance(value, Block) else repr(value)


def spoken(text: str) -> Any:
    """A block as one writes it, ``RMSNorm(width=8)`` or ``RMSNorm``, as plain data; None of "None"; else the text."""
    if len(text) > 500:  # it may come from a file
        return text
    try:
        said = ast.parse(text, mode="eval").body
        if isinstance(said, ast.Call) and isinstance(said.func, ast.Name) and not said.args:
            given = {word.arg: ast.literal_eval(word.value) for word in said.keywords if word.arg}
            return {"block": said.func.id, "fields": given}
    except (SyntaxError, ValueError):
        return text
    if isinstance(said, ast.Name) and find(said.id):
        return {"block": said.id, "fields": {}}
    return None if text.lower() == "none" else text


def instead(role: str, got: Any) -> str:
    """What to give in place of a class, or of a mirror or a layer of a framework."""
    if not role:
        return ""
    if isinstance(got, type) and issubclass(got, Block):
        return f"; call it: {got.__name__}(…)"
    if isinstance(getattr(got, "block", None), Block):
        return f", which is a mirror; give its definition, attn_ref.{got.block}"
    return "" if got is None or isinstance(got, Block) else "; give a definition, such as attn_ref.RMSNorm(width=8)"


def such_as(role: str) -> str:
    """The blocks that have a role, as a hint."""
    names = sorted({cls.__name__ for cls in Block.__subclasses__() if role and cls.role == role})
    return f", such as {' and '.join(names)}" if names else ""


def nest(name: str, block: Block | Sequence[Block]) -> dict[str, Param]:
    """The parameters of a sub-block, or of a list of them (``name.0``, ``name.1`` …), below ``name``."""
    if isinstance(block, Block):
        return {f"{name}.{leaf}": param for leaf, param in block.params().items()}
    return {full: param for i, part in enumerate(block) for full, param in nest(f"{name}.{i}", part).items()}
