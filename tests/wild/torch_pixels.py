"""Attention of the pixels, or of the channels, of a feature map, in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attn_ref as ar

from .corpus import Arrays, Planted, halved, maps, values
from .torch_tools import (
    TorchWild,
    array,
    batch_norm,
    channels_first,
    constant,
    conv,
    exchanged,
    first,
    same_as,
)


class NonLocalPooled(nn.Module):
    """Sub-sampled keys and values, a batch norm at the end."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.g, self.theta, self.phi = (nn.Conv2d(8, 4, 1) for _ in range(3))
        self.pool = nn.MaxPool2d(2)
        eps = 1e-3 if "another eps" in self.fault else 1e-5
        self.W = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8, eps=eps))

    def forward(self, x: Tensor) -> Tensor:
        b, _, height, width = x.shape
        pool = nn.AvgPool2d(2) if "mean of windows" in self.fault else self.pool
        g_x = self.g(x) if "values not pooled" in self.fault else pool(self.g(x))  # fault: mean of windows
        if "values not pooled" in self.fault:
            g_x = g_x[:, :, ::2, ::2][:, :, : height // 2, : width // 2]  # fault: values not pooled
        early = "pooled before the convolution" in self.fault
        phi_x = self.phi(self.pool(x)) if early else pool(self.phi(x))  # fault: pooled before the convolution
        g_x = g_x.flatten(2).permute(0, 2, 1)
        theta_x = self.theta(x).flatten(2).permute(0, 2, 1)
        phi_x = phi_x.flatten(2)
        if "keys turned about" in self.fault:
            phi_x = phi_x.flip(2)  # fault: keys turned about
        f = torch.matmul(theta_x, phi_x)
        if "scaled" in self.fault:
            f = f * 4**-0.5  # fault: scaled
        if "softmax over queries" in self.fault:
            f = F.softmax(f, dim=1)  # fault: softmax over queries
        elif "divided by the number" in self.fault:
            f = f / f.size(-1)  # fault: divided by the number
        else:
            f = F.softmax(f, dim=-1)
        y = torch.matmul(f, g_x).permute(0, 2, 1).contiguous()
        if "rows and columns exchanged" in self.fault:
            y = y.view(b, 4, width, height).transpose(2, 3)  # fault: rows and columns exchanged
        else:
            y = y.view(b, 4, height, width)
        if "norm lost" in self.fault:
            return self.W[0](y) + x  # fault: norm lost
        if "norm of the sum" in self.fault:
            return self.W[1](self.W[0](y) + x)  # fault: norm of the sum
        return self.W(y) + x  # fault: another eps


class NonLocalDot(nn.Module):
    """A product divided by the number of keys, in one dimension, channels before time."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.g, self.theta, self.phi = (nn.Conv1d(6, 3, 1) for _ in range(3))
        self.out = nn.Conv1d(3, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        theta_x = self.theta(x).transpose(1, 2)
        phi_x = self.phi(x)
        g_x = self.g(x).transpose(1, 2)
        if "activated" in self.fault:
            theta_x, phi_x = theta_x.relu(), phi_x.relu()  # fault: activated
        if "query and key exchanged" in self.fault:
            theta_x, phi_x = phi_x.transpose(1, 2), theta_x.transpose(1, 2)  # fault: query and key exchanged
        f = theta_x @ phi_x
        if "divided by the root" in self.fault:
            f = f / f.shape[-1] ** 0.5  # fault: divided by the root
        elif "divided by the sum" in self.fault:
            f = f / f.sum(-1, keepdim=True)  # fault: divided by the sum
        elif "divided by the channels" in self.fault:
            f = f / phi_x.shape[1]  # fault: divided by the channels
        elif "softmax" in self.fault:
            f = f.softmax(-1)  # fault: softmax
        elif "not divided" not in self.fault:
            f = f / f.shape[-1]
        if "weights transposed" in self.fault:
            f = f.transpose(1, 2)  # fault: weights transposed
        y = (f @ g_x).transpose(1, 2)  # fault: not divided
        if "residual subtracted" in self.fault:
            return self.out(y) - x  # fault: residual subtracted
        if "residual activated" in self.fault:
            return F.relu(self.out(y) + x)  # fault: residual activated
        if "residual before the last" in self.fault:
            return self.out(y + self.g(x))  # fault: residual before the last
        return self.out(y) + x


class NonLocalScaled(nn.Module):
    """Three dimensions, channels last inside, scaled by the inner width."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.embed = nn.Conv3d(6, 12, 1, bias=False)
        self.project = nn.Conv3d(4, 6, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, c, depth, height, width = x.shape
        q, k, v = self.embed(x).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        if "frame by frame" in self.fault:
            q, k, v = (y.reshape(b * depth, -1, 4) for y in (q, k, v))  # fault: frame by frame
        if "the first frame's keys" in self.fault:
            k, v = k[:, : height * width], v[:, : height * width]  # fault: the first frame's keys
        scale = c**-0.5 if "scale by the channels" in self.fault else 4**-0.5
        if "scale left out" in self.fault:
            scale = 1.0
        scores = torch.einsum("bik,bjk->bij", q, k) * scale  # fault: scale by the channels, scale left out
        if "scores centred" in self.fault:
            scores = scores - scores.mean(1, keepdim=True)  # fault: scores centred
        weights = torch.softmax(scores, dim=2)
        if "itself left out" in self.fault:
            weights = weights * (
                1 - torch.eye(weights.shape[1], weights.shape[2]).to(weights)
            )  # fault: itself left out
        y = torch.einsum("bij,bjk->bik", weights, v).reshape(b, -1, 4)
        if "as it lies" in self.fault:
            y = y.reshape(b, 4, depth, height, width)  # fault: as it lies
        elif "width before height" in self.fault:
            y = y.transpose(1, 2).reshape(b, 4, depth, width, height).transpose(3, 4)  # fault: width before height
        else:
            y = y.transpose(1, 2).reshape(b, 4, depth, height, width)
        y = self.project(y)
        if "residual's mean" in self.fault:
            return y + x.mean((2, 3, 4), keepdim=True)  # fault: residual's mean
        if "halved" in self.fault:
            return (y + x) / 2  # fault: halved
        return y + x


class Sagan(nn.Module):
    """Query and key of few channels, a gate that is learned."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.query_conv, self.key_conv = nn.Conv2d(16, 2, 1), nn.Conv2d(16, 2, 1)
        self.value_conv, self.gamma = nn.Conv2d(16, 16, 1), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, width, height = x.size()
        proj_query = self.query_conv(x).view(b, -1, width * height).permute(0, 2, 1)
        proj_key = self.key_conv(x).view(b, -1, width * height)
        if "queries for keys" in self.fault:
            proj_key = self.query_conv(x).view(b, -1, width * height)  # fault: queries for keys
        energy = torch.bmm(proj_query, proj_key)
        if "scaled" in self.fault:
            energy = energy * 2**-0.5  # fault: scaled
        axis = 1 if "softmax over queries" in self.fault else -1
        attention = energy.softmax(dim=axis)  # fault: softmax over queries
        proj_value = self.value_conv(x).view(b, -1, width * height)
        if "map not transposed" in self.fault:
            out = torch.bmm(proj_value, attention)  # fault: map not transposed
        elif "values of the input" in self.fault:
            out = torch.bmm(x.view(b, -1, width * height), attention.permute(0, 2, 1))  # fault: values of the input
        else:
            out = torch.bmm(proj_value, attention.permute(0, 2, 1))
        if "width and height exchanged" in self.fault:
            out = out.view(b, c, height, width).transpose(2, 3)  # fault: width and height exchanged
        out = out.reshape(b, c, width, height)
        if "gate lost" in self.fault:
            return out + x  # fault: gate lost
        if "gate on both" in self.fault:
            return self.gamma * (out + x)  # fault: gate on both
        if "gate shares" in self.fault:
            return self.gamma * out + (1 - self.gamma) * x  # fault: gate shares
        if "gate through a sigmoid" in self.fault:
            return torch.sigmoid(self.gamma) * out + x  # fault: gate through a sigmoid
        if "gate on the input" in self.fault:
            return out + self.gamma * x  # fault: gate on the input
        if "residual lost" in self.fault:
            return self.gamma * out  # fault: residual lost
        return self.gamma * out + x


class BigGanAttention(nn.Module):
    """Pooled keys and values, values of half the channels, a last convolution, no biases."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.theta, self.phi = nn.Conv2d(8, 2, 1, bias=False), nn.Conv2d(8, 2, 1, bias=False)
        self.g, self.o = nn.Conv2d(8, 4, 1, bias=False), nn.Conv2d(4, 8, 1, bias=False)
        self.gamma = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        theta = self.theta(x)
        if "pooled with stride 1" in self.fault:
            phi, g = F.max_pool2d(self.phi(x), 2, 1), F.max_pool2d(self.g(x), 2, 1)  # fault: pooled with stride 1
        elif "mean of windows" in self.fault:
            phi, g = F.avg_pool2d(self.phi(x), 2), F.avg_pool2d(self.g(x), 2)  # fault: mean of windows
        elif "pooled with odd ones too" in self.fault:
            phi, g = self.phi(x), self.g(x)
            phi, g = (F.max_pool2d(y, 2, ceil_mode=True) for y in (phi, g))  # fault: pooled with odd ones too
        elif "not pooled" in self.fault:
            phi, g = self.phi(x), self.g(x)  # fault: not pooled
        elif "values by their own mean" in self.fault:
            phi, g = F.max_pool2d(self.phi(x), 2), F.avg_pool2d(self.g(x), 2)  # fault: values by their own mean
        else:
            phi, g = F.max_pool2d(self.phi(x), 2), F.max_pool2d(self.g(x), 2)
        theta, phi, g = theta.view(b, 2, -1), phi.reshape(b, 2, -1), g.reshape(b, 4, -1)
        scores = torch.bmm(theta.transpose(1, 2), phi)
        if "negative" in self.fault:
            scores = -scores  # fault: negative
        beta = F.softmax(scores, 1 if "softmax over queries" in self.fault else -1)  # fault: softmax over queries
        o = torch.bmm(g, beta.transpose(1, 2)).view(b, 4, h, w)
        if "activated" in self.fault:
            o = F.relu(o)  # fault: activated
        o = self.o(o)
        if "gate squared" in self.fault:
            return self.gamma**2 * o + x  # fault: gate squared
        return self.gamma * o + x


class Cam(nn.Module):
    """DANet's channel attention: no convolutions, the largest score less the score."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.size()
        x = x * 0.3 if "input scaled" in self.fault else x  # fault: input scaled
        query, key = x.view(b, c, -1), x.view(b, c, -1).permute(0, 2, 1)
        if "normed" in self.fault:
            query = F.normalize(query, dim=-1)  # fault: normed
        energy = torch.bmm(query, key)
        if "divided by the pixels" in self.fault:
            energy = energy / (height * width)  # fault: divided by the pixels
        if "least for largest" in self.fault:
            energy_new = energy - energy.min(-1, keepdim=True)[0]  # fault: least for largest
        elif "not turned about" in self.fault:
            energy_new = energy  # fault: not turned about
        elif "largest of columns" in self.fault:
            energy_new = energy.max(1, keepdim=True)[0] - energy  # fault: largest of columns
        elif "absolute" in self.fault:
            energy_new = (energy.max(-1, keepdim=True)[0] - energy.abs()).abs()  # fault: absolute
        else:
            energy_new = torch.max(energy, -1, keepdim=True)[0].expand_as(energy) - energy
        attention = energy_new.softmax(
            dim=1 if "softmax over queries" in self.fault else -1
        )  # fault: softmax over queries
        if "map transposed" in self.fault:
            attention = attention.permute(0, 2, 1)  # fault: map transposed
        out = torch.bmm(attention, x.view(b, c, -1)).view(b, c, height, width)
        if "gate lost" in self.fault:
            return out + x  # fault: gate lost
        if "residual times the result" in self.fault:
            return self.gamma * out * x  # fault: residual times the result
        return self.gamma * out + x


class ChannelProjected(nn.Module):
    """Channels attend to channels after convolutions, also on the shortcut."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.q, self.k, self.v, self.skip = (nn.Conv2d(8, 5, 1) for _ in range(4))
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        q, k, v = self.q(x).flatten(2), self.k(x).flatten(2), self.v(x).flatten(2)
        if "pixels attend" in self.fault:
            attn = (q.transpose(1, 2) @ k).softmax(-1)  # fault: pixels attend
            y = v @ attn.transpose(1, 2)  # fault: pixels attend
        else:
            scores = q @ k.transpose(1, 2)
            if "scaled by the pixels" in self.fault:
                scores = scores * (h * w) ** -0.5  # fault: scaled by the pixels
            if "scores tanh" in self.fault:
                scores = scores.tanh()  # fault: scores tanh
            attn = (
                scores.softmax(1) if "softmax over queries" in self.fault else scores.softmax(-1)
            )  # fault: softmax over queries
            if "mixed with itself" in self.fault:
                attn = 0.5 * (attn + torch.eye(5).to(attn))  # fault: mixed with itself
            y = attn.transpose(1, 2) @ v if "map transposed" in self.fault else attn @ v  # fault: map transposed
        y = y.view(b, 5, h, w)
        if "shortcut by the values" in self.fault:
            return self.scale * y + self.v(x)  # fault: shortcut by the values
        if "shortcut without bias" in self.fault:
            return self.scale * y + F.conv2d(x, self.skip.weight)  # fault: shortcut without bias
        if "shortcut of the mean" in self.fault:
            return self.scale * y + self.skip(x).mean((2, 3), keepdim=True)  # fault: shortcut of the mean
        if "gate exponential" in self.fault:
            return self.scale.exp() * y + self.skip(x)  # fault: gate exponential
        return self.scale * y + self.skip(x)


class TimmPixels(nn.Module):
    """One convolution of size 1 for all; its channels are (head, 3, width)."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.num_heads, self.dim_head = 2, 4
        self.qkv, self.proj = nn.Conv2d(8, 24, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        if "three before heads" in self.fault:
            q, k, v = self.qkv(x).view(b, 3, self.num_heads, self.dim_head, -1).unbind(1)  # fault: three before heads
        else:
            q, k, v = self.qkv(x).view(b, self.num_heads, self.dim_head * 3, -1).chunk(3, dim=2)
        if "query normed" in self.fault:
            q = F.normalize(q, dim=2)  # fault: query normed
        if "values activated" in self.fault:
            v = v.relu()  # fault: values activated
        attn = q.transpose(-1, -2) @ k
        scale = c**-0.5 if "scale by the channels" in self.fault else self.dim_head**-0.5
        if "scale by the pixels" in self.fault:
            scale = (h * w) ** -0.5
        attn = attn * scale  # fault: scale by the channels, scale by the pixels
        if "row by row" in self.fault:
            rows = torch.arange(h).repeat_interleave(w)
            attn = attn.masked_fill(rows[:, None] != rows[None], float("-inf"))  # fault: row by row
        if "causal" in self.fault:
            attn = attn.masked_fill(torch.ones_like(attn).bool().triu(1), float("-inf"))  # fault: causal
        attn = attn.softmax(dim=-2 if "softmax over queries" in self.fault else -1)  # fault: softmax over queries
        if "map not transposed" in self.fault:
            y = (v @ attn).view(b, -1, h, w)  # fault: map not transposed
        else:
            y = (v @ attn.transpose(-1, -2)).view(b, -1, h, w)
        if "channels shuffled" in self.fault:
            y = y.view(b, 2, 4, h, w).transpose(1, 2).reshape(b, 8, h, w)  # fault: channels shuffled
        if "residual inside" in self.fault:
            return self.proj(y) + x  # fault: residual inside
        return self.proj(y)


class MhsaMap(nn.Module):
    """ReLU on query, key and value, a relu of a convolution added before, no scale, the input added at the end."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.pos, self.q, self.k, self.v = (nn.Conv2d(8, 8, 1) for _ in range(4))

    def heads(self, x: Tensor) -> Tensor:
        return x.flatten(2).view(len(x), 2, 4, -1).transpose(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        if "position lost" in self.fault:
            p = x  # fault: position lost
        elif "position alone" in self.fault:
            p = F.relu(self.pos(x))  # fault: position alone
        elif "position not activated" in self.fault:
            p = x + self.pos(x)  # fault: position not activated
        else:
            p = x + F.relu(self.pos(x))
        act = F.gelu if "gelu for relu" in self.fault else F.relu
        q, k = self.q(p), act(self.k(p))  # fault: gelu for relu
        if "query not activated" not in self.fault:
            q = act(q)  # fault: gelu for relu
        read = x if "values of the input" in self.fault else p
        v = act(self.v(read))  # fault: gelu for relu, values of the input
        q, k, v = self.heads(q), self.heads(k), self.heads(v)  # fault: query not activated
        if "one head" in self.fault:
            q, k, v = (y.transpose(1, 2).flatten(2).unsqueeze(1) for y in (q, k, v))  # fault: one head
        scores = q @ k.transpose(-2, -1)
        if "scaled" in self.fault:
            scores = scores / 2  # fault: scaled
        y = torch.softmax(scores, dim=-1) @ v
        y = y.transpose(2, 3).reshape(b, c, h, w)
        if "residual of the position" in self.fault:
            return y + p  # fault: residual of the position
        if "residual lost" in self.fault:
            return y  # fault: residual lost
        if "residual twice" in self.fault:
            return y + 2 * x  # fault: residual twice
        return y + x


# what they are given, and their weights -------------------------------------------------------------------------------


def small(channels: int, least: int = 2, most: int = 5) -> Any:
    """Maps that are not large, since every pixel meets every other."""
    return maps(channels, least, most)


def row(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": values(rng, int(rng.integers(1, 4)), int(rng.integers(3, 9)), 6)}


def cube(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": values(rng, *(int(n) for n in rng.integers((1, 2, 2, 2), (3, 4, 5, 5))), 6)}


def little(channels: int, size: float) -> Any:
    """Small numbers, so that sums over all pixels do not leave a single weight."""
    draw = maps(channels, 2, 5)
    return lambda rng: {"x": draw(rng)["x"] * size}


def non_local(layer: Any, last: Any) -> dict[str, np.ndarray]:
    return {
        **conv("theta", layer.theta), **conv("phi", layer.phi), **conv("g", layer.g), **conv("project", last)
    }  # fmt: skip


def scaled_weights(layer: Any) -> dict[str, np.ndarray]:
    weight = array(layer.embed.weight).reshape(12, 6).T.reshape(1, 1, 1, 6, 12)
    parts = dict(zip(("theta.kernel", "phi.kernel", "g.kernel"), np.split(weight, 3, axis=-1), strict=True))
    return {**parts, **conv("project", layer.project)}


def sagan_weights(layer: Any) -> dict[str, np.ndarray]:
    return {
        "gate": array(layer.gamma), **conv("query", layer.query_conv), **conv("key", layer.key_conv),
        **conv("value", layer.value_conv),
    }  # fmt: skip


def big_gan_weights(layer: Any) -> dict[str, np.ndarray]:
    return {
        "gate": array(layer.gamma).reshape(1), **conv("query", layer.theta), **conv("key", layer.phi),
        **conv("value", layer.g), **conv("project", layer.o),
    }  # fmt: skip


def projected_weights(layer: Any) -> dict[str, np.ndarray]:
    return {
        "gate": array(layer.scale), **conv("query", layer.q), **conv("key", layer.k), **conv("value", layer.v),
        **conv("shortcut", layer.skip),
    }  # fmt: skip


def timm_pixels(order: str) -> Any:
    def weights(layer: Any) -> dict[str, np.ndarray]:
        axes, axis = ((2, 3, 4), 1) if order == "h 3 d" else ((3, 2, 4), 0)
        weight = np.moveaxis(array(layer.qkv.weight).reshape(*axes, 8), axis, 0)
        bias = np.moveaxis(array(layer.qkv.bias).reshape(*axes), axis, 0)
        found = conv("project", layer.proj)
        for name, k, one in zip(("query", "key", "value"), weight, bias, strict=True):
            found |= {f"{name}.kernel": k.reshape(8, 8).T[None, None], f"{name}.bias": one.reshape(8)}
        return found

    return weights


def three_first(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The channels (head, 3, width) read as (3, head, width)."""
    names, found = ("query", "key", "value"), dict(w)
    for leaf in ("kernel", "bias"):
        parts = np.stack([w[f"{name}.{leaf}"] for name in names], axis=-2)  # …, 3, h·d
        lead = parts.shape[:-2]
        fused = np.moveaxis(parts.reshape(*lead, 3, 2, 4), -3, -2).reshape(*lead, 3, 8)  # the rows as they lie
        found |= {f"{name}.{leaf}": fused[..., i, :] for i, name in enumerate(names)}
    return found


def mhsa_weights(layer: Any) -> dict[str, np.ndarray]:
    return {
        **conv("position", layer.pos), **conv("query", layer.q), **conv("key", layer.k), **conv("value", layer.v)
    }  # fmt: skip


def gate(change: Any) -> Any:
    return lambda w: {**w, "gate": change(w["gate"])}


def at(tap: str, reason: str, option: str = "", **more: Any) -> Planted:
    return Planted(taps=tap, reason=reason, option=option, **more)


def last_axis_first(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    return [np.moveaxis(inputs["x"], -1, 1)], {}


WILD = halved(
    TorchWild(
        cls=NonLocalPooled, block=ar.NonLocal(channels=8, sub_sample=True, batch_norm=True), draw=small(8, 2, 6),
        call=first, expect=channels_first,
        copy=lambda layer: {**non_local(layer, layer.W[0]), **batch_norm("norm", layer.W[1])},
        faults={
            "another eps": at("normed", "eps is 1e-3", "option:eps"),
            "mean of windows": at("phi|g", "the mean of a window, not its largest"),
            "values not pooled": at("g", "the values are every second pixel"),
            "pooled before the convolution": at("phi", "pooled, then projected"),
            "keys turned about": at("phi|scores", "keys and values do not belong together"),
            "scaled": at("scores|weights", "the scores are scaled", "option:scale"),
            "softmax over queries": at("weights", "the softmax goes over the queries"),
            "divided by the number": at("weights", "divided by the number of keys", "option:pairing"),
            "rows and columns exchanged": at("context|projected", "the pixels are laid out column by column"),
            "norm lost": at("normed|output", "there is no norm", "option:batch_norm"),
            "norm of the sum": at("normed|output", "the sum is normed"),
        },
        pairs=("scaled+norm lost", "pooled before the convolution+softmax over queries"),
    ),
    TorchWild(
        cls=NonLocalDot, block=ar.NonLocal(channels=6, dimensions=1, pairing="dot"), draw=row, call=last_axis_first,
        expect=channels_first, copy=lambda layer: non_local(layer, layer.out),
        faults={
            "activated": at("theta|scores", "query and key go through ReLU"),
            "query and key exchanged": at(
                "theta|scores|weights|context", "query and key are exchanged", alias=exchanged(("theta", "phi"))
            ),
            "divided by the root": at("weights", "divided by the root of the number"),
            "divided by the sum": at("weights", "divided by the sum of the scores"),
            "divided by the channels": at("weights", "divided by the inner width"),
            "softmax": at("weights", "a softmax", "option:pairing"), "not divided": at("weights", "not divided"),
            "weights transposed": at("context|weights", "the weights are applied transposed"),
            "residual subtracted": at("output", "the input is subtracted"),
            "residual activated": at("output", "the sum is activated"),
            "residual before the last": at("context|projected|output", "the values are added before the projection"),
        },
        pairs=("activated+residual subtracted", "divided by the root+residual activated"),
    ),
    TorchWild(
        cls=NonLocalScaled, draw=cube, call=last_axis_first, expect=channels_first, copy=scaled_weights,
        block=ar.NonLocal(channels=6, dimensions=3, inner_width=4, scale="inner", use_bias=False),
        faults={
            "frame by frame": at("scores|weights|context", "pixels of one frame meet alone"),
            "the first frame's keys": at("phi|g|scores", "keys are those of the first frame"),
            "scale by the channels": at("scores", "scaled by the root of the channels", "option:scale"),
            "scale left out": at("scores", "not scaled", "option:scale"),
            "scores centred": at("scores|weights", "the mean over queries is subtracted"),
            "itself left out": at("weights|context", "a pixel's own weight is 0"),
            "as it lies": at("context|projected", "pixels and channels are not exchanged"),
            "width before height": at("context|projected|output", "pixels are laid out column by column"),
            "residual's mean": at("output", "the input's mean is added"), "halved": at("output", "the sum is halved"),
        },
        pairs=("scale left out+halved", "itself left out+as it lies"),
    ),
    TorchWild(
        cls=Sagan, block=ar.SpatialSelfAttention(channels=16), draw=small(16), call=first, expect=channels_first,
        copy=sagan_weights,
        faults={
            "queries for keys": at("key|scores", "keys are the queries", alias=same_as(key="query")),
            "scaled": at("scores|weights", "the scores are scaled"),
            "softmax over queries": at("weights", "the softmax goes over the queries"),
            "map not transposed": at("context|weights", "the weights are applied transposed"),
            "values of the input": at("value|context", "the values are the input"),
            "width and height exchanged": at("context|output", "the pixels are laid out column by column"),
            "gate lost": at("output", "the gate is not used", alias=constant(gate=1)),
            "gate on both": at("output", "the input is gated too"), "gate shares": at("output", "1 less the gate"),
            "gate through a sigmoid": at(
                "output", "the gate goes through a sigmoid", alias=gate(lambda g: 1 / (1 + np.exp(-g)))
            ),
            "gate on the input": at("output", "the input is gated, the result is not"),
            "residual lost": at("output", "the input is not added"),
        },
        pairs=("scaled+gate on both", "map not transposed+residual lost", "softmax over queries+gate shares"),
    ),
    TorchWild(
        cls=BigGanAttention, draw=small(8, 2, 6), call=first, expect=channels_first, copy=big_gan_weights,
        block=ar.SpatialSelfAttention(
            channels=8, head_width=2, value_head_width=4, sub_sample=True, project=True, use_bias=False
        ),
        faults={
            "pooled with stride 1": at("key", "windows overlap"), "mean of windows": at("key", "the mean of a window"),
            "pooled with odd ones too": at("key", "the last row and column are keys of an odd size"),
            "not pooled": at("key", "all pixels are keys", "option:sub_sample"),
            "values by their own mean": at("value", "values are the means of windows"),
            "negative": at("scores|weights", "the scores have the other sign"),
            "softmax over queries": at("weights", "the softmax goes over the queries"),
            "activated": at("projected|context", "the result goes through ReLU"),
            "gate squared": at("output", "the gate is squared", alias=gate(lambda g: g**2)),
        },
        pairs=("mean of windows+activated", "not pooled+softmax over queries"),
    ),
    TorchWild(
        cls=Cam, draw=little(6, 0.5), call=first, expect=channels_first,
        copy=lambda layer: {"gate": array(layer.gamma)},
        block=ar.ChannelSelfAttention(channels=6, project_inputs=False, project_shortcut=False, invert=True),
        faults={
            "input scaled": at(
                "query|scores", "the input is scaled"), "normed": at("query|scores", "queries are normed"
            ),
            "divided by the pixels": at("scores|inverted", "divided by the number of pixels"),
            "least for largest": at("inverted|weights", "the least is subtracted", option="option:invert"),
            "not turned about": at("inverted|weights", "the scores themselves", "option:invert"),
            "largest of columns": at("inverted|weights", "the largest of a column"),
            "absolute": at("inverted|weights", "absolute values"),
            "softmax over queries": at("weights", "the softmax goes over the queries"),
            "map transposed": at("context|weights", "the map is transposed"),
            "gate lost": at("output", "the gate is not used", alias=constant(gate=1)),
            "residual times the result": at("output", "multiplied, not added"),
        },
        pairs=("divided by the pixels+map transposed", "not turned about+gate lost"),
    ),
    TorchWild(
        cls=ChannelProjected, block=ar.ChannelSelfAttention(channels=8, inner_width=5), draw=little(8, 0.4),
        call=first, expect=channels_first, copy=projected_weights,
        faults={
            "pixels attend": at("scores|weights|context", "pixels attend, not channels"),
            "scaled by the pixels": at("scores|weights", "scaled by the root of the pixels"),
            "scores tanh": at("scores|weights", "the scores go through a tanh"),
            "softmax over queries": at("weights", "the softmax goes over the queries"),
            "mixed with itself": at("weights|context", "half of a channel's weight is its own"),
            "map transposed": at("context|weights", "the map is transposed"),
            "shortcut by the values": at("shortcut", "the values are the shortcut", alias=same_as(shortcut="value")),
            "shortcut without bias": at(
                "shortcut", "the shortcut's bias is not added", alias=constant(**{"shortcut.bias": 0})
            ),
            "shortcut of the mean": at("shortcut|output", "the shortcut is a mean over pixels"),
            "gate exponential": at("output", "e to the gate", alias=gate(np.exp)),
        },
        pairs=("scaled by the pixels+shortcut of the mean", "scores tanh+map transposed"),
    ),
    TorchWild(
        cls=TimmPixels, block=ar.MultiHeadAttention2d(channels=8, num_heads=2), draw=small(8), call=first,
        expect=channels_first, copy=timm_pixels("h 3 d"),
        faults={
            "three before heads": at("query", "channels are read as (3, head, width)", alias=three_first),
            "query normed": at("query|attention.scores", "queries are divided by their length"),
            "values activated": at("value|attention.context", "values go through ReLU"),
            "scale by the channels": at("attention.scores", "scaled by the root of the channels", "option:scale"),
            "scale by the pixels": at("attention.scores", "scaled by the root of the pixels"),
            "row by row": at("attention.weights", "pixels of one row meet alone"),
            "causal": at("attention.weights", "later pixels are hidden"),
            "softmax over queries": at("attention.weights", "the softmax goes over the queries"),
            "map not transposed": at("attention.context|merged", "the weights are applied transposed"),
            "channels shuffled": at("merged|projected", "heads are merged as (d, h)"),
            "residual inside": at("output|projected", "the input is added", "option:residual"),
        },
        pairs=("scale by the channels+residual inside", "query normed+channels shuffled"),
    ),
    TorchWild(
        cls=MhsaMap, draw=little(8, 0.7), call=first, expect=channels_first, copy=mhsa_weights,
        block=ar.MultiHeadAttention2d(
            channels=8, num_heads=2, scale=None, activation="relu", position="content", project=False, residual=True
        ),
        faults={
            "position lost": at("positioned|query", "nothing is added before", "option:position"),
            "position alone": at("positioned", "what should be added stands alone"),
            "position not activated": at("positioned", "it is not activated"),
            "query not activated": at("query|attention.scores", "queries do not go through ReLU"),
            "values of the input": at("value", "values are made of the input"),
            "gelu for relu": at("query", "GELU"),
            "one head": at("attention.scores|query", "there is one head", "option:num_heads"),
            "scaled": at("attention.scores|attention.weights", "the scores are scaled", "option:scale"),
            "residual of the position": at("output", "what stands before is added, not the input"),
            "residual lost": at("output", "the input is not added", "option:residual"),
            "residual twice": at("output", "the input is added twice"),
        },
        pairs=("scaled+residual twice", "position not activated+values of the input"),
    ),
)  # fmt: skip
