"""Traps of layers: residuals, the place of norms, factors."""

from __future__ import annotations

import numpy as np

from attn_ref.traps import examples
from attn_ref.traps.definition import Absent, Here, Value, row

ENCODER, LAYER = "EncoderLayer", "TransformerLayer"
BOTH = f"{ENCODER} {LAYER}"
SUMS = "attended|fed"


def first_norm(here: Here) -> bool:
    """Are the norms before the sub-layers?"""
    if type(here.block).__name__ == ENCODER:
        return bool(here.block.norm_first)
    return here.block.norm is not None and here.block.norm_place == "before" and here.block.parallel is None


def plain(here: Here) -> bool:
    """Is the sum nothing but residual and sub-layer, one after the other?"""
    block = here.block
    if type(block).__name__ == ENCODER:
        return True
    own = (block.skip_scale, block.residual_scale, block.layer_scale) == (1.0, 1.0, None)
    return own and block.norm_place in ("before", "after") and block.parallel is None and block.cross_attention is None


def residual(here: Here) -> np.ndarray:
    """What the sub-layer's result is added to."""
    if here.name == "attended":
        return here.given("x")
    if first_norm(here) or (type(here.block).__name__ == ENCODER and here.block.norm_first is None):
        return here["attended"]
    return normed(here, "attention_norm") if after(here) else here["attended"]


def after(here: Here) -> bool:
    """Are the norms after the residuals?"""
    if type(here.block).__name__ == ENCODER:
        return here.block.norm_first is False
    return here.block.norm is not None and here.block.norm_place == "after"


def normed(here: Here, name: str) -> np.ndarray:
    """What comes out of a norm of this layer."""
    return here.last(name, f"{name}.shifted", f"{name}.scaled")


def result(here: Here) -> np.ndarray:
    """What comes out of the sub-layer."""
    return here["attention.projected" if here.name == "attended" else "feed_forward.reduced"]


def summed(make: Value) -> Value:
    """Another sum of residual and result."""

    def value(here: Here) -> np.ndarray:
        here.need(plain(here))
        return np.asarray(make(here))

    return value


def of_normed(here: Here) -> np.ndarray:
    """The normed values as residual."""
    here.need(first_norm(here))
    return normed(here, "attention_norm" if here.name == "attended" else "feed_forward_norm") + result(here)


def of_input(here: Here) -> np.ndarray:
    """The layer's input as the residual of the network."""
    here.need(here.name == "fed")
    return here.given("x") + result(here)


def lost(name: str) -> Value:
    """The sub-layer's result alone, at one of the two sums."""

    def value(here: Here) -> np.ndarray:
        here.need(here.name == name)
        return result(here)

    return summed(value)


def without(option: str) -> Value:
    """The sum without one of the factors of a layer."""

    def value(here: Here) -> np.ndarray:
        block = here.block
        if block.norm_place != "before" or block.parallel is not None or block.cross_attention is not None:
            raise Absent(option)
        scale = {name: getattr(block, name) for name in ("skip_scale", "residual_scale", "layer_scale")}
        here.need(scale[option] not in (None, 1.0))
        scale[option] = None if option == "layer_scale" else 1.0
        y = result(here)
        if scale["layer_scale"] is not None:
            y = here.weight("attention_scale" if here.name == "attended" else "feed_forward_scale") * y
        return np.asarray(scale["skip_scale"] * residual(here) + scale["residual_scale"] * y)

    return value


def scaled_residual(here: Here) -> np.ndarray:
    """The layer scale on the sum."""
    block = here.block
    here.need(block.layer_scale is not None and block.norm_place == "before" and block.parallel is None)
    here.need((block.skip_scale, block.residual_scale) == (1.0, 1.0))
    factor = here.weight("attention_scale" if here.name == "attended" else "feed_forward_scale")
    return np.asarray(factor * (residual(here) + result(here)))


ROWS = (
    row(BOTH, "attended", "attention-residual-left-out", "the attention's input is not added to its result",
        symptom="deep models do not train", fix="x + attention(…)", evidence="tests/wild",
        value=lost("attended"), shows=examples.encoder),
    row(BOTH, "fed", "network-residual-left-out", "the network's input is not added to its result",
        symptom="deep models do not train", fix="x + feed_forward(…)", evidence="slip: return of the wrong name",
        value=lost("fed"), shows=examples.encoder),
    row(BOTH, SUMS, "residual-of-norm", "the residual is what comes out of the norm, not what goes in",
        symptom="the size of activations no longer grows with depth", fix="x + f(norm(x)): keep x before the norm",
        evidence="pytorch/pytorch#61165; Howuhh/faster-trajectory-transformer#3; SHI-Labs/Compact-Transformers#25",
        value=summed(of_normed), shows=lambda: examples.encoder(norm_first=True)),
    row(BOTH, "fed",
        "residual-of-layer-input", "the network's residual is the layer's input, not what comes out of the attention",
        symptom="the attention reaches the output through the network alone", fix="add what goes into the second half",
        evidence="strutive07/transformer-tensorflow2.0#14; JanSchm/CapMarket#8", value=summed(of_input),
        shows=lambda: examples.encoder(norm_first=True)),
    row(BOTH, SUMS, "residual-twice", "the residual is added twice",
        symptom="activations double with every layer", fix="add it once", evidence="nlpyang/hiersumm#28",
        value=summed(lambda here: here.right + residual(here)), shows=examples.encoder),
    row(BOTH, SUMS, "residual-subtracted", "the residual is subtracted",
        symptom="signs alternate from layer to layer", fix="add it", evidence="slip: the operator",
        value=summed(lambda here: result(here) - residual(here)), shows=examples.encoder),
    row(BOTH, SUMS, "residual-halved", "the sum is halved",
        symptom="activations shrink with depth", fix="add, without a factor",
        evidence="slip: a mean of both; StyleGAN 2 scales by 1/√2", value=summed(lambda here: 0.5 * here.right),
        shows=examples.encoder),
    row(ENCODER, "attention.query",
        "pre-norm-for-post-norm", "norms stand before the sub-layers, where they should stand after the sums",
        symptom="a checkpoint loads, runs and is wrong", fix="norm(x + f(x)); norm_first=False",
        evidence="harvardnlp/annotated-transformer#13: its norms are before, the paper's after",
        options={"norm_first": True},
        shows=examples.encoder),
    row(ENCODER, "attention_norm",
        "post-norm-for-pre-norm", "norms stand after the sums, where they should stand before the sub-layers",
        symptom="a checkpoint loads, runs and is wrong", fix="x + f(norm(x)); norm_first=True",
        evidence="measured: nn.TransformerEncoderLayer is post-norm by default",
        options={"norm_first": False}, shows=lambda: examples.encoder(norm_first=True)),
    row(LAYER, "attention_norm.normed", "norm-after", "norms stand after the sums",
        symptom="a checkpoint loads, runs and is wrong", fix='norm_place="before", or where the weights were trained',
        evidence="harvardnlp/annotated-transformer#13: one is the paper's, the other the code's",
        options={"norm_place": "after"}, shows=examples.layer),
    row(LAYER, "attention_norm.normed",
        "norm-inside", "norms stand behind the sub-layers, before their results are added",
        symptom="a checkpoint loads, runs and is wrong", fix='norm_place="before", or where the weights were trained',
        evidence="Swin v2 and OLMo 2 mean it", options={"norm_place": "inside"}, shows=examples.layer),
    row(LAYER, "attended",
        "parallel-for-sequential", "attention and network read the same, where one should read the other's sum",
        symptom="a checkpoint loads, runs and is wrong", fix="the network reads what comes out of the attention",
        evidence="GPT-NeoX: use_parallel_residual=True by default", options={"parallel": "own"}, shows=examples.layer),
    row(LAYER, "feed_forward_norm.normed",
        "sequential-for-parallel", "the network reads the attention's sum, where both should read the same",
        symptom="a checkpoint loads, runs and is wrong", fix="both read the layer's input, each through its norm",
        evidence="GPT-NeoX: use_parallel_residual is a field of the checkpoint", options={"parallel": None},
        shows=lambda: examples.layer(parallel="own")),
    row(LAYER, SUMS, "layer-scale-left-out", "results are not multiplied by the layer scale",
        symptom="a new model is far from the identity", fix="x + γ · f(norm(x))",
        evidence="NVlabs/RADIO#114: gamma is renamed on loading; huggingface/pytorch-image-models#2605",
        value=without("layer_scale"), shows=lambda: examples.layer(layer_scale=0.1)),
    row(LAYER, SUMS, "layer-scale-on-sum", "the layer scale multiplies the residual, too",
        symptom="what comes out shrinks with depth", fix="x + γ · f(norm(x))", evidence="slip: a bracket",
        value=scaled_residual, shows=lambda: examples.layer(layer_scale=0.1)),
    row(LAYER, SUMS, "residual-scale-left-out", "results are not multiplied by the residual scale",
        symptom="activations grow too fast with depth", fix="x + r · f(norm(x))",
        evidence="Granite: residual_multiplier",
        value=without("residual_scale"), shows=lambda: examples.layer(residual_scale=0.5, skip_scale=1.5)),
    row(LAYER, SUMS, "skip-scale-left-out", "the residual is not multiplied by the skip scale",
        symptom="deep post-norm models do not train", fix="s · x + f(x)", evidence="DeepNet's α",
        value=without("skip_scale"), shows=lambda: examples.layer(residual_scale=0.5, skip_scale=1.5)),
)  # fmt: skip
