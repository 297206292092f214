"""Traps of what stands before and after the layers: patches, embeddings, pooling, heads."""

from __future__ import annotations

import numpy as np

from attn_ref import ops
from attn_ref.traps import examples
from attn_ref.traps.definition import Here, row
from attn_ref.traps.weights import soft

PATCH, TEXT, VISION = "PatchEmbedding", "TextEncoder", "VisionTransformer"


def vectors(here: Here) -> np.ndarray:
    """Patches as the rows of a matrix, (b, H, W, patch · patch · channels)."""
    image, p = here.given("image"), here.block.patch
    b, height, width, c = image.shape
    cut = image.reshape(b, height // p, p, width // p, p, c)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(b, height // p, width // p, p * p * c)


def channels_outside(here: Here) -> np.ndarray:
    """Pixels of a patch in the order (channel, row, column), against a kernel in the order (row, column, channel)."""
    x, p, kernel = vectors(here), here.block.patch, here.weight("project.kernel")
    b, rows, columns, n = x.shape
    moved = x.reshape(b, rows, columns, p, p, n // (p * p)).transpose(0, 1, 2, 5, 3, 4).reshape(x.shape)
    here.need(n > p * p)
    return moved @ kernel.reshape(n, -1) + here.weight("project.bias")


def column_by_column(here: Here) -> np.ndarray:
    """The tokens in the order of columns."""
    return here["projected"].swapaxes(1, 2).reshape(here.right.shape)


def embedded(
    here: Here, shift: int = 0, factor: float = 1.0, positions: bool = True, segments: bool = True
) -> np.ndarray:
    """The sum of embeddings, with a part of it otherwise."""
    ids = here.given("token_ids")
    t = ids.shape[1]
    here.need(t + shift <= here.block.max_length)
    x = factor * here.weight("token.embedding")[ids]
    if positions:
        x = x + here.weight("position.embedding")[shift : t + shift]
    if segments:
        given = here.inputs.get("segment_ids", np.zeros_like(ids))
        x = x + here.weight("segment.embedding")[given]
    return np.asarray(x)


def first_segment(here: Here) -> np.ndarray:
    """All tokens of segment 0."""
    here.given("segment_ids")
    return embedded(here, segments=False) + here.weight("segment.embedding")[0]


def last_tokens(here: Here) -> np.ndarray:
    """What the last layer gives."""
    return here[f"layer_{here.block.num_layers - 1}"]


def pooled(here: Here, how: str) -> np.ndarray:
    """Pooled tokens of a vision transformer, in another way."""
    x = here.last("final_norm", f"layer_{here.block.num_layers - 1}")
    patches = x[:, int(here.block.class_token) :]
    ways = {
        "max": lambda: patches.max(1), "sum": lambda: patches.sum(1), "all": lambda: x.mean(1),
        "first": lambda: x[:, 0], "mean": lambda: patches.mean(1),
    }  # fmt: skip
    here.need(here.block.pooling == ("class" if how == "mean" else "mean"))
    here.need(here.block.class_token or how not in ("all", "first"))
    return np.asarray(ways[how]())


def unpositioned_class(here: Here) -> np.ndarray:
    """No position for the class token."""
    here.need(here.block.class_token)
    x = here.right.copy()
    x[:, 0] = here["with_class"][:, 0]
    return x


def reversed_positions(here: Here) -> np.ndarray:
    """The class token's position as the last of the table."""
    here.need(here.block.class_token)
    table = here.weight("position.embedding")
    return here["with_class"] + np.concatenate([table[-1:], table[:-1]])


ROWS = (
    row(PATCH, "projected",
        "patch-channels-first", "pixels of a patch lie channel by channel, the kernel pixel by pixel",
        symptom="a checkpoint loads and is wrong",
        fix="flatten a patch in the order of the kernel: (row, column, channel)",
        evidence="lucidrains/vit-pytorch#352; lablup/mlxcel#1619", value=channels_outside,
        shows=examples.patches),
    row(PATCH, "projected", "patch-bias-left-out", "the patches' projection has no bias",
        symptom="its bias gets no gradient", fix="add it, or bias=False if none is meant",
        evidence="measured: CLIP's patch embedding has none",
        value=lambda here: here.right - here.weight("project.bias"), shows=examples.patches),
    row(PATCH, "tokens", "patches-by-column", "patches are read column by column",
        symptom="right for square images only up to mirroring; positions are wrong", fix="flatten rows first",
        evidence="vllm-project/vllm#52932; huggingface/diffusers#11309", value=column_by_column,
        shows=examples.patches),
    row(PATCH, "tokens",
        "patches-untransposed", "patches are reshaped from channels first, without moving the channels",
        symptom="tokens mix features of several patches", fix="x.flatten(2).transpose(1, 2)",
        evidence="gupta-abhay/pytorch-vit#7, #10",
        value=lambda here: here["projected"].transpose(0, 3, 1, 2).reshape(here.right.shape), shows=examples.patches),
    row(TEXT, "embedded", "text-positions-left-out", "positions are not added to the tokens",
        symptom="the order of tokens has no effect", fix="add the position's embedding",
        evidence="slip: a table that is made and not used", value=lambda here: embedded(here, positions=False),
        shows=examples.text),
    row(TEXT, "embedded", "positions-from-two", "positions start at 2, as in RoBERTa",
        symptom="a table of 514 positions for 512 tokens", fix="start at 0; RoBERTa's padding index shifts it",
        evidence="keras-team/keras-hub#2124", value=lambda here: embedded(here, shift=2), shows=examples.text),
    row(TEXT, "embedded", "embeddings-scaled", "token embeddings are multiplied by the root of the width",
        symptom="positions hardly count", fix="take them as they are; the paper's transformer and Gemma scale them",
        evidence="d2l-ai/d2l-en#2661; google/gemma_pytorch#29",
        value=lambda here: embedded(here, factor=here.block.width**0.5), shows=examples.text),
    row(TEXT, "embedded", "segments-left-out", "segments are not added, not even the first",
        symptom="nothing, once a constant is learned; a checkpoint is wrong", fix="add segment 0 where none is given",
        evidence="slip: token_type_ids=None", value=lambda here: embedded(here, segments=False), shows=examples.text),
    row(TEXT, "embedded", "segments-ignored", "all tokens count as segment 0, whatever is given",
        symptom="pairs of sentences are one", fix="read segment_ids",
        evidence="slip: an input that is dropped on the way",
        value=first_segment, shows=examples.text),
    row(TEXT, "mean", "padding-pooled", "the mean is over padding, too",
        symptom="a text's vector depends on what it is batched with", fix="sum the real tokens, divide by their number",
        evidence="lanterndata/lantern_extras#91; autoliuweijie/BERT-whitening-pytorch#13",
        value=lambda here: last_tokens(here).mean(1), shows=examples.text),
    row(TEXT, "mean", "sum-for-text-mean", "tokens are summed, not averaged",
        symptom="long texts have long vectors", fix="divide by the number of real tokens",
        evidence="slip: half of the formula",
        value=lambda here: (last_tokens(here) * here.inputs.get("padding_mask", np.ones(1))[..., None]).sum(1),
        shows=examples.text),
    row(TEXT, "mean", "padding-in-the-count", "the sum is divided by the number of all tokens",
        symptom="padded texts have short vectors; cosines are right", fix="divide by the number of real tokens",
        evidence="slip: mean() of masked tokens",
        value=lambda here: (last_tokens(here) * here.given("padding_mask")[..., None]).mean(1), shows=examples.text),
    row(TEXT, "mean", "first-token-for-mean", "the first token stands for the mean",
        symptom="a model trained with the mean is far worse", fix="mean over the real tokens",
        evidence="slip: last_hidden_state[:, 0], as for BERT", value=lambda here: last_tokens(here)[:, 0],
        shows=examples.text),
    row(TEXT, "pooler", "pooler-tanh-left-out", "the pooler has no tanh",
        symptom="values beyond 1", fix="tanh of the linear layer of the first token",
        evidence="slip: half of BERT's pooler",
        value=lambda here: last_tokens(here)[:, 0] @ here.weight("pool.kernel") + here.weight("pool.bias"),
        shows=lambda: examples.text(pooler=True, pooling="pooler")),
    row(VISION, "with_class", "class-token-last", "the class token stands last",
        symptom="positions are shifted by one", fix="put it first", evidence="slip: the order of concatenation",
        value=lambda here: np.roll(here.right, -1, axis=1), shows=examples.vision),
    row(VISION, "positioned", "image-positions-left-out", "learned positions are not added to the patches",
        symptom="the order of patches has no effect", fix="add the learned positions",
        evidence="S4 has none", value=lambda here: here.last("with_class", "patch_embedding.tokens"),
        shows=examples.vision),
    row(VISION, "positioned", "class-unpositioned", "the class token has no position",
        symptom="a table with one position too many", fix="add the table's first row to it",
        evidence="measured: timm's no_embed_class", value=unpositioned_class, shows=examples.vision),
    row(VISION, "positioned", "class-position-last", "the table's last position is the class token's, not its first",
        symptom="patches get their neighbours' positions", fix="the class token's is the first",
        evidence="lucidrains/vit-pytorch#253: the offset of 1", value=reversed_positions, shows=examples.vision),
    row(VISION, "pooled", "max-for-mean", "the largest of every feature stands for the mean",
        symptom="outliers decide", fix="mean over the patches", evidence="slip: max pooling",
        value=lambda here: pooled(here, "max"), shows=examples.vision),
    row(VISION, "pooled", "sum-for-mean-of-patches", "patches are summed, not averaged",
        symptom="larger images have larger logits", fix="divide by their number", evidence="slip: sum(1)",
        value=lambda here: pooled(here, "sum"), shows=examples.vision),
    row(VISION, "pooled", "class-in-mean", "the class token is in the mean of the patches",
        symptom="a little off", fix="mean(x[:, 1:])", evidence="timm: num_prefix_tokens are left out, others keep them",
        value=lambda here: pooled(here, "all"), shows=examples.vision),
    row(VISION, "pooled", "class-for-mean", "the class token stands for the mean of the patches",
        symptom="a model trained with the mean is at chance", fix="mean over the patches",
        evidence="timm: global_pool='token' and 'avg'", value=lambda here: pooled(here, "first"),
        shows=examples.vision),
    row(VISION, "pooled", "mean-for-class", "the mean of the patches stands for the class token",
        symptom="a model trained with the class token is worse", fix="x[:, 0]",
        evidence="timm: global_pool='token' and 'avg'", value=lambda here: pooled(here, "mean"),
        shows=lambda: examples.vision(pooling="class")),
    row(VISION, "logits", "softmax-in-head", "the head gives probabilities, not logits",
        symptom="the loss stays high: it takes the softmax again", fix="give logits, or take a loss of probabilities",
        evidence="sugi-chan/custom_bert_pipeline#1; bowang-lab/Transformer-GCN-QA#32",
        value=lambda here: soft(here.right, -1), shows=examples.vision),
    row(VISION, "logits", "relu-in-head", "logits are rectified",
        symptom="no logit is negative, and many gradients vanish", fix="no activation after the last layer",
        evidence="slip: one activation too many", value=lambda here: ops.relu(here.right), shows=examples.vision),
)  # fmt: skip
