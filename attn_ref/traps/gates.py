"""Traps of gates: squeeze-and-excitation, CBAM, efficient channel attention, selective kernels."""

from __future__ import annotations

import numpy as np

from attn_ref import ops
from attn_ref.traps import examples
from attn_ref.traps.definition import Here, by_option, row
from attn_ref.traps.weights import soft

SE, CHANNEL, PIXEL, ECA = "SqueezeExcitation", "ChannelAttention", "SpatialAttention", "EfficientChannelAttention"
SK = "SelectiveKernel"
GATES = f"{SE} {CHANNEL} {PIXEL} {ECA}"
OUT = "excited|scaled"


def logits(here: Here) -> np.ndarray:
    """What goes into the gate."""
    if type(here.block).__name__ == CHANNEL:
        return here["average.expanded"] + here["maximum.expanded"]
    return here.last("expanded", "mixed", "convolved", "normed")


def logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def gate(here: Here) -> np.ndarray:
    """The gate, to be multiplied by x."""
    found = here["gate"]
    return found if found.ndim == 4 else found[:, None, None, :]


def hard_gate(here: Here) -> np.ndarray:
    """min(max(x + 3, 0), 6) / 6."""
    here.need(getattr(here.block, "gate", "") != "hard_sigmoid")
    return np.asarray(ops.hard_sigmoid(logits(here)))


def own_sigmoids(here: Here) -> np.ndarray:
    """A sigmoid of each pooling's result, added."""
    return logistic(here["average.expanded"]) + logistic(here["maximum.expanded"])


def once_of_sum(here: Here) -> np.ndarray:
    """The bottleneck, once, of the sum of both poolings."""
    x = here["average.pooled"] + here["maximum.pooled"]
    bias = here.block.use_bias
    hidden = ops.relu(x @ here.weight("reduce.kernel") + (here.weight("reduce.bias") if bias else 0.0))
    return logistic(hidden @ here.weight("expand.kernel") + (here.weight("expand.bias") if bias else 0.0))


def pools(here: Here) -> tuple[np.ndarray, np.ndarray]:
    """Mean and maximum over channels, each with an axis of size 1."""
    return here.right[..., :1], here.right[..., 1:]


def both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.concatenate([a, b], axis=-1)


def shuffled(here: Here) -> np.ndarray:
    """The pooled channels, the kernel applied along the batch."""
    p, kernel = here.block.kernel_size // 2, here.weight("conv.kernel")
    return np.asarray(ops.conv(here["squeezed"].T[..., None], kernel, padding=p)[..., 0].T)


ROWS = (
    row(SE, "squeezed", "squeeze-by-max", "channels are squeezed by their maximum, not by their mean",
        symptom="one bright pixel decides", fix="mean over height and width", evidence="slip: tests/test_conform.py",
        value=lambda here: here.given("x").max((1, 2)), shows=examples.squeezing),
    row(f"{SE} {ECA}", "squeezed", "squeeze-by-sum", "channels are squeezed by their sum, not by their mean",
        symptom="the gate saturates on large images", fix="divide by the number of pixels",
        evidence="slip: sum for mean",
        value=lambda here: here.given("x").sum((1, 2)), shows=examples.squeezing),
    row(SE, "active", "bottleneck-relu-left-out", "there is no ReLU in the bottleneck",
        symptom="two linear layers are one", fix="ReLU between the two linear layers",
        evidence="slip: two layers in a row", value=lambda here: here["reduced"], shows=examples.squeezing),
    row(SE, "expanded", "relu-after-bottleneck", "there is a ReLU after the second linear layer",
        symptom="no gate is below a half", fix="only the sigmoid follows it", evidence="slip: ReLU after both layers",
        value=lambda here: ops.relu(here.right), shows=examples.squeezing),
    row(GATES, "gate", "sigmoid-left-out", "the gate has no sigmoid",
        symptom="gates are negative, and above 1", fix="sigmoid before the product",
        evidence="Peachypie98/CBAM#2", value=logits, shows=examples.squeezing),
    row(GATES, "gate", "sigmoid-twice", "the sigmoid is applied twice",
        symptom="gates lie between 0.5 and 0.74", fix="once: in the layer or after it", evidence="huoxiangzuo/HiFuse#9",
        value=lambda here: logistic(logistic(logits(here))), shows=examples.squeezing),
    row(GATES, "gate", "hard-sigmoid-keras-2", "the gate is the hard sigmoid 0.2 x + 0.5, cut at 0 and 1",
        symptom="gates of exactly 0 and 1", fix="sigmoid", evidence="keras-team/keras#19477: Keras before 3",
        value=lambda here: np.clip(0.2 * logits(here) + 0.5, 0.0, 1.0), shows=examples.squeezing),
    row(GATES, "gate", "hard-sigmoid", "the gate is the hard sigmoid relu6(x + 3) / 6",
        symptom="gates of exactly 0 and 1", fix='sigmoid; gate="hard_sigmoid" if MobileNetV3\'s is meant',
        evidence="MobileNetV3; keras-team/keras#19477",
        value=hard_gate,
        shows=examples.squeezing),
    row(GATES, "gate", "tanh-gate", "the gate is tanh",
        symptom="gates are negative", fix="sigmoid", evidence="slip: another activation",
        value=lambda here: np.tanh(logits(here)), shows=examples.squeezing),
    row(f"{SE} {CHANNEL} {ECA}", "gate", "softmax-gate", "the gate is a softmax over channels",
        symptom="gates sum to 1: what comes out is far too small", fix="sigmoid, for every channel by itself",
        evidence="slip: attention taken for a distribution", value=lambda here: soft(logits(here), -1),
        shows=examples.squeezing),
    row(GATES, OUT, "gate-added", "the gate is added, not multiplied",
        symptom="what comes out is shifted by up to 1", fix="x · gate", evidence="slip: tests/wild",
        value=lambda here: here.given("x") + gate(here), shows=examples.squeezing),
    row(GATES, OUT, "gate-with-residual", "what goes in is added: x · gate + x",
        symptom="what comes out is larger than what goes in", fix="x · gate; the block around it adds the residual",
        evidence="implus/PytorchInsight#19: BAM means 1 + gate", value=lambda here: here.right + here.given("x"),
        shows=examples.squeezing),
    row(GATES, OUT, "gate-not-applied", "what goes in comes out, the gate is not applied",
        symptom="weights of the block get no gradient", fix="x · gate",
        evidence="slip: the product is not returned", value=lambda here: here.given("x"),
        shows=examples.squeezing),
    row(GATES, OUT, "gate-alone", "the gate comes out, not its product with what goes in",
        symptom="what comes out is constant in every channel, or over all channels", fix="x · gate",
        evidence="slip: return gate", value=lambda here: np.broadcast_to(gate(here), here.right.shape),
        shows=examples.squeezing),
    row(CHANNEL, "average.pooled", "maximum-twice", "both poolings are the maximum",
        symptom="the mean has no effect", fix="mean and maximum", evidence="slip: one line copied",
        value=lambda here: here.given("x").max((1, 2)), shows=examples.channel_gate),
    row(CHANNEL, "maximum.pooled", "mean-twice", "both poolings are the mean",
        symptom="one bright pixel has no effect", fix="mean and maximum",
        evidence="nikhilroxtomar/Attention-Mechanism-Implementation#1; MenghaoGuo/Awesome-Vision-Attentions#32",
        value=lambda here: here["average.pooled"], shows=examples.channel_gate),
    row(CHANNEL, "gate", "mean-alone", "the mean alone decides",
        symptom="one bright pixel has no effect", fix="add what the bottleneck makes of the maximum",
        evidence="slip: one pooling; tests/wild", value=lambda here: logistic(here["average.expanded"]),
        shows=examples.channel_gate),
    row(CHANNEL, "gate", "sigmoid-of-each", "each pooling has a sigmoid of its own, and both are added",
        symptom="gates up to 2", fix="add, then one sigmoid", evidence="slip: tests/wild", value=own_sigmoids,
        shows=examples.channel_gate),
    row(CHANNEL, "gate", "pools-added-first", "the bottleneck reads the sum of both poolings, once",
        symptom="right without the ReLU", fix="the bottleneck for each, then the sum",
        evidence="slip: one call of the bottleneck saved", value=once_of_sum,
        shows=examples.channel_gate),
    row(CHANNEL, "gate", "gates-averaged", "both poolings are averaged before the sigmoid",
        symptom="gates are closer to a half", fix="add them", evidence="slip: mean of both",
        value=lambda here: logistic(0.5 * logits(here)), shows=examples.channel_gate),
    row(CHANNEL, "average.active|maximum.active", "shared-relu-left-out", "there is no ReLU in the shared bottleneck",
        symptom="two linear layers are one", fix="ReLU between the two linear layers",
        evidence="slip: two convolutions in a row",
        value=lambda here: here[here.name.replace("active", "reduced")], shows=examples.channel_gate),
    row(PIXEL, "pooled",
        "pools-in-another-order", "maximum and mean are concatenated in this order, not mean and maximum",
        symptom="a checkpoint loads and is wrong", fix="mean first, then maximum",
        evidence="arp95/cbam_cnn_architectures_image_classification#1: cat((max, mean))",
        value=lambda here: both(*reversed(pools(here))), shows=examples.pixel_gate),
    row(PIXEL, "pooled", "channels-summed", "channels are summed, not averaged",
        symptom="the gate saturates", fix="mean over channels", evidence="slip: sum for mean",
        value=lambda here: both(here.given("x").sum(-1, keepdims=True), pools(here)[1]), shows=examples.pixel_gate),
    row(PIXEL, "pooled", "pixel-maximum-alone", "the maximum stands for the mean, too",
        symptom="the mean has no effect", fix="mean and maximum over channels", evidence="slip: torch.max twice",
        value=lambda here: both(pools(here)[1], pools(here)[1]), shows=examples.pixel_gate),
    row(PIXEL, "pooled", "pixel-mean-alone", "the mean stands for the maximum, too",
        symptom="the brightest channel has no effect", fix="mean and maximum over channels",
        evidence="MenghaoGuo/Awesome-Vision-Attentions#32: avg + avg",
        value=lambda here: both(pools(here)[0], pools(here)[0]),
        shows=examples.pixel_gate),
    row("CBAM", "output", "cbam-residual", "what goes in is added to what comes out",
        symptom="what comes out is larger than what goes in", fix="leave the residual to the block around it",
        evidence="slip: the residual of the block around it", value=lambda here: here.right + here.given("x"),
        shows=examples.both_gates),
    row("CBAM", "output",
        "cbam-spatial-of-input", "the pixels' gate multiplies the input, so the channels' gate is lost",
        symptom="the channels' gate acts through the pixels' alone", fix="multiply what comes out of channel attention",
        evidence="slip: one name for input and result", shows=examples.both_gates,
        value=lambda here: here.given("x") * here["spatial_attention.gate"]),
    row(ECA, "mixed", "eca-over-batch", "the convolution runs along the batch, not along the channels",
        symptom="samples change each other", fix="channels are the axis of the convolution: (b, 1, c)",
        evidence="slip: (c, b) for (b, c) before the convolution", value=shuffled, shows=examples.neighbours),
    row(ECA, "mixed", "eca-circular", "first and last channel are neighbours",
        symptom="gates of the outer channels are off", fix="pad with zeros",
        evidence="timm has both: EcaModule, CecaModule",
        value=by_option(circular=True), shows=examples.neighbours),
    row(ECA, "mixed", "eca-without-mixing", "channels are not mixed with their neighbours",
        symptom="the kernel gets no gradient", fix="convolve the means of the channels",
        evidence="slip: a layer that is not called",
        value=lambda here: here["squeezed"], shows=examples.neighbours),
    row(SK, "weights", "branches-softmax-over-batch", "the softmax runs over the batch, not over the branches",
        symptom="with one sample all branches weigh 1", fix="softmax over the axis of branches",
        evidence="xmu-xiaoma666/External-Attention-pytorch#18", value=lambda here: soft(here["scores"], 0),
        shows=examples.kernels),
    row(SK, "weights", "branches-softmax-over-channels", "the softmax runs over the channels, not over the branches",
        symptom="what comes out is far too small", fix="softmax over the axis of branches",
        evidence="slip: dim=-1", value=lambda here: soft(here["scores"], -1), shows=examples.kernels),
    row(SK, "weights", "branches-sigmoid", "every branch has a sigmoid of its own",
        symptom="weights of the branches do not sum to 1", fix="softmax over the branches",
        evidence="slip: a gate for a choice", value=lambda here: logistic(here["scores"]), shows=examples.kernels),
    row(SK, "weights", "branches-exchanged", "weights belong to the branches in reverse",
        symptom="a checkpoint loads and is wrong", fix="the first weight is the smallest kernel's",
        evidence="slip: the order of a list", value=lambda here: here.right[:, ::-1], shows=examples.kernels),
    row(SK, "fused", "branches-averaged", "branches are averaged before they are squeezed, not summed",
        symptom="right with one branch", fix="sum them", evidence="slip: mean for sum",
        value=lambda here: here.right / here.block.branches, shows=examples.kernels),
    row(SK, "selected", "branches-unweighted", "branches are summed without their weights",
        symptom="the linear layers get no gradient", fix="multiply every branch by its weights",
        evidence="slip: the fused sum is returned", value=lambda here: here["fused"], shows=examples.kernels),
    row(SK, "reduced_active", "branches-relu-left-out", "there is no ReLU between the bottleneck and the branches",
        symptom="two linear layers are one", fix="norm and ReLU between the two linear layers",
        evidence="S11 has neither", value=lambda here: here["reduced_normed"], shows=examples.kernels),
)  # fmt: skip
