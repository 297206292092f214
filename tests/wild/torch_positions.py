"""Attention with rotary positions in the ways of the world, with norms, sinks and windows beside; rotation alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attn_ref as ar

from .corpus import Arrays, Planted, halved, keep, tokens, values
from .torch_tools import TorchWild, array, constant, linears, norm, only_query, only_x, same_as

WEIGHTS = "attention.masked|attention.weights"
TURNED = "query_rotary.rotated|query_rotary.angles"


class HeadNorm(nn.Module):
    """A root mean square norm of the last axis."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))  # fault: another eps


def rotate_half(x: Tensor) -> Tensor:
    return torch.cat((-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]), dim=-1)


class Qwen3Attention(nn.Module):
    """Norms of query and key in a head before they turn; grouped heads; eager and causal."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.head_dim, self.groups = 6, 2
        self.q_proj, self.o_proj = nn.Linear(16, 24, bias=False), nn.Linear(24, 16, bias=False)
        self.k_proj, self.v_proj = nn.Linear(16, 12, bias=False), nn.Linear(16, 12, bias=False)
        eps = 1e-5 if "another eps" in self.fault else 1e-6
        self.q_norm, self.k_norm = HeadNorm(6, eps), HeadNorm(6, eps)

    def turn(self, x: Tensor) -> Tensor:
        theta = 1e6 if "another base" in self.fault else 1e4
        inv_freq = theta ** (-torch.arange(0, self.head_dim, 2).to(x) / self.head_dim)  # fault: another base
        freqs = torch.arange(x.shape[2]).to(x)[:, None] * inv_freq  # fault: another base
        if "frequencies in reverse" in self.fault:
            freqs = freqs.flip(-1)  # fault: frequencies in reverse
        emb = torch.cat((freqs, freqs), dim=-1)
        return x * emb.cos() + rotate_half(x) * emb.sin()

    def forward(self, hidden_states: Tensor) -> Tensor:
        b, t, _ = hidden_states.shape
        shape = (b, t, -1, self.head_dim)
        q, k = self.q_proj(hidden_states), self.k_proj(hidden_states)
        v = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        if "norm over all heads" in self.fault:
            q = q * torch.rsqrt(q.pow(2).mean(-1, keepdim=True) + 1e-6)  # fault: norm over all heads
            q = (q.view(shape) * self.q_norm.weight).transpose(1, 2)
            k = self.k_norm(k.view(shape)).transpose(1, 2)
        elif "norm after the turn" in self.fault:
            q = self.q_norm(self.turn(q.view(shape).transpose(1, 2)))  # fault: norm after the turn
            k = self.k_norm(self.turn(k.view(shape).transpose(1, 2)))  # fault: norm after the turn
        elif "keys not normed" in self.fault:
            q = self.q_norm(q.view(shape)).transpose(1, 2)
            k = k.view(shape).transpose(1, 2)  # fault: keys not normed
        elif "one scale for both" in self.fault:
            q = self.q_norm(q.view(shape)).transpose(1, 2)
            k = self.q_norm(k.view(shape)).transpose(1, 2)  # fault: one scale for both
        elif "divided by the length" in self.fault:
            q = F.normalize(q.view(shape), dim=-1).transpose(1, 2) * self.q_norm.weight  # fault: divided by the length
            k = self.k_norm(k.view(shape)).transpose(1, 2)
        else:
            q = self.q_norm(q.view(shape)).transpose(1, 2)  # fault: another eps
            k = self.k_norm(k.view(shape)).transpose(1, 2)
        if "values normed" in self.fault:
            v = self.k_norm(v)  # fault: values normed
        if "values turn too" in self.fault:
            v = self.turn(v)  # fault: values turn too
        if "norm after the turn" not in self.fault:
            q, k = self.turn(q), self.turn(k)
        if "key heads tiled" in self.fault:
            k, v = k.repeat(1, self.groups, 1, 1), v.repeat(1, self.groups, 1, 1)  # fault: key heads tiled
        else:
            k, v = k.repeat_interleave(self.groups, 1), v.repeat_interleave(self.groups, 1)
        w = torch.matmul(q, k.transpose(2, 3)) * (
            1.0 if "no scale" in self.fault else self.head_dim**-0.5
        )  # fault: no scale
        w = w + torch.full((t, t), float("-inf")).to(w).triu(1)
        w = F.softmax(w, dim=-1)
        y = torch.matmul(w, v).transpose(1, 2).reshape(b, t, -1)
        return self.o_proj(y)


class EagerDecoder(nn.Module):
    """Cosines and sines come from outside, and a mask (b, 1, t, s) that is added, causal or not."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.head_dim, self.groups = 6, 2
        self.q_proj, self.o_proj = nn.Linear(16, 24), nn.Linear(24, 16, bias=False)
        self.k_proj, self.v_proj = nn.Linear(16, 12), nn.Linear(16, 12)

    def forward(self, hidden_states: Tensor, position_embeddings: Any, attention_mask: Tensor) -> Tensor:
        b, t, _ = hidden_states.shape
        shape = (b, t, -1, self.head_dim)
        if "query's bias lost" in self.fault:
            q = (hidden_states @ self.q_proj.weight.T).view(shape).transpose(1, 2)  # fault: query's bias lost
        else:
            q = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        k = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        v = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        cos, sin = position_embeddings
        if "sines and cosines exchanged" in self.fault:
            cos, sin = sin, cos  # fault: sines and cosines exchanged
        cos, sin = cos[None, None], sin[None, None]
        if "halves without a sign" in self.fault:
            q = q * cos + q.roll(self.head_dim // 2, -1) * sin  # fault: halves without a sign
            k = k * cos + k.roll(self.head_dim // 2, -1) * sin  # fault: halves without a sign
        elif "keys do not turn" in self.fault:
            q = q * cos + rotate_half(q) * sin  # fault: keys do not turn
        elif "the turned half alone" in self.fault:
            q, k = rotate_half(q) * sin, rotate_half(k) * sin  # fault: the turned half alone
        elif "keys turn backwards" in self.fault:
            q, k = q * cos + rotate_half(q) * sin, k * cos - rotate_half(k) * sin  # fault: keys turn backwards
        elif "turned twice" in self.fault:
            for _ in range(2):
                q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin  # fault: turned twice
        else:
            q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        k = k[:, :, None].expand(b, -1, self.groups, t, self.head_dim).reshape(b, -1, t, self.head_dim)
        v = v[:, :, None].expand(b, -1, self.groups, t, self.head_dim).reshape(b, -1, t, self.head_dim)
        w = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(
            16 if "scale by the width" in self.fault else self.head_dim
        )  # fault: scale by the width
        if "mask one later" in self.fault:
            w = w + F.pad(attention_mask, (1, 0))[..., :t]  # fault: mask one later
        elif "mask of the last query" in self.fault:
            w = w + attention_mask[:, :, -1:]  # fault: mask of the last query
        elif "mask twice" in self.fault:
            w = w + attention_mask / 2 + attention_mask / 2  # fault: mask twice
        elif "mask lost" not in self.fault:
            w = w + attention_mask
        w = F.softmax(w, dim=-1)  # fault: mask lost
        y = torch.matmul(w, v)
        if "merged as it lies" in self.fault:
            return self.o_proj(y.reshape(b, t, -1))  # fault: merged as it lies
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class LlamaMeta(nn.Module):
    """Neighbours turn as complex numbers; names wq, wk, wv, wo."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.n_heads, self.n_kv, self.head_dim = 4, 2, 6
        self.wq, self.wo = nn.Linear(24, 24, bias=False), nn.Linear(24, 24, bias=False)
        self.wk, self.wv = nn.Linear(24, 12, bias=False), nn.Linear(24, 12, bias=False)

    def freqs_cis(self, end: int) -> Tensor:
        dim = 24 if "frequencies by the width" in self.fault else self.head_dim
        theta = 500000.0 if "another base" in self.fault else 10000.0
        freqs = 1.0 / theta ** (
            torch.arange(0, self.head_dim, 2, dtype=torch.float64) / dim
        )  # fault: frequencies by the width, another base
        if "one frequency" in self.fault:
            freqs = torch.ones_like(freqs)  # fault: one frequency
        positions = torch.arange(end, dtype=torch.float64)
        if "positions halved" in self.fault:
            positions = positions / 2  # fault: positions halved
        angles = torch.outer(positions, freqs)  # fault: frequencies by the width, another base
        return torch.polar(torch.ones_like(angles), angles)

    def turn(self, x: Tensor, freqs: Tensor) -> Tensor:
        if "halves for neighbours" in self.fault:
            pairs = torch.complex(*x.chunk(2, -1)) * freqs[:, None]  # fault: halves for neighbours
            return torch.cat((pairs.real, pairs.imag), -1)
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * freqs[:, None]).flatten(3)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        xq = self.wq(x).view(b, t, self.n_heads, self.head_dim)
        xk = self.wk(x).view(b, t, self.n_kv, self.head_dim)
        xv = self.wv(x).view(b, t, self.n_kv, self.head_dim)
        freqs = self.freqs_cis(t)
        later = self.freqs_cis(t + 1)[1:]
        if "queries one later" in self.fault:
            xq, xk = self.turn(xq, later), self.turn(xk, freqs)  # fault: queries one later
        elif "keys conjugated" in self.fault:
            xq, xk = self.turn(xq, freqs), self.turn(xk, freqs.conj())  # fault: keys conjugated
        elif "both conjugated" in self.fault:
            xq, xk = self.turn(xq, freqs.conj()), self.turn(xk, freqs.conj())  # fault: both conjugated
        elif "both one later" in self.fault:
            xq, xk = self.turn(xq, later), self.turn(xk, later)  # fault: both one later
        else:
            xq, xk = self.turn(xq, freqs), self.turn(xk, freqs)
        rep = self.n_heads // self.n_kv
        keys = xk[:, :, :, None].expand(b, t, self.n_kv, rep, self.head_dim).reshape(b, t, -1, self.head_dim)
        if "values of the first group" in self.fault:
            values = xv[:, :, :1].expand(b, t, self.n_heads, self.head_dim)  # fault: values of the first group
        else:
            values = xv[:, :, :, None].expand(b, t, self.n_kv, rep, self.head_dim).reshape(b, t, -1, self.head_dim)
        xq, keys, values = xq.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
        scores = torch.matmul(xq, keys.transpose(2, 3)) / math.sqrt(self.head_dim)
        diagonal = 2 if "one key too many" in self.fault else 1
        mask = torch.full((t, t), float("-inf")).to(x).triu(diagonal)  # fault: one key too many
        if "mask for one head" in self.fault:
            scores = torch.cat([scores[:, :1] + mask, scores[:, 1:]], 1)  # fault: mask for one head
        else:
            scores = scores + mask  # fault: one key too many
        scores = F.softmax(scores, dim=-1)
        return self.wo(torch.matmul(scores, values).transpose(1, 2).contiguous().view(b, t, -1))


class GptJ(nn.Module):
    """The first features of a head turn, as neighbours; the causal buffer goes through ``torch.where``."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.num_attention_heads, self.head_dim, self.rotary_dim = 3, 6, 4
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(18, 18, bias=False) for _ in range(4))
        self.register_buffer("bias", torch.tril(torch.ones(24, 24, dtype=torch.bool)).view(1, 1, 24, 24))

    def turn(self, x: Tensor) -> Tensor:
        r = self.head_dim if "all features turn" in self.fault else self.rotary_dim
        dim = self.head_dim if "frequencies of the whole head" in self.fault else r
        inv_freq = 1.0 / 10000 ** (
            torch.arange(0, r, 2).to(x) / dim
        )  # fault: all features turn, frequencies of the whole head
        angles = (
            torch.arange(x.shape[1]).to(x)[:, None] * inv_freq
        )  # fault: frequencies of the whole head, all features turn
        if "angles in degrees" in self.fault:
            angles = angles * math.pi / 180  # fault: angles in degrees
        if "angles repeated by halves" in self.fault:
            sin, cos = angles.sin().repeat(1, 2), angles.cos().repeat(1, 2)  # fault: angles repeated by halves
        else:
            sin, cos = angles.sin().repeat_interleave(2, 1), angles.cos().repeat_interleave(2, 1)
        if "last features turn" in self.fault:
            rot, rest = x[..., -r:], x[..., :-r]  # fault: last features turn
        else:
            rot, rest = x[..., :r], x[..., r:]
        if "minus on the other" in self.fault:
            every_two = torch.stack((rot[..., 1::2], -rot[..., ::2]), dim=-1).flatten(-2)  # fault: minus on the other
        else:
            every_two = torch.stack((-rot[..., 1::2], rot[..., ::2]), dim=-1).flatten(-2)
        turned = rot * cos[:, None] + every_two * sin[:, None]
        if "last features turn" in self.fault:
            return torch.cat((rest, turned), dim=-1)
        if "the rest is lost" in self.fault:
            rest = torch.zeros_like(rest)  # fault: the rest is lost
        return torch.cat((turned, rest), dim=-1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        b, t, _ = hidden_states.shape
        shape = (b, t, self.num_attention_heads, self.head_dim)
        q, k, v = (f(hidden_states).view(shape) for f in (self.q_proj, self.k_proj, self.v_proj))
        q, k, v = self.turn(q).permute(0, 2, 1, 3), self.turn(k).permute(0, 2, 1, 3), v.permute(0, 2, 1, 3)
        w = torch.matmul(q, k.transpose(-1, -2))
        past = self.bias[:, :, :t, :t]
        low = torch.tensor(1e-4 if "1e-4 for -1e4" in self.fault else -1e9, dtype=w.dtype)  # fault: 1e-4 for -1e4
        here, there = (low, w) if "where exchanged" in self.fault else (w, low)
        w = torch.where(past, here, there)  # fault: where exchanged, 1e-4 for -1e4
        if "scaled before only the past" in self.fault:
            w = torch.where(past, w * self.head_dim**0.5, w)  # fault: scaled before only the past
        w = w / math.sqrt(self.head_dim)
        w = nn.functional.softmax(w, dim=-1)
        y = torch.matmul(w, v).permute(0, 2, 1, 3).contiguous().view(b, t, -1)
        return self.out_proj(y)


class GptOss(nn.Module):
    """Each head has a learned logit that takes its share, a window of the last tokens, grouped heads."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.head_dim, self.window = 6, 4
        self.sinks = nn.Parameter(torch.zeros(4))
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(16, 24), nn.Linear(16, 12), nn.Linear(16, 12)
        self.o_proj = nn.Linear(24, 16)

    def forward(self, hidden_states: Tensor) -> Tensor:
        b, t, _ = hidden_states.shape
        shape = (b, t, -1, self.head_dim)
        q, k, v = (f(hidden_states).view(shape).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        qk = torch.matmul(q, k.transpose(2, 3)) * self.head_dim**-0.5
        i, j = torch.arange(t)[:, None], torch.arange(t)[None]
        width = self.window + 1 if "window one too wide" in self.fault else self.window
        seen = (j <= i) & (j > i - width)  # fault: window one too wide
        if "window ignored" in self.fault:
            seen = j <= i  # fault: window ignored
        qk = qk.masked_fill(~seen, float("-inf"))
        sinks = self.sinks.reshape(1, -1, 1, 1).expand(b, -1, t, 1)
        if "one sink for all" in self.fault:
            sinks = sinks[:, :1].expand(b, 4, t, 1)  # fault: one sink for all
        if "sink is scaled" in self.fault:
            sinks = sinks * self.head_dim**-0.5  # fault: sink is scaled
        if "sink of zero" in self.fault:
            sinks = torch.zeros_like(sinks)  # fault: sink of zero
        if "sink lost" in self.fault:
            probs = F.softmax(qk, dim=-1)  # fault: sink lost
        elif "gate for sink" in self.fault:
            probs = F.softmax(qk, dim=-1) * torch.sigmoid(sinks)  # fault: gate for sink
        elif "sink added to the scores" in self.fault:
            probs = F.softmax(qk + sinks, dim=-1)  # fault: sink added to the scores
        elif "sink takes the first key" in self.fault:
            combined = torch.cat([sinks, qk], dim=-1).softmax(-1)  # fault: sink takes the first key
            probs = combined[..., :-1]  # fault: sink takes the first key
        elif "normed without the sink" in self.fault:
            combined = torch.cat([qk, sinks], dim=-1).softmax(-1)[..., :-1]
            probs = combined / combined.sum(-1, keepdim=True)  # fault: normed without the sink
        else:
            combined = torch.cat([qk, sinks], dim=-1)
            combined = combined - combined.max(dim=-1, keepdim=True).values
            probs = F.softmax(combined, dim=-1)[..., :-1]
        y = torch.matmul(probs, v).transpose(1, 2)
        if "sink on the values" in self.fault:
            y = y + self.sinks[:, None]  # fault: sink on the values
        return self.o_proj(y.reshape(b, t, -1))


class Mistral(nn.Module):
    """Rotary by a cache of cosines, a window by two triangles, fused."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(12, 12, bias=False) for _ in range(4))
        t = torch.arange(32, dtype=torch.float64)[:, None]
        angles = t * 10000.0 ** (-torch.arange(2, dtype=torch.float64) / 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def turn(self, x: Tensor, start: int = 0) -> Tensor:
        one, two = x.split(2, dim=-1)
        cos, sin = self.cos[start : start + x.shape[-2]], self.sin[start : start + x.shape[-2]]
        if "one half alone" in self.fault:
            return torch.cat((one * cos - two * sin, two), -1)  # fault: one half alone
        if "halves exchanged" in self.fault:
            return torch.cat((one * sin + two * cos, one * cos - two * sin), -1)  # fault: halves exchanged
        if "reflected" in self.fault:
            return torch.cat((one * cos + two * sin, one * sin - two * cos), -1)  # fault: reflected
        if "batch for length" in self.fault:
            cos, sin = self.cos[: len(x), None, None], self.sin[: len(x), None, None]  # fault: batch for length
        if "heads for length" in self.fault:
            cos, sin = self.cos[: x.shape[1], None], self.sin[: x.shape[1], None]  # fault: heads for length
        return torch.cat((one * cos - two * sin, one * sin + two * cos), -1)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (f(x).view(b, t, 3, 4).transpose(1, 2) for f in (self.wq, self.wk, self.wv))
        q = self.turn(q)
        k = self.turn(k, 1) if "keys start at 1" in self.fault else self.turn(k)  # fault: keys start at 1
        ones = torch.ones(t, t, dtype=torch.bool)
        if "window by n before" in self.fault:
            seen = ones.tril() & ones.triu(-3)  # fault: window by n before
        elif "triangles exchanged" in self.fault:
            seen = ones.triu() & ones.tril(2)  # fault: triangles exchanged
        elif "either triangle" in self.fault:
            seen = ones.tril() | ones.triu(-2)  # fault: either triangle
        elif "window one too short" in self.fault:
            seen = ones.tril() & ones.triu(-1)  # fault: window one too short
        elif "window replaced by causal" in self.fault:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # fault: window replaced by causal
            return self.wo(y.transpose(1, 2).flatten(2))
        else:
            seen = ones.tril() & ones.triu(-2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.wo(y.transpose(1, 2).flatten(2))


class Rotary(nn.Module):
    """The rotation alone, of (b, h, t, d), by halves, positions divided by 4."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.dim, self.factor = 8, 4.0

    def forward(self, x: Tensor) -> Tensor:
        t = torch.arange(x.shape[-2]).to(x)
        if "scaling multiplies" in self.fault:
            t = t * self.factor  # fault: scaling multiplies
        elif "scaling lost" not in self.fault:
            t = t / self.factor
        exponent = torch.arange(0, self.dim, 2).to(x) / self.dim
        if "scaling of the base" in self.fault:
            inv_freq = (10000.0 * self.factor) ** -exponent  # fault: scaling of the base
        elif "exponent without 2" in self.fault:
            inv_freq = 10000.0 ** -(exponent / 2)  # fault: exponent without 2
        elif "exponent upwards" in self.fault:
            inv_freq = 10000.0**exponent  # fault: exponent upwards
        elif "exponent by one less" in self.fault:
            inv_freq = 10000.0 ** -(torch.arange(4).to(x) / 3)  # fault: exponent by one less
        else:
            inv_freq = 10000.0**-exponent
        freqs = torch.einsum("i,j->ij", t, inv_freq)  # fault: scaling lost
        if "positions from 1" in self.fault:
            freqs = torch.einsum("i,j->ij", t + 1 / self.factor, inv_freq)  # fault: positions from 1
        emb = (
            freqs.repeat_interleave(2, -1) if "angles in pairs" in self.fault else torch.cat((freqs, freqs), -1)
        )  # fault: angles in pairs
        if "neighbours turn" in self.fault:
            turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)  # fault: neighbours turn
        elif "turned backwards" in self.fault:
            turned = -rotate_half(x)  # fault: turned backwards
        else:
            turned = rotate_half(x)
        return x * emb.cos() + turned * emb.sin()


class Alibi(nn.Module):
    """The bias alone, (h, t, t), of positions; 6 heads, so that slopes lie between those of 4 and 8."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")

    def slopes(self, n: int) -> Tensor:
        def of_power(n: int) -> list[float]:
            start = 2 ** (-(2 ** -(math.log2(n) - 3)))
            return [start * start**i for i in range(n)]

        closest = 2 ** math.floor(math.log2(n))
        if "heads as they are" in self.fault:
            return torch.tensor(
                [2 ** (-8 * (i + 1) / n) for i in range(n)], dtype=torch.float64
            )  # fault: heads as they are
        step = slice(1, None, 2) if "odd for even" in self.fault else slice(0, None, 2)
        extra = of_power(2 * closest)[step][: n - closest]
        if "first of the double" in self.fault:
            extra = of_power(2 * closest)[: n - closest]  # fault: first of the double
        found = (
            sorted(of_power(closest) + extra, reverse=True) if "sorted" in self.fault else of_power(closest) + extra
        )  # fault: sorted
        return torch.tensor(found, dtype=torch.float64)  # fault: odd for even

    def forward(self, positions: Tensor) -> Tensor:
        distance = positions[None, :] - positions[:, None]
        if "symmetric" in self.fault:
            distance = -distance.abs()  # fault: symmetric
        if "queries minus keys" in self.fault:
            distance = -distance  # fault: queries minus keys
        if "future set to 0" in self.fault:
            distance = distance.clamp(max=0)  # fault: future set to 0
        if "from the last key" in self.fault:
            distance = (positions - positions[-1])[None, :].expand(len(positions), -1)  # fault: from the last key
        if "squared" in self.fault:
            distance = -distance.pow(2)  # fault: squared
        return self.slopes(6)[:, None, None] * distance


# what they are given, and their weights -------------------------------------------------------------------------------


def causal_and_more(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A mask (b, 1, t, s) that is causal and hides some more, but never a token from itself."""
    b, t = int(rng.integers(1, 4)), int(rng.integers(3, 9))
    kept = (keep(rng, b, 1, t, t) & np.tri(t, dtype=bool)) | np.eye(t, dtype=bool)
    return {"query": values(rng, b, t, 16), "attention_mask": kept}


def angles(t: int, d: int) -> np.ndarray:
    """(t, d): the angles of both halves."""
    half = np.arange(t)[:, None] * 10000.0 ** (-np.arange(0, d, 2) / d)
    return np.concatenate([half, half], axis=1)


def with_embeddings(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    turn = angles(inputs["query"].shape[1], 6)
    mask = np.where(inputs["attention_mask"], 0.0, np.finfo(np.float64).min)
    return [inputs["query"]], {"position_embeddings": (np.cos(turn), np.sin(turn)), "attention_mask": mask}


def heads_of_8(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, h, t = (int(n) for n in rng.integers((1, 1, 2), (4, 4, 9)))
    return {"x": values(rng, b, h, t, 8)}


def some_positions(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"query_positions": np.sort(rng.choice(20, int(rng.integers(2, 8)), replace=False)).astype(np.int64)}


def qwen_weights(layer: Any) -> dict[str, np.ndarray]:
    return {
        **linears(layer, query="q_proj", key="k_proj", value="v_proj", project="o_proj"),
        **norm("query_norm", layer.q_norm), **norm("key_norm", layer.k_norm),
    }  # fmt: skip


def first_group(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**w, "value.kernel": np.tile(w["value.kernel"][:, :6], 2)}


NO_SCALE = Planted(taps="attention.scores", reason="the scores are not scaled", option="option:scale")
BASE = Planted(taps="query_rotary.angles|query_rotary.rotated", reason="another base", option="option:rotary_base")
TILED = Planted(taps="attention.scores", reason="key heads are tiled: query head i reads i % g, not i // r")
LOST = Planted(taps=WEIGHTS, reason="the mask is not used")
LATER = "scores depend on how far apart a query and a key are"
SINKLESS = Planted(taps="attention.weights", reason="there is no sink", option="option:use_sinks")


def angle(reason: str, option: str = "") -> Planted:
    return Planted(taps="query_rotary.angles|query_rotary.rotated", reason=reason, option=option)


def turned(reason: str, option: str = "") -> Planted:
    return Planted(taps="query_rotary.rotated", reason=reason, option=option)


def masked(reason: str, option: str = "") -> Planted:
    return Planted(taps=WEIGHTS, reason=reason, option=option)


def at(tap: str, reason: str, option: str = "") -> Planted:
    return Planted(taps=tap, reason=reason, option=option)


WILD = halved(
    TorchWild(
        cls=Qwen3Attention, parts=(HeadNorm, rotate_half), draw=tokens("query", 16, 3),
        call=only_query, copy=qwen_weights,
        block=ar.MultiHeadAttention(
            width=16, num_heads=4, num_kv_heads=2, head_width=6, use_bias=False, output_bias=False, qk_norm="rms",
            rotary="half", causal="top_left",
        ),
        faults={
            "another eps": at("normed_query", "eps is 1e-5", "option:qk_norm_eps"),
            "another base": BASE, "frequencies in reverse": angle("the frequencies rise"),
            "norm over all heads": at("normed_query", "queries are normed over all heads at once"),
            "norm after the turn": at("normed_query|query_rotary.rotated", "the norm comes after the rotation"),
            "keys not normed": at("normed_key", "only the queries are normed"),
            "one scale for both": Planted(
                taps="normed_key", reason="keys go through the queries' norm", alias=same_as(key_norm="query_norm")
            ),
            "divided by the length": at("normed_query", "divided by the length, not by the root of the mean"),
            "values normed": at("value|attention.context", "the values are normed too"),
            "values turn too": at("value|attention.context", "the values turn"),
            "key heads tiled": TILED, "no scale": NO_SCALE,
        },
        pairs=("another base+no scale", "norm over all heads+values turn too", "keys not normed+values normed"),
    ),
    TorchWild(
        cls=EagerDecoder, draw=causal_and_more, call=with_embeddings,
        inputs={
            "position_embeddings": "cosines and sines, both (t, d)", "attention_mask": "additive, (b, 1, t, s), causal"
        },
        block=ar.MultiHeadAttention(
            width=16, num_heads=4, num_kv_heads=2, head_width=6, output_bias=False, rotary="half"
        ),
        copy=lambda layer: linears(layer, query="q_proj", key="k_proj", value="v_proj", project="o_proj"),
        faults={
            "query's bias lost": Planted(
                taps="query", reason="the query's bias is not added", alias=constant(**{"query.bias": 0})
            ),
            "sines and cosines exchanged": turned("sines and cosines are exchanged"),
            "halves without a sign": turned("the second half is not negated"),
            "keys do not turn": at("key_rotary.rotated", "the keys do not turn"),
            "the turned half alone": turned("only the part with the sine is there"),
            "keys turn backwards": at("key_rotary.rotated", "the keys turn the other way"),
            "turned twice": at(
                "query_rotary.rotated|attention.scores", "queries and keys turn twice", option="option:rotary_scaling"
            ),
            "scale by the width": at("attention.scores", "scaled by the root of the width", option="option:scale"),
            "mask one later": masked("the mask stands one key too far"),
            "mask of the last query": masked("all queries have the last one's mask"),
            "mask twice": Planted(
                taps=WEIGHTS, reason="the mask is added in two parts", unseen="the parts add up to the mask"
            ),
            "mask lost": LOST, "merged as it lies": at("merged", "heads and tokens are not exchanged"),
        },
        pairs=(
            "keys do not turn+mask one later", "scale by the width+merged as it lies", "turned twice+mask lost",
        ),
    ),
    TorchWild(
        cls=LlamaMeta, draw=tokens("query", 24, 3), call=only_query,
        block=ar.MultiHeadAttention(
            width=24, num_heads=4, num_kv_heads=2, use_bias=False, output_bias=False, rotary="interleaved",
            causal="top_left",
        ),
        copy=lambda layer: linears(layer, query="wq", key="wk", value="wv", project="wo"),
        faults={
            "frequencies by the width": angle("the exponent is divided by the width of all heads"),
            "another base": BASE, "one frequency": angle("all pairs turn alike", option="option:rotary_base"),
            "positions halved": angle("positions are halved", "option:rotary_scaling"),
            "halves for neighbours": turned("feature i turns with i + d/2", "option:rotary"),
            "queries one later": angle("the queries stand one position further"),
            "keys conjugated": at("key_rotary.rotated", "the keys turn the other way"),
            "both conjugated": turned("queries and keys turn the other way"),
            "both one later": Planted(
                taps="query_rotary.angles|query_rotary.rotated", reason="positions start at 1", unseen=LATER
            ),
            "values of the first group": Planted(
                taps="value|attention.context", reason="all heads have the first group's values", alias=first_group
            ),
            "one key too many": masked("the next token is seen"),
            "mask for one head": masked("only the first head is causal"),
        },
        pairs=("another base+one key too many", "halves for neighbours+mask for one head"),
    ),
    TorchWild(
        cls=GptJ, draw=tokens("query", 18, 3), call=only_query,
        block=ar.MultiHeadAttention(
            width=18, num_heads=3, use_bias=False, output_bias=False, rotary="interleaved", rotary_width=4,
            causal="top_left",
        ),
        copy=lambda layer: linears(layer, query="q_proj", key="k_proj", value="v_proj", project="out_proj"),
        faults={
            "all features turn": angle("all features of a head turn", "option:rotary_width"),
            "frequencies of the whole head": angle("the exponent is divided by the head's width"),
            "angles in degrees": angle("angles are taken as degrees"),
            "angles repeated by halves": turned("neighbours have different angles"),
            "last features turn": turned("the last features turn, not the first"),
            "minus on the other": turned("queries and keys turn the other way"),
            "the rest is lost": turned("features that do not turn are 0"),
            "1e-4 for -1e4": masked("hidden scores are nearly 0"),
            "where exchanged": masked("the past is hidden, not the future"),
            "scaled before only the past": at(
                "attention.scores|" + WEIGHTS, "what is seen is not scaled", option="option:scale"
            ),
        },
        pairs=("all features turn+1e-4 for -1e4", "the rest is lost+where exchanged"),
    ),
    TorchWild(
        cls=GptOss, draw=tokens("query", 16, 5, 9), call=only_query,
        block=ar.MultiHeadAttention(
            width=16, num_heads=4, num_kv_heads=2, head_width=6, causal="top_left", window_left=3, use_sinks=True
        ),
        copy=lambda layer: {
            **linears(layer, query="q_proj", key="k_proj", value="v_proj", project="o_proj"),
            "sinks": array(layer.sinks),
        },
        faults={
            "window one too wide": masked("a key more is seen", "option:window_left"),
            "window ignored": masked("there is no window", "option:window_left"),
            "one sink for all": Planted(
                taps="attention.weights", reason="all heads have the first one's sink",
                alias=lambda w: {**w, "sinks": np.full(4, w["sinks"][0])},
            ),
            "sink is scaled": Planted(
                taps="attention.weights", reason="the sink is scaled as scores are",
                alias=lambda w: {**w, "sinks": w["sinks"] * 6**-0.5},
            ),
            "sink of zero": Planted(
                taps="attention.weights", reason="the sink is 0, whatever was learned", alias=constant(sinks=0)
            ),
            "sink lost": SINKLESS,
            "gate for sink": at("attention.weights", "weights are multiplied by a sigmoid of the sink"),
            "sink added to the scores": at(
                "attention.weights", "the sink is added to every score", option="option:use_sinks"
            ),
            "sink takes the first key": at("attention.weights", "weights stand one key too far"),
            "normed without the sink": at(
                "attention.weights|attention.context", "rows are made to sum to 1", "option:use_sinks"
            ),
            "sink on the values": Planted(
                taps="merged|attention.context|projected", reason="the sink is added to the results"
            ),
        },
        pairs=("window ignored+gate for sink", "window one too wide+sink lost"),
    ),
    TorchWild(
        cls=Mistral, draw=tokens("query", 12, 5, 9), call=only_query,
        block=ar.MultiHeadAttention(
            width=12, num_heads=3, use_bias=False, output_bias=False, rotary="half", causal="top_left", window_left=2
        ),
        copy=lambda layer: linears(layer, query="wq", key="wk", value="wv", project="wo"),
        faults={
            "one half alone": turned("the second half stays as it is"),
            "halves exchanged": Planted(
                taps="query_rotary.rotated", reason="the halves change places",
                unseen="query and key change places alike, and their product stays",
            ),
            "reflected": turned("queries and keys are reflected, not turned"),
            "batch for length": angle("the position is the number of the example", option="option:rotary"),
            "heads for length": angle("the position is the number of the head", option="option:rotary"),
            "keys start at 1": Planted(
                taps="key_rotary.angles|key_rotary.rotated", reason="the keys stand one position further"
            ),
            "window by n before": masked("a key more is seen", "option:window_left"),
            "triangles exchanged": masked("the window lies in the future"),
            "either triangle": masked("a key is seen if either triangle has it"),
            "window one too short": masked("a key less is seen", "option:window_left"),
            "window replaced by causal": masked("there is no window", "option:window_left"),
        },
        pairs=("one half alone+window by n before", "keys start at 1+either triangle"),
    ),
    TorchWild(
        cls=Rotary, block=ar.RotaryEmbedding(width=8, scaling=4.0), draw=heads_of_8, call=only_x, copy=lambda layer: {},
        faults={
            "scaling multiplies": at("angles|rotated", "positions are multiplied by the factor"),
            "scaling lost": at("angles|rotated", "positions are not divided", "option:scaling"),
            "scaling of the base": at("angles|rotated", "the base is multiplied, positions are divided"),
            "exponent without 2": at("angles|rotated", "the exponent is i / d, not 2i / d", "option:base"),
            "exponent upwards": at("angles|rotated", "frequencies rise", "option:base"),
            "exponent by one less": at("angles|rotated", "the exponent runs to 1", "option:base"),
            "positions from 1": at("angles|rotated", "positions start at 1"),
            "angles in pairs": at("rotated", "halves turn by angles of neighbours"),
            "neighbours turn": at("rotated", "neighbours turn by angles of halves"),
            "turned backwards": at("rotated", "it turns the other way"),
        },
        pairs=("scaling lost+turned backwards", "angles in pairs+neighbours turn"),
    ),
    TorchWild(
        cls=Alibi, block=ar.LinearPositionBias(num_heads=6), draw=some_positions, copy=lambda layer: {},
        inputs={"positions": "whole numbers (t,)"}, call=lambda inputs: ([inputs["query_positions"]], {}),
        faults={
            "heads as they are": at("slopes|bias", "slopes are 2^(-8h/6)"),
            "odd for even": at("slopes|bias", "the second, fourth … of the double's slopes are taken"),
            "first of the double": at("slopes|bias", "the first of the double's slopes are taken"),
            "sorted": at("slopes|bias", "the slopes are sorted"),
            "symmetric": at("bias", "a key after its query loses as much", "option:symmetric"),
            "queries minus keys": at("bias|output", "the other sign"),
            "future set to 0": at("bias", "later keys lose nothing"),
            "from the last key": at("bias", "distances are from the last key"),
            "squared": at("bias", "distances are squared"),
        },
        pairs=("odd for even+symmetric", "sorted+future set to 0"),
    ),
)  # fmt: skip
