"""Networks, norms and patches by themselves, in torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attn_ref as ar

from .corpus import Arrays, Planted, halved, tokens, values
from .torch_tools import (
    Conv1D,
    TorchWild,
    array,
    constant,
    exchanged,
    linears,
    only_x,
    packed,
    same_as,
)


class Gpt2Mlp(nn.Module):
    """GELU by tanh, written out."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.c_fc, self.c_proj = Conv1D(20, 12), Conv1D(12, 20)
        self.dropout = nn.Dropout(0.1)

    def act(self, x: Tensor) -> Tensor:
        if "exact GELU" in self.fault:
            return 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))  # fault: exact GELU
        cube = 0.44715 if "0.44715 for 0.044715" in self.fault else 0.044715
        root = math.sqrt(2.0 * math.pi) if "root of 2 pi" in self.fault else math.sqrt(2.0 / math.pi)
        power = x.pow(2) if "square for cube" in self.fault else x.pow(3)  # fault: square for cube
        inner = root * (x + cube * power)  # fault: 0.44715 for 0.044715, root of 2 pi
        half = 1.0 if "half lost" in self.fault else 0.5
        if "one lost" in self.fault:
            return half * x * torch.tanh(inner)  # fault: one lost
        return half * x * (1.0 + torch.tanh(inner))  # fault: half lost

    def forward(self, x: Tensor) -> Tensor:
        if "activated before" in self.fault:
            return self.dropout(self.c_proj(self.c_fc(self.act(x))))  # fault: activated before
        if "activated after" in self.fault:
            return self.dropout(self.act(self.c_proj(self.c_fc(x))))  # fault: activated after
        h = self.act(self.c_fc(x))
        if "residual inside" in self.fault:
            return x + self.dropout(self.c_proj(h))  # fault: residual inside
        if "last bias twice" in self.fault:
            return self.c_proj(h) + self.c_proj.bias  # fault: last bias twice
        return self.dropout(self.c_proj(h))


class ConvMlp(nn.Module):
    """Convolutions of size 1 over time, channels first."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.conv_1, self.conv_2 = nn.Conv1d(12, 20, 1), nn.Conv1d(20, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_1(x)
        if "leaky" in self.fault:
            y = F.leaky_relu(y, 0.01)  # fault: leaky
        elif "up to 6" in self.fault:
            y = F.relu6(y * 3) / 3  # fault: up to 6
        elif "softplus" in self.fault:
            y = F.softplus(y)  # fault: softplus
        elif "squared" in self.fault:
            y = F.relu(y) ** 2  # fault: squared
        elif "absolute" in self.fault:
            y = y.abs()  # fault: absolute
        elif "shifted in time" in self.fault:
            y = F.relu(F.pad(y, (1, 0))[..., :-1])  # fault: shifted in time
        else:
            y = torch.relu(y)
        if "dropout in evaluation" in self.fault:
            y = F.dropout(y, 0.1)  # fault: dropout in evaluation
        if "normed inside" in self.fault:
            y = F.layer_norm(y.transpose(1, 2), (20,)).transpose(1, 2)  # fault: normed inside
        if "last bias lost" in self.fault:
            return F.conv1d(y, self.conv_2.weight)  # fault: last bias lost
        if "neighbours mixed" in self.fault:
            return self.conv_2(F.avg_pool1d(y, 3, 1, 1))  # fault: neighbours mixed
        return self.conv_2(y)


class Phi3Mlp(nn.Module):
    """Gate and up in one projection, the gate first."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.gate_up_proj, self.down_proj = nn.Linear(12, 32, bias=False), nn.Linear(16, 12, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        up_states = self.gate_up_proj(hidden_states)
        if "feature by feature" in self.fault:
            gate, up = up_states[..., 0::2], up_states[..., 1::2]  # fault: feature by feature
        elif "second half gates" in self.fault:
            up, gate = up_states.chunk(2, dim=-1)  # fault: second half gates
        elif "both are the gate" in self.fault:
            gate = up = up_states.chunk(2, dim=-1)[0]  # fault: both are the gate
        else:
            gate, up = up_states.chunk(2, dim=-1)
        if "SiLU by a hard sigmoid" in self.fault:
            y = up * gate * F.hardsigmoid(gate)  # fault: SiLU by a hard sigmoid
        elif "sigmoid" in self.fault:
            y = up * torch.sigmoid(gate)  # fault: sigmoid
        elif "swish of 1.702" in self.fault:
            y = up * gate * torch.sigmoid(1.702 * gate)  # fault: swish of 1.702
        elif "one more than up" in self.fault:
            y = (up + 1) * F.silu(gate)  # fault: one more than up
        elif "clipped" in self.fault:
            y = up.clamp(-1, 1) * F.silu(gate.clamp(max=1))  # fault: clipped
        elif "added" in self.fault:
            y = up + F.silu(gate)  # fault: added
        else:
            y = up * F.silu(gate)
        return self.down_proj(y)


class GegluMlp(nn.Module):
    """Three layers with biases, GELU."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.wi_0, self.wi_1, self.wo = nn.Linear(12, 16), nn.Linear(12, 16), nn.Linear(16, 12)

    def forward(self, x: Tensor) -> Tensor:
        if "GELU by tanh" in self.fault:
            gate = F.gelu(self.wi_0(x), approximate="tanh")  # fault: GELU by tanh
        elif "gate's bias lost" in self.fault:
            gate = F.gelu(F.linear(x, self.wi_0.weight))  # fault: gate's bias lost
        elif "gate of the other layer" in self.fault:
            gate = F.gelu(self.wi_1(x))  # fault: gate of the other layer
        elif "bias after the activation" in self.fault:
            gate = F.gelu(F.linear(x, self.wi_0.weight)) + self.wi_0.bias  # fault: bias after the activation
        elif "softmax gate" in self.fault:
            gate = self.wi_0(x).softmax(-1)  # fault: softmax gate
        else:
            gate = F.gelu(self.wi_0(x))
        up = self.wi_1(gate @ self.wi_0.weight) if "in a row" in self.fault else self.wi_1(x)  # fault: in a row
        if "divided" in self.fault:
            y = gate / (1 + up.abs())  # fault: divided
        elif "mean of both" in self.fault:
            y = (gate + up) / 2  # fault: mean of both
        else:
            y = gate * up
        if "gate at the end" in self.fault:
            return self.wo(up) * gate.mean(-1, keepdim=True)  # fault: gate at the end
        return self.wo(y)


class TfLayerNorm(nn.Module):
    """By the mean of squares less the square of the mean; gamma and beta."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.gamma, self.beta = nn.Parameter(torch.ones(12)), nn.Parameter(torch.zeros(12))

    def forward(self, x: Tensor) -> Tensor:
        axis = 1 if "over tokens" in self.fault else -1
        if "over both" in self.fault:
            mean = x.mean((1, 2), keepdim=True)  # fault: over both
            var = x.pow(2).mean((1, 2), keepdim=True) - mean**2  # fault: over both
        else:
            mean = x.mean(axis, keepdim=True)  # fault: over tokens
            var = x.pow(2).mean(axis, keepdim=True) - mean**2
        if "mean not subtracted from squares" in self.fault:
            var = x.pow(2).mean(-1, keepdim=True)  # fault: mean not subtracted from squares
        if "unbiased" in self.fault:
            var = x.var(-1, keepdim=True)  # fault: unbiased
        eps = 1e-5 if "another eps" in self.fault else 1e-12
        if "absolute deviation" in self.fault:
            y = (x - mean) / ((x - mean).abs().mean(-1, keepdim=True) + eps)  # fault: absolute deviation
        elif "divided by the variance" in self.fault:
            y = (x - mean) / (var + eps)  # fault: divided by the variance
        else:
            y = (x - mean) / torch.sqrt(var + eps)  # fault: another eps
        if "scale before the mean" in self.fault:
            z = x * self.gamma  # fault: scale before the mean
            y = (z - z.mean(-1, keepdim=True)) / torch.sqrt(
                z.var(-1, False, keepdim=True) + eps
            )  # fault: scale before the mean
            return y + self.beta
        if "shifted before it is scaled" in self.fault:
            return (y + self.beta) * self.gamma  # fault: shifted before it is scaled
        if "one and the scale" in self.fault:
            return y * (1 + self.gamma) + self.beta  # fault: one and the scale
        if "offset lost" in self.fault:
            return y * self.gamma  # fault: offset lost
        return y * self.gamma + self.beta


class T5Norm(nn.Module):
    """Neither centred nor shifted."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.weight = nn.Parameter(torch.ones(12))

    def forward(self, hidden_states: Tensor) -> Tensor:
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        if "over tokens" in self.fault:
            variance = hidden_states.pow(2).mean(1, keepdim=True)  # fault: over tokens
        if "centred" in self.fault:
            variance = hidden_states.var(-1, keepdim=True, unbiased=False)  # fault: centred
        if "by one less" in self.fault:
            variance = hidden_states.pow(2).sum(-1, keepdim=True) / 11  # fault: by one less
        eps = 1e-5 if "another eps" in self.fault else 1e-6
        if "eps outside the root" in self.fault:
            y = hidden_states / (variance.sqrt() + 1e-6)  # fault: eps outside the root
        elif "largest of eps" in self.fault:
            y = hidden_states / variance.sqrt().clamp(min=1.0)  # fault: largest of eps
        elif "root left out" in self.fault:
            y = hidden_states / (variance + eps)  # fault: root left out
        elif "weight under the root" in self.fault:
            y = hidden_states * torch.rsqrt(variance + eps) * self.weight  # fault: weight under the root
        else:
            y = hidden_states * torch.rsqrt(variance + eps)  # fault: another eps
        if "one and the weight" in self.fault:
            return (1 + self.weight) * y  # fault: one and the weight
        if "weight lost" in self.fault:
            return y  # fault: weight lost
        if "weight of the mean" in self.fault:
            return self.weight.mean() * y  # fault: weight of the mean
        return self.weight * y


class ReshapePatches(nn.Module):
    """Cuts by reshaping, pixels before channels, and a linear layer; channels first."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.p = 2
        self.to_patch = nn.Linear(12, 8)

    def forward(self, img: Tensor) -> Tensor:
        b, c, height, width = img.shape
        p, h, w = self.p, height // self.p, width // self.p
        x = img.reshape(b, c, h, p, w, p)
        if "strided pixels" in self.fault:
            x = img.reshape(b, c, p, h, p, w).permute(0, 1, 3, 2, 5, 4)  # fault: strided pixels
        if "columns first" in self.fault:
            x = x.permute(0, 4, 2, 3, 5, 1)  # fault: columns first
        elif "pixels transposed" in self.fault:
            x = x.permute(0, 2, 4, 5, 3, 1)  # fault: pixels transposed
        elif "channels before pixels" in self.fault:
            x = x.permute(0, 2, 4, 1, 3, 5)  # fault: channels before pixels
        elif "rows and patches exchanged" in self.fault:
            x = x.permute(0, 2, 3, 4, 5, 1)  # fault: rows and patches exchanged
        elif "as it lies" in self.fault:
            x = img  # fault: as it lies
        else:
            x = x.permute(0, 2, 4, 3, 5, 1)
        x = x.reshape(b, h * w, p * p * c)
        if "image mirrored" in self.fault:
            x = x.view(b, h, w, -1).flip(2).view(b, h * w, -1)  # fault: image mirrored
        if "patches normed" in self.fault:
            x = F.layer_norm(x, x.shape[-1:])  # fault: patches normed
        if "colours in reverse" in self.fault:
            x = x.view(b, h * w, p * p, c).flip(-1).reshape(b, h * w, -1)  # fault: colours in reverse
        y = self.to_patch(x)
        return F.relu(y) if "activated" in self.fault else y  # fault: activated


# what they are given, and their weights -------------------------------------------------------------------------------


def images(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, h, w = (int(n) for n in rng.integers((1, 2, 2), (4, 5, 5)))
    return {"image": values(rng, b, 2 * h, 2 * w, 3)}


def image_first(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    return [np.moveaxis(inputs["image"], -1, 1)], {}


def time_last(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    return [inputs["x"].swapaxes(1, 2)], {}


def gpt2_weights(layer: Any) -> dict[str, np.ndarray]:
    parts = {"expand": layer.c_fc, "reduce": layer.c_proj}
    return {f"{k}.{leaf}": array(x) for k, m in parts.items() for leaf, x in (("kernel", m.weight), ("bias", m.bias))}


def patch_weights(layer: Any) -> dict[str, np.ndarray]:
    weight = array(layer.to_patch.weight).T.reshape(2, 2, 3, 8)
    return {"project.kernel": weight, "project.bias": array(layer.to_patch.bias)}


def turned(order: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """The kernel read as ``shape`` and its axes put into ``order``."""
    return lambda w: {**w, "project.kernel": w["project.kernel"].reshape(shape).transpose(order)}


def feature_by_feature(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    both = np.concatenate([w["gate.kernel"], w["expand.kernel"]], axis=1)
    return {**w, "gate.kernel": both[:, 0::2], "expand.kernel": both[:, 1::2]}


def at(tap: str, reason: str, option: str = "", **more: Any) -> Planted:
    return Planted(taps=tap, reason=reason, option=option, **more)


NORMED = "normed|scaled|shifted"

WILD = halved(
    TorchWild(
        cls=Gpt2Mlp, block=ar.FeedForward(width=12, hidden_width=20, activation="gelu_tanh"), draw=tokens("x", 12),
        call=only_x, copy=gpt2_weights,
        faults={
            "exact GELU": at("active", "the error function", "option:activation"),
            "0.44715 for 0.044715": at("active", "the cube's factor is ten times as large"),
            "root of 2 pi": at("active", "the root of 2π, not of 2/π"),
            "square for cube": at("active", "a square for the cube"),
            "half lost": at("active", "twice GELU"), "one lost": at("active", "1 is not added to the tanh"),
            "activated before": at("hidden", "the input is activated"),
            "activated after": at("active", "the result is activated"),
            "residual inside": at("output|reduced", "the input is added"),
            "last bias twice": at("reduced|output", "the last bias is added twice", alias=lambda w: {
                **w, "reduce.bias": 2 * w["reduce.bias"]
            }),
        },
        pairs=("exact GELU+residual inside", "half lost+last bias twice"),
    ),
    TorchWild(
        cls=ConvMlp, block=ar.FeedForward(width=12, hidden_width=20), draw=tokens("x", 12, 3),
        inputs={"x": "(b, width, t)"}, call=time_last, expect=lambda y, inputs: y.swapaxes(1, 2),
        copy=lambda layer: linears(layer, expand="conv_1", reduce="conv_2"),
        faults={
            "leaky": at("active", "leaky ReLU"), "up to 6": at("active", "bounded above"),
            "softplus": at("active", "softplus"), "squared": at("active|reduced", "the square of ReLU"),
            "absolute": at("active", "the absolute value"),
            "shifted in time": at("active", "hidden values stand one step later"),
            "dropout in evaluation": at("active|reduced", "dropout acts in evaluation"),
            "normed inside": at("reduced|active", "hidden values are normed"),
            "last bias lost": at("reduced", "the last bias is not added", alias=constant(**{"reduce.bias": 0})),
            "neighbours mixed": at("reduced|active", "hidden values are means of three steps"),
        },
        pairs=("leaky+neighbours mixed", "squared+last bias lost"),
    ),
    TorchWild(
        cls=Phi3Mlp, block=ar.GatedFeedForward(width=12, hidden_width=16), draw=tokens("x", 12), call=only_x,
        copy=lambda layer: {
            **packed(("gate", "expand"), layer.gate_up_proj.weight, None), **linears(layer, reduce="down_proj")
        },
        faults={
            "feature by feature": at("gate", "gate and up lie feature by feature", alias=feature_by_feature),
            "second half gates": at("gate|active", "the second half is the gate", alias=exchanged(("gate", "expand"))),
            "both are the gate": at("hidden|gated", "the first half is both", alias=same_as(expand="gate")),
            "SiLU by a hard sigmoid": at("active", "SiLU with a hard sigmoid"),
            "sigmoid": at("active", "a sigmoid", "option:activation"),
            "swish of 1.702": at("active", "a steeper SiLU"),
            "one more than up": at("gated|hidden", "1 is added to up"),
            "clipped": at("active|hidden|gated", "gate and up are clipped"),
            "added": at("gated", "added, not multiplied"),
        },
        pairs=("feature by feature+sigmoid", "second half gates+swish of 1.702",),
    ),
    TorchWild(
        cls=GegluMlp, block=ar.GatedFeedForward(width=12, hidden_width=16, activation="gelu", use_bias=True),
        draw=tokens("x", 12), call=only_x, copy=lambda layer: linears(layer, gate="wi_0", expand="wi_1", reduce="wo"),
        faults={
            "GELU by tanh": at("active", "the tanh form", "option:activation"),
            "gate's bias lost": at("gate", "the gate's bias is not added", alias=constant(**{"gate.bias": 0})),
            "gate of the other layer": at("gate", "the second layer is the gate too", alias=same_as(gate="expand")),
            "bias after the activation": at("gate|active", "the bias is added to what is activated"),
            "softmax gate": at("active", "a softmax"), "in a row": at("hidden", "up reads the gate"),
            "divided": at("gated", "the gate is divided"), "mean of both": at("gated", "the mean, not the product"),
            "gate at the end": at("gated|reduced", "the gate's mean scales the result"),
        },
        pairs=("GELU by tanh+mean of both", "in a row+divided"),
    ),
    TorchWild(
        cls=TfLayerNorm, block=ar.LayerNorm(width=12, eps=1e-12), draw=tokens("x", 12, 3), call=only_x,
        copy=lambda layer: {"scale": array(layer.gamma), "offset": array(layer.beta)},
        faults={
            "over tokens": at(NORMED, "the norm goes over tokens"), "over both": at(NORMED, "over tokens and features"),
            "mean not subtracted from squares": at(NORMED, "divided by the root mean square"),
            "unbiased": at(NORMED, "the unbiased variance"), "another eps": at(NORMED, "eps is 1e-5", "option:eps"),
            "absolute deviation": at(NORMED, "divided by the mean absolute deviation"),
            "divided by the variance": at(NORMED, "divided by the variance, not its root"),
            "scale before the mean": at(NORMED, "scaled before it is normed"),
            "shifted before it is scaled": at(
                "scaled|shifted", "the offset is scaled too", alias=lambda w: {**w, "offset": w["offset"] * w["scale"]}
            ),
            "one and the scale": at("scaled|shifted", "1 is added to the scale",
                                    alias=lambda w: {**w, "scale": 1 + w["scale"]}),
            "offset lost": at("shifted", "the offset is not added", "option:use_offset", alias=constant(offset=0)),
        },
        pairs=("unbiased+offset lost", "another eps+one and the scale"),
    ),
    TorchWild(
        cls=T5Norm, block=ar.RMSNorm(width=12), draw=tokens("x", 12, 3), call=only_x,
        copy=lambda layer: {"scale": array(layer.weight)},
        faults={
            "over tokens": at("normed|scaled", "the mean square goes over tokens"),
            "centred": at("normed|scaled", "divided by the deviation, not centred itself"),
            "by one less": at("normed|scaled", "the sum is divided by c - 1"),
            "another eps": at("normed|scaled", "eps is 1e-5", "option:eps"),
            "eps outside the root": at("normed|scaled", "eps is added to the root"),
            "largest of eps": at("normed|scaled", "what is small is not divided"),
            "root left out": at("normed|scaled", "divided by the mean square"),
            "weight under the root": at(
                "normed|scaled|output", "scaled twice", alias=lambda w: {"scale": w["scale"] ** 2}
            ),
            "one and the weight": at(
                "scaled", "1 is added to the scale", "option:zero_centered", alias=lambda w: {"scale": 1 + w["scale"]}
            ),
            "weight lost": at("scaled|output", "not scaled", alias=constant(scale=1)),
            "weight of the mean": at("scaled", "all features have the mean scale", alias=lambda w: {
                "scale": np.full(12, w["scale"].mean())
            }),
        },
        pairs=("by one less+weight of the mean", "another eps+weight lost"),
    ),
    TorchWild(
        cls=ReshapePatches, block=ar.PatchEmbedding(patch=2, channels=3, width=8), draw=images,
        inputs={"img": "(b, channels, H, W)"}, call=image_first, copy=patch_weights,
        faults={
            "strided pixels": at("projected|tokens", "a patch is every h-th pixel"),
            "columns first": at("projected|tokens", "patches come column by column"),
            "pixels transposed": at(
                "projected|tokens", "pixels of a patch come column by column",
                alias=lambda w: {**w, "project.kernel": w["project.kernel"].swapaxes(0, 1)},
            ),
            "channels before pixels": at(
                "projected|tokens", "a patch is (c, p, p), the weight (p, p, c)",
                alias=turned((1, 2, 0, 3), (3, 2, 2, 8)),
            ),
            "rows and patches exchanged": at("projected|tokens", "a patch is a piece of a row"),
            "as it lies": at("projected|tokens", "the image is reshaped as it lies"),
            "image mirrored": at("tokens|projected", "patches of a row come in reverse"),
            "patches normed": at("projected|tokens", "patches are normed before"),
            "colours in reverse": at(
                "projected|tokens", "channels in reverse order",
                alias=lambda w: {**w, "project.kernel": w["project.kernel"][:, :, ::-1]},
            ),
            "activated": at("tokens|output", "tokens go through ReLU"),
        },
        pairs=("columns first+activated", "strided pixels+patches normed"),
    ),
)  # fmt: skip
