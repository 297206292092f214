"""What a layer's further arguments mean: masks, biases and lengths, found by trying.

A mask has a name, a rank, a dtype and a polarity, and every library has its own. Here each that is usual is tried: the
layer is called with a mask made so, and what it gives is held to the block with the same mask. Where nothing fits, the
layer may have a fault behind its mask. Then the way is taken that hides the most of what the mask hides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from attn_ref.block import Block
from attn_ref.tap import record
from attn_ref.trace.match import same, turned
from attn_ref.trace.record import Trace
from attn_ref.verbs.calling import Call, Inputs, arguments_of, hides, required
from attn_ref.verbs.conventions import ADDED, FORMS, HIDING, POLARITIES, Convention, Run, With, scores_axes
from attn_ref.verbs.lost import dark

#: how much of a mask must be seen among the layer's values, where its output fits no way; 2 is all of it
NEAR = 1.3
#: arguments that are no masks, by what their names begin with or hold
OTHERS = (
    "training", "deterministic", "need_", "return_", "output_", "is_causal", "use_causal", "average", "past", "cache",
    "use_cache", "position_ids", "kwargs", "rng", "dropout", "head_mask",
)  # fmt: skip


def forced(layer: Any, block: Block, said: str, call: Call) -> Iterator[tuple[str, Call]]:
    """Ways to call a layer that must be given masks: with such that hide nothing, of every kind."""
    rest = [name for name in required(layer)[len(getattr(call, "takes", ())) :] if hides(name)]
    known = [name for name in HIDING if name in block.inputs]
    if not rest or not known:
        return
    title = f"{said.partition(', ' + rest[0])[0]}, {' and '.join(rest)} always given"
    for roles in product(known, repeat=len(rest)) if len(rest) <= 2 else [known[:1] * len(rest)]:
        for form in ("b 1 t s", "b t s", "b s") if len(rest) > 1 else ("b 1 t s", "b s", "t s", "b t s"):
            for meaning in POLARITIES:
                every = [Convention(name, given, form, meaning) for name, given in zip(rest, roles, strict=True)]
                yield title, With(call, every, block, rest)


def candidates(layer: Any, block: Block, taken: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(argument, input of the block) that may go together."""
    for argument in arguments_of(layer, every=True):
        name = argument.lower()
        if argument in taken or any(name.startswith(o) or o in name for o in OTHERS):
            continue
        for given in block.inputs:
            memory = "memory" in given
            if given in (*HIDING, *ADDED) and memory == any(
                w in name for w in ("memory", "encoder", "cross", "context")
            ):
                yield argument, given


def probe_of(kind: str, shape: Sequence[int], seed: int) -> np.ndarray:
    """A mask that hides two keys of five, never the first, or a bias; the place decides nothing."""
    values = np.random.default_rng([seed, *shape]).uniform(-1, 1, shape)
    if kind in ADDED:
        return values * 2
    keep = np.asarray(values > -0.2)
    keep[..., 0] = True
    if keep.shape[2] == keep.shape[3]:
        keep[..., range(keep.shape[2]), range(keep.shape[2])] = True
    return keep


def ordered(argument: str, given: str) -> Iterator[tuple[str, str]]:
    """(form, meaning), those first that the argument's name suggests."""
    name = argument.lower()
    forms = list(FORMS)
    if "key_padding" in name or "padding" in name or name in ("valid", "lengths"):
        forms.sort(key=lambda form: form not in ("b s", "b 1 1 s"))
    for form in forms:
        for meaning in ("it is added",) if given in ADDED else POLARITIES:
            yield form, meaning


def find(
    run: Run, layer: Any, block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs, call: Call,
    tell: Callable[[str], None],
) -> list[Convention]:  # fmt: skip
    """The conventions of the layer's further arguments, one for each pair of argument and input that it has."""
    base = call.call if isinstance(call, With) else call
    taken = arguments_of(layer)[: len(getattr(call, "takes", ()))]
    taken += [name for name, x in getattr(base, "always", {}).items() if x is not None]
    fit: list[Convention] = []
    near: list[Convention] = []
    odd: list[Convention] = []
    for argument, given in candidates(layer, block, taken):
        tell(f"looking for what {argument} means")
        others = [c for c in getattr(call, "conventions", ()) if c.argument != argument]
        how, convention = meant(run, block, weights, inputs, base, argument, given, others)
        if convention:
            {"fits": fit, "comes near": near}.get(how, odd).append(convention)
    # what changes nothing, or means nothing that is known, is a fault where the layer has no other mask
    return fit + near if fit or near else odd[:1]


def meant(
    run: Run, block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs, call: Call, argument: str, given: str,
    others: Sequence[Convention],
) -> tuple[str, Convention | None]:  # fmt: skip
    """What one argument means, and how well that fits; None if it is no such input. ``others`` must be given too."""
    must = [c.argument for c in others]
    sizes = scores_axes(block, given, inputs)
    plain = block(weights, **inputs)
    wants: dict[tuple[int, ...], np.ndarray] = {}
    near: dict[Convention, float] = {}
    deaf: Convention | None = None
    for form, meaning in ordered(argument, given):
        convention = Convention(argument, given, form, meaning)
        value = probe_of(given, convention.canonical(sizes), 7)
        more = {**inputs, given: value}
        try:
            _, outputs = run(With(call, [convention, *others], block, must), more, 0)
        except Exception:  # the layer does not take it so
            continue
        if value.shape not in wants:
            wants[value.shape] = block(weights, **more)
        if any(fits(y, wants[value.shape], real(value, form)) for y in outputs):
            return "fits", convention
        if any(fits(y, plain, None) for y in outputs):
            deaf = deaf or convention
        elif given in HIDING:
            trace, _ = run(With(call, [convention, *others], block, must), more)
            near[convention] = hidden(trace, value, block, weights, more)
    best = max(near, key=lambda c: near[c], default=None)
    if best and near[best] > NEAR:
        return "comes near", best
    if given not in HIDING or not hides(argument):
        return "is none", None
    return ("is another", best) if best else ("changes nothing", deaf)


def real(value: np.ndarray, form: str) -> np.ndarray | None:
    """The tokens (b, t) that are none of padding, where a mask says so of each token; None where it does not."""
    if value.dtype != bool or form not in ("b s", "b 1 1 s"):
        return None
    return np.asarray(value[:, 0, 0])


def fits(got: np.ndarray, want: np.ndarray, tokens: np.ndarray | None) -> bool:
    """Is it the same, at the real ``tokens`` alone where they are told?"""
    for x in turned(got, want.shape) if got.size == want.size else ():
        if same(x, want):
            return True
        if tokens is not None and tokens.shape == want.shape[:2] and same(x[tokens], want[tokens]):
            return True
    return False


def hidden(trace: Trace, keep: np.ndarray, block: Block, weights: Mapping[str, np.ndarray], inputs: Inputs) -> float:
    """How far a value of the layer is 0 where the mask hides, and not where it does not: 2 is wholly.

    Only places count that the block's other rules leave open.
    """
    open_to = {name: x for name, x in inputs.items() if np.asarray(x).dtype != bool}
    with record() as taps, np.errstate(all="ignore"):
        block(weights, **open_to)
    seen = next((np.asarray(x.value) for name, x in taps.items() if name.rpartition(".")[2] == "weights"), None)
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
    value = probe_of(one.input, one.canonical(scores_axes(block, one.input, inputs)), seed)
    more = {**inputs, one.input: value}
    if dark(block, weights, more).any():
        return dict(inputs)
    return more
