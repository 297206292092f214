"""Which blocks a layer that nobody described may be: their sizes are those that it holds, as numbers and as shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from itertools import product
from typing import Any

from attn_ref.block import Block
from attn_ref.catalogue import blocks, is_model
from attn_ref.option import options
from attn_ref.trace.options import alternatives, rebuilt
from attn_ref.verbs.fitting import fit
from attn_ref.verbs.sizes import FEW, Sizes

#: blocks of each class
EACH = 10
#: of the blocks with the sizes that must be told, those of each class whose other sizes are looked for, in how many
#: steps; the least share of parameters and arrays that have a counterpart; and numbers of heads that are tried
STARTS, STEPS, FITS, HEADS = 3, 6, 0.5, 4
#: parts of attention and of a network that a layer of both is made of
PARTS = 6
#: options that act in training alone, and so are not seen
TRAINING = ("dropout", "attention_dropout", "momentum", "unbiased")
#: a width where a layer holds none yet: it is made when it is called
WIDTH = 12


def starting(sizes: Sizes, only: str | None = None, inputs: int = 1) -> list[tuple[Block, float]]:
    """Blocks with their sizes alone, and how well their parameters fit the layer's arrays. ``inputs``: it takes."""
    found: list[tuple[Block, float]] = []
    for name, cls in blocks().items():
        if is_model(cls) or (only is not None and name != only):
            continue
        best = likely(of_class(cls, sizes), sizes)[:EACH]
        best += [(other, at) for block, at in best[:FEW] for other in otherwise_given(block)]
        if inputs > 1:
            best += likely(crossing(cls, sizes), sizes)[: EACH // 2]
        found += [(block, at) for block, at in dict(best).items() if only is not None or at >= FITS]
    return found


def otherwise_given(block: Block) -> Iterator[Block]:
    """The same with an option that gives its first input other axes, such as one for each dimension of space."""
    first = next(iter(block.inputs.values()))
    for name, value in alternatives(block):
        try:
            other = rebuilt(block, name, value)
            if len(next(iter(other.inputs.values())).axes) != len(first.axes):
                yield other
        except (ValueError, TypeError):  # of options that do not go together
            continue


def likely(made: Iterable[Block], sizes: Sizes) -> list[tuple[Block, float]]:
    """Blocks, those that fit best, after their options have been changed so that they fit better."""
    starts = ranked(made, sizes)
    near = dict(starts[:EACH])
    for block, at in apart(starts, sizes):
        near |= fitted(block, at, sizes)
    return mixed(sorted({plainer(block): at for block, at in near.items()}.items(), key=lambda one: -one[1]))


def apart(starts: list[tuple[Block, float]], sizes: Sizes) -> list[tuple[Block, float]]:
    """The best of each width and number of heads, or of what else is told first of a block, the best widths first."""
    heads = sizes.heads()
    best: dict[Any, dict[Any, tuple[Block, float]]] = {}
    for block, at in starts:
        widths = best.setdefault(next(iter(block.fields().values()), None), {})
        widths.setdefault(heads_of(block), (block, at))
    found = []
    for of in list(best.values())[:STARTS]:
        known = sorted(of, key=lambda n: heads.index(n) if n in heads else len(heads))
        found += [of[n] for n in known[:HEADS]]
    return found


def mixed(near: list[tuple[Block, float]]) -> list[tuple[Block, float]]:
    """Blocks with the best of each width and number of heads first: shapes seldom tell how many heads there are."""
    count = Counter[Any]()
    turns: list[tuple[int, float, int]] = []
    for i, (block, at) in enumerate(near):
        kind = next(iter(block.fields().values()), None), heads_of(block)
        count[kind] += 1
        turns.append((count[kind], -at, i))
    return [near[i] for _, _, i in sorted(turns)]


def heads_of(block: Block) -> Any:
    """Its number of heads, or that of the attention inside."""
    attention = block.fields().get("attention", block)
    return getattr(attention, "num_heads", None)


def plainer(block: Block) -> Block:
    """The same block without options that say what it is anyway."""
    shapes = {name: param.shape for name, param in block.params().items()}
    for one in fields(block):
        if one.default is None and getattr(block, one.name) is not None:
            try:
                other = rebuilt(block, one.name, None)
            except (ValueError, TypeError):
                continue
            if {name: param.shape for name, param in other.params().items()} == shapes:
                block = other
    return block


def ranked(made: Iterable[Block], sizes: Sizes) -> list[tuple[Block, float]]:
    """Blocks and how well each fits, the best first."""
    return sorted(((block, fits(block, sizes)) for block in dict.fromkeys(made)), key=lambda one: -one[1])


def fits(block: Block, sizes: Sizes) -> float:
    """How well the parameters of a block fit the layer's arrays."""
    try:
        return fit([param.shape for param in block.params().values()], sizes.shapes)
    except ValueError:  # of numbers that do not go together
        return 0.0


def fitted(block: Block, at: float, sizes: Sizes) -> dict[Block, float]:
    """The same block with one option after another changed, as long as it fits better."""
    found: dict[Block, float] = {}
    for _ in range(STEPS):
        better = ranked((other for other in nearby(block, sizes) if heads_of(other) == heads_of(block)), sizes)
        if not better or better[0][1] <= at + 1e-9:
            break
        found |= dict(one for one in better[:FEW] if one[1] > at)
        block, at = better[0]
    return found


def crossing(cls: type[Block], sizes: Sizes) -> Iterator[Block]:
    """The same with keys of another width, or with attention to a memory."""
    told = options(cls)
    for block in of_class(cls, sizes):
        if "key_width" in told:
            for width in sizes.widths()[:FEW]:
                if width != block.fields()["width"]:
                    yield rebuilt(block, "key_width", width)
        if "attention" in block.fields() and "cross_attention" in block.fields():
            yield rebuilt(block, "cross_attention", block.fields()["attention"])


def of_class(cls: type[Block], sizes: Sizes) -> Iterator[Block]:
    """The blocks of a class with sizes of the layer's."""
    widths = (sizes.widths() or [WIDTH])[:FEW]
    wanted = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    known: dict[str, list[Any]] = {
        "width": widths, "channels": widths, "output_channels": widths, "hidden_width": sizes.widths()[: FEW + 2],
        "num_heads": sizes.heads()[: FEW + 3], "patch": sizes.patches(),
    }  # fmt: skip
    if "patch" in wanted:  # its kernel may lie flat
        flat = [n // p**2 for p in sizes.patches() for n in sizes.widths() if n % p**2 == 0]
        known["channels"] = list(dict.fromkeys([*widths, *flat]))
    if "attention" in wanted:
        yield from layers(cls, sizes)
        return
    if not set(wanted) <= set(known):
        return
    for values in product(*(known[name] for name in wanted)):
        given = dict(zip(wanted, values, strict=True))
        for more in ({}, *reductions(cls, given, sizes)):
            try:
                yield cls(**given, **more)
            except ValueError:  # of numbers that do not go together
                continue


def reductions(cls: type[Block], given: Mapping[str, Any], sizes: Sizes) -> list[dict[str, Any]]:
    """By how much a gate may narrow its channels: to a width of the layer's."""
    if "reduction" not in options(cls) or "channels" not in given:
        return []
    channels = given["channels"]
    return [{"reduction": channels // n} for n in sizes.widths()[:FEW] if n < channels and channels % n == 0]


def layers(cls: type[Block], sizes: Sizes) -> Iterator[Block]:
    """Layers of attention and a feed-forward network, with norms of either kind."""
    known = blocks()
    attentions = ranked(of_class(known["MultiHeadAttention"], sizes), sizes)[:PARTS]
    networks = [
        one
        for kind in ("FeedForward", "GatedFeedForward")
        for one in ranked(of_class(known[kind], sizes), sizes)[:PARTS]
    ]
    for (attention, _), (network, _) in product(attentions, networks):
        width = attention.fields()["width"]
        if network.fields()["width"] != width:
            continue
        for norm in ("LayerNorm", "RMSNorm"):
            try:
                yield cls(width=width, attention=attention, feed_forward=network, norm=known[norm](width=width))  # type: ignore[call-arg]
            except ValueError:
                continue


def nearby(block: Block, sizes: Sizes) -> Iterator[Block]:
    """The block with one option changed: to what it may be, or to a number of the layer's."""
    for name, value in dict.fromkeys([*alternatives(block), *whole(block, sizes)]):
        if name.rpartition(".")[2] in TRAINING:
            continue
        try:
            yield rebuilt(block, name, value)
        except (ValueError, TypeError):  # of options that do not go together
            continue


def whole(block: Block, sizes: Sizes, before: str = "") -> Iterator[tuple[str, Any]]:
    """(option, number) of the options that are whole numbers, of the block and of those inside."""
    told: Mapping[str, Any] = options(type(block))
    for one in fields(block):
        now = getattr(block, one.name)
        if isinstance(now, Block):
            yield from whole(now, sizes, f"{before}{one.name}.")
        elif one.name in told and "int" in told[one.name][1] and (before or one.name not in ("width", "channels")):
            numbers = sizes.called(one.name)
            if one.name.endswith("head_width"):  # of an axis of all heads, or of all of several
                axes, heads = sizes.widths()[: 2 * FEW], getattr(block, "num_heads", 1)
                numbers = [*sizes.head_widths(), *numbers]
                numbers += [n // m for m in (heads, 2 * heads, 3 * heads) for n in axes if n % m == 0]
            yield from ((f"{before}{one.name}", n) for n in numbers if n != now)
