"""What a layer's further arguments mean: masks, biases, lengths and offsets, found by trying.

A mask has a name, a rank, a dtype and a polarity, and every library has its own. Here each that is usual is tried: the
layer is called with a mask made so, and what it gives is held to the block with the same mask. Where nothing fits, the
layer may have a fault behind its mask. Then the way is taken that hides the most of what the mask hides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.tap import record
from attn_ref.trace.match import same, turned
from attn_ref.trace.record import Trace
from attn_ref.verbs.calling import Call, arguments_of, hides
from attn_ref.verbs.conventions import Convention, Run, With, sizes_of
from attn_ref.verbs.kinds import ADDED, HIDING, MEMORY, Sizes, named_first, pairs, suggested
from attn_ref.verbs.lost import at_tokens, dark
from attn_ref.verbs.made import Inputs

#: how much of a mask must be seen among the layer's values, where its output fits no way; 2 is all of it
NEAR = 1.3
#: inputs that are masks
MASKS = ("attention_mask", "memory_mask")
#: forms that are one mask to who broadcasts
ALIGNED = ("b 1 t s", "t s", "b 1 1 s", "1 1 t s", "b h t s")
#: arguments that are no masks, by what their names begin with or hold
OTHERS = (
    "training", "deterministic", "need_", "return_", "output_", "is_causal", "use_causal", "average", "past", "cache",
    "use_cache", "position_ids", "kwargs", "rng", "dropout", "head_mask",
)  # fmt: skip


def candidates(layer: Any, block: Block, taken: Sequence[str], given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(argument, input of the block) that may go together; ``given``: the input that an argument was given."""
    both = {"attention_mask", "memory_mask"} <= {*block.inputs}
    for argument in arguments_of(layer, every=True):
        name = argument.lower()
        if argument in taken:
            continue
        other = any(name.startswith(o) or o in name for o in OTHERS)
        far = any(word in name for word in MEMORY)
        inputs = named_first(argument, block)
        for one in sorted(inputs, key=lambda x: x != given.get(argument)):
            if suggested(argument, one) or (not other and not (both and far and "memory" not in one)):
                yield argument, one


def find(
    run: Run, layer: Any, block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs, call: Call,
    tell: Callable[[str], None],
) -> list[Convention]:  # fmt: skip
    """The conventions of the layer's further arguments, one for each pair of argument and input that it has."""
    base = call.call if isinstance(call, With) else call
    taken = arguments_of(layer)[: len(getattr(call, "takes", ()))]
    taken += [name for name, x in getattr(base, "always", {}).items() if x is not None]
    now: Sequence[Convention] = getattr(call, "needed", ())
    must = {c.argument for c in now}
    fit: list[Convention] = []
    near: list[Convention] = []
    odd: list[Convention] = []
    for argument, given in candidates(layer, block, taken, {c.argument: c.input for c in now}):
        if any(c.argument == argument and "bias" not in (c.input, given) for c in fit):
            continue  # it is a mask, or lengths, or positions: a mask that is added may be a bias as well
        tell(f"looking for what {argument} means")
        others = [c for c in now if c.argument != argument]
        form = next((c.form for c in now if c.argument == argument), "none")
        how, convention = meant(run, block, weights, inputs, base, argument, given, others, form)
        if how != "fits" and not suggested(argument, given) and any(suggested(argument, x) for x in block.inputs):
            continue  # what is wrong with it is told of what its name says
        if convention:
            {"fits": fit, "comes near": near}.get(how, odd).append(convention)
    near = first_of_each(near, fit)
    # what changes nothing, or means nothing that is known, is a fault where it must be given or there is no other mask
    odd = first_of_each(odd, [*fit, *near])
    return [*fit, *near, *[c for c in odd if c.argument in must or c.input in ADDED]] or odd[:1]


def first_of_each(conventions: Sequence[Convention], known: Sequence[Convention]) -> list[Convention]:
    """The first convention of each argument that is not known yet; a bias may be a mask as well."""
    found: list[Convention] = []
    for one in conventions:
        if not any(c.argument == one.argument and one.input not in ADDED for c in [*known, *found]):
            found.append(one)
    return found


def meant(
    run: Run, block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs, call: Call, argument: str, given: str,
    others: Sequence[Convention], form_given: str,
) -> tuple[str, Convention | None]:  # fmt: skip
    """What one argument means, and how well that fits; None if it is no such input.

    ``others`` must be given too; ``form_given``: that in which the argument was given what changes nothing.
    """
    sizes = sizes_of(block, given, inputs)
    plain = block(weights, **inputs)
    wants: dict[bytes, np.ndarray] = {}
    near: dict[Convention, float] = {}
    deaf: list[Convention] = []
    for form, meaning in pairs(argument, given, block, any(name in inputs for name in ADDED)):
        convention = Convention(argument, given, form, meaning)
        value = convention.probe(sizes, 7)
        more = {**inputs, given: value}
        try:
            _, outputs = run(With(call, [convention], block, others), more, 0)
        except Exception:  # the layer does not take it so
            continue
        key = repr(value.shape).encode() + value.tobytes()
        if key not in wants:
            wants[key] = block(weights, **more)
        tokens = real(block, convention, more)
        if fits([wants[key]], plain, block, tokens):
            tokens = None  # behind a causal rule, say, padding changes nothing for the real tokens
        if fits([wants[key]], plain, block, tokens):
            continue  # it changes nothing in the block, so it tells nothing
        if fits(outputs, wants[key], block, tokens):
            return "fits", convention
        if fits(outputs, plain, block, None):
            deaf.append(convention)
        elif given in ADDED:
            near.setdefault(convention, 0.0)
        elif given in HIDING:
            trace, _ = run(With(call, [convention], block, others), more)
            near[convention] = hidden(trace, kept(value, sizes), block, weights, more)
    best = max(near, key=lambda c: near[c], default=None)
    as_given = [c for c in deaf if c.form == form_given]
    if best and near[best] > NEAR and not as_given:
        return "comes near", best
    if not (suggested(argument, given) or (given in HIDING and hides(argument))) or given not in (*HIDING, *ADDED):
        return "is none", None
    return ("is another", best) if best and not as_given else ("changes nothing", next(iter([*as_given, *deaf]), None))


def misread(
    run: Run, block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs, call: With, known: Convention
) -> str | None:
    """Which other forms of a mask the layer takes, and hides something else than it says; None if there are none."""
    if known.input not in MASKS or known.form not in ALIGNED:
        return None
    sizes = sizes_of(block, known.input, inputs)
    wrong: dict[str, list[str]] = {}
    for form in (known.form, *ALIGNED):
        one = replace(known, form=form)
        value = one.probe(sizes, 7)
        more = {**inputs, known.input: value}
        try:
            _, outputs = run(With(call.call, [one], block, call.needed), more, 0)
        except Exception:  # the layer does not take it so
            continue
        if fits(outputs, block(weights, **more), block, real(block, one, more)):
            continue
        if form == known.form:
            return None  # it is not understood at all
        wants = ((said, block(weights, **{**more, known.input: x})) for said, x in partly(value))
        part = next((f", of which {said} counts for all" for said, y in wants if fits(outputs, y, block, None)), "")
        wrong.setdefault(part, []).append(f"({one.axes})")
    told = "; ".join(f"{' and '.join(forms)}{part}" for part, forms in wrong.items())
    return f"{known.argument} is also taken as {told}, and hides something else than the block then" if told else None


def partly(value: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """(in words, a part of a mask that a layer may take for all of it)."""
    for axis, name in enumerate(("example", "head", "query")):
        if value.shape[axis] > 1:
            yield f"the first {name}", value.take([0], axis)
            yield f"the last {name}", value.take([-1], axis)


def real(block: Block, one: Convention, inputs: Inputs) -> np.ndarray | None:
    """The tokens (b, t) that are none of padding, where an input says so of each token; None where it does not."""
    sizes = sizes_of(block, one.input, inputs)
    value = np.asarray(inputs[one.input])
    if one.input not in HIDING or "memory" in one.input or sizes["s"] != sizes["t"]:
        return None
    value = kept(value, sizes)
    return np.asarray(value[:, 0, 0]) if value.shape == (sizes["b"], 1, 1, sizes["s"]) else None


def kept(value: np.ndarray, sizes: Sizes) -> np.ndarray:
    """A mask (b, h, t, s) as it is, and lengths (b,) as one."""
    return value if value.ndim > 1 else np.asarray(np.arange(sizes["s"]) < value[:, None])[:, None, None]


def fits(outputs: Sequence[np.ndarray], want: np.ndarray, block: Block, tokens: np.ndarray | None) -> bool:
    """Is one of them the same, at the real ``tokens`` alone where they are told?"""
    for got in outputs:
        for x in turned(got, want.shape) if got.size == want.size else ():
            if same(x, want):
                return True
            if tokens is not None:
                real, ours = (at_tokens(y, block.output_axes, tokens) for y in (x, want))
                if same(real, ours):
                    return True
    return False


def hidden(trace: Trace, keep: np.ndarray, block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs) -> float:
    """How far a value of the layer is 0 where the mask hides, and not where it does not: 2 is wholly.

    Only places count that the block's other rules leave open.
    """
    open_to = {name: x for name, x in inputs.items() if name not in HIDING}
    with record() as taps, np.errstate(all="ignore"):
        block(weights, **open_to)
    every = [np.asarray(x.value) for name, x in taps.items() if name.rpartition(".")[2] == "weights"]
    seen = next((x for x in every if x.shape[-1] == keep.shape[-1]), None)  # own keys, or those of the memory
    if seen is None:
        return 0.0
    keep = np.broadcast_to(keep, seen.shape)
    counts, best = seen > 0, 0.0
    drop, stay = counts & ~keep, counts & keep
    for record_ in trace.records:
        if record_.value is None or record_.value.size != seen.size or not (record_.value >= 0).all():
            continue
        for x in turned(record_.value, seen.shape):
            best = max(best, float((x[drop] < 1e-30).mean() + (x[stay] > 0).mean()) if drop.any() else 0.0)
    return best


def masked_inputs(
    block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs, conventions: Sequence[Convention], seed: int,
    number: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The inputs of the case of that number with what one of the conventions can say, each in its turn, then nothing.

    Without any where a query would have nothing to attend to, since what a layer does there is asked apart.
    """
    turn = number % (len(conventions) + 1)
    if not turn:
        return dict(inputs)
    one = conventions[turn - 1]
    value = one.probe(sizes_of(block, one.input, inputs), seed)
    more = {**inputs, one.input: value}
    if dark(block, weights, more).any():
        return dict(inputs)
    return more
