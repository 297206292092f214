"""Traps of the scores: scale, soft cap and bias."""

from __future__ import annotations

import numpy as np

from attn_ref.traps import examples
from attn_ref.traps.definition import Here, by_option, row

SDPA = "ScaledDotProductAttention"


def factor(here: Here) -> float:
    """The number that the scores are multiplied by; a trap of the scale needs one."""
    query = here.given("query")
    found = float(here.block.factor(query.shape[1], query.shape[3]))
    here.need(found not in (0.0, 1.0))
    return found


def capped(here: Here, scores: np.ndarray) -> np.ndarray:
    """Scores under the soft cap, which there must be."""
    here.need(here.option("softcap") is not None)
    return np.asarray(here.block.softcap * np.tanh(scores / here.block.softcap))


def bias(here: Here) -> np.ndarray:
    """The bias, for all scores."""
    return np.broadcast_to(here.given("bias"), here.right.shape)


def by_width_of_values(here: Here) -> np.ndarray:
    """1/√e for 1/√d."""
    here.need(here.block.scale == "head")
    d, e = here.given("query").shape[-1], here.given("value").shape[-1]
    return here.right * (d / e) ** 0.5


def by_number_of_keys(here: Here) -> np.ndarray:
    """1/√s for 1/√d."""
    here.need(here.block.scale == "head")
    return here.right * (here.given("query").shape[-1] / here.right.shape[-1]) ** 0.5


def values_for_keys(here: Here) -> np.ndarray:
    """Queries times values."""
    query, value = here.given("query"), here.given("value")
    value = np.repeat(value, query.shape[1] // value.shape[1], axis=1)
    return np.asarray(here.block.factor(query.shape[1], query.shape[3]) * (query @ value.swapaxes(-1, -2)))


def bias_before_scale(here: Here) -> np.ndarray:
    """(q·k + bias) · scale."""
    here.need(here.block.softcap is None)
    return here["scores"] + factor(here) * bias(here)


ROWS = (
    row(SDPA, "scores", "scale-by-model-width", "scores are divided by the root of the model's width, not of a head's",
        symptom="weights are flatter than they should be, the more heads the flatter",
        fix="divide by √(head width): q.shape[-1] ** 0.5 after the heads are split",
        evidence="lucidrains/vit-pytorch#65; karpathy/ng-video-lecture#6; FareedKhan-dev/train-llm-from-scratch#3",
        value=by_option(scale="total"), shows=examples.square),
    row(SDPA, "scores", "scale-left-out", "scores are not scaled",
        symptom="weights are all but one-hot once heads are wide",
        fix="multiply the products of query and key by 1/√(head width)",
        evidence="huggingface/transformers#44397; T5 folds the scale into its initial weights",
        value=by_option(scale=None), shows=examples.square),
    row(SDPA, "scores", "scale-twice", "scores are scaled twice, so that they are divided by the width itself",
        symptom="weights are close to uniform",
        fix="scale once: the queries or the scores, not both; a fused call scales by itself",
        evidence="charliezchen/scaling-matrix-preconditioning#2: 1/d where the code has 1/√d",
        value=lambda here: here.right * factor(here), shows=examples.square),
    row(SDPA, "scores", "scale-multiplied", "scores are multiplied by the root of the width, not divided by it",
        symptom="weights are one-hot, gradients of queries and keys vanish",
        fix="divide by √(head width)", evidence="slip: the operator; it trains, badly",
        value=lambda here: here.right / factor(here) ** 2, shows=examples.square),
    row(SDPA, "scores", "scale-by-value-width", "scores are divided by the root of a value's width, not of a key's",
        symptom="it is right while values are as wide as keys",
        fix="take the width of the keys", evidence="juho-lee/set_transformer#18 divides by √dim_V",
        value=by_width_of_values, shows=examples.oblong),
    row(SDPA, "scores",
        "scale-by-key-count", "scores are divided by the root of the number of keys, not of their width",
        symptom="what comes out depends on the length of the sequence more than it should",
        fix="take the last axis of the keys, not the one before", evidence="slip: k.shape[-2] for k.shape[-1]",
        value=by_number_of_keys, shows=examples.oblong),
    row(SDPA, "scores", "queries-keys-exchanged", "the scores are transposed: keys take the place of queries",
        symptom="it is right on symmetric scores only; causal masks leak",
        fix="scores = query @ key.transpose(-2, -1), one row for each query",
        evidence="S17's function takes (value, key, query): positional arguments exchange them",
        value=lambda here: here.right.swapaxes(-1, -2), shows=examples.square),
    row(SDPA, "scores", "values-for-keys", "the scores are of queries and values",
        symptom="swapping keys for anything else changes nothing",
        fix="take the keys", evidence="slip: one name for both",
        value=values_for_keys, shows=examples.square),
    row(SDPA, "capped", "softcap-left-out", "the scores are not capped",
        symptom="scores exceed the cap", fix="cap · tanh(scores / cap) before mask and softmax",
        evidence="flashinfer-ai/flashinfer#1193: capped and then lost", value=lambda here: here["scores"],
        shows=examples.capped),
    row(SDPA, "capped", "softcap-without-factor", "the scores are tanh(scores / cap), without the factor cap",
        symptom="no score exceeds 1", fix="multiply by the cap after tanh", evidence="slip: half of the formula",
        value=lambda here: np.tanh(here["scores"] / here.option("softcap")), shows=examples.capped),
    row(SDPA, "capped", "softcap-clipped", "the scores are clipped at the cap",
        symptom="scores below the cap are as they were", fix="cap · tanh(scores / cap)",
        evidence="OLMo and MPT clip, Gemma 2 caps: measured 8 to 9 apart",
        value=lambda here: np.clip(here["scores"], -here.option("softcap"), here.option("softcap")),
        shows=examples.capped),
    row(SDPA, "biased", "softcap-after-bias", "the soft cap comes after the bias",
        symptom="a large bias is capped with the scores", fix="cap first, then add the bias",
        evidence="onnx/onnx#7865; microsoft/onnxruntime#28379",
        value=lambda here: capped(here, here["scores"] + bias(here)), shows=examples.capped),
    row(SDPA, "masked", "softcap-after-mask", "the soft cap comes after the mask, so −∞ becomes −cap",
        symptom="masked keys have weight", fix="cap first, then mask",
        evidence="onnx/onnx#7865: the old ONNX reference",
        value=lambda here: np.where(here.keep, here.right, capped(here, np.asarray(-np.inf))), shows=examples.capped),
    row(SDPA, "biased", "bias-scaled", "bias or additive mask is multiplied by the scale with the scores",
        symptom="the effect of the bias shrinks with the width of heads",
        fix="scale first, then add", evidence="tenstorrent/tt-metal#42891", value=bias_before_scale,
        shows=examples.biased),
    row(SDPA, "biased", "bias-left-out", "the bias is not added",
        symptom="positions have no effect", fix="add the bias to the scaled scores",
        evidence="slip: a fused call that takes no bias",
        value=lambda here: here.last("scores", "capped"), shows=examples.biased),
    row(SDPA, "biased", "bias-subtracted", "the bias is subtracted",
        symptom="far keys weigh more than near ones", fix="add it", evidence="slip: distance for −distance",
        value=lambda here: here.last("scores", "capped") - bias(here), shows=examples.biased),
    row(SDPA, "biased", "bias-multiplied", "the scores are multiplied by the bias",
        symptom="where the bias is 0 all keys weigh alike", fix="add it",
        evidence="pytorch/pytorch#136816: is a float mask added or multiplied?",
        value=lambda here: here.last("scores", "capped") * bias(here), shows=examples.biased),
    row(SDPA, "biased", "bias-transposed", "the bias is that of query and key exchanged",
        symptom="keys before a query get the bias of those after it",
        fix="bias[i, j] is of query i and key j", evidence="slip: query and key exchanged in a table of distances",
        value=lambda here: here.last("scores", "capped") + bias(here).swapaxes(-1, -2), shows=examples.biased),
)  # fmt: skip
