"""Traps of positions: rotary embedding, linear and learned biases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attn_ref import ops
from attn_ref.traps import examples
from attn_ref.traps.definition import Here, Value, by_option, row

ROTARY = "RotaryEmbedding"


def places(here: Here) -> np.ndarray:
    """The positions, (b, t)."""
    return np.atleast_2d(here.inputs.get("positions", np.arange(here.given("x").shape[2])))


def turned(here: Here, how: Callable[..., tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Pairs, turned in another way: ``how(a, b, cos, sin)``."""
    x, r, pairing = here.given("x"), here.block.r, here.block.pairing
    angles = here["angles"][:, None]
    first, second = ops.split_pairs(x[..., :r], pairing)
    made = ops.merge_pairs(*how(first, second, np.cos(angles), np.sin(angles)), pairing)
    return np.concatenate([made, x[..., r:]], axis=-1)


def with_angles(angles: Callable[[Here, np.ndarray], np.ndarray]) -> Value:
    """Angles from positions (b, t, 1) and the exponents 2i / r."""

    def value(here: Here) -> np.ndarray:
        return angles(here, places(here)[..., None] / here.block.scaling)

    return value


def exponents(here: Here) -> np.ndarray:
    """2i / r."""
    return np.arange(0, here.block.r, 2) / here.block.r


def other_pairs(here: Here) -> np.ndarray:
    """Neighbours for halves, or halves for neighbours."""
    return here.other(pairing="half" if here.block.pairing == "interleaved" else "interleaved")


def mixed_layouts(here: Here) -> np.ndarray:
    """x · cos + rotate_half(x) · sin with cosines and sines repeated as for the other pairing."""
    x, r = here.given("x"), here.block.r
    half = here.block.pairing == "half"
    first, second = ops.split_pairs(x[..., :r], here.block.pairing)
    across = ops.merge_pairs(-second, first, here.block.pairing)
    laid = ops.merge_pairs(here["angles"], here["angles"], "interleaved" if half else "half")[:, None]
    return np.concatenate([x[..., :r] * np.cos(laid) + across * np.sin(laid), x[..., r:]], axis=-1)


def by_head(here: Here) -> np.ndarray:
    """Every head turned by its number, not by the position."""
    x, block = here.given("x"), here.block
    angles = ops.rotary_angles(np.arange(x.shape[1]), block.r, base=block.base, scaling=block.scaling)[:, None]
    first, second = ops.split_pairs(x[..., : block.r], block.pairing)
    cos, sin = np.cos(angles), np.sin(angles)
    made = ops.merge_pairs(first * cos - second * sin, first * sin + second * cos, block.pairing)
    return np.concatenate([made, x[..., block.r :]], axis=-1)


def half_the_width(here: Here) -> np.ndarray:
    """Only the first half of the features turns."""
    here.need(here.block.rotary_width is None and here.block.width % 4 == 0)
    return here.other(rotary_width=here.block.width // 2)


def all_the_width(here: Here) -> np.ndarray:
    """All features turn."""
    here.need(here.block.rotary_width is not None and here.block.width % 2 == 0)
    return here.other(rotary_width=None)


def first_positions(here: Here) -> np.ndarray:
    """The angles of positions 0 … t − 1, whatever was given."""
    here.given("positions")
    block, angles = here.block, here.right
    plain = ops.rotary_angles(np.arange(angles.shape[1]), block.r, base=block.base, scaling=block.scaling)
    return np.broadcast_to(plain, angles.shape)


def keys_only(here: Here) -> np.ndarray:
    """The key as it was, of an attention's two rotations."""
    here.need(here.scope.rpartition(".")[2] == "key_rotary")
    return here.given("x")


def of_powers(heads: int, shift: int = 0) -> np.ndarray:
    """2^(−8k/h)."""
    return np.asarray(2.0 ** (-8.0 * (np.arange(1, heads + 1) - shift) / heads))


def offsets(here: Here) -> np.ndarray:
    """How far each key stands behind each query."""
    p, j = here.given("query_positions").astype(int), here.given("key_positions").astype(int)
    return np.asarray(j - p[:, None])


def bucketed(here: Here, distance: np.ndarray, **options: bool) -> np.ndarray:
    """The learned bias of distances."""
    block = here.block
    sizes = {"num_buckets": block.num_buckets, "max_distance": block.max_distance}
    both = options.get("bidirectional", block.bidirectional)
    buckets = ops.distance_buckets(distance, **sizes, bidirectional=both)
    return np.asarray(here.weight("table.embedding")[buckets].transpose(2, 0, 1))


def clipped_distances(here: Here) -> np.ndarray:
    """One bucket for each distance, the far ones in the last."""
    here.need(here.block.bidirectional)
    side, offset = here.block.num_buckets // 2, offsets(here)
    buckets = np.minimum(np.abs(offset), side - 1) + side * (offset > 0)
    return np.asarray(here.weight("table.embedding")[buckets].transpose(2, 0, 1))


ROWS = (
    row(ROTARY, "rotated",
        "rotary-pairs", "other features are pairs: halves where neighbours are meant, or neighbours for halves",
        symptom="a checkpoint loads, runs and is wrong",
        fix="turn the pairs that the weights were trained with, or permute the weights",
        evidence="huggingface/transformers#25199, #39687; EleutherAI/gpt-neox#834",
        value=other_pairs, shows=examples.rotary),
    row(ROTARY, "rotated",
        "rotary-mixed-layouts", "sines are laid out for one kind of pairs, features are turned in the other",
        symptom="scores depend on where tokens stand, not on how far apart they are",
        fix="repeat_interleave(2) goes with neighbours, cat((f, f)) with halves",
        evidence="huggingface/transformers#47328; raiyanyahya/how-to-train-your-gpt#6; facebookresearch/vjepa2#15",
        value=mixed_layouts, shows=examples.rotary),
    row(ROTARY, "rotated", "rotary-backwards", "features turn backwards",
        symptom="scores are those of the opposite distance", fix="(a cos − b sin, a sin + b cos)",
        evidence="slip: the sign of the sine; tests/wild",
        value=lambda here: turned(here, lambda a, b, c, s: (a * c + b * s, b * c - a * s)), shows=examples.rotary),
    row(ROTARY, "rotated", "rotary-sign-lost", "the minus is lost: (a cos + b sin, b cos + a sin)",
        symptom="lengths of queries and keys change with positions", fix="(a cos − b sin, a sin + b cos)",
        evidence="slip: cat((x2, x1)) for cat((−x2, x1))",
        value=lambda here: turned(here, lambda a, b, c, s: (a * c + b * s, b * c + a * s)), shows=examples.rotary),
    row(ROTARY, "rotated", "rotary-keys-left-out", "keys do not turn, queries do",
        symptom="scores depend on the query's place alone", fix="turn keys as well",
        evidence="tests/wild", value=keys_only, shows=examples.turned_heads),
    row(ROTARY, "rotated", "rotary-left-out", "features do not turn",
        symptom="the order of tokens has no effect", fix="turn queries and keys",
        evidence="ByteDance-Seed/VeOmni#414: all frequencies became 0",
        value=lambda here: here.given("x"), shows=examples.rotary),
    row(ROTARY, "rotated", "rotary-half-width", "only half of the features turn",
        symptom="the last features do not depend on the position", fix="turn all, or say rotary_width",
        evidence="slip: another model's rotary_dim; GPT-NeoX turns a quarter, GPT-J 64 features",
        value=half_the_width, shows=examples.rotary),
    row(ROTARY, "rotated", "rotary-full-width", "all features turn, where a part should",
        symptom="the last features depend on the position", fix="turn the first rotary_width, leave the rest",
        evidence="slip: another model's rotary_dim", value=all_the_width,
        shows=lambda: examples.rotary(rotary_width=6)),
    row(ROTARY, "rotated", "rotary-over-heads", "heads are turned by their number, tokens not at all",
        symptom="the order of tokens has no effect", fix="positions run along the axis of tokens; mind (b, t, h, d)",
        evidence="slip: (b, h, t, d) where (b, t, h, d) is meant", value=by_head, shows=examples.rotary),
    row(ROTARY, "angles", "rotary-base", "the base of the frequencies is 500,000, that of Llama 3",
        symptom="right for near tokens, wrong for far ones",
        fix="take the base that the weights were trained with: rope_theta",
        evidence="meta-llama/llama-models: rope_theta; apple/axlearn#116: theta was fixed",
        value=by_option(base=500000.0),
        shows=examples.rotary),
    row(ROTARY, "angles", "rotary-scaling-left-out", "positions are not divided by the scaling",
        symptom="beyond the trained length it breaks", fix="divide positions by the factor: rope_scaling",
        evidence="measured: Llama 3.1's 0.72 apart without it", value=by_option(scaling=1.0),
        shows=lambda: examples.rotary(scaling=2.5)),
    row(ROTARY, "angles", "rotary-from-one", "positions start at 1",
        symptom="nothing within one call; a cache that starts at 0 is off by one", fix="start at 0",
        evidence="tests/wild",
        value=with_angles(lambda here, p: (p + 1 / here.block.scaling) * here.block.base ** -exponents(here)),
        shows=examples.rotary),
    row(ROTARY, "angles", "rotary-exponent-halved", "the exponent is i / r, where 2i / r is meant",
        symptom="the slowest pair turns far too fast", fix="base ** (−arange(0, r, 2) / r)",
        evidence="rasbt/LLMs-from-scratch#410 proposes it",
        value=with_angles(lambda here, p: p * here.block.base ** (-exponents(here) / 2)), shows=examples.rotary),
    row(ROTARY, "angles", "rotary-exponent-shifted", "the exponent is (2i + 1) / r, where 2i / r is meant",
        symptom="the first pair turns too slowly", fix="base ** (−arange(0, r, 2) / r)",
        evidence="stanford-cs336/assignment1-basics#22",
        value=with_angles(lambda here, p: p * here.block.base ** (-exponents(here) - 1 / here.block.r)),
        shows=examples.rotary),
    row(ROTARY, "angles",
        "rotary-exponent-of-head", "the exponent is 2i / d of the head, where 2i / r of the part that turns is meant",
        symptom="pairs turn too fast", fix="divide by the width that turns",
        evidence="slip: dim for rotary_dim where a part turns",
        value=with_angles(lambda here, p: p * here.block.base ** (-exponents(here) * here.block.r / here.block.width)),
        shows=lambda: examples.rotary(rotary_width=6)),
    row(ROTARY, "angles", "rotary-exponent-positive", "frequencies grow: the exponent has no minus",
        symptom="far pairs turn thousands of times", fix="base ** (−arange(0, r, 2) / r)",
        evidence="labmlai/annotated_deep_learning_paper_implementations#313: in its text",
        value=with_angles(lambda here, p: p * here.block.base ** exponents(here)), shows=examples.rotary),
    row(ROTARY, "angles", "rotary-offset-ignored", "positions that are given are ignored: 0 to t − 1 are taken",
        symptom="with a cache every new token stands at 0", fix="give the offset of the cache to the rotation",
        evidence="pytorch/executorch#2010; lucidrains/rotary-embedding-torch#11", value=first_positions,
        shows=examples.rotary_cached),
    row(ROTARY, "angles", "rotary-in-float32", "angles are computed in float32 in a float64 layer",
        symptom="1e-7 off, more at far positions", fix="compute angles in float64, or compare in float32",
        evidence="measured: transformers",
        value=with_angles(lambda here, p: (p.astype(np.float32) * (1.0 / np.float32(here.block.base) ** exponents(here)
                                                                   .astype(np.float32))).astype(np.float64)),
        shows=examples.rotary_cached),
    row("LinearPositionBias", "slopes", "alibi-slopes-one-sequence",
        "slopes are 2^(−8k/h) also where h is no power of two",
        symptom="a checkpoint with 12 or 40 heads is wrong",
        fix="the slopes of the power of two below, then every second of twice as many",
        evidence="ml-explore/mlx#3071, #343; baichuan-inc/Baichuan2#225", value=lambda here: of_powers(len(here.right)),
        shows=examples.slopes),
    row("LinearPositionBias", "slopes", "alibi-slopes-from-one", "slopes start at 1, not at 2^(−8/h)",
        symptom="every head looks less far", fix="k runs from 1 to h", evidence="paiml/aprender#2143",
        value=lambda here: of_powers(len(here.right), 1), shows=lambda: examples.slopes(4)),
    row("LinearPositionBias", "bias", "alibi-sign", "the bias grows with the distance",
        symptom="far keys weigh most", fix="slope · (key − query), which is negative before the query",
        evidence="slip: slope · distance", value=lambda here: -here.right, shows=examples.slopes),
    row("LinearPositionBias", "bias", "alibi-symmetric", "keys after the query lose as much as those before it",
        symptom="nothing while it is causal", fix="symmetric=True if that is meant",
        evidence="measured: one-sided and symmetric ones are published; ml-explore/mlx#343",
        value=by_option(symmetric=True),
        shows=examples.slopes),
    row("RelativePositionBias", "bias",
        "distances-reversed", "distances are those from key to query, not from query to key",
        symptom="keys before a query get the bias of those after it", fix="key position − query position",
        evidence="slip: query position − key position", value=lambda here: bucketed(here, -offsets(here)),
        shows=examples.distances),
    row("RelativePositionBias", "bias", "distances-one-sided", "keys after the query share the bucket of distance 0",
        symptom="half of the table is never read", fix="bidirectional=True in an encoder",
        evidence="T5's decoder is one-sided, its encoder is not", value=by_option(bidirectional=False),
        shows=examples.distances),
    row("RelativePositionBias", "bias", "distances-clipped", "every distance has a bucket, far ones share the last",
        symptom="near distances are right",
        fix="half of the buckets are for one distance each, the rest grow logarithmically",
        evidence="Shaw et al. 2018 clips, T5 has logarithmic buckets", value=clipped_distances,
        shows=examples.distances),
)  # fmt: skip
