"""Traps of norms: layer norm, root mean square norm and batch norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attn_ref.traps import examples
from attn_ref.traps.definition import Absent, Here, Value, by_option, row

#: blocks that are a norm, or compute one by themselves: a layer norm, a root mean square norm, either
LAYER = "LayerNorm EncoderLayer VisionTransformer TextEncoder MultiHeadAttention"
RMS = "RMSNorm MultiHeadAttention"
NORMS = f"RMSNorm {LAYER}"
#: the same but for query and key, whose norm has a row of its own where there is none
UNHEADED = NORMS.replace(" MultiHeadAttention", "")
BATCH = "CBAMResidual SelectiveKernel NonLocal SpatialAttention"
NORMED = "normed|*_norm|normed_query|normed_key"
#: (what is normed, its scale and offset, eps, the kind of norm)
Parts = tuple[np.ndarray, Any, Any, float, str]
Normal = Callable[[np.ndarray, float], np.ndarray]


def parts(here: Here) -> Parts:
    """What is normed at this tap, and how."""
    block, name = here.block, here.name
    title = type(block).__name__
    if title in ("LayerNorm", "RMSNorm"):
        return here.given("x"), 1.0, 0.0, block.eps, "layer" if title == "LayerNorm" else "rms"
    if title == "MultiHeadAttention":
        of = name.removeprefix("normed_")
        scale = here.weight(f"{of}_norm.scale")
        offset = here.weight(f"{of}_norm.offset") if block.qk_norm == "layer" else 0.0
        return here[of], scale, offset, block.qk_norm_eps, block.qk_norm
    if title == "EncoderLayer":
        first = here.given("x") if block.norm_first else here["attended"]
        x = first if name == "attention_norm" else here["attended" if block.norm_first else "fed"]
    elif title == "TextEncoder":
        x = here["embedded"]
    else:
        x = here[f"layer_{block.num_layers - 1}"]
    return x, here.weight(f"{name}.scale"), here.weight(f"{name}.offset"), block.eps, "layer"


def norm(kind: str, normal: Normal) -> Value:
    """Another way to norm, for norms of a kind ("" for both)."""

    def value(here: Here) -> np.ndarray:
        x, scale, offset, eps, found = parts(here)
        here.need(kind in ("", found))
        return normal(x, eps) * scale + offset

    return value


def another_eps(eps: float) -> Value:
    """The norm with another eps."""

    def value(here: Here) -> np.ndarray:
        x, scale, offset, own, kind = parts(here)
        here.need(own != eps)
        return (layer(x, eps) if kind == "layer" else root(x, eps)) * scale + offset

    return value


def spread(x: np.ndarray, axes: int | tuple[int, ...] = -1) -> np.ndarray:
    return np.asarray(np.var(x, axis=axes, keepdims=True))


def unbiased(x: np.ndarray) -> np.ndarray:
    """The variance divided by n − 1."""
    n = x.shape[-1]
    if n < 2:
        raise Absent("an unbiased variance")
    return np.asarray(spread(x) * n / (n - 1))


def centred(x: np.ndarray, axes: int | tuple[int, ...] = -1) -> np.ndarray:
    return np.asarray(x - x.mean(axis=axes, keepdims=True))


def square(x: np.ndarray) -> np.ndarray:
    return np.asarray((x * x).mean(axis=-1, keepdims=True))


def layer(x: np.ndarray, eps: float, axes: int | tuple[int, ...] = -1) -> np.ndarray:
    """A layer norm without scale and offset."""
    return np.asarray(centred(x, axes) / np.sqrt(spread(x, axes) + eps))


def root(x: np.ndarray, eps: float) -> np.ndarray:
    """A root mean square norm without scale."""
    return np.asarray(x / np.sqrt(square(x) + eps))


def left_out(here: Here) -> np.ndarray:
    """What goes into the norm."""
    x, *_ = parts(here)
    return x


def in_float32(here: Here) -> np.ndarray:
    """The norm in float32."""
    x, scale, offset, eps, kind = parts(here)
    narrow = x.astype(np.float32)
    y = layer(narrow, eps) if kind == "layer" else root(narrow, eps)
    return y.astype(np.float64) * scale + offset


def own_of_other(here: Here) -> np.ndarray:
    """The second norm with the parameters of the first."""
    x, _, _, eps, _ = parts(here)
    here.need(here.name == "feed_forward_norm")
    return layer(x, eps) * here.weight("attention_norm.scale") + here.weight("attention_norm.offset")


# batch norm -------------------------------------------------------------------------------------------------------


def batch(here: Here) -> tuple[np.ndarray, str, float]:
    """(what goes into a batch norm, the name of its parameters, eps)."""
    name, _, index = here.name.partition(".")
    if name == "reduced_normed":
        return here["reduced"], "reduce_norm", here.block.eps
    if name == "normed" and index:
        return here[f"convolved.{index}"], f"norms.{index}", here.block.eps
    if name != "normed":
        raise Absent(name)
    source = "projected" if type(here.block).__name__ == "NonLocal" else "convolved"
    return here[source], "norm", here.block.eps


def standardised(here: Here, x: np.ndarray, mean: np.ndarray, variance: np.ndarray, eps: float) -> np.ndarray:
    _, name, _ = batch(here)
    return (x - mean) / np.sqrt(variance + eps) * here.weight(f"{name}.scale") + here.weight(f"{name}.offset")


def of_the_batch(here: Here) -> np.ndarray:
    """By the statistics of the batch."""
    x, _, eps = batch(here)
    axes = tuple(range(x.ndim - 1))
    return standardised(here, x, x.mean(axes), x.var(axes), eps)


def batch_eps(here: Here) -> np.ndarray:
    """With Keras' eps."""
    x, name, eps = batch(here)
    here.need(eps != 1e-3)
    return standardised(here, x, here.weight(f"{name}.mean"), here.weight(f"{name}.variance"), 1e-3)


def by_variance(here: Here) -> np.ndarray:
    """Divided by the running variance, not by its root."""
    x, name, eps = batch(here)
    y = (x - here.weight(f"{name}.mean")) / (here.weight(f"{name}.variance") + eps)
    return y * here.weight(f"{name}.scale") + here.weight(f"{name}.offset")


ROWS = (
    row(NORMS, NORMED, "norm-eps-keras", "eps is 1e-3, the default of Keras",
        symptom="off where the spread is small", fix="set eps: torch 1e-5, BERT 1e-12, ViT 1e-6, Keras 1e-3",
        evidence="measured: keras.layers.LayerNormalization; huggingface/transformers#15332",
        value=another_eps(1e-3), shows=examples.layer_norm),
    row(NORMS, NORMED, "norm-eps-torch", "eps is 1e-5, the default of torch",
        symptom="off where the spread is small", fix="set eps: torch 1e-5, BERT 1e-12, ViT 1e-6, Keras 1e-3",
        evidence="measured: nn.LayerNorm; mindspore-lab/mindone#225", value=another_eps(1e-5), shows=examples.rms_norm),
    row(NORMS, NORMED, "norm-eps-vit", "eps is 1e-6, that of ViT and Llama 2's family",
        symptom="off where the spread is small", fix="set eps: torch 1e-5, BERT 1e-12, ViT 1e-6, Keras 1e-3",
        evidence="measured: timm, flax", value=another_eps(1e-6), shows=examples.layer_norm),
    row(NORMS, NORMED, "norm-eps-bert", "eps is 1e-12, that of BERT",
        symptom="off where the spread is small", fix="set eps: torch 1e-5, BERT 1e-12, ViT 1e-6, Keras 1e-3",
        evidence="measured: transformers' BERT; huggingface/transformers#15332", value=another_eps(1e-12),
        shows=examples.layer_norm),
    row(LAYER, NORMED, "eps-outside-root", "eps is added to the root, not to what is under it",
        symptom="off by about eps over the spread", fix="x / sqrt(variance + eps)",
        evidence="codertimo/BERT-pytorch#30; hkproj/pytorch-transformer#31; allenai/OLMo#281",
        value=norm("layer", lambda x, eps: centred(x) / (np.sqrt(spread(x)) + eps)), shows=examples.layer_norm),
    row(RMS, NORMED, "rms-eps-outside-root", "eps is added to the root mean square, not to the mean square",
        symptom="off by about eps over the root", fix="x / sqrt(mean(x²) + eps)",
        evidence="allenai/OLMo#281; fla-org/flash-linear-attention#508",
        value=norm("rms", lambda x, eps: x / (np.sqrt(square(x)) + eps)), shows=examples.rms_norm),
    row(LAYER, NORMED, "variance-unbiased", "the variance is the unbiased one, divided by n − 1",
        symptom="off by √(n/(n − 1)), the less the wider", fix="var(unbiased=False), or correction=0",
        evidence="harvardnlp/annotated-transformer#119, #122",
        value=norm("layer", lambda x, eps: centred(x) / np.sqrt(unbiased(x) + eps)), shows=examples.layer_norm),
    row(LAYER, NORMED, "unbiased-and-eps-outside", "x − mean is divided by std() + eps, both otherwise than defined",
        symptom="off by √(n/(n − 1)), the less the wider", fix="(x − mean) / sqrt(var(unbiased=False) + eps)",
        evidence="harvardnlp/annotated-transformer#122; hyunwoongko/transformer#7",
        value=norm("layer", lambda x, eps: centred(x) / (np.sqrt(unbiased(x)) + eps)), shows=examples.layer_norm),
    row(LAYER, NORMED, "divided-by-variance", "it is divided by the variance, not by its root",
        symptom="the spread of what comes out is not 1", fix="take the square root",
        evidence="131250208/TPlinker-joint-extraction#37: ** 2 for ** 0.5",
        value=norm("layer", lambda x, eps: centred(x) / (spread(x) + eps)), shows=examples.layer_norm),
    row(LAYER, NORMED, "not-centred", "the mean is not subtracted",
        symptom="the mean of what comes out is not 0", fix="subtract the mean first", evidence="slip: tests/wild",
        value=norm("layer", lambda x, eps: x / np.sqrt(spread(x) + eps)), shows=examples.layer_norm),
    row(LAYER, NORMED, "rms-for-layer", "a root mean square norm stands in the place of a layer norm",
        symptom="the mean of what comes out is not 0", fix="subtract the mean, divide by the spread",
        evidence="slip: a norm of another family, Llama's for BERT's", value=norm("layer", root),
        shows=examples.layer_norm),
    row(RMS, NORMED, "layer-for-rms", "a layer norm stands in the place of a root mean square norm",
        symptom="the mean of what comes out is 0", fix="do not subtract the mean",
        evidence="slip: nn.LayerNorm without bias",
        value=norm("rms", layer), shows=examples.rms_norm),
    row(RMS, NORMED, "rms-by-variance", "the root of the variance stands for the root mean square",
        symptom="right where the mean is 0", fix="mean(x²), not var(x)", evidence="keras-team/keras#22393: #21234",
        value=norm("rms", lambda x, eps: x / np.sqrt(spread(x) + eps)), shows=examples.rms_norm),
    row(RMS, NORMED, "sum-for-mean", "squares are summed, not averaged",
        symptom="what comes out has length 1, not √n", fix="mean(x²), not sum(x²)",
        evidence="microsoft/TRELLIS#314; F.normalize",
        value=norm("rms", lambda x, eps: x / np.sqrt(square(x) * x.shape[-1] + eps)),
        shows=examples.rms_norm),
    row(RMS, NORMED, "rms-multiplied", "it is multiplied by the root mean square, not divided by it",
        symptom="large numbers become larger; the loss diverges", fix="x * rsqrt(…), or x / sqrt(…)",
        evidence="mosaicml/llm-foundry#371: x / rsqrt(…)",
        value=norm("rms", lambda x, eps: x * np.sqrt(square(x) + eps)),
        shows=examples.rms_norm),
    row(LAYER, NORMED, "norm-over-tokens", "the norm runs over the tokens, not over the features",
        symptom="what comes out of a token depends on the others", fix="norm over the last axis",
        evidence="kyegomez/zeta#180: the axis before the last", value=norm("layer", lambda x, eps: layer(x, eps, -2)),
        shows=examples.layer_norm),
    row(RMS, NORMED, "rms-over-tokens", "the mean square is that over the tokens, not over the features",
        symptom="what comes out of a token depends on the others", fix="norm over the last axis",
        evidence="kyegomez/zeta#180: the axis before the last; tests/wild",
        value=norm("rms", lambda x, eps: x / np.sqrt((x * x).mean(axis=-2, keepdims=True) + eps)),
        shows=examples.rms_norm),
    row(LAYER, NORMED, "norm-over-sample", "the norm runs over all of a sample, tokens and features",
        symptom="what comes out of a token depends on the others", fix="norm over the last axis alone",
        evidence="slip: nn.LayerNorm((t, c)); GroupNorm(1, c)",
        value=norm("layer", lambda x, eps: layer(x, eps, tuple(range(1, x.ndim)))), shows=examples.layer_norm),
    row(LAYER, NORMED, "norm-over-batch", "the norm runs over batch and tokens, as a batch norm in training",
        symptom="samples change each other", fix="norm over the last axis",
        evidence="slip: BatchNorm1d for LayerNorm",
        value=norm("layer", lambda x, eps: layer(x, eps, tuple(range(x.ndim - 1)))), shows=examples.layer_norm),
    row(UNHEADED, NORMED, "norm-left-out", "there is no norm",
        symptom="what comes out is as large as what goes in", fix="norm it",
        evidence="slip: a norm that is made and not called",
        value=left_out, shows=examples.layer_norm),
    row(NORMS, NORMED, "norm-in-float32", "the norm is computed in float32 in a float64 layer",
        symptom="1e-7 off", fix="compute in the dtype of what goes in",
        evidence="measured: Keras on JAX and on torch; transformers' RMS norms", value=in_float32,
        shows=examples.layer_norm),
    row("EncoderLayer", "feed_forward_norm", "norm-shared", "the second norm has the parameters of the first",
        symptom="the second norm's parameters get no gradient", fix="give every place its own norm",
        evidence="slip: self.norm1 twice; tests/wild", value=own_of_other, shows=examples.encoder),
    row("RMSNorm", "scaled", "scale-plus-one", "the scale is 1 + w, where w is meant",
        symptom="what comes out is too large", fix="w, or zero_centered=True if the weights are Gemma's",
        evidence="measured: Gemma", value=lambda here: here["normed"] * (1.0 + here.weight("scale")) if not
        here.block.zero_centered else None, shows=examples.rms_norm),
    row("RMSNorm", "scaled", "scale-without-one", "the scale is w, where 1 + w is meant",
        symptom="what comes out of a new model is 0", fix="1 + w, as Gemma has it",
        evidence="measured: Gemma's weights in a norm of Llama", value=by_option(zero_centered=False),
        shows=lambda: examples.rms_norm(zero_centered=True)),
    row("LayerNorm RMSNorm", "scaled", "norm-scale-left-out", "the learned scale is not applied",
        symptom="the scale gets no gradient", fix="multiply by it", evidence="slip: elementwise_affine=False",
        value=lambda here: here["normed"], shows=examples.layer_norm),
    row("LayerNorm", "shifted", "norm-offset-left-out", "the learned offset is not added",
        symptom="the offset gets no gradient", fix="add it", evidence="slip: bias=False; Cohere and MPT mean it",
        value=lambda here: here.last("normed", "scaled"), shows=examples.layer_norm),
    row(BATCH, "normed|normed.*|reduced_normed",
        "batch-statistics", "the batch norm takes the batch's statistics in evaluation",
        symptom="samples change each other", fix="model.eval(), or training=False",
        evidence="ipolharvard/ethos-ares#20: eval() is never called",
        value=of_the_batch, shows=examples.kernels),
    row(BATCH, "normed|normed.*|reduced_normed",
        "batch-norm-eps-keras", "the batch norm's eps is 1e-3, the default of Keras",
        symptom="off where the variance is small", fix="set eps: torch 1e-5, Keras 1e-3",
        evidence="measured; huggingface/transformers#19454", value=batch_eps, shows=examples.kernels),
    row(BATCH, "normed|normed.*|reduced_normed", "batch-norm-left-out", "there is no batch norm",
        symptom="its statistics have no effect", fix="norm it", evidence="slip: a norm that is made and not called",
        value=lambda here: batch(here)[0], shows=examples.kernels),
    row(BATCH, "normed|normed.*|reduced_normed",
        "batch-norm-by-variance", "it is divided by the running variance, not by its root",
        symptom="right where the variance is 1, as in a new layer", fix="divide by sqrt(variance + eps)",
        evidence="slip: the root is forgotten", value=by_variance, shows=examples.kernels),
)  # fmt: skip
