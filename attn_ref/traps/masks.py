"""Traps of masks, causality and windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from attn_ref.traps import examples
from attn_ref.traps.definition import Here, Value, row

SDPA = "ScaledDotProductAttention"


def places(here: Here) -> tuple[np.ndarray, np.ndarray]:
    """The positions of queries and of keys, to be broadcast against each other."""
    t, s = here.right.shape[-2:]
    p = here.block.positions(t, s, here.inputs.get("query_offset"), here.inputs.get("key_lengths"))[..., None]
    return (p if p.ndim == 2 else p[:, None]), np.arange(s)


def present(here: Here) -> dict[str, Any]:
    """The rules that say which keys are kept; None for one that there is not."""
    p, j = places(here)
    block, lengths = here.block, here.inputs.get("key_lengths")
    return {
        "mask": here.inputs.get("attention_mask"),
        "causal": None if block.causal is None else j <= p,
        "left": None if block.window_left is None else j >= p - block.window_left,
        "right": None if block.window_right is None else j <= p + block.window_right,
        "lengths": None if lengths is None else j < lengths[:, None, None, None],
    }


def kept(**instead: Any) -> Value:
    """The scores, masked with another rule than the block's, made of (here, query positions, key positions).

    None leaves the rule out.
    """

    def value(here: Here) -> np.ndarray:
        found, at = present(here), places(here)
        for name, rule in instead.items():
            here.need(found[name] is not None)
            found[name] = rule(here, *at) if callable(rule) else rule
        keep = np.ones(here.right.shape, bool)
        for rule in found.values():
            keep = keep if rule is None else keep & rule
        return np.where(keep, here.unmasked, -np.inf)

    return value


def corner(name: str) -> Value:
    """The causal triangle at the other corner."""

    def value(here: Here) -> np.ndarray:
        here.need(here.option("causal") not in (None, name))
        return here.other(causal=name)

    return value


def offset_ignored(here: Here, p: np.ndarray, j: np.ndarray) -> np.ndarray:
    """j ≤ i, wherever the queries stand."""
    here.given("query_offset")
    return np.asarray(j <= np.arange(here.right.shape[-2])[:, None])


def mask_over_heads(here: Here, p: np.ndarray, j: np.ndarray) -> np.ndarray:
    """A mask (b, 1, t, s), read as (1, h, t, s)."""
    mask = here.given("attention_mask")
    here.need(mask.ndim == 4 and mask.shape[1] == 1)
    return mask.swapaxes(0, 1)


def padding_of_queries(here: Here, p: np.ndarray, j: np.ndarray) -> np.ndarray:
    """A mask of keys, (b, 1, 1, s), applied to the queries."""
    mask = here.given("attention_mask")
    here.need(mask.shape[-2] == 1)
    return mask.swapaxes(-1, -2)


def as_far_ahead(here: Here, p: np.ndarray, j: np.ndarray) -> np.ndarray:
    """As many keys ahead as before."""
    here.need(here.block.window_left is not None)
    return np.asarray(j <= p + here.block.window_left)


def ends_early(here: Here, p: np.ndarray, j: np.ndarray) -> np.ndarray:
    """One key less ahead."""
    here.need(here.block.window_right > 0)
    return np.asarray(j < p + here.block.window_right)


ROWS = (
    row(SDPA, "masked", "mask-left-out", "the mask that is given is not applied",
        symptom="padding changes the result", fix="put −∞ where attention is not allowed",
        evidence="DaoyuanLi2816/Molecule-Generator#22: padding was never masked", value=kept(mask=None),
        shows=examples.masked),
    row(SDPA, "masked", "causal-left-out", "queries see the keys after them",
        symptom="training loss is far too low", fix="keep key j for query i only where j ≤ i, whatever else is masked",
        evidence="keras-team/keras#23038: dropped when another mask is given; facebookresearch/xformers#103, #1185",
        value=kept(causal=None), shows=examples.masked),
    row(SDPA, "masked", "mask-inverted", "the mask is inverted: what should be kept is dropped",
        symptom="only padding is attended to", fix="mask = ~mask; say whether True means keep or drop",
        evidence="pytorch/pytorch#170415, #118972: the fused function keeps True, nn.MultiheadAttention drops it",
        value=kept(mask=lambda here, p, j: ~here.given("attention_mask")), shows=examples.side_mask),
    row(SDPA, "masked", "causal-top-left", "the causal triangle lies at the top left, not at the bottom right",
        symptom="with a cache the last queries miss the last keys", fix="query i stands at position i + s − t",
        evidence="ml-explore/mlx#2835; Dao-AILab/flash-attention#517: torch, Keras and JAX align at the top left",
        value=corner("top_left"), shows=examples.last_queries),
    row(SDPA, "masked", "causal-bottom-right", "the causal triangle lies at the bottom right, not at the top left",
        symptom="the first query sees s − t keys after it", fix="query i stands at position i",
        evidence="Dao-AILab/flash-attention#517: from 2.1 on; microsoft/onnxruntime#29020",
        value=corner("bottom_right"), shows=examples.causal),
    row(SDPA, "masked", "diagonal-hidden", "a query does not see its own key",
        symptom="the first row has nothing to attend to", fix="triu(…, diagonal=1) drops, tril() keeps the diagonal",
        evidence="pytorch/tutorials#2250 takes it for right; pytorch/pytorch#143287 means it",
        value=kept(causal=lambda here, p, j: j < p), shows=examples.causal),
    row(SDPA, "masked", "causal-one-ahead", "a query sees the key after its own",
        symptom="the next token is copied", fix="triu(…, diagonal=1) is what is dropped, not diagonal=2",
        evidence="RVC-Boss/GPT-SoVITS#965", value=kept(causal=lambda here, p, j: j <= p + 1), shows=examples.causal),
    row(SDPA, "masked", "causal-upside-down", "queries see the keys after them, and not those before",
        symptom="the first query sees all", fix="tril, not triu, is what is kept",
        evidence="karpathy/nanoGPT#170 asks which; tests/wild has the slip",
        value=kept(causal=lambda here, p, j: j >= p), shows=examples.causal),
    row(SDPA, "masked", "causal-of-first-row", "the first query's causal rule is used for every query",
        symptom="every query sees one key", fix="broadcast the mask over queries before the causal rule",
        evidence="measured: the ONNX reference, causal with a (1, s) mask",
        value=kept(causal=lambda here, p, j: j <= p[..., :1, :]), shows=examples.causal),
    row(SDPA, "masked", "window-one-short", "a window of n keys includes the query's own, so one before is missing",
        symptom="the farthest key of the window has no weight", fix="keep j ≥ i − window_left",
        evidence="lightseekorg/tokenspeed#578; huggingface/transformers#29623: does a window of n count the query?",
        value=kept(left=lambda here, p, j: j > p - here.block.window_left), shows=examples.window),
    row(SDPA, "masked", "window-one-more", "the window reaches one key too far back",
        symptom="n + 2 keys of a window of n have weight", fix="keep j ≥ i − window_left",
        evidence="huggingface/transformers#39408; sgl-project/sglang#26147; keras_hub's GPT-OSS, measured",
        value=kept(left=lambda here, p, j: j >= p - here.block.window_left - 1), shows=examples.window),
    row(SDPA, "masked", "window-left-out", "the window is not applied to the keys before",
        symptom="far keys have weight", fix="keep j ≥ i − window_left",
        evidence="jax-ml/jax#32300: ignored on one path", value=kept(left=None), shows=examples.causal_window),
    row(SDPA, "masked", "window-ahead-one-short", "the window ahead ends one key early",
        symptom="the last key of the window ahead has no weight", fix="keep j ≤ i + window_right",
        evidence="huggingface/transformers#29176: inclusive or exclusive",
        value=kept(right=ends_early), shows=examples.window),
    row(SDPA, "masked", "window-ahead-left-out", "the window does not end ahead of the query",
        symptom="keys far ahead have weight", fix="keep j ≤ i + window_right",
        evidence="slip: window (n, −1)", value=kept(right=None),
        shows=examples.window),
    row(SDPA, "masked", "window-on-both-sides", "the window reaches ahead as far as back, where it should be causal",
        symptom="keys after the query have weight", fix="a causal window ends at the query: window (n, 0)",
        evidence="huggingface/transformers#39408: window_size=(n, n)",
        value=kept(causal=as_far_ahead), shows=examples.causal_window),
    row(SDPA, "masked", "mask-over-heads", "a mask of every sample is read as one of every head",
        symptom="samples are masked by each other's padding; it raises unless b = h",
        fix="give the mask an axis for heads: mask[:, None]",
        evidence="S15: a (b, t, s) mask where b = h; lsdefine/attention-is-all-you-need-keras#36",
        value=kept(mask=mask_over_heads), shows=examples.side_mask),
    row(SDPA, "masked", "padding-of-queries", "the padding mask hides queries, not keys",
        symptom="rows of padding are dark, and padding has weight everywhere else",
        fix="broadcast it over queries: mask[:, None, None, :]",
        evidence="lsdefine/attention-is-all-you-need-keras#16 asks which of the two a (b, s) mask does",
        value=kept(mask=padding_of_queries), shows=examples.padded),
    row(SDPA, "masked", "mask-scores-zero", "hidden scores are 0, not −∞",
        symptom="hidden keys have weight, more where scores are low",
        fix="put −∞ there; finfo.min is the lowest number, finfo.tiny is all but 0",
        evidence="georg-wolflein/good-features#1: scores times the mask",
        value=lambda here: np.where(here.keep, here.right, 0.0), shows=examples.masked),
    row(SDPA, "masked", "mask-added-as-one", "a mask of 1 and 0 is added to the scores",
        symptom="hidden keys have e times less weight than they would have",
        fix="turn it into 0 and −∞, or into booleans", evidence="pytorch/pytorch#136816: a float mask is added",
        value=lambda here: here.unmasked + here.keep, shows=examples.masked),
    row(SDPA, "masked", "lengths-ignored", "keys beyond the length of the sequence are attended to",
        symptom="what is left in a cache changes the result", fix="keep j < key length",
        evidence="slip: a cache that is read to its end", value=kept(lengths=None),
        shows=examples.lengths),
    row(SDPA, "masked", "lengths-one-more", "one key beyond the length is attended to",
        symptom="the first free place of a cache has weight", fix="keep j < key length, not ≤",
        evidence="slip: ≤ for <",
        value=kept(lengths=lambda here, p, j: j <= here.given("key_lengths")[:, None, None, None]),
        shows=examples.lengths),
    row(SDPA, "masked", "offset-ignored", "queries behind a cache are masked as if they were the first",
        symptom="with a cache a query sees one key only", fix="query i stands at position offset + i",
        evidence="pytorch/executorch#2010; rajveer43/VeloxQuant-MLX#389",
        value=kept(causal=offset_ignored), shows=examples.cached),
)  # fmt: skip
