"""Traps of feed-forward networks, plain and gated."""

from __future__ import annotations

import numpy as np

from attn_ref import ops
from attn_ref.traps import examples
from attn_ref.traps.definition import Here, Value, row

PLAIN, GATED = "FeedForward", "GatedFeedForward"
BOTH = f"{PLAIN} {GATED}"


def before(here: Here) -> np.ndarray:
    """What goes into the activation."""
    return here["gate" if type(here.block).__name__ == GATED else "hidden"]


def activation(name: str, function: Value) -> Value:
    """Another activation than the block's."""

    def value(here: Here) -> np.ndarray:
        here.need(here.option("activation") != name)
        return np.asarray(function(here))

    return value


def of_silu(function: Value) -> Value:
    """Another activation in the place of SiLU."""

    def value(here: Here) -> np.ndarray:
        here.need(here.option("activation") == "silu")
        return np.asarray(function(here))

    return value


def act(here: Here, x: np.ndarray) -> np.ndarray:
    """The block's activation."""
    known = {**ops.ACTIVATIONS, **ops.GATED}
    return np.asarray(known[here.block.activation](x))


def logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


ROWS = (
    row(BOTH, "active", "gelu-by-tanh", "the GELU is the tanh approximation",
        symptom="up to 4.7e-4 off", fix='gelu(approximate="none"); "gelu_tanh" if that is meant',
        evidence="measured: jax.nn.gelu and keras.ops.gelu approximate by default",
        value=activation("gelu_tanh", lambda here: ops.gelu_tanh(before(here))), shows=examples.network),
    row(BOTH, "active", "gelu-exact", "the GELU is the exact one, where the tanh approximation is meant",
        symptom="up to 4.7e-4 off", fix='gelu(approximate="tanh")',
        evidence="GPT-2's gelu_new loaded into nn.GELU; facebookresearch/fairseq#653 has both by name",
        value=lambda here: ops.gelu(before(here)) if here.option("activation") == "gelu_tanh" else None,
        shows=lambda: examples.network("gelu_tanh")),
    row(BOTH, "active", "gelu-by-sigmoid", "the GELU is x · sigmoid(1.702 x)",
        symptom="up to 0.02 off", fix="gelu by the error function; QuickGELU belongs to OpenAI's CLIP",
        evidence="mlfoundations/open_clip#771; mertyg/vision-language-models-are-bows#35",
        value=activation("quick", lambda here: before(here) * logistic(1.702 * before(here))), shows=examples.network),
    row(BOTH, "active", "relu-activation", "the activation is ReLU",
        symptom="what comes out of it is never negative", fix="take the block's activation",
        evidence="measured: nn.TransformerEncoderLayer has ReLU by default",
        value=activation("relu", lambda here: ops.relu(before(here))), shows=examples.network),
    row(PLAIN, "active", "gelu-for-relu", "the activation is GELU, where ReLU is meant",
        symptom="what comes out of it is slightly negative in places", fix="take ReLU",
        evidence="slip: an MLP of ViT in the paper's transformer",
        value=lambda here: ops.gelu(before(here)) if here.option("activation") == "relu" else None,
        shows=lambda: examples.network("relu")),
    row(PLAIN, "active", "silu-activation", "the activation is SiLU",
        symptom="what comes out of it is slightly negative in places", fix="take the block's activation",
        evidence="google-research/timesfm#493: SwiGLU mapped to SiLU",
        value=lambda here: ops.silu(before(here)), shows=examples.network),
    row(BOTH, "active", "leaky-relu-activation", "the activation is a leaky ReLU of slope 0.01",
        symptom="what is negative comes out a hundred times smaller", fix="take the block's activation",
        evidence="keras-team/keras#19477: slopes 0.3, 0.2 and 0.01 are defaults",
        value=lambda here: np.where(before(here) > 0, before(here), 0.01 * before(here)), shows=examples.network),
    row(BOTH, "active", "relu-squared-activation", "the activation is the square of ReLU",
        symptom="large values grow", fix="take the block's activation",
        evidence="Primer, and x-transformers' relu_squared=True, mean it",
        value=lambda here: ops.relu(before(here)) ** 2, shows=examples.network),
    row(BOTH, "active", "activation-left-out", "there is no activation",
        symptom="two linear layers are one", fix="put the activation between the two linear layers",
        evidence="slip: keras.layers.Dense has none by default; tests/wild",
        value=before, shows=examples.network),
    row(PLAIN, "active", "activation-twice", "the activation is applied twice",
        symptom="nothing with ReLU; less than it should be with GELU",
        fix="Dense(activation=…), or a layer for it, not both",
        evidence="slip: Dense(activation) and then an activation",
        value=lambda here: act(here, act(here, before(here))),
        shows=examples.network),
    row(PLAIN, "reduced", "activation-at-the-end", "the activation is applied to what comes out as well",
        symptom="with ReLU what comes out is never negative", fix="no activation after the second linear layer",
        evidence="slip: activation= of a helper that makes both layers", value=lambda here: act(here, here.right),
        shows=examples.network),
    row(BOTH, "reduced", "network-residual-inside", "what goes in is added inside of the network, too",
        symptom="with the layer's own there are two residuals", fix="add it once, in the layer",
        evidence="nlpyang/hiersumm#28", value=lambda here: here.right + here.given("x"), shows=examples.network),
    row(PLAIN, "hidden", "expand-bias-left-out", "the first linear layer has no bias",
        symptom="its bias gets no gradient", fix="add it", evidence="slip: bias=False as in Llama",
        value=lambda here: here.right - here.weight("expand.bias"), shows=examples.network),
    row(PLAIN, "reduced", "reduce-bias-left-out", "the second linear layer has no bias",
        symptom="its bias gets no gradient", fix="add it", evidence="slip: bias=False as in Llama",
        value=lambda here: here.right - here.weight("reduce.bias"), shows=examples.network),
    row(GATED, "gated", "activation-on-value", "the activation is on the value, not on the gate",
        symptom="a checkpoint loads and is wrong",
        fix="activation(gate) · value; mind which half of a packed kernel is the gate",
        evidence="ml-explore/mlx-lm#767: silu(x) * gate", value=lambda here: act(here, here["hidden"]) * here["gate"],
        shows=examples.gated),
    row(GATED, "gated", "activation-on-product", "the activation is on the product of gate and value",
        symptom="gate and value can be exchanged", fix="activation(gate) · value",
        evidence="Nijikadesu/breakdown-minimind#3: silu(w1(x) * w3(x))",
        value=lambda here: act(here, here["gate"] * here["hidden"]), shows=examples.gated),
    row(GATED, "gated", "gate-added-to-value", "gate and value are added, not multiplied",
        symptom="where the gate is 0 the value passes", fix="multiply", evidence="slip: tests/wild",
        value=lambda here: here["active"] + here["hidden"], shows=examples.gated),
    row(GATED, "gated", "gate-ignored", "the value passes without the gate",
        symptom="the gate's kernel gets no gradient", fix="multiply by the activated gate",
        evidence="slip: a projection that is made and not called", value=lambda here: here["hidden"],
        shows=examples.gated),
    row(GATED, "gated", "value-ignored", "the activated gate passes without the value",
        symptom="the value's kernel gets no gradient", fix="multiply by the value",
        evidence="google-research/timesfm#493: SwiGLU mapped to SiLU", value=lambda here: here["active"],
        shows=examples.gated),
    row(GATED, "active", "sigmoid-gate", "the gate is a sigmoid, not SiLU",
        symptom="the gate lies between 0 and 1", fix='silu: gate · sigmoid(gate); "sigmoid" if GLU is meant',
        evidence="slip: GLU for SwiGLU, F.glu; tests/wild",
        value=of_silu(lambda here: logistic(before(here))), shows=examples.gated),
    row(GATED, "active", "gelu-gate", "the gate is GELU, not SiLU",
        symptom="up to 0.2 off", fix='silu; "gelu" if GeGLU is meant',
        evidence="slip: GeGLU for SwiGLU; Gemma means GeGLU",
        value=of_silu(lambda here: ops.gelu(before(here))), shows=examples.gated),
)  # fmt: skip
