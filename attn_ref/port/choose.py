"""Which maps fit, and which block a file holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from attn_ref import catalogue
from attn_ref.block import Block
from attn_ref.foreign.fields import FieldRules, Told
from attn_ref.foreign.map import NUMBER, NUMBERS, Map, Variant
from attn_ref.foreign.rules import Rule, shape_in
from attn_ref.port import maps
from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Spec
from attn_ref.port.formats import format_of
from attn_ref.port.hyper import settle
from attn_ref.port.text import load_json
from attn_ref.port.wrappers import reason


def source_map(source: Checkpoint, name: str | None) -> Map:
    """The map called ``name``, or the one that the file says or that its names fit."""
    if name:
        return maps.find(name)
    if isinstance(written := source.metadata.get("map"), str):
        try:
            return maps.find(written)
        except ValueError as error:
            raise CheckpointError(f"{source.path}: {error}") from error
    known = [item for item in maps.maps().values() if source.format in item.formats]
    if (preset := keras_hub(source)) and not any(preset in types(item) for item in known):
        raise CheckpointError(unknown(source, f"{preset} of KerasHub"))
    shares = {item.name: share(item, source) for item in known if item.rules}
    fitting = [item for item in known if shares.get(item.name, 0.0) >= 0.5]
    if not fitting and (family := model_type(source)):  # it says what it is, and what does not fit is told later
        fitting = [item for item in known if shares.get(item.name) and family in types(item)]
    if len(fitting) > 1 and (family := model_type(source)):  # names that families share
        own = [item for item in fitting if family in types(item)]
        if not own and not any(family in types(item) for item in known):
            raise CheckpointError(unknown(source, repr(family)))
        fitting = own or fitting
    if len(fitting) == 1:
        return fitting[0]
    whole = [item for item in fitting if shares[item.name] == 1.0]
    if len(whole) == 1:  # the others lack names that it has
        return whole[0]
    if fitting:
        raise CheckpointError(f"{source.path} fits the maps {', '.join(m.name for m in fitting)}; choose one by --from")
    standing = [item for item in known if not item.by_name]
    if len(standing) == 1 and not standing[0].rules:  # what the format stands for, whatever the names
        return standing[0]
    if (family := model_type(source)) and not any(family in types(item) for item in known):
        raise CheckpointError(unknown(source, repr(family)))
    tried = ", ".join(f"{name} knows {portion:.0%} of its names" for name, portion in shares.items() if portion)
    tried = tried or ("none knows any of its names" if shares else "")
    generic = [item.name for item in known if not item.rules]
    deeper = [f"those of {item.name} are below {w}: --prefix {w}" for item in known if (w := deeper_in(item, source))]
    ours = f"if it holds a block of attn_ref, say so: --from {' or '.join(generic)} --set block=NAME"
    ways = "; ".join([*deeper, *([ours] if generic else [])]) or "name one by --from"
    why = f"no map fits by itself ({tried or 'none has fixed names'})"
    raise CheckpointError(f"{source.path} does not say what it holds, and {why}; {ways}")


def fit(source: Checkpoint, name: str | None) -> float | None:
    """How well the names fit the map called ``name``, or whichever they fit best; None where names are not fixed."""
    items = [maps.find(name)] if name else [m for m in maps.maps().values() if source.format in m.formats]
    return max((share(item, source) for item in items if item.rules), default=None)


def anchored(item: Map, source: Checkpoint) -> str:
    """What stands before the names of ``item`` in a file where they lie deeper; empty if there are none."""
    found: Counter[str] = Counter()
    for rule in item.rules:
        if "{i}" not in rule.foreign:
            found.update(key.removesuffix(rule.foreign) for key in source if key.endswith(rule.foreign))
    ((way, count), *_) = [*found.most_common(1), ("", 0)]
    return way if count > 1 and way[-1:] in (".", "/") else ""


def deeper_in(item: Map, source: Checkpoint) -> str:
    """What stands before the names of ``item`` in a file of which they are most of what is there; empty if nothing."""
    way = anchored(item, source)
    inside = {name[len(way) :]: name for name in source if name.startswith(way) and len(name) > len(way)}
    return way if way and share(item, source.renamed(inside)) >= 0.5 else ""


def unknown(source: Checkpoint, family: str) -> str:
    """That there is no map for a family of models."""
    families = ", ".join(dict.fromkeys(name for item in maps.maps().values() for name in types(item)))
    return (
        f"{source.path} holds a model of type {family} by {source.config_path}, and there is no map for it yet; "
        f"the types with maps are {families} (attn-ref maps)"
    )


def keras_hub(source: Checkpoint) -> str | None:
    """The class that the ``config.json`` of a KerasHub preset names, such as BertBackbone."""
    told = load_json(source.config_path) if source.config_path else {}
    name, module = told.get("class_name"), f"{told.get('module')} {told.get('registered_name')}"
    return name if isinstance(name, str) and ("keras_hub" in module or "keras_nlp" in module) else None


def model_type(source: Checkpoint) -> str | None:
    """The family of models that the ``config.json`` beside the file names."""
    told = load_json(source.config_path).get("model_type") if source.config_path else None
    return told if isinstance(told, str) else None


def types(item: Map) -> tuple[str, ...]:
    """The families of models that a map is for, as ``config.json`` calls them."""
    return item.fields.allowed.get("model_type", ()) if item.fields else ()


def target_map(target: Path, name: str | None) -> Map:
    """The map called ``name``, or the only one whose files have names like ``target``'s."""
    if name:
        return maps.find(name)
    form = format_of(target).NAME
    fitting = [item.name for item in maps.maps().values() if form in item.formats and not item.by_name]
    if len(fitting) != 1:
        raise CheckpointError(f"{target} fits the maps {', '.join(fitting)}; choose one by --to")
    return maps.find(fitting[0])


def variant_of(item: Map, keys: Mapping[str, Any], block: str) -> Variant:
    """The spelling of ``item`` that names the most of ``keys``; of a map without patterns, one that names any."""

    def hits(variant: Variant) -> int:
        if item.rules:
            return len(item.canonical(keys, variant))
        return any(key.startswith(item.spell("", variant, block)) for key in keys)

    return max(item.variants(), key=hits)  # the first of equals, which is the default


def share(item: Map, source: Checkpoint) -> float:
    """How many of the names ``item`` knows, from 0 to 1; what is of training and not of a model does not count.

    0 where a name is not there by which such files are told from those of other maps.
    """
    variant = variant_of(item, source, item.block or "")
    if any(item.spell(name, variant, item.block or "") not in source for name in item.marks):
        return 0.0
    known = item.canonical(source, variant)
    names = [key for key in source if key in known or not reason(key, "")]
    hits = sum(key in known or item.reason(key, variant, item.block or "") is not None for key in names)
    return hits / max(1, len(names))


def left_out(item: Map, key: str, variant: Variant, block: str) -> str | None:
    """Why a tensor that is not of the block is left out, or None if it should not be there."""
    return item.reason(key, variant, block) or reason(key, "") or None


class Described(NamedTuple):
    """The block that a file holds, who told each of its fields, how it spells the map's names, and its config.json."""

    block: Block
    told: dict[str, str]
    variant: Variant
    config: Path | None


def describe(source: Checkpoint, from_map: Map, to_map: Map, settings: Mapping[str, Any]) -> Described:
    """Find out what ``source`` holds. CheckpointError or ValueError that lists what is not told or contradictory."""
    settings = dict(settings)
    asked, written = settings.pop("block", None), source.metadata.get("block")
    name = asked or from_map.block or written or to_map.block
    if name is None:
        raise CheckpointError(f"{source.path} does not say which block it holds; give --set block=NAME")
    if from_map.block not in (None, name):
        raise CheckpointError(f"map {from_map.name} is for {from_map.block}, not for {name}")
    cls = catalogue.block(str(name))
    variant = variant_of(from_map, source, cls.__name__)
    # those of the files themselves before others of the same block, unless those are of one family
    named = [from_map, to_map, *(item for item in maps.maps().values() if item.fields and not item.fields.blocks)]
    rules = next((m.fields for m in named if m.block == cls.__name__ and m.fields), None) or FieldRules()
    if rules is not from_map.fields:  # what only such files have
        rules = replace(rules, raw={}, kinds={}, always={})

    recorded = {}
    if written == cls.__name__ and isinstance(fields := source.metadata.get("fields"), dict):
        rules = replace(rules, present={})  # Keras numbers what a layer holds, so a name may be of several parameters
        recorded = {key: Told(value, "the file's metadata") for key, value in fields.items()}
    path, config = source.config_path, {}
    if path and (rules.config or rules.entries) and not recorded:
        config = rules.from_config(load_json(path), path)
    given = {key: Told(value, "--set") for key, value in settings.items()}
    shapes = rules.from_shapes(cls, *canonical_specs(source, from_map, variant, cls, rules), source.specs)
    shapes = {
        name: item for name, item in shapes.items() if name not in rules.unsaid or name not in {**given, **config}
    }
    if rules is not from_map.fields:  # another family's may not hold of this block, and shapes are compared later
        shapes = {name: item for name, item in shapes.items() if name not in {**given, **recorded}}
    if rules.blocks and not from_map.rules:  # names follow from the block, and the file says which it is
        shapes = {}
    try:
        block, told = settle(
            cls,
            [given, recorded, config],
            shapes,
            {**(rules.defaults if config else {}), **rules.always},
            () if config and rules.blocks else rules.asked,  # entries say what a config means that is silent
            free={name for item in maps.maps().values() if item.block == cls.__name__ for name in item.beside},
            blocks=rules.blocks,
            held=source,
            before_asking=lambda: refuse_names(source, from_map, variant, cls, rules),
            missing=f"shapes or {path}" if path else "shapes, and there is no config.json beside the file",
        )
    except ValueError as error:
        raise CheckpointError(f"{source.path}: {error}") from error
    return Described(block, told, variant, path if config else None)


def canonical_specs(
    source: Checkpoint, item: Map, variant: Variant, cls: type[Block], rules: FieldRules
) -> tuple[dict[str, Spec], dict[str, str]]:
    """Canonical name -> canonical shape, and -> the file's name, as far as names tell without the block."""
    if not item.rules and not rules.sizes:
        return {}, {}
    found = named(source, item, variant, cls, rules)
    specs = {
        rule.canonical: Spec(shape_in(source.specs[key].shape, rule), source.specs[key].dtype)
        for key, rules_of in found.items()
        for rule in rules_of
    }
    return specs, {rule.canonical: key for key, rules_of in found.items() for rule in rules_of}


def named(
    source: Checkpoint, item: Map, variant: Variant, cls: type[Block], rules: FieldRules
) -> dict[str, list[Rule]]:  # fmt: skip
    """The file's names that are of a block of the kind ``cls`` -> their rules."""
    if item.rules:
        return item.canonical(source, variant)
    spelled = spelling(source, item, variant, cls, rules)
    return {key: [rule] for key, rule in spelled.items() if key in source.specs}


def spelling(
    source: Checkpoint, item: Map, variant: Variant, cls: type[Block], rules: FieldRules
) -> dict[str, Rule]:  # fmt: skip
    """The names of such a block -> their rules, under a map that makes them from a block.

    Names of parameters do not depend on widths, so the example with enough members in its lists has them all.
    """
    options = {**cls.example, **dict.fromkeys(rules.present, True)}
    one, two = (len(cls.build(options | dict.fromkeys(cls.counts, n)).params()) for n in (1, 2))
    # no more members than the file has tensors for
    numbers = (int(found[0]) for key in source for found in islice(NUMBER.finditer(key), NUMBERS))
    members = min(max(numbers, default=0), len(source) // max(1, two - one)) + 1
    example = cls.build(options | dict.fromkeys(cls.counts, members))
    return {item.spell(rule.foreign, variant, cls.__name__): rule for rule in item.rules_for(example)}


def refuse_names(
    source: Checkpoint, item: Map, variant: Variant, cls: type[Block], rules: FieldRules
) -> None:  # fmt: skip
    """CheckpointError if no field could make the file fit, before any field is asked for."""
    known = len(named(source, item, variant, cls, rules))
    if share(item, source) >= 0.5 if item.rules else known:
        return
    wanted = [rule.foreign for rule in item.rules] or list(spelling(source, item, variant, cls, rules))
    there, here = (", ".join([*names[:3], *["…"] * (len(names) > 3)]) for names in (wanted, list(source)))
    deeper = f"; they are below {way}: --prefix {way}" if (way := anchored(item, source)) else ""
    under = f"map {item.name} has for a {cls.__name__}"
    raise CheckpointError(
        f"it has {known or 'none'} of the names that {under} ({there}), among {len(source)}: {here}{deeper}"
    )
