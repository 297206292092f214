"""Attention without masks from outside: heads split, packed and merged in the ways of the world, normed, cached."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attn_ref as ar

from .corpus import Arrays, Planted, halved, keep, tokens, values
from .torch_tools import (
    TorchWild,
    array,
    constant,
    exchanged,
    linear,
    linears,
    norm,
    only_query,
    packed,
    permuted,
    same_as,
)

WEIGHTS = "attention.masked|attention.weights"


def rearrange(x: Tensor, pattern: str, h: int) -> Tensor:
    """The two patterns that are needed, by hand."""
    if pattern == "b n (h d) -> b h n d":
        return x.view(*x.shape[:2], h, -1).permute(0, 2, 1, 3)
    if pattern == "b n (d h) -> b h n d":
        return x.view(*x.shape[:2], -1, h).permute(0, 3, 1, 2)  # fault: split as (d h)
    if pattern == "b h n d -> b n (h d)":
        return x.permute(0, 2, 1, 3).flatten(2)
    if pattern == "b h n d -> b n (d h)":
        return x.permute(0, 2, 3, 1).flatten(2)  # fault: merged as (d h)
    raise ValueError(pattern)


class VitAttention(nn.Module):
    """Packed without bias, patterns of axes, an output in a ``Sequential`` with dropout."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.heads, dim_head = 3, 5
        self.scale = (12 if "scale by the width" in self.fault else dim_head) ** -0.5
        self.to_qkv = nn.Linear(12, 45, bias=False)
        self.to_out = nn.Sequential(nn.Linear(15, 12), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.to_qkv(x).chunk(3, dim=-1)
        if "chunks in reverse" in self.fault:
            qkv = qkv[::-1]  # fault: chunks in reverse
        split = "b n (d h) -> b h n d" if "split as (d h)" in self.fault else "b n (h d) -> b h n d"
        q, k, v = (rearrange(y, split, self.heads) for y in qkv)  # fault: split as (d h)
        if "values normed" in self.fault:
            v = F.normalize(v, dim=-1)  # fault: values normed
        if "keys normed" in self.fault:
            k = F.normalize(k, dim=-1)  # fault: keys normed
        dots = torch.matmul(q, k.transpose(-1, -2))
        if "scale after the softmax" not in self.fault:
            dots = dots * self.scale  # fault: scale by the width
        if "softmax over all" in self.fault:
            attn = dots.flatten(2).softmax(-1).view_as(dots)  # fault: softmax over all
        elif "heads first" in self.fault:
            attn = dots.mean(1, keepdim=True).softmax(-1).expand_as(dots)  # fault: heads first
        else:
            attn = dots.softmax(dim=-1)
        if "scale after the softmax" in self.fault:
            attn = attn * self.scale  # fault: scale after the softmax
        if "dropout in evaluation" in self.fault:
            attn = nn.Dropout(0.1)(attn)  # fault: dropout in evaluation
        out = torch.matmul(attn, v)
        merge = "b h n d -> b n (d h)" if "merged as (d h)" in self.fault else "b h n d -> b n (h d)"
        return self.to_out(rearrange(out, merge, self.heads))  # fault: merged as (d h)


class Falcon(nn.Module):
    """One key head for all; queries, key and value are slices of one projection; fused and causal."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.query_key_value, self.dense = nn.Linear(12, 20), nn.Linear(12, 12)

    def forward(self, hidden_states: Tensor) -> Tensor:
        b, t, _ = hidden_states.shape
        fused = self.query_key_value(hidden_states)
        if "key and value exchanged" in self.fault:
            q, v, k = fused.split([12, 4, 4], dim=-1)  # fault: key and value exchanged
        elif "slices from the other end" in self.fault:
            v, k, q = fused.split([4, 4, 12], dim=-1)  # fault: slices from the other end
        else:
            q, k, v = fused.split([12, 4, 4], dim=-1)
        if "queries as d by h" in self.fault:
            q = q.view(b, t, 4, 3).permute(0, 3, 1, 2)  # fault: queries as d by h
        else:
            q = q.view(b, t, 3, 4).transpose(1, 2)
        k, v = k.unsqueeze(1), v.unsqueeze(1)
        if "queries share a mean" in self.fault:
            q = q.mean(1, keepdim=True).expand(-1, 3, -1, -1)  # fault: queries share a mean
        if "another scale" in self.fault:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=12**-0.5)  # fault: another scale
        elif "scaled before as well" in self.fault:
            y = F.scaled_dot_product_attention(q / 2, k, v, is_causal=True)  # fault: scaled before as well
        elif "not causal" in self.fault:
            y = F.scaled_dot_product_attention(q, k, v)  # fault: not causal
        elif "sees the past alone" in self.fault:
            past = torch.ones(t, t, dtype=torch.bool).tril(-1)
            y = F.scaled_dot_product_attention(q, k, v, past)  # fault: sees the past alone
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if "merged as it lies" in self.fault:
            return self.dense(y.reshape(b, t, 12))  # fault: merged as it lies
        return self.dense(y.transpose(1, 2).reshape(b, t, 12))


class Perceiver(nn.Module):
    """Latents attend to an input of another width; einsum with heads folded into the batch."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.heads, self.scale = 2, 7**-0.5
        self.to_q, self.to_kv = nn.Linear(12, 14, bias=False), nn.Linear(10, 28, bias=False)
        self.to_out = nn.Linear(14, 9)

    def fold(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        return x.reshape(b, n, self.heads, 7).permute(0, 2, 1, 3).reshape(b * self.heads, n, 7)

    def unfold(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        if "unfolded as h by b" in self.fault:
            x = x.reshape(self.heads, -1, n, 7).transpose(0, 1)  # fault: unfolded as h by b
        else:
            x = x.reshape(-1, self.heads, n, 7)
        return x.permute(0, 2, 1, 3).reshape(-1, n, 14)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        if "context centred" in self.fault:
            context = context - context.mean(1, keepdim=True)  # fault: context centred
        q = self.to_q(x)
        if "keys and values interleaved" in self.fault:
            k, v = self.to_kv(context).unflatten(-1, (-1, 2)).unbind(-1)  # fault: keys and values interleaved
        else:
            k, v = self.to_kv(context).chunk(2, dim=-1)
        q, k, v = self.fold(q), self.fold(k), self.fold(v)
        if "scaled on both sides" in self.fault:
            q, k = q * self.scale, k * self.scale  # fault: scaled on both sides
            sim = torch.einsum("bid,bjd->bij", q, k)
        elif "scale of the number of keys" in self.fault:
            sim = torch.einsum("bid,bjd->bij", q, k) * k.shape[1] ** -0.5  # fault: scale of the number of keys
        elif "distance for product" in self.fault:
            sim = -torch.cdist(q, k) * self.scale  # fault: distance for product
        else:
            sim = torch.einsum("bid,bjd->bij", q, k) * self.scale
        sim = sim - sim.amax(dim=-1, keepdim=True).detach()
        if "softmax over queries" in self.fault:
            attn = sim.softmax(dim=1)  # fault: softmax over queries
        elif "softmax by squares" in self.fault:
            attn = (sim**2).softmax(dim=-1)  # fault: softmax by squares
        elif "exponential alone" in self.fault:
            attn = sim.exp()  # fault: exponential alone
        else:
            attn = sim.exp() / sim.exp().sum(-1, keepdim=True)
        out = torch.einsum("bij,bjd->bid", attn, v)
        out = self.unfold(out)
        if "query inside" in self.fault:
            out = out + q.reshape(-1, self.heads, q.shape[1], 7).permute(0, 2, 1, 3).flatten(2)  # fault: query inside
        return self.to_out(out)


class LengthFirst(nn.Module):
    """Time before batch, einsum over letters."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.wq, self.wk, self.wv = (nn.Parameter(torch.rand(12, 3, 4)) for _ in range(3))
        self.wo = nn.Parameter(torch.rand(3, 4, 12))
        self.bo = nn.Parameter(torch.rand(12))

    def forward(self, x: Tensor) -> Tensor:
        q = torch.einsum("tbc,chd->tbhd", x, self.wq)
        if "keys by the query's weight" in self.fault:
            k = torch.einsum("tbc,chd->tbhd", x, self.wq)  # fault: keys by the query's weight
        else:
            k = torch.einsum("tbc,chd->tbhd", x, self.wk)
        v = torch.einsum("tbc,chd->tbhd", x, self.wv)
        if "heads summed in the scores" in self.fault:
            scores = torch.einsum("tbhd,sbgd->bhts", q, k)  # fault: heads summed in the scores
        elif "scores as s by t" in self.fault:
            scores = torch.einsum("tbhd,sbhd->bhst", q, k)  # fault: scores as s by t
        else:
            scores = torch.einsum("tbhd,sbhd->bhts", q, k)
        root = math.sqrt(q.shape[-2] if "scale by the heads" in self.fault else q.shape[-1])
        if "scaled by d" in self.fault:
            root = q.shape[-1]  # fault: scaled by d
        scores = scores / root  # fault: scale by the heads
        if "softmax over the batch" in self.fault:
            p = scores.softmax(0)  # fault: softmax over the batch
        elif "sharpened" in self.fault:
            p = (2 * scores).softmax(-1)  # fault: sharpened
        else:
            p = scores.softmax(-1)
        if "weights transposed" in self.fault:
            y = torch.einsum("bhst,sbhd->tbhd", p, v)  # fault: weights transposed
        elif "values of the next head" in self.fault:
            y = torch.einsum("bhts,sbhd->tbhd", p, v.roll(1, 2))  # fault: values of the next head
        elif "heads summed in the result" in self.fault:
            y = torch.einsum("bhts,sbhd->tbd", p, v)[:, :, None].expand_as(v)  # fault: heads summed in the result
        else:
            y = torch.einsum("bhts,sbhd->tbhd", p, v)
        out = torch.einsum("tbhd,hdc->tbc", y, self.wo)
        return out if "bias lost" in self.fault else out + self.bo  # fault: bias lost


class TimmAttention(nn.Module):
    """Norms of query and key within a head, fused."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.num_heads, self.head_dim = 3, 6
        eps = 1e-5 if "another eps" in self.fault else 1e-6
        self.qkv, self.proj = nn.Linear(18, 54), nn.Linear(18, 18)
        self.q_norm, self.k_norm = nn.LayerNorm(6, eps=eps), nn.LayerNorm(6, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if "one norm for both" in self.fault:
            q, k = self.q_norm(q), self.q_norm(k)  # fault: one norm for both
        elif "norms exchanged" in self.fault:
            q, k = self.k_norm(q), self.q_norm(k)  # fault: norms exchanged
        elif "keys are not normed" in self.fault:
            q = self.q_norm(q)  # fault: keys are not normed
        elif "normed twice" in self.fault:
            q, k = self.q_norm(self.q_norm(q)), self.k_norm(k)  # fault: normed twice
        elif "norm without parameters" in self.fault:
            q, k = (F.layer_norm(y, (6,), eps=1e-6) for y in (q, k))  # fault: norm without parameters
        elif "norm over tokens" in self.fault:
            q = (q - q.mean(2, True)) / (q.var(2, False, keepdim=True) + 1e-6).sqrt()  # fault: norm over tokens
            k = self.k_norm(k)
        elif "norm by root mean square" in self.fault:
            q = q * (q.square().mean(-1, True) + 1e-6).rsqrt() * self.q_norm.weight  # fault: norm by root mean square
            k = self.k_norm(k)
        else:
            q, k = self.q_norm(q), self.k_norm(k)  # fault: another eps
        if "values normed too" in self.fault:
            v = self.k_norm(v)  # fault: values normed too
        if "no scale" in self.fault:
            x = F.scaled_dot_product_attention(q, k, v, scale=1.0)  # fault: no scale
        elif "scaled twice" in self.fault:
            x = F.scaled_dot_product_attention(q * self.head_dim**-0.5, k, v)  # fault: scaled twice
        else:
            x = F.scaled_dot_product_attention(q, k, v)
        x = x.transpose(1, 2).reshape(b, n, c)
        return self.proj(self.proj(x)) if "projected twice" in self.fault else self.proj(x)  # fault: projected twice


class ScaledDotProduct(nn.Module):
    """The attention alone, of queries, keys and values in heads; mask (b, 1, t, s), True for what is left out."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        temperature = q.size(1) if "temperature of the heads" in self.fault else q.size(-1)
        if "temperature of the values" in self.fault:
            temperature = v.size(-1)
        attn = torch.matmul(
            q / temperature**0.5, k.transpose(2, 3)
        )  # fault: temperature of the heads, temperature of the values
        if "minus the largest of all" in self.fault:
            attn = attn - attn.max()  # fault: minus the largest of all
        if "mask upside down" in self.fault:
            attn = attn.masked_fill(~mask, -1e9)  # fault: mask upside down
        elif "mask for every head another" in self.fault:
            masks = torch.stack([mask[:, 0].roll(i, -1) for i in range(q.size(1))], 1)
            attn = attn.masked_fill(masks, -1e9)  # fault: mask for every head another
        elif "half a mask" in self.fault:
            attn = attn.masked_fill(
                mask & torch.ones(mask.shape[-2:], dtype=torch.bool).triu(), -1e9
            )  # fault: half a mask
        else:
            attn = attn.masked_fill(mask, -1e9)
        if "softmax in base 2" in self.fault:
            attn = torch.exp2(attn - attn.amax(-1, True))  # fault: softmax in base 2
            attn = attn / attn.sum(-1, keepdim=True)
        elif "softmax by one more" in self.fault:
            attn = attn.exp() / (1 + attn.exp().sum(-1, keepdim=True))  # fault: softmax by one more
        elif "hard" in self.fault:
            attn = F.one_hot(attn.argmax(-1), attn.size(-1)).to(attn)  # fault: hard
        else:
            attn = F.softmax(attn, dim=-1)
        if "context over queries" in self.fault:
            return attn / attn.sum(-2, keepdim=True).clamp(min=1e-9) @ v  # fault: context over queries
        return torch.matmul(attn, v)


class Cache:
    """Keys and values that were seen, layer by layer."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(self, keys: Tensor, values: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        if len(self.keys) <= layer_idx:
            self.keys.append(keys)
            self.values.append(values)
        else:
            self.keys[layer_idx] = torch.cat([self.keys[layer_idx], keys], dim=-2)
            self.values[layer_idx] = torch.cat([self.values[layer_idx], values], dim=-2)
        return self.keys[layer_idx], self.values[layer_idx]

    def length(self, layer_idx: int) -> int:
        return self.keys[layer_idx].shape[-2] if len(self.keys) > layer_idx else 0


class Cached(nn.Module):
    """Grouped heads, rotary positions that go on from a cache, which is empty here."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.head_dim, self.layer_idx = 6, 0
        self.q_proj, self.o_proj = nn.Linear(16, 24, bias=False), nn.Linear(24, 16, bias=False)
        self.k_proj, self.v_proj = nn.Linear(16, 12, bias=False), nn.Linear(16, 12, bias=False)

    def rotate(self, x: Tensor, start: int) -> Tensor:
        half = self.head_dim // 2
        inv_freq = 1.0 / 10000.0 ** (torch.arange(half).to(x) / half)
        angles = (start + torch.arange(x.shape[-2]).to(x))[:, None] * inv_freq
        cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
        return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin

    def forward(self, hidden_states: Tensor, past: Cache) -> Tensor:
        b, t, _ = hidden_states.shape
        q = self.q_proj(hidden_states).view(b, t, -1, self.head_dim).transpose(1, 2)
        k = self.k_proj(hidden_states).view(b, t, -1, self.head_dim).transpose(1, 2)
        v = self.v_proj(hidden_states).view(b, t, -1, self.head_dim).transpose(1, 2)
        start = past.length(self.layer_idx)
        if "both turned by one more" in self.fault:
            start = start + 1  # fault: both turned by one more
        if "keys are kept unturned" in self.fault:
            k, v = past.update(k, v, self.layer_idx)  # fault: keys are kept unturned
            q = self.rotate(q, start)
        elif "length read too late" in self.fault:
            k = self.rotate(k, start)
            k, v = past.update(k, v, self.layer_idx)
            q = self.rotate(q, past.length(self.layer_idx))  # fault: length read too late
        elif "turned again from the cache" in self.fault:
            k, v = past.update(self.rotate(k, start), v, self.layer_idx)
            q, k = self.rotate(q, start), self.rotate(k, start)  # fault: turned again from the cache
        else:
            q, k = self.rotate(q, start), self.rotate(k, start)
            k, v = past.update(k, v, self.layer_idx)
        if "stored twice" in self.fault:
            k, v = past.update(k * 0, v * 0, self.layer_idx)  # fault: stored twice
        if "values from the keys' list" in self.fault:
            v = past.keys[self.layer_idx]  # fault: values from the keys' list
        s = k.shape[-2]
        offset = 1 if "offset by one" in self.fault else 0
        future = torch.ones(t, s, dtype=torch.bool).triu(1 + offset)
        if "never masked" in self.fault:
            future = torch.zeros_like(future)  # fault: never masked
        if "newest key left out" in self.fault:
            future[1:, -1] = True  # fault: newest key left out
        groups = q.shape[1] // k.shape[1]
        k, v = (y.repeat_interleave(groups, dim=1) for y in (k, v))
        if "groups of values turned about" in self.fault:
            v = v.flip(1)  # fault: groups of values turned about
        w = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
        w = w.masked_fill(future, float("-inf")).softmax(-1)  # fault: offset by one
        return self.o_proj((w @ v).transpose(1, 2).flatten(2))


class Band(nn.Module):
    """Every token sees two on either side, by a band of bools."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.query, self.key, self.value, self.out = (nn.Linear(12, 12) for _ in range(4))
        self.w = 2

    def band(self, n: int) -> Tensor:
        i = torch.arange(n)
        far = (i[None] - i[:, None]).abs()
        if "band without its edge" in self.fault:
            return far < self.w  # fault: band without its edge
        if "band one too wide" in self.fault:
            return far <= self.w + 1  # fault: band one too wide
        if "band of the past" in self.fault:
            return (far <= self.w) & (i[None] <= i[:, None])  # fault: band of the past
        if "band round the end" in self.fault:
            return torch.minimum(far, n - far) <= self.w  # fault: band round the end
        if "band in steps" in self.fault:
            return far % self.w == 0  # fault: band in steps
        if "band around the first" in self.fault:
            return (i[None] <= self.w).expand(n, n)  # fault: band around the first
        return far <= self.w

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        if "query's bias lost" in self.fault:
            q = F.linear(x, self.query.weight).view(b, n, 2, 6).transpose(1, 2)  # fault: query's bias lost
        else:
            q = self.query(x).view(b, n, 2, 6).transpose(1, 2)
        k = self.key(x).view(b, n, 2, 6).transpose(1, 2)
        one = self.key if "keys and values by one layer" in self.fault else self.value
        v = one(x).view(b, n, 2, 6).transpose(1, 2)  # fault: keys and values by one layer
        q = q / math.sqrt(6)
        scores = q @ k.transpose(-1, -2)
        if "masked by multiplication" in self.fault:
            weights = (scores * self.band(n)).softmax(-1)  # fault: masked by multiplication
        elif "masked after" in self.fault:
            weights = scores.softmax(-1) * self.band(n)  # fault: masked after
        else:
            weights = scores.masked_fill(~self.band(n), float("-inf")).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape(b, n, 12)
        return self.out(F.gelu(y)) if "activated" in self.fault else self.out(y)  # fault: activated


# what they are given, and their weights -------------------------------------------------------------------------------


def latents(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, t, s = (int(n) for n in rng.integers((1, 2, 2), (4, 7, 10)))
    return {"query": values(rng, b, t, 12), "key": values(rng, b, s, 10)}


def in_heads(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, t, s = (int(n) for n in rng.integers((1, 2, 2), (4, 7, 8)))
    shapes = {"query": (b, 2, t, 4), "key": (b, 2, s, 4), "value": (b, 2, s, 5)}
    return {name: values(rng, *shape) for name, shape in shapes.items()} | {"attention_mask": keep(rng, b, 1, t, s)}


def length_first(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    return [inputs["query"].swapaxes(0, 1)], {}


def falcon_weights(layer: Any) -> dict[str, np.ndarray]:
    return sliced((0, 12, 16), layer)


def sliced(starts: tuple[int, int, int], layer: Any) -> dict[str, np.ndarray]:
    """Query, key and value from these rows of the packed projection."""
    weight, bias = array(layer.query_key_value.weight).T, array(layer.query_key_value.bias)
    found = linear("project", layer.dense)
    for name, start, width in zip(("query", "key", "value"), starts, (12, 4, 4), strict=True):
        found |= {f"{name}.kernel": weight[:, start : start + width], f"{name}.bias": bias[start : start + width]}
    return found


def from_the_other_end(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = dict(w)
    for leaf in ("kernel", "bias"):
        fused = np.concatenate([w[f"{name}.{leaf}"] for name in ("query", "key", "value")], axis=-1)
        found |= {f"value.{leaf}": fused[..., :4], f"key.{leaf}": fused[..., 4:8], f"query.{leaf}": fused[..., 8:]}
    return found


def mean_query(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    kernel, bias = w["query.kernel"].reshape(12, 3, 4).mean(1), w["query.bias"].reshape(3, 4).mean(0)
    return {**w, "query.kernel": np.tile(kernel, 3), "query.bias": np.tile(bias, 3)}


def interleaved(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    fused = np.concatenate([w["key.kernel"], w["value.kernel"]], axis=1)
    return {**w, "key.kernel": fused[:, 0::2], "value.kernel": fused[:, 1::2]}


def einsum_weights(layer: Any) -> dict[str, np.ndarray]:
    found = {f"{n}.kernel": array(x).reshape(12, 12) for n, x in zip(("query", "key", "value"), (
        layer.wq, layer.wk, layer.wv), strict=True)}  # fmt: skip
    return {**found, "project.kernel": array(layer.wo).reshape(12, 12), "project.bias": array(layer.bo)}


def next_head(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**w, "value.kernel": np.roll(w["value.kernel"].reshape(12, 3, 4), 1, 1).reshape(12, 12)}


def projected_twice(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    kernel, bias = w["project.kernel"], w["project.bias"]
    return {**w, "project.kernel": kernel @ kernel, "project.bias": bias @ kernel + bias}


NO_SCALE = Planted(taps="attention.scores", reason="the scores are not scaled", option="option:scale")
BY_WIDTH = Planted(taps="attention.scores", reason="scaled by the root of the width", option="option:scale")
DROPPED = Planted(taps="attention.context|attention.weights", reason="dropout acts in evaluation")
QUERIES = Planted(taps="attention.weights", reason="the softmax goes over the queries")
AS_D_H = permuted(np.arange(15).reshape(5, 3).T.ravel(), "query", "key", "value")

WILD = halved(
    TorchWild(
        cls=VitAttention, parts=(rearrange,), draw=tokens("query", 12), call=only_query,
        block=ar.MultiHeadAttention(width=12, num_heads=3, head_width=5, use_bias=False),
        copy=lambda layer: {
            **packed(("query", "key", "value"), layer.to_qkv.weight, None), **linear("project", layer.to_out[0])
        },
        faults={
            "scale by the width": Planted(
                taps="attention.scores", reason="scaled by the root of the width, not of a head's",
                option="option:scale",
            ),
            "chunks in reverse": Planted(
                taps="query|attention.scores", reason="values are called queries", alias=exchanged(("query", "value"))
            ),
            "split as (d h)": Planted(
                taps="query|attention.scores", reason="the width is cut into (d, h)", alias=AS_D_H
            ),
            "values normed": Planted(taps="value|attention.context", reason="values are divided by their length"),
            "keys normed": Planted(taps="key|attention.scores", reason="keys are divided by their length"),
            "scale after the softmax": Planted(taps="attention.scores", reason="weights are scaled, not scores"),
            "softmax over all": Planted(taps="attention.weights", reason="the softmax goes over queries and keys"),
            "heads first": Planted(taps="attention.weights", reason="all heads have the mean of their scores"),
            "dropout in evaluation": DROPPED,
            "merged as (d h)": Planted(taps="merged", reason="heads are merged as (d, h)"),
        },
        pairs=("scale by the width+merged as (d h)", "keys normed+softmax over all", "values normed+merged as (d h)"),
    ),
    TorchWild(
        cls=Falcon, block=ar.MultiHeadAttention(width=12, num_heads=3, num_kv_heads=1, causal="top_left"),
        draw=tokens("query", 12, 3), call=only_query, copy=falcon_weights,
        faults={
            "key and value exchanged": Planted(
                taps="key|attention.scores", reason="key and value are exchanged", alias=exchanged(("key", "value"))
            ),
            "slices from the other end": Planted(
                taps="query", reason="the packed projection is cut from its end", alias=from_the_other_end
            ),
            "queries as d by h": Planted(
                taps="query|attention.scores", reason="queries are cut into (d, h)",
                alias=permuted(np.arange(12).reshape(4, 3).T.ravel(), "query"),
            ),
            "queries share a mean": Planted(
                taps="query|attention.scores", reason="all heads have the mean query", alias=mean_query
            ),
            "another scale": BY_WIDTH,
            "scaled before as well": Planted(
                taps="attention.scores", reason="the query is halved and scaled", option="option:scale"
            ),
            "not causal": Planted(taps=WEIGHTS, reason="it is not causal", option="option:causal"),
            "sees the past alone": Planted(taps=WEIGHTS, reason="a token does not see itself"),
            "merged as it lies": Planted(taps="merged", reason="heads and tokens are not exchanged"),
        },
        pairs=("another scale+merged as it lies", "not causal+merged as it lies"),
    ),
    TorchWild(
        cls=Perceiver, draw=latents, inputs={"context": "keys and values (b, s, 10)"},
        block=ar.MultiHeadAttention(
            width=12, num_heads=2, key_width=10, head_width=7, output_width=9, use_bias=False
        ),
        call=lambda inputs: ([inputs["query"]], {"context": inputs["key"]}),
        copy=lambda layer: {
            **linear("query", layer.to_q), **packed(("key", "value"), layer.to_kv.weight, None),
            **linear("project", layer.to_out),
        },
        faults={
            "unfolded as h by b": Planted(taps="merged", reason="folded as (b, h), unfolded as h by b"),
            "context centred": Planted(taps="key", reason="the mean over tokens is taken from the context"),
            "keys and values interleaved": Planted(
                taps="key", reason="keys and values lie feature by feature", alias=interleaved
            ),
            "scaled on both sides": Planted(
                taps="attention.scores", reason="queries and keys are both scaled", option="option:scale"
            ),
            "scale of the number of keys": Planted(taps="attention.scores", reason="scaled by the root of s"),
            "distance for product": Planted(taps="attention.scores", reason="scores are distances"),
            "softmax over queries": QUERIES,
            "softmax by squares": Planted(taps="attention.weights", reason="the scores are squared"),
            "exponential alone": Planted(taps="attention.weights", reason="rows are not divided by their sum"),
            "query inside": Planted(taps="merged|projected", reason="the query is added to the heads' results"),
        },
        pairs=("scaled on both sides+softmax over queries", "context centred+unfolded as h by b"),
    ),
    TorchWild(
        cls=LengthFirst, block=ar.MultiHeadAttention(width=12, num_heads=3, use_bias=False),
        draw=tokens("query", 12), inputs={"x": "(t, b, width)"}, call=length_first,
        expect=lambda y, inputs: y.swapaxes(0, 1), copy=einsum_weights,
        faults={
            "keys by the query's weight": Planted(
                taps="key|attention.scores", reason="queries and keys share a weight", alias=same_as(key="query")
            ),
            "heads summed in the scores": Planted(
                taps="attention.scores|key", reason="every head meets the sum of all heads' keys"
            ),
            "scores as s by t": Planted(taps="attention.scores|attention.weights", reason="the scores are transposed"),
            "scale by the heads": Planted(
                taps="attention.scores", reason="scaled by the root of the heads", option="option:scale"
            ),
            "scaled by d": Planted(
                taps="attention.scores", reason="divided by d, not by its root", option="option:scale"
            ),
            "softmax over the batch": Planted(taps="attention.weights", reason="the softmax goes over the batch"),
            "sharpened": Planted(
                taps="attention.weights|attention.scores", reason="the scores are doubled", option="option:scale"
            ),
            "weights transposed": Planted(taps="attention.context", reason="the weights are applied transposed"),
            "values of the next head": Planted(
                taps="value|attention.context", reason="heads take the values of another head", alias=next_head
            ),
            "heads summed in the result": Planted(
                taps="attention.context", reason="every head has the sum of all heads' results"
            ),
            "bias lost": Planted(
                taps="projected", reason="the output's bias is not added", option="option:output_bias",
                alias=constant(**{"project.bias": 0}),
            ),
        },
        pairs=("scaled by d+weights transposed", "softmax over the batch+heads summed in the result"),
    ),
    TorchWild(
        cls=TimmAttention, block=ar.MultiHeadAttention(width=18, num_heads=3, qk_norm="layer"),
        draw=tokens("query", 18), call=only_query,
        copy=lambda layer: {
            **packed(("query", "key", "value"), layer.qkv.weight, layer.qkv.bias), **linear("project", layer.proj),
            **norm("query_norm", layer.q_norm), **norm("key_norm", layer.k_norm),
        },
        faults={
            "another eps": Planted(taps="normed_query", reason="eps is 1e-5", option="option:qk_norm_eps"),
            "one norm for both": Planted(
                taps="normed_key", reason="the keys go through the queries' norm", alias=same_as(key_norm="query_norm")
            ),
            "norms exchanged": Planted(
                taps="normed_query", reason="the norms are exchanged", alias=exchanged(("query_norm", "key_norm"))
            ),
            "keys are not normed": Planted(taps="normed_key", reason="only the queries are normed"),
            "normed twice": Planted(taps="normed_query|attention.scores", reason="the queries are normed twice"),
            "norm without parameters": Planted(
                taps="normed_query", reason="scale and offset are not used",
                alias=constant(**{
                    "query_norm.scale": 1, "key_norm.scale": 1, "query_norm.offset": 0, "key_norm.offset": 0,
                }),
            ),
            "norm over tokens": Planted(taps="normed_query", reason="the norm goes over tokens"),
            "norm by root mean square": Planted(taps="normed_query", reason="the queries are not centred"),
            "values normed too": Planted(taps="value|attention.context", reason="the values are normed"),
            "no scale": NO_SCALE,
            "scaled twice": Planted(
                taps="attention.scores", reason="scaled before the fused call, which scales", option="option:scale"
            ),
            "projected twice": Planted(taps="projected|output", reason="the output layer is applied twice",
                                       alias=projected_twice),
        },
        pairs=("another eps+no scale", "keys are not normed+values normed too", "normed twice+scaled twice"),
    ),
    TorchWild(
        cls=ScaledDotProduct, block=ar.ScaledDotProductAttention(), draw=in_heads, copy=lambda layer: {},
        inputs={"mask": "bool (b, 1, t, s), True = leave out"},
        call=lambda inputs: (
            [inputs["query"], inputs["key"], inputs["value"]], {"mask": ~inputs["attention_mask"]}
        ),
        faults={
            "temperature of the heads": Planted(
                taps="scores", reason="divided by the root of the heads", option="option:scale"
            ),
            "temperature of the values": Planted(
                taps="scores", reason="divided by the root of the values' width", option="option:scale"
            ),
            "minus the largest of all": Planted(
                taps="scores|masked|weights", reason="the largest score is subtracted",
                unseen="one number for all of a row does not change its softmax",
            ),
            "mask upside down": Planted(taps="masked|weights", reason="the mask keeps what it should leave out"),
            "mask for every head another": Planted(taps="masked|weights", reason="each head shifts the mask"),
            "half a mask": Planted(taps="masked|weights", reason="only the mask's upper half is used"),
            "softmax in base 2": Planted(taps="weights", reason="powers of 2, not of e"),
            "softmax by one more": Planted(taps="weights", reason="1 is added to the sum"),
            "hard": Planted(taps="weights", reason="the largest weight is 1, the others are 0"),
            "context over queries": Planted(taps="context|weights", reason="columns sum to 1"),
        },
        pairs=("temperature of the heads+half a mask", "mask upside down+softmax in base 2"),
    ),
    TorchWild(
        cls=Cached, draw=tokens("query", 16, 3), inputs={"past": "a cache, empty: keys and values are put into it"},
        block=ar.MultiHeadAttention(
            width=16, num_heads=4, num_kv_heads=2, head_width=6, use_bias=False, output_bias=False, rotary="half",
            causal="top_left",
        ),
        call=lambda inputs: ([inputs["query"]], {"past": Cache()}),
        copy=lambda layer: linears(layer, query="q_proj", key="k_proj", value="v_proj", project="o_proj"),
        faults={
            "keys are kept unturned": Planted(taps="key_rotary.rotated|attention.scores", reason="keys do not turn"),
            "length read too late": Planted(
                taps="query_rotary.angles|query_rotary.rotated|attention.scores",
                reason="queries stand behind all keys, since the cache has them already",
            ),
            "turned again from the cache": Planted(
                taps="key_rotary.angles|key_rotary.rotated|attention.scores", reason="keys turn twice"
            ),
            "stored twice": Planted(taps="key|attention.scores|attention.weights|attention.context",
                                    reason="the cache has every key once more, as zeros",
                                    unseen="the causal mask hides what comes after the first t keys"),
            "values from the keys' list": Planted(taps="value|attention.context", reason="values are turned keys"),
            "both turned by one more": Planted(
                taps="query_rotary.angles|query_rotary.rotated", reason="queries and keys turn by one position more",
                unseen="scores depend on how far apart a query and a key are",
            ),
            "offset by one": Planted(taps=WEIGHTS, reason="the next token is seen"),
            "never masked": Planted(taps=WEIGHTS, reason="it is not causal", option="option:causal"),
            "newest key left out": Planted(taps=WEIGHTS, reason="the last key is hidden"),
            "groups of values turned about": Planted(
                taps="value|attention.context", reason="heads read the values of another group",
                alias=lambda w: {**w, "value.kernel": np.roll(w["value.kernel"], 6, 1)},
            ),
        },
        pairs=("length read too late+never masked", "keys are kept unturned+groups of values turned about"),
    ),
    TorchWild(
        cls=Band, block=ar.MultiHeadAttention(width=12, num_heads=2, window_left=2, window_right=2),
        draw=tokens("query", 12, 5, 10), call=only_query,
        copy=lambda layer: linears(layer, query="query", key="key", value="value", project="out"),
        faults={
            "band without its edge": Planted(taps=WEIGHTS, reason="one token less on either side"),
            "band one too wide": Planted(taps=WEIGHTS, reason="one token more on either side"),
            "band of the past": Planted(
                taps=WEIGHTS, reason="later tokens are hidden", option="option:window_right|option:causal"
            ),
            "band round the end": Planted(taps=WEIGHTS, reason="first and last tokens are neighbours"),
            "band in steps": Planted(taps=WEIGHTS, reason="every second token is seen"),
            "band around the first": Planted(taps=WEIGHTS, reason="all see the first three tokens"),
            "keys and values by one layer": Planted(
                taps="value|attention.context", reason="values are the keys", alias=same_as(value="key")
            ),
            "masked by multiplication": Planted(taps=WEIGHTS, reason="hidden scores are 0"),
            "masked after": Planted(taps=WEIGHTS, reason="weights are set to 0 after the softmax"),
            "query's bias lost": Planted(taps="query", reason="the query's bias is not added",
                                         alias=constant(**{"query.bias": 0})),
            "activated": Planted(taps="projected|merged", reason="the heads' results go through GELU"),
        },
        pairs=("band one too wide+activated", "masked after+keys and values by one layer"),
    ),
)  # fmt: skip
