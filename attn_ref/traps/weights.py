"""Traps of the attention weights and of what is done with them."""

from __future__ import annotations

import numpy as np

from attn_ref.traps import examples
from attn_ref.traps.definition import Here, Value, row
from attn_ref.weights import uniform

SDPA = "ScaledDotProductAttention"
#: the blocks with a map of weights whose last axis is that of the keys
MAPS = f"{SDPA} SpatialSelfAttention NonLocal ChannelSelfAttention"


def soft(x: np.ndarray, *axes: int) -> np.ndarray:
    """The softmax over axes; zeros where there is −∞ alone."""
    top = np.max(x, axis=axes, keepdims=True)
    powers = np.exp(x - np.where(np.isfinite(top), top, 0.0))
    total = powers.sum(axis=axes, keepdims=True)
    return np.asarray(powers / np.where(total == 0, 1.0, total))


def over(*axes: int, rank: int = 0) -> Value:
    """The softmax over other axes; ``rank`` where it takes scores of a certain one."""

    def value(here: Here) -> np.ndarray:
        here.need(getattr(here.block, "pairing", "softmax") == "softmax" and "sinks" not in here.inputs)
        here.need(not rank or here.right.ndim == rank)
        lost = np.isneginf(here.scores).all(axis=axes, keepdims=True)
        return np.where(lost, np.nan, soft(here.scores, *axes))  # as in every framework

    return value


def of_scores(function: Value) -> Value:
    """A function of the scores in the place of the softmax."""

    def value(here: Here) -> np.ndarray:
        here.need(getattr(here.block, "pairing", "softmax") == "softmax" and "sinks" not in here.inputs)
        return np.asarray(function(here))

    return value


def dark(here: Here, inside: np.ndarray | float) -> np.ndarray:
    """The weights, with something else in the rows in which nothing is kept; such rows there must be."""
    rows = ~here.keep.any(-1, keepdims=True)
    here.need("masked" in here.taps and rows.any() and "sinks" not in here.inputs)
    return np.where(rows, inside, here.right)


def masked_after(here: Here) -> np.ndarray:
    """The softmax of all scores, times the mask."""
    return soft(here.unmasked, -1) * np.isfinite(here["masked"])


def seeing_masked(here: Here) -> np.ndarray:
    """Without a mask in the definition: the causal one all the same."""
    here.need("masked" not in here.taps and here.option("causal") is None)
    t, s = here.right.shape[-2:]
    return soft(np.where(np.tri(t, s, dtype=bool), here.unmasked, -np.inf), -1)


def with_zero_key(here: Here) -> np.ndarray:
    """One more key, whose score is 0."""
    top = np.maximum(np.max(here.scores, axis=-1, keepdims=True), 0.0)
    powers = np.exp(here.scores - top)
    return np.asarray(powers / (powers.sum(axis=-1, keepdims=True) + np.exp(-top)))


def undivided(here: Here) -> np.ndarray:
    """exp(score − the largest of its row)."""
    top = np.max(here.scores, axis=-1, keepdims=True)
    return np.asarray(np.exp(here.scores - np.where(np.isfinite(top), top, 0.0)))


def in_float32(here: Here) -> np.ndarray:
    """The softmax, computed in float32."""
    here.need(here.right.dtype == np.float64)
    return soft(here.scores.astype(np.float32), -1).astype(np.float64)


def sink_as_gate(here: Here) -> np.ndarray:
    """The softmax without sinks, times a sigmoid of them."""
    return soft(here.scores, -1) / (1.0 + np.exp(-here.given("sinks")[:, None, None]))


def values(here: Here) -> np.ndarray:
    """The values, repeated for every query head."""
    value = here.given("value")
    return np.repeat(value, here.right.shape[1] // value.shape[1], axis=1)


def keys_for_values(here: Here) -> np.ndarray:
    """The weighted mean of keys."""
    key = here.given("key")
    return np.asarray(here["weights"] @ np.repeat(key, here.right.shape[1] // key.shape[1], axis=1))


def tiled_scores(here: Here) -> np.ndarray:
    """Query head i reads key head i mod g."""
    query, key = here.given("query"), here.given("key")
    tiled = np.tile(key, (1, query.shape[1] // key.shape[1], 1, 1))
    return np.asarray(here.block.factor(query.shape[1], query.shape[3]) * (query @ tiled.swapaxes(-1, -2)))


def tiled_context(here: Here) -> np.ndarray:
    """And value head i mod g."""
    value = here.given("value")
    return np.asarray(here["weights"] @ np.tile(value, (1, here.right.shape[1] // value.shape[1], 1, 1)))


def over_samples(here: Here) -> np.ndarray:
    """Every token attends to those of other samples at its place; scores (t, h, b, b) where b = t."""
    q, k = here.given("query"), here.given("key")
    return np.asarray(here.block.factor(q.shape[1], q.shape[3]) * (q.transpose(2, 1, 0, 3) @ k.transpose(2, 1, 3, 0)))


def context_over_samples(here: Here) -> np.ndarray:
    """The weighted means of values of other samples."""
    return np.asarray((here["weights"] @ here.given("value").transpose(2, 1, 0, 3)).transpose(2, 1, 0, 3))


def dropped(here: Here) -> np.ndarray:
    """0 or 1 / (1 − rate), by a seed."""
    rate = here.option("dropout")
    return (uniform(here.right.shape, "dropped", here.scope, here.name) > 2 * rate - 1) / (1 - rate)


DROPS = f"{SDPA} FeedForward GatedFeedForward EncoderLayer TransformerLayer TextEncoder VisionTransformer"

ROWS = (
    row(MAPS, "weights", "softmax-over-queries", "the softmax runs over the queries, not over the keys",
        symptom="columns of the weights sum to 1, rows do not",
        fix="softmax over the last axis, that of the keys: softmax(scores, dim=-1)",
        evidence="heykeetae/Self-Attention-GAN#1; labmlai/annotated_deep_learning_paper_implementations#146",
        value=over(-2), shows=examples.square),
    row(SDPA, "weights", "softmax-over-heads", "the softmax runs over the heads, not over the keys",
        symptom="weights of all heads sum to 1 at every query and key; with one head all are 1",
        fix="softmax over the last axis, that of the keys: softmax(scores, dim=-1)",
        evidence="FudanNLP/fastNLP#254: dim=1 of four axes",
        value=over(1, rank=4), shows=examples.square),
    row(MAPS, "weights", "softmax-over-batch", "the softmax runs over the batch, not over the keys",
        symptom="with one sample all weights are 1; samples change each other",
        fix="softmax over the last axis, that of the keys: softmax(scores, dim=-1)",
        evidence="PetrochukM/PyTorch-NLP#2: dim=0",
        value=over(0), shows=examples.square),
    row(MAPS, "weights", "softmax-over-map", "the softmax runs over queries and keys together",
        symptom="the whole map sums to 1, not every row", fix="softmax over the last axis alone, that of the keys",
        evidence="slip: softmax of a flattened map", value=over(-2, -1),
        shows=examples.square),
    row(MAPS, "weights", "softmax-unnormalised", "exponentials are not divided by their sum",
        symptom="rows do not sum to 1", fix="divide by the sum over the keys",
        evidence="slip: exp for softmax; tests/wild",
        value=of_scores(lambda here: np.exp(here.scores)), shows=examples.square),
    row(MAPS, "weights", "softmax-undivided", "exponentials, the largest of them 1, are not divided by their sum",
        symptom="the largest of every row is 1", fix="divide by the sum over the keys",
        evidence="slip: half of a stable softmax; tests/wild", value=of_scores(undivided), shows=examples.square),
    row(MAPS, "weights", "softmax-left-out", "the scores weigh as they are",
        symptom="weights are negative, and rows do not sum to 1", fix="softmax over the keys",
        evidence="AlexHex7/Non-local_pytorch#19: which pairing is meant",
        value=of_scores(lambda here: np.where(np.isfinite(here.scores), here.scores, 0.0)), shows=examples.square),
    row(MAPS, "weights", "sigmoid-weights", "a sigmoid stands in the place of the softmax",
        symptom="rows do not sum to 1, and every weight is below 1", fix="softmax, whose sum over the keys is 1",
        evidence="arxiv.org/abs/2409.04431 means it; tests/wild has the slip",
        value=of_scores(lambda here: 1.0 / (1.0 + np.exp(-here.scores))), shows=examples.square),
    row(MAPS, "weights", "log-softmax-weights", "the logarithm of the softmax weighs",
        symptom="all weights are negative", fix="softmax, not log_softmax", evidence="slip: F.log_softmax",
        value=of_scores(lambda here: np.log(soft(here.scores, -1))), shows=examples.square),
    row(SDPA, "weights", "zero-key", "one more key, whose score is 0, takes a share of the weights",
        symptom="rows sum to less than 1", fix="leave the key out, or declare it as a sink",
        evidence="torch: nn.MultiheadAttention(add_zero_attn=True)", value=of_scores(with_zero_key),
        shows=examples.square),
    row(SDPA, "weights", "masked-after-softmax", "the mask is applied after the softmax",
        symptom="rows sum to less than 1, the more is hidden the less",
        fix="put −∞ into the scores before the softmax", evidence="huggingface/pytorch-image-models#2236: EVA",
        value=masked_after, shows=examples.masked),
    row(SDPA, "weights", "causal-added", "keys after a query are hidden, where the block hides none",
        symptom="the first query sees one key", fix="is_causal=False", evidence="slip: is_causal=True in an encoder",
        value=seeing_masked, shows=examples.square),
    row(SDPA, "weights", "dark-rows-uniform", "a row in which nothing is kept takes the mean of all values",
        symptom="padded queries give numbers that look right",
        fix="make such rows zeros, or never attend from there",
        evidence="measured: masks of −1e9 or finfo.min, jax bool masks, keras.ops; pytorch/pytorch#103749",
        value=lambda here: dark(here, 1.0 / here.right.shape[-1]), shows=examples.side_mask),
    row(SDPA, "weights", "dark-rows-nan", "a row in which nothing is kept is NaN",
        symptom="NaN for padded samples, and then everywhere", fix="make such rows zeros",
        evidence="measured: nn.MultiheadAttention with need_weights=True, jax −∞ biases; pytorch/pytorch#160064",
        value=lambda here: dark(here, np.nan), shows=examples.side_mask),
    row(SDPA, "weights", "dark-rows-unmasked", "a row in which nothing is kept attends as if nothing were masked",
        symptom="padded queries attend to padding", fix="put −∞ in the place of scores; a number that is added cancels",
        evidence="measured: −1e9 added in float64; S16",
        value=lambda here: dark(here, soft(here.unmasked, -1)), shows=examples.side_mask),
    row(SDPA, "weights", "sinks-left-out", "the sinks take no share",
        symptom="rows sum to 1", fix="the sink is one more logit of every row: softmax over scores and sink",
        evidence="a kernel without sinks in its place, as F.scaled_dot_product_attention",
        value=lambda here: soft(here.scores, -1) + 0 * here.given("sinks")[:, None, None], shows=examples.sinking),
    row(SDPA, "weights", "sinks-as-gate", "the sinks are gates: weights are multiplied by their sigmoid",
        symptom="the share that is lost does not depend on the scores",
        fix="the sink is one more logit of every row: softmax over scores and sink",
        evidence="pytorch/torchtitan#2211", value=sink_as_gate, shows=examples.sinking),
    row(MAPS, "weights", "softmax-in-float32", "the softmax is computed in float32 in a float64 layer",
        symptom="2e-8 off, everywhere", fix="compute in the dtype of the scores",
        evidence="measured: transformers, flax, x-transformers", value=of_scores(in_float32), shows=examples.square),
    row(SDPA, "context", "keys-for-values", "the weights are applied to the keys",
        symptom="other values change nothing", fix="take the values",
        evidence="meta-pytorch/torchtune#21; tests/wild", value=keys_for_values, shows=examples.square),
    row(SDPA, "context", "weights-transposed", "the weights are applied transposed",
        symptom="rows of the weights sum to 1, and those that are applied do not",
        fix="weights @ value, with a row of weights for every query",
        evidence="brain-research/self-attention-gan#17 asks whether it should be",
        value=lambda here: here["weights"].swapaxes(-1, -2) @ values(here), shows=examples.square),
    row(SDPA, "scores", "heads-tiled", "query head i reads key head i mod g, not i // r",
        symptom="it is right with one key head, or one for each query head",
        fix="repeat_interleave the key heads, do not tile them",
        evidence="onnx/onnx#7274; apple/axlearn#842; x-transformers, measured",
        value=tiled_scores, then={"context": tiled_context}, shows=examples.grouped),
    row(SDPA, "scores", "attention-over-batch", "tokens attend to the other samples, not to their own sequence",
        symptom="samples change each other; with one sample values come out unchanged",
        fix="batch_first=True, or transpose before and after",
        evidence="IBM/TabFormer#14; om-ai-lab/OmDet#19: batch_first is False by default",
        value=over_samples, then={"context": context_over_samples}, shows=examples.square),
    row(DROPS, "keep|keep_attention|keep_feed_forward", "dropout-in-evaluation", "dropout acts in evaluation too",
        symptom="the same input gives something else each time", fix="dropout_p=self.dropout if self.training else 0.0",
        evidence="meta-pytorch/torchtune#1791; facebookresearch/DME#3; S1", value=dropped, shows=examples.dropping),
    row(DROPS, "keep|keep_attention|keep_feed_forward", "dropout-scaled-in-evaluation",
        "what training drops is scaled down in evaluation",
        symptom="what comes out is smaller by the share that is kept",
        fix="scale by 1 / (1 − rate) in training, by nothing in evaluation",
        evidence="the dropout of Srivastava et al. 2014, before it was inverted",
        value=lambda here: here.right * (1.0 - here.option("dropout")), shows=examples.dropping),
)  # fmt: skip
