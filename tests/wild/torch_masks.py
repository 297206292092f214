"""Attention with masks and biases, in the conventions of the world."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attn_ref as ar

from .corpus import Arrays, Planted, halved, keep, padding, values
from .torch_tools import Conv1D, TorchWild, array, constant, exchanged, linear, linears, packed, permuted, same_as

WEIGHTS = "attention.masked|attention.weights"
LOWEST = float(np.finfo(np.float64).min)


class BertAttention(nn.Module):
    """The mask comes ready to be added: 0 for a key that is there, the lowest number for one that is not."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.num_attention_heads, self.attention_head_size = 3, 4
        self.query, self.key, self.value = (nn.Linear(12, 12) for _ in range(3))
        self.dense = nn.Linear(12, 12)
        self.dropout = nn.Dropout(0.1)

    def transpose_for_scores(self, x: Tensor) -> Tensor:
        if "features before heads" in self.fault:
            return x.view(*x.shape[:-1], 4, 3).permute(0, 3, 1, 2)  # fault: features before heads
        return x.view(*x.shape[:-1], self.num_attention_heads, self.attention_head_size).permute(0, 2, 1, 3)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        query_layer = self.transpose_for_scores(self.query(hidden_states))
        key_of = self.query if "keys by the query layer" in self.fault else self.key
        key_layer = self.transpose_for_scores(key_of(hidden_states))  # fault: keys by the query layer
        value_of = self.key if "values by the key layer" in self.fault else self.value
        value_layer = self.transpose_for_scores(value_of(hidden_states))  # fault: values by the key layer
        scores = torch.matmul(query_layer, key_layer.transpose(-1, -2))  # fault: no scale
        if "mask before the scale" in self.fault:
            scores = scores + attention_mask  # fault: mask before the scale
        if "scale by the width" in self.fault:
            scores = scores / math.sqrt(hidden_states.shape[-1])  # fault: scale by the width
        elif "no scale" not in self.fault:
            scores = scores / math.sqrt(self.attention_head_size)
        if "mask multiplied" in self.fault:
            scores = scores * attention_mask  # fault: mask multiplied
        elif "mask upside down" in self.fault:
            scores = scores + (attention_mask == 0) * torch.finfo(scores.dtype).min  # fault: mask upside down
        elif "mask shifted by one" in self.fault:
            scores = scores + attention_mask.roll(1, -1)  # fault: mask shifted by one
        elif "mask of the queries" in self.fault:
            scores = scores + attention_mask.transpose(-1, -2)  # fault: mask of the queries
        elif "mask of the first example" in self.fault:
            scores = scores + attention_mask[:1]  # fault: mask of the first example
        elif not {"mask lost", "mask after the softmax", "mask before the scale"} & set(self.fault):
            scores = scores + attention_mask
        axis = -2 if "softmax over queries" in self.fault else 1 if "softmax over heads" in self.fault else -1
        probs = nn.functional.softmax(scores, dim=axis)  # fault: softmax over queries, softmax over heads, mask lost
        if "mask after the softmax" in self.fault:
            probs = probs * (attention_mask == 0)  # fault: mask after the softmax
        if "dropout in evaluation" in self.fault:
            probs = F.dropout(probs, 0.1)  # fault: dropout in evaluation
        context = torch.matmul(self.dropout(probs), value_layer)
        if "merged as it lies" in self.fault:
            context = context.reshape(hidden_states.shape)  # fault: merged as it lies
        else:
            context = context.permute(0, 2, 1, 3).contiguous().view(hidden_states.shape)
        return self.dense(context)


class DistilAttention(nn.Module):
    """A mask of whole numbers, 1 for a key that is there; the queries are scaled before the product."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.dim, self.n_heads = 12, 3
        self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(12, 12) for _ in range(4))

    def shape(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1, self.n_heads, self.dim // self.n_heads).transpose(1, 2)

    def unshape(self, x: Tensor) -> Tensor:
        if "heads turned about" in self.fault:
            x = x.flip(1)  # fault: heads turned about
        return x.transpose(1, 2).contiguous().view(x.size(0), -1, self.dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        bs, length, _ = x.shape
        q, k, v = self.shape(self.q_lin(x)), self.shape(self.k_lin(x)), self.shape(self.v_lin(x))
        width = self.dim if "scale by the width" in self.fault else self.dim // self.n_heads
        root = width if "root left out" in self.fault else math.sqrt(width)
        q = q / root  # fault: scale by the width, root left out
        if "keys are scaled too" in self.fault:
            k = k / math.sqrt(width)  # fault: keys are scaled too
        if "keys without transpose" in self.fault:
            scores = torch.matmul(k, q.transpose(2, 3))  # fault: keys without transpose
        else:
            scores = torch.matmul(q, k.transpose(2, 3))
        hidden = mask == (1 if "mask upside down" in self.fault else 0)  # fault: mask upside down
        hidden = hidden.view(bs, 1, length, 1) if "mask of the queries" in self.fault else hidden.view(bs, 1, 1, length)
        hidden = hidden.expand_as(scores)  # fault: mask of the queries
        if "1e-9 for -1e9" in self.fault:
            scores = scores.masked_fill(hidden, 1e-9)  # fault: 1e-9 for -1e9
        elif "smallest for lowest" in self.fault:
            scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).tiny)  # fault: smallest for lowest
        elif "not in place" in self.fault:
            scores.masked_fill(hidden, torch.finfo(scores.dtype).min)  # fault: not in place
        else:
            scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
        if "log softmax" in self.fault:
            weights = torch.log_softmax(scores.clamp(min=-1e3), dim=-1)  # fault: log softmax
        else:
            weights = torch.softmax(scores, dim=-1)
        context = self.unshape(torch.matmul(weights, v))
        if "residual inside" in self.fault:
            return self.out_lin(context) + x  # fault: residual inside
        return self.out_lin(context)


class FairseqAttention(nn.Module):
    """Length before batch, heads folded into the batch, ``key_padding_mask`` (b, s) with True for what is left out."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.num_heads, self.head_dim = 3, 4
        self.in_proj_weight, self.in_proj_bias = nn.Parameter(torch.rand(36, 12)), nn.Parameter(torch.rand(36))
        self.out_proj = nn.Linear(12, 12)

    def forward(self, query: Tensor, key_padding_mask: Tensor) -> Tensor:
        tgt_len, bsz, embed_dim = query.size()
        if "bias lost" in self.fault:
            q, k, v = F.linear(query, self.in_proj_weight).chunk(3, dim=-1)  # fault: bias lost
        else:
            q, k, v = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        scaling = self.head_dim ** (0.5 if "scaled up" in self.fault else -0.5)
        q = q * scaling  # fault: scaled up
        if "keys and values exchanged" in self.fault:
            k, v = v, k  # fault: keys and values exchanged
        if "folded as it lies" in self.fault:
            q = q.contiguous().view(bsz * self.num_heads, tgt_len, self.head_dim)  # fault: folded as it lies
        else:
            q = q.contiguous().view(tgt_len, bsz * self.num_heads, self.head_dim).transpose(0, 1)
        k = k.contiguous().view(-1, bsz * self.num_heads, self.head_dim).transpose(0, 1)
        v = v.contiguous().view(-1, bsz * self.num_heads, self.head_dim).transpose(0, 1)
        attn_weights = torch.bmm(q, k.transpose(1, 2))
        if "mask tiled" in self.fault:
            hidden = key_padding_mask.repeat(self.num_heads, 1).unsqueeze(1)  # fault: mask tiled
        else:
            hidden = key_padding_mask.repeat_interleave(self.num_heads, 0).unsqueeze(1)
        if "mask upside down" in self.fault:
            hidden = ~hidden  # fault: mask upside down
        if "mask added as numbers" in self.fault:
            attn_weights = attn_weights + hidden.to(attn_weights)  # fault: mask added as numbers
        elif "first key always kept" in self.fault:
            hidden = F.pad(hidden[..., :-1], (1, 0))  # fault: first key always kept
            attn_weights = attn_weights.masked_fill(hidden, -1e30)
        elif "scores set to 0" in self.fault:
            attn_weights = attn_weights.masked_fill(hidden, 0.0)  # fault: scores set to 0
        else:
            attn_weights = attn_weights.masked_fill(hidden, float("-inf"))
        axis = 0 if "softmax over the batch" in self.fault else -1
        attn_probs = F.softmax(attn_weights, dim=axis)  # fault: softmax over the batch
        attn = torch.bmm(attn_probs.nan_to_num(), v)
        if "length and batch exchanged" in self.fault:
            attn = attn.view(bsz, self.num_heads, tgt_len, self.head_dim).permute(
                0, 2, 1, 3
            )  # fault: length and batch exchanged
            return self.out_proj(attn.reshape(tgt_len, bsz, embed_dim))  # fault: length and batch exchanged
        return self.out_proj(attn.transpose(0, 1).contiguous().view(tgt_len, bsz, embed_dim))


class AnnotatedAttention(nn.Module):
    """A list of four linear layers; mask (t, s) of bools, True for what is kept, filled with -1e9."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.d_k, self.h = 4, 3
        self.linears = nn.ModuleList(nn.Linear(12, 12) for _ in range(4))

    def attention(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        scores = torch.matmul(query, key.transpose(-2, -1))  # fault: no scale
        if "no scale" not in self.fault:
            d_k = key.size(-2) if "scale by the length" in self.fault else query.size(-1)
            scores = scores / math.sqrt(d_k)  # fault: scale by the length
        if "mask transposed" in self.fault:
            mask = mask.transpose(-2, -1)  # fault: mask transposed
        if "mask upside down" in self.fault:
            scores = scores.masked_fill(mask, -1e9)  # fault: mask upside down
        elif "mask filled with -1" in self.fault:
            scores = scores.masked_fill(mask == 0, -1)  # fault: mask filled with -1
        elif "mask times -1e9" in self.fault:
            scores = scores * ((mask == 0) * -1e9)  # fault: mask times -1e9
        elif "mask filled after" not in self.fault:
            scores = scores.masked_fill(mask == 0, -1e9)
        p_attn = scores.softmax(dim=-2 if "softmax over queries" in self.fault else -1)  # fault: softmax over queries
        if "mask filled after" in self.fault:
            p_attn = p_attn.masked_fill(mask == 0, 0.0)  # fault: mask filled after
        if "weights divided by their largest" in self.fault:
            p_attn = p_attn / p_attn.amax(-1, keepdim=True)  # fault: weights divided by their largest
        return torch.matmul(p_attn, value)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        n = query.size(0)
        if "keys of the query" in self.fault:
            key = query  # fault: keys of the query
        order = [1, 0, 2] if "linears in another order" in self.fault else [0, 1, 2]
        query, key, value = (
            self.linears[i](x).view(n, -1, self.h, self.d_k).transpose(1, 2)  # fault: linears in another order
            for i, x in zip(order, (query, key, value), strict=True)
        )
        x = self.attention(query, key, value, mask.unsqueeze(0).unsqueeze(1))
        x = x.transpose(1, 2).contiguous().view(n, -1, self.h * self.d_k)
        return self.linears[2 if "value layer at the end" in self.fault else -1](x)  # fault: value layer at the end


class PaddedGpt(nn.Module):
    """Causal, by a buffer, together with padding (b, s), True for what is kept."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.n_head = 3
        self.c_attn, self.c_proj = nn.Linear(12, 36), nn.Linear(12, 12)
        diagonal = 1 if "one key too many" in self.fault else -1 if "diagonal hidden" in self.fault else 0
        self.register_buffer("tril", torch.ones(32, 32, dtype=torch.bool).tril(diagonal))

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(c, dim=2)
        q, k, v = (y.view(b, t, self.n_head, c // self.n_head).transpose(1, 2) for y in (q, k, v))
        att = q @ k.transpose(-2, -1) * (1.0 / math.sqrt(k.size(-1)))
        causal = self.tril[:t, :t][None, None]
        if "buffer from its end" in self.fault:
            causal = self.tril[-t:, :t][None, None]  # fault: buffer from its end
        if "upper for lower" in self.fault:
            causal = causal.transpose(-2, -1)  # fault: upper for lower
        kept = padding[:, None, None, :]
        if "one or the other" in self.fault:
            kept = kept | causal  # fault: one or the other
        elif "causal lost beside padding" in self.fault:
            kept = kept.expand(b, 1, t, t)  # fault: causal lost beside padding
        elif "padding lost beside causal" in self.fault:
            kept = causal  # fault: padding lost beside causal
        elif "padding of queries" in self.fault:
            kept = causal & padding[:, None, :, None]  # fault: padding of queries
        elif "padding as lengths of the batch" in self.fault:
            kept = causal & padding.any(0)  # fault: padding as lengths of the batch
        else:
            kept = kept & causal
        low = -10.0 if "filled with -10" in self.fault else -1e30
        att = att.masked_fill(~kept, low)  # fault: filled with -10, one key too many, diagonal hidden
        att = F.softmax(att, dim=-1)
        y = att @ v
        if "merged by heads" in self.fault:
            y = y.permute(0, 2, 3, 1).reshape(b, t, c)  # fault: merged by heads
        else:
            y = y.transpose(1, 2).contiguous().view(b, t, c)
        if "padded rows zeroed" in self.fault:
            return self.c_proj(y) * padding[..., None]  # fault: padded rows zeroed
        return self.c_proj(y)


class Lengths(nn.Module):
    """How many tokens each example has, as whole numbers, as for speech."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.heads = 3
        self.linear_q, self.linear_k, self.linear_v = (nn.Linear(12, 12) for _ in range(3))
        self.linear_out = nn.Linear(12, 12, bias=False)

    def forward(self, xs: Tensor, lengths: Tensor) -> Tensor:
        b, t, c = xs.shape
        heads = (b, t, self.heads, c // self.heads)
        q = self.linear_q(xs).view(heads).transpose(1, 2)
        k = self.linear_k(xs).view(heads).transpose(1, 2)
        v = self.linear_v(xs).view(heads).transpose(1, 2)
        position = torch.arange(t)
        if "one key too many" in self.fault:
            there = position[None] <= lengths[:, None]  # fault: one key too many
        elif "one key too few" in self.fault:
            there = position[None] < (lengths[:, None] - 1).clamp(min=1)  # fault: one key too few
        elif "padding on the left" in self.fault:
            there = position[None] >= t - lengths[:, None]  # fault: padding on the left
        elif "longest for each" in self.fault:
            there = position[None] < lengths.max()  # fault: longest for each
        elif "lengths upside down" in self.fault:
            there = position[None] >= lengths[:, None]  # fault: lengths upside down
        else:
            there = position[None] < lengths[:, None]
        scores = torch.einsum("bhtd,bhsd->bhts", q, k) / self.heads ** (0.5)  # fault: scale by the heads
        if "scale by the heads" not in self.fault:
            scores = torch.einsum("bhtd,bhsd->bhts", q, k) / (c // self.heads) ** 0.5
        if "infinite rows" in self.fault:
            both = there[:, None, None] & there[:, None, :, None]
            scores = scores.masked_fill(~both, -1e30)  # fault: infinite rows
        else:
            scores = scores.masked_fill(~there[:, None, None], float("-inf"))
        attn = torch.softmax(scores, -1).masked_fill(~there[:, None, None], 0.0)
        attn = attn.transpose(2, 3) if "weights transposed" in self.fault else attn  # fault: weights transposed
        y = torch.einsum("bhts,bhsd->bhtd", attn, v).transpose(1, 2).reshape(b, t, c)  # fault: weights transposed
        if "padded rows zeroed" in self.fault:
            y = y * there[..., None]  # fault: padded rows zeroed
        if "projection of the heads' mean" in self.fault:
            y = y.view(b, t, 3, 4).mean(2).repeat(1, 1, 3)  # fault: projection of the heads' mean
        return self.linear_out(y)


class BloomAttention(nn.Module):
    """ALiBi inside, ``baddbmm``, one projection whose rows are (head, 3, width); mask (b, s), 1 for what is kept."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.num_heads, self.head_dim = 4, 3
        self.inv_norm_factor = 1.0 / math.sqrt(self.head_dim)
        self.query_key_value, self.dense = nn.Linear(12, 36), nn.Linear(12, 12)

    def alibi(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        n = self.num_heads
        span = 4.0 if "slopes of half the range" in self.fault else 8.0
        powers = torch.arange(n) if "slopes from 1" in self.fault else torch.arange(1, n + 1)
        slopes = 2.0 ** (-span * powers.to(dtype) / n)  # fault: slopes of half the range, slopes from 1
        if "one slope for all" in self.fault:
            slopes = slopes[:1].expand(n)  # fault: one slope for all
        if "slopes turned about" in self.fault:
            slopes = slopes.flip(0)  # fault: slopes turned about
        positions = ((mask.cumsum(-1) - 1) * mask)[:, None, :].to(dtype)
        if "nearer counts less" in self.fault:
            positions = -positions  # fault: nearer counts less
        b, s = mask.shape
        if "heads before batch" in self.fault:
            return (slopes[:, None, None, None] * positions).reshape(b * n, 1, s)  # fault: heads before batch
        return (slopes[None, :, None] * positions).reshape(b * n, 1, s)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        b, t, _ = hidden_states.shape
        fused = self.query_key_value(hidden_states).view(b, t, self.num_heads, 3, self.head_dim)
        q, k, v = (fused[..., i, :].transpose(1, 2).reshape(b * self.num_heads, t, self.head_dim) for i in range(3))
        alibi = self.alibi(attention_mask, hidden_states.dtype)
        alpha = 1.0 if "no scale" in self.fault else self.inv_norm_factor
        beta = self.inv_norm_factor if "bias is scaled too" in self.fault else 0.0 if "bias lost" in self.fault else 1.0
        k = k.transpose(1, 2)
        scores = alibi.baddbmm(q, k, beta=beta, alpha=alpha)  # fault: no scale, bias is scaled too, bias lost
        scores = scores.view(b, self.num_heads, t, t)
        hidden = torch.ones(t, t, dtype=torch.bool).triu(1)[None, None]
        if "causal lost" in self.fault:
            hidden = torch.zeros_like(hidden)  # fault: causal lost
        if "padding lost" not in self.fault:
            hidden = hidden | (attention_mask == 0)[:, None, None]
        scores = torch.masked_fill(scores, hidden, torch.finfo(scores.dtype).min)  # fault: padding lost
        probs = F.softmax(scores, dim=-1).view(b * self.num_heads, t, t)
        context = torch.bmm(probs, v).view(b, self.num_heads, t, self.head_dim)
        return self.dense(context.permute(0, 2, 1, 3).reshape(b, t, 12))


class OldGpt(nn.Module):
    """The causal mask is a float of 0 and 1, multiplied, and what it leaves out is lowered by 1e4; padding is added."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.c_attn, self.c_proj = Conv1D(36, 12), Conv1D(12, 12)
        self.register_buffer("bias", torch.tril(torch.ones(24, 24)).view(1, 1, 24, 24))

    def split_heads(self, x: Tensor, k: bool = False) -> Tensor:
        x = x.view(*x.size()[:-1], 3, 4)
        return x.permute(0, 2, 3, 1) if k else x.permute(0, 2, 1, 3)

    def _attn(self, q: Tensor, k: Tensor, v: Tensor, padding: Tensor) -> Tensor:
        w = torch.matmul(q, k)  # fault: no scale
        if "no scale" not in self.fault:
            width = k.size(-1) if "scale by the key's last axis" in self.fault else q.size(-1)
            w = w / math.sqrt(width)  # fault: scale by the key's last axis
        b = self.bias[:, :, : w.size(-2), : w.size(-1)].to(w)
        if "nothing is lowered" in self.fault:
            w = w * b  # fault: nothing is lowered
        elif "lowered by 1" in self.fault:
            w = w * b - 1 * (1 - b)  # fault: lowered by 1
        elif "the past is lowered" in self.fault:
            w = w * (1 - b) - 1e4 * b  # fault: the past is lowered
        elif "raised" in self.fault:
            w = w * b + 1e4 * (1 - b)  # fault: raised
        else:
            w = w * b - 1e4 * (1 - b)
        if "padding lost" not in self.fault:
            w = w + padding
        if "softmax over features" in self.fault:
            v = F.softmax(v, dim=-1)  # fault: softmax over features
        w = F.softmax(w, dim=-1)  # fault: padding lost
        return torch.matmul(w, v)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        q, k, v = self.c_attn(x).split(12, dim=2)
        if "queries for keys" in self.fault:
            k = q  # fault: queries for keys
        a = self._attn(self.split_heads(q), self.split_heads(k, k=True), self.split_heads(v), padding)
        a = a.permute(0, 2, 1, 3).contiguous().view(*x.shape)
        if "projection transposed" in self.fault:
            return a @ self.c_proj.weight.T + self.c_proj.bias  # fault: projection transposed
        return self.c_proj(a)


class SdpaDecoder(nn.Module):
    """``F.scaled_dot_product_attention`` with a mask that is both causal and padding, and grouped heads."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.q_proj, self.k_proj = nn.Linear(24, 24, bias=False), nn.Linear(24, 12, bias=False)
        self.v_proj, self.o_proj = nn.Linear(24, 12, bias=False), nn.Linear(24, 24, bias=False)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        shape = (*hidden_states.shape[:-1], -1, 6)
        q = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        k = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        v = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        t = q.shape[2]
        allowed = attention_mask[:, None, None, :].bool() & torch.ones(t, t, dtype=torch.bool).tril()
        if "mask means left out" in self.fault:
            allowed = ~allowed | torch.eye(t, dtype=torch.bool)  # fault: mask means left out
        elif "causal lost beside padding" in self.fault:
            allowed = attention_mask[:, None, None, :].bool()  # fault: causal lost beside padding
        if "heads tiled" in self.fault:
            k, v = k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1)  # fault: heads tiled
        if "values tiled alone" in self.fault:
            k, v = k.repeat_interleave(2, 1), v.repeat(1, 2, 1, 1)  # fault: values tiled alone
        scale = 24**-0.5 if "scale by the width" in self.fault else 1.0 if "no scale" in self.fault else None
        grouped = q.shape[1] != k.shape[1]
        if "dropout in evaluation" in self.fault:
            y = F.scaled_dot_product_attention(
                q, k, v, allowed, 0.2, enable_gqa=grouped
            )  # fault: dropout in evaluation
        elif "padding lost beside causal" in self.fault:
            y = F.scaled_dot_product_attention(
                q, k, v, None, 0.0, True, enable_gqa=grouped
            )  # fault: padding lost beside causal
        elif "mask as numbers" in self.fault:
            allowed = allowed.to(q)  # fault: mask as numbers
            y = F.scaled_dot_product_attention(q, k, v, allowed, enable_gqa=True)  # fault: mask as numbers
        else:
            y = F.scaled_dot_product_attention(  # fault: scale by the width, no scale
                q, k, v, attn_mask=allowed, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
            )
        if "merged as it lies" in self.fault:
            return self.o_proj(y.reshape(*hidden_states.shape))  # fault: merged as it lies
        return self.o_proj(y.transpose(1, 2).reshape(*hidden_states.shape))


class T5Attention(nn.Module):
    """No scale, a learned bias for every distance, and an additive mask (b, 1, 1, s) that is added to that bias."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.n_heads, self.key_value_proj_dim = 2, 5
        self.q, self.k, self.v = (nn.Linear(12, 10, bias=False) for _ in range(3))
        self.o = nn.Linear(10, 12, bias=False)
        self.relative_attention_bias = nn.Embedding(32, 2)

    def _relative_position_bucket(self, relative_position: Tensor) -> Tensor:
        num_buckets, max_distance = 32, 32 if "another largest distance" in self.fault else 128
        buckets = torch.zeros_like(relative_position)
        if "one side alone" in self.fault:
            relative_position = (-relative_position).clamp(min=0)  # fault: one side alone
        else:
            num_buckets //= 2
            buckets = buckets + (relative_position > 0).long() * num_buckets
            relative_position = relative_position.abs()
        exact = num_buckets // (4 if "half as many exact buckets" in self.fault else 2)
        large = relative_position.double() / exact  # fault: half as many exact buckets
        large = torch.log(large) / math.log(max_distance / exact)  # fault: another largest distance
        large = exact + (large * (num_buckets - exact)).long()  # fault: half as many exact buckets
        large = large.clamp(max=num_buckets - 1)
        return buckets + torch.where(relative_position < exact, relative_position, large)

    def compute_bias(self, length: int) -> Tensor:
        context, memory = torch.arange(length)[:, None], torch.arange(length)[None]
        offset = memory - context
        if "distances backwards" in self.fault:
            offset = context - memory  # fault: distances backwards
        bucket = self._relative_position_bucket(offset)
        if "no sides" in self.fault:
            bucket = bucket % 16  # fault: no sides
        table = self.relative_attention_bias(bucket)
        if "bias of the first head" in self.fault:
            table = table[..., :1].expand(-1, -1, 2)  # fault: bias of the first head
        return table.permute([2, 0, 1]).unsqueeze(0)

    def forward(self, hidden_states: Tensor, mask: Tensor) -> Tensor:
        b, t, _ = hidden_states.shape

        def shape(states: Tensor) -> Tensor:
            return states.view(b, -1, self.n_heads, self.key_value_proj_dim).transpose(1, 2)

        query, key, value = shape(self.q(hidden_states)), shape(self.k(hidden_states)), shape(self.v(hidden_states))
        scores = torch.matmul(query, key.transpose(3, 2))
        if "scaled" in self.fault:
            scores = scores * self.key_value_proj_dim**-0.5  # fault: scaled
        position_bias = self.compute_bias(t)
        if "bias is scaled" in self.fault:
            position_bias = position_bias * self.key_value_proj_dim**-0.5  # fault: bias is scaled
        if "mask lost" not in self.fault:
            position_bias = position_bias + mask
        if "bias lost" in self.fault:
            position_bias = mask  # fault: bias lost
        if "bias multiplied" in self.fault:
            scores = scores * self.compute_bias(t)  # fault: bias multiplied
            position_bias = mask
        scores = scores + position_bias  # fault: mask lost
        weights = F.softmax(scores, dim=-1)
        context = torch.matmul(weights, value).transpose(1, 2).contiguous().view(b, -1, 10)
        return self.o(context)


class BartCross(nn.Module):
    """Of a decoder: queries of the text, keys and values of the encoder, additive mask (b, 1, t, s)."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.num_heads, self.head_dim, self.scaling = 3, 4, 4**-0.5
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(12, 12) for _ in range(4))

    def _shape(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        x = x.view(b, -1, self.num_heads, self.head_dim).transpose(1, 2)
        return x.reshape(b * self.num_heads, -1, self.head_dim)

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        bsz, tgt_len, embed_dim = hidden_states.size()
        query = self.q_proj(hidden_states)
        if "scaled without bias" in self.fault:
            scaled = self.q_proj.weight * self.scaling  # fault: scaled without bias
            query = F.linear(hidden_states, scaled, self.q_proj.bias)  # fault: scaled without bias
        elif "scaled by the root" in self.fault:
            query = query * self.scaling**0.5  # fault: scaled by the root
        else:
            query = query * self.scaling
        if "keys and values of the decoder" in self.fault:
            key = self.k_proj(hidden_states)  # fault: keys and values of the decoder
            value = self.v_proj(hidden_states)  # fault: keys and values of the decoder
            attention_mask = attention_mask.amax(-1, keepdim=True)
        else:
            key = self.k_proj(encoder_hidden_states)
            value = (
                key if "keys are values" in self.fault else self.v_proj(encoder_hidden_states)
            )  # fault: keys are values
        query, key, value = self._shape(query), self._shape(key), self._shape(value)
        src_len = key.size(1)
        attn_weights = torch.bmm(query, key.transpose(1, 2))
        if "mask of the last query" in self.fault:
            attention_mask = attention_mask[:, :, -1:]  # fault: mask of the last query
        if "mask of the first head" in self.fault:
            attn_weights = attn_weights.view(bsz, self.num_heads, tgt_len, src_len)
            lowered = attn_weights[:, :1] + attention_mask  # fault: mask of the first head
            attn_weights = torch.cat([lowered, attn_weights[:, 1:]], 1)  # fault: mask of the first head
        elif "mask lost" not in self.fault:
            attn_weights = attn_weights.view(bsz, self.num_heads, tgt_len, src_len) + attention_mask
        attn_weights = attn_weights.view(bsz * self.num_heads, tgt_len, src_len)
        axis = 1 if "softmax over queries" in self.fault else -1
        attn_weights = F.softmax(attn_weights, dim=axis)  # fault: softmax over queries, mask lost
        attn_output = torch.bmm(attn_weights, value)
        if "heads and length exchanged" in self.fault:
            attn_output = attn_output.view(
                bsz, tgt_len, self.num_heads, self.head_dim
            )  # fault: heads and length exchanged
        else:
            attn_output = attn_output.view(bsz, self.num_heads, tgt_len, self.head_dim).transpose(1, 2)
        return self.out_proj(attn_output.reshape(bsz, tgt_len, embed_dim))


class Wrapped(nn.Module):
    """``nn.MultiheadAttention``, causal, with a mask of whole numbers (b, s), 1 for what is kept."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.attn = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        t = x.shape[1]
        hidden = mask == 0
        future = torch.ones(t, t, dtype=torch.bool).triu(1)
        q = x * 0.5 if "queries scaled before" in self.fault else x  # fault: queries scaled before
        v = x.roll(1, 1) if "values shifted by one" in self.fault else x  # fault: values shifted by one
        if "padding upside down" in self.fault:
            y, weights = self.attn(x, x, x, ~hidden, attn_mask=future)  # fault: padding upside down
        elif "causal upside down" in self.fault:
            y, weights = self.attn(x, x, x, hidden, attn_mask=~future)  # fault: causal upside down
        elif "causal lost" in self.fault:
            y, weights = self.attn(x, x, x, hidden)  # fault: causal lost
        elif "padding lost" in self.fault:
            y, weights = self.attn(x, x, x, attn_mask=future)  # fault: padding lost
        elif "mask as numbers" in self.fault:
            y, weights = self.attn(x, x, x, hidden.to(x), attn_mask=future.to(x))  # fault: mask as numbers
        else:
            y, weights = self.attn(q, x, v, hidden, attn_mask=future)
        y = y.nan_to_num()
        if "weights for values" in self.fault:
            y = weights.nan_to_num() @ y  # fault: weights for values
        return y + x if "residual inside" in self.fault else y  # fault: residual inside


class Gemma2Attention(nn.Module):
    """Capped scores, a window of the last tokens, a scale of its own; mask (b, s), 1 for what is kept."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.head_dim, self.groups, self.scaling = 6, 2, 10**-0.5
        self.attn_logit_softcapping, self.sliding_window = 2.0, 3
        self.q_proj, self.o_proj = nn.Linear(16, 24, bias=False), nn.Linear(24, 16, bias=False)
        self.k_proj, self.v_proj = nn.Linear(16, 12, bias=False), nn.Linear(16, 12, bias=False)

    def mask(self, attention_mask: Tensor, t: int) -> Tensor:
        i, j = torch.arange(t)[:, None], torch.arange(t)[None]
        window = self.sliding_window + 1 if "window off by one" in self.fault else self.sliding_window
        kept = (j <= i) & (i - j < window)  # fault: window off by one
        if "window lost" in self.fault:
            kept = j <= i  # fault: window lost
        if "window on both sides" in self.fault:
            kept = (i - j).abs() < window  # fault: window on both sides
        if "window on the other side" in self.fault:
            kept = (j >= i) & (j - i < window)  # fault: window on the other side
        if "window of whole blocks" in self.fault:
            kept = (j <= i) & (i // window == j // window)  # fault: window of whole blocks
        kept = kept[None, None]
        if "padding lost" in self.fault:
            return kept.expand(len(attention_mask), -1, -1, -1)  # fault: padding lost
        return kept & attention_mask[:, None, None].bool()

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        b, t, _ = hidden_states.shape
        q = self.q_proj(hidden_states).view(b, t, -1, self.head_dim).transpose(1, 2)
        k = self.k_proj(hidden_states).view(b, t, -1, self.head_dim).transpose(1, 2)
        v = self.v_proj(hidden_states).view(b, t, -1, self.head_dim).transpose(1, 2)
        k, v = (y[:, :, None].expand(b, -1, self.groups, t, -1).reshape(b, -1, t, self.head_dim) for y in (k, v))
        scaling = self.head_dim**-0.5 if "scale by the head" in self.fault else self.scaling
        w = torch.matmul(q, k.transpose(2, 3)) * scaling  # fault: scale by the head
        kept = self.mask(attention_mask, t)
        low = torch.zeros_like(kept, dtype=w.dtype).masked_fill(~kept, torch.finfo(w.dtype).min)
        if "cap after the mask" in self.fault:
            w = w + low  # fault: cap after the mask
        if "cap not undone" in self.fault:
            w = torch.tanh(w / self.attn_logit_softcapping)  # fault: cap not undone
        elif "clipped for capped" in self.fault:
            w = w.clamp(-self.attn_logit_softcapping, self.attn_logit_softcapping)  # fault: clipped for capped
        elif "cap inside out" in self.fault:
            w = torch.tanh(w * self.attn_logit_softcapping) / self.attn_logit_softcapping  # fault: cap inside out
        elif "cap lost" not in self.fault:
            w = self.attn_logit_softcapping * torch.tanh(w / self.attn_logit_softcapping)  # fault: cap after the mask
        if "cap after the mask" not in self.fault:
            w = w + low
        w = F.softmax(w, dim=-1)  # fault: cap lost
        y = torch.matmul(w, v).transpose(1, 2).reshape(b, t, -1)
        return self.o_proj(y)


class FloatBias(nn.Module):
    """A bias of any numbers (b, t, s), added to the scores, and a mask (t, s) of bools, True for what is left out."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.to_qkv, self.to_out = nn.Linear(12, 30, bias=False), nn.Linear(10, 12)

    def forward(self, x: Tensor, bias: Tensor, attn_mask: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.to_qkv(x).view(b, n, 3, 2, 5).permute(2, 0, 3, 1, 4).unbind(0)
        sim = torch.einsum("bhid,bhjd->bhij", q, k)
        if "bias before the scale" in self.fault:
            sim = (sim + bias[:, None]) * 5**-0.5  # fault: bias before the scale
        elif "bias subtracted" in self.fault:
            sim = sim * 5**-0.5 - bias[:, None]  # fault: bias subtracted
        elif "bias multiplied" in self.fault:
            sim = sim * 5**-0.5 * bias[:, None]  # fault: bias multiplied
        elif "bias transposed" in self.fault:
            sim = sim * 5**-0.5 + bias[:, None].transpose(-1, -2)  # fault: bias transposed
        elif "bias of the first example" in self.fault:
            sim = sim * 5**-0.5 + bias[:1, None]  # fault: bias of the first example
        elif "bias in the exponent's place" in self.fault:
            sim = sim * 5**-0.5 + bias[:, None].exp()  # fault: bias in the exponent's place
        elif "bias for the first head" in self.fault:
            sim = sim * 5**-0.5
            sim[:, 0] = sim[:, 0] + bias  # fault: bias for the first head
        else:
            sim = sim * 5**-0.5 + bias[:, None]
        if "mask upside down" in self.fault:
            attn_mask = ~attn_mask  # fault: mask upside down
        if "mask sets to 0" in self.fault:
            sim = sim.masked_fill(attn_mask, 0.0)  # fault: mask sets to 0
        else:
            sim = sim.masked_fill(attn_mask, -torch.finfo(sim.dtype).max)
        attn = sim.softmax(dim=-1)
        if "bias after the softmax" in self.fault:
            attn = attn + bias[:, None]  # fault: bias after the softmax
        out = torch.einsum("bhij,bhjd->bhid", attn, v)
        return self.to_out(out.permute(0, 2, 1, 3).reshape(b, n, 10))


# what they are given --------------------------------------------------------------------------------------------------


def padded(width: int, least: int = 3, most: int = 9) -> Any:
    """A query and which keys there are, (b, 1, 1, s)."""

    def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
        b, t = int(rng.integers(1, 4)), int(rng.integers(least, most + 1))
        return {"query": values(rng, b, t, width), "attention_mask": padding(rng, b, t)[:, None, None]}

    return draw


def little_padded(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """At most two tokens are padding, so that every query has a key in its window of three."""
    b, t = int(rng.integers(1, 4)), int(rng.integers(4, 11))
    lengths = t - rng.integers(0, 3, b)
    lengths[rng.integers(b)] = t - 2
    kept = np.arange(t) < lengths[:, None]
    return {"query": values(rng, b, t, 16), "attention_mask": kept[:, None, None]}


def with_lengths(rng: np.random.Generator) -> dict[str, np.ndarray]:
    inputs = padded(12)(rng)
    return {"query": inputs["query"], "key_lengths": inputs["attention_mask"].sum((1, 2, 3))}


def crossed(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A query, a key, and one mask (t, s) for all."""
    b, t, s = (int(n) for n in rng.integers((1, 2, 3), (4, 8, 9)))
    query, key = values(rng, b, t, 12), values(rng, b, s, 12)
    return {"query": query, "key": key, "attention_mask": keep(rng, 1, 1, t, s)}


def annotated(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A query, a key as long, and one mask (t, t) for all."""
    b, t = int(rng.integers(1, 4)), int(rng.integers(3, 9))
    return {"query": values(rng, b, t, 12), "key": values(rng, b, t, 12), "attention_mask": keep(rng, 1, 1, t, t)}


def decoder(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A query, a key, and a mask (b, 1, t, s)."""
    inputs = crossed(rng)
    (b, t, _), s = inputs["query"].shape, inputs["key"].shape[1]
    return {**inputs, "attention_mask": keep(rng, b, 1, t, s)}


def biased(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, t = int(rng.integers(1, 4)), int(rng.integers(3, 9))
    bias = rng.standard_normal((b, 1, t, t)) * 2
    return {"query": values(rng, b, t, 12), "attention_mask": keep(rng, 1, 1, t, t), "bias": bias}


def added(kept: np.ndarray, low: float = LOWEST) -> np.ndarray:
    """0 where a key is kept, the lowest number elsewhere."""
    return np.where(kept, 0.0, low)


def whole(kept: np.ndarray) -> np.ndarray:
    """(b, 1, 1, s) of bools as (b, s) of 0 and 1."""
    return kept[:, 0, 0].astype(np.int64)


def fairseq(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    return [inputs["query"].swapaxes(0, 1)], {"key_padding_mask": ~inputs["attention_mask"][:, 0, 0]}


def whole_mask(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    return [inputs["query"], whole(inputs["attention_mask"])], {}


def bloom_weights(layer: Any) -> dict[str, np.ndarray]:
    fused = layer.query_key_value
    weight, bias = array(fused.weight).reshape(4, 3, 3, 12), array(fused.bias).reshape(4, 3, 3)
    found = linear("project", layer.dense)
    for i, name in enumerate(("query", "key", "value")):
        found |= {f"{name}.kernel": weight[:, i].reshape(12, 12).T, f"{name}.bias": bias[:, i].reshape(12)}
    return found


def old_gpt_weights(layer: Any) -> dict[str, np.ndarray]:
    return {
        **packed(("query", "key", "value"), layer.c_attn.weight.T, layer.c_attn.bias),
        "project.kernel": array(layer.c_proj.weight), "project.bias": array(layer.c_proj.bias),
    }  # fmt: skip


def alibi_given(layer: Any, inputs: Arrays) -> Arrays:
    bias = ar.LinearPositionBias(num_heads=4)({}, np.arange(inputs["query"].shape[1]))
    return {**inputs, "bias": bias[None]}


def t5_given(layer: Any, inputs: Arrays) -> Arrays:
    table = {"table.embedding": array(layer.relative_attention_bias.weight)}
    bias = ar.RelativePositionBias(num_heads=2)(table, np.arange(inputs["query"].shape[1]))
    return {**inputs, "bias": bias[None]}


def mean_of_heads(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    kernel = w["project.kernel"].reshape(3, 4, 12).mean(0)
    return {**w, "project.kernel": np.tile(kernel, (3, 1))}


def transposed(name: str) -> Any:
    return lambda w: {**w, name: w[name].T}


NO_SCALE = Planted(taps="attention.scores", reason="the scores are not scaled", option="option:scale")
BY_WIDTH = Planted(
    taps="attention.scores", reason="scaled by the root of the width, not of a head's", option="option:scale"
)
QUERIES = Planted(taps="attention.weights", reason="the softmax goes over the queries")
UPSIDE_DOWN = Planted(taps=WEIGHTS, reason="the mask keeps what it should leave out")
LOST = Planted(taps=WEIGHTS, reason="the mask is not used")
OF_QUERIES = Planted(taps=WEIGHTS, reason="the mask leaves out queries, not keys")
CAUSAL_LOST = Planted(taps=WEIGHTS, reason="later tokens are seen beside the mask", option="option:causal")
MERGED = Planted(taps="merged", reason="heads are merged without exchanging heads and tokens")
TILED = Planted(taps="attention.scores", reason="key heads are tiled: query head i reads i % g, not i // r")
DROPPED = Planted(taps="attention.context|attention.weights", reason="dropout acts in evaluation")
RESIDUAL = Planted(taps="output|projected", reason="the input is added to the result")

WILD = halved(
    TorchWild(
        cls=BertAttention, block=ar.MultiHeadAttention(width=12, num_heads=3), draw=padded(12),
        inputs={"attention_mask": "additive, (b, 1, 1, s): 0 or the lowest number"},
        call=lambda inputs: ([inputs["query"]], {"attention_mask": added(inputs["attention_mask"])}),
        copy=lambda layer: linears(layer, query="query", key="key", value="value", project="dense"),
        faults={
            "features before heads": Planted(
                taps="query|attention.scores", reason="the width is cut into (d, h), not (h, d)",
                alias=permuted(np.arange(12).reshape(4, 3).T.ravel(), "query", "key", "value"),
            ),
            "keys by the query layer": Planted(
                taps="key|attention.scores", reason="queries and keys share a projection", alias=same_as(key="query")
            ),
            "values by the key layer": Planted(
                taps="value|attention.context", reason="keys and values share a projection", alias=same_as(value="key")
            ),
            "no scale": NO_SCALE, "scale by the width": BY_WIDTH,
            "mask before the scale": Planted(
                taps=WEIGHTS, reason="the mask is scaled too", unseen="half of the lowest number is as low to exp"
            ),
            "mask multiplied": Planted(taps=WEIGHTS, reason="the additive mask is multiplied"),
            "mask upside down": UPSIDE_DOWN, "mask of the queries": OF_QUERIES, "mask lost": LOST,
            "mask shifted by one": Planted(taps=WEIGHTS, reason="the mask stands one key too far"),
            "mask of the first example": Planted(taps=WEIGHTS, reason="every example has the first one's mask"),
            "softmax over queries": QUERIES,
            "softmax over heads": Planted(taps="attention.weights", reason="the softmax goes over the heads"),
            "mask after the softmax": Planted(
                taps=WEIGHTS, reason="masked weights are set to 0 after the softmax, so that rows do not sum to 1"
            ),
            "dropout in evaluation": DROPPED, "merged as it lies": MERGED,
        },
        pairs=(
            "no scale+mask shifted by one", "scale by the width+merged as it lies", "mask lost+softmax over queries",
            "mask of the queries+values by the key layer", "features before heads+mask after the softmax",
        ),
    ),
    TorchWild(
        cls=DistilAttention, block=ar.MultiHeadAttention(width=12, num_heads=3), draw=padded(12),
        inputs={"mask": "whole numbers (b, s), 1 = attend"}, call=whole_mask,
        copy=lambda layer: linears(layer, query="q_lin", key="k_lin", value="v_lin", project="out_lin"),
        faults={
            "heads turned about": Planted(taps="merged", reason="the heads are merged in reverse order"),
            "scale by the width": BY_WIDTH,
            "root left out": Planted(
                taps="attention.scores", reason="divided by d, not by its root", option="option:scale"
            ),
            "keys are scaled too": Planted(
                taps="attention.scores", reason="queries and keys are both scaled", option="option:scale"
            ),
            "keys without transpose": Planted(
                taps="attention.scores|attention.masked", reason="the scores are transposed",
                alias=exchanged(("query", "key")),
            ),
            "mask upside down": UPSIDE_DOWN, "mask of the queries": OF_QUERIES,
            "1e-9 for -1e9": Planted(taps=WEIGHTS, reason="masked scores are 1e-9, which is nearly 0"),
            "smallest for lowest": Planted(taps=WEIGHTS, reason="masked scores are the smallest number above 0"),
            "not in place": Planted(taps=WEIGHTS, reason="masked_fill gives a new tensor, which is thrown away"),
            "log softmax": Planted(taps="attention.weights|attention.context", reason="the weights are logarithms"),
            "residual inside": RESIDUAL,
        },
        pairs=("keys are scaled too+1e-9 for -1e9", "mask upside down+heads turned about"),
    ),
    TorchWild(
        cls=FairseqAttention, block=ar.MultiHeadAttention(width=12, num_heads=3), draw=padded(12),
        inputs={"key_padding_mask": "bool (b, s), True = leave out", "query": "(t, b, width)"}, call=fairseq,
        expect=lambda y, inputs: y.swapaxes(0, 1),
        copy=lambda layer: {
            **packed(("query", "key", "value"), layer.in_proj_weight, layer.in_proj_bias),
            **linear("project", layer.out_proj),
        },
        faults={
            "bias lost": Planted(
                taps="query", reason="the packed projection has a bias that is not added", option="option:use_bias",
                alias=constant(**{"query.bias": 0, "key.bias": 0, "value.bias": 0}),
            ),
            "scaled up": Planted(
                taps="attention.scores", reason="multiplied by the root, not divided", option="option:scale"
            ),
            "keys and values exchanged": Planted(
                taps="key|attention.scores", reason="keys and values are exchanged", alias=exchanged(("key", "value"))
            ),
            "folded as it lies": Planted(
                taps="query|attention.scores", reason="queries are folded as (b·h, t) and lie as (t, b·h)"
            ),
            "mask tiled": Planted(
                taps=WEIGHTS, reason="the mask is tiled, where heads of one example are neighbours"
            ),
            "mask upside down": UPSIDE_DOWN,
            "mask added as numbers": Planted(taps=WEIGHTS, reason="the bools are added as 0 and 1"),
            "first key always kept": Planted(taps=WEIGHTS, reason="the mask stands one key too far"),
            "scores set to 0": Planted(taps=WEIGHTS, reason="masked scores are 0"),
            "softmax over the batch": Planted(taps="attention.weights", reason="the softmax goes over b·h"),
            "length and batch exchanged": Planted(taps="merged", reason="(b, t) is read as (t, b)"),
        },
        pairs=("scaled up+mask added as numbers", "bias lost+mask tiled"),
    ),
    TorchWild(
        cls=AnnotatedAttention, block=ar.MultiHeadAttention(width=12, num_heads=3), draw=annotated,
        inputs={"key, value": "the same (b, s, width)", "mask": "bool (t, s), True = attend"},
        call=lambda inputs: (
            [inputs["query"], inputs["key"], inputs["key"]], {"mask": inputs["attention_mask"][0, 0]}
        ),
        copy=lambda layer: {
            k: v for name, one in zip(("query", "key", "value", "project"), layer.linears, strict=True)
            for k, v in linear(name, one).items()
        },
        faults={
            "no scale": NO_SCALE,
            "scale by the length": Planted(taps="attention.scores", reason="scaled by the root of the number of keys"),
            "mask transposed": Planted(taps=WEIGHTS, reason="the mask is (s, t)"), "mask upside down": UPSIDE_DOWN,
            "mask filled with -1": Planted(taps=WEIGHTS, reason="masked scores are -1"),
            "mask times -1e9": Planted(taps=WEIGHTS, reason="the scores are multiplied by the mask's numbers"),
            "mask filled after": Planted(taps=WEIGHTS, reason="masked weights are set to 0 after the softmax"),
            "softmax over queries": QUERIES,
            "weights divided by their largest": Planted(
                taps="attention.weights|attention.context", reason="rows do not sum to 1"
            ),
            "keys of the query": Planted(taps="key", reason="keys are made of the query"),
            "linears in another order": Planted(
                taps="query", reason="the first two layers are exchanged", alias=exchanged(("query", "key"))
            ),
            "value layer at the end": Planted(
                taps="projected", reason="the result goes through the layer of the values",
                alias=same_as(project="value"),
            ),
        },
        pairs=("no scale+mask transposed", "keys of the query+mask filled after"),
    ),
    TorchWild(
        cls=PaddedGpt, block=ar.MultiHeadAttention(width=12, num_heads=3, causal="top_left"), draw=padded(12),
        inputs={"padding": "bool (b, s), True = attend"},
        call=lambda inputs: ([inputs["query"], inputs["attention_mask"][:, 0, 0]], {}),
        copy=lambda layer: {
            **packed(("query", "key", "value"), layer.c_attn.weight, layer.c_attn.bias),
            **linear("project", layer.c_proj),
        },
        faults={
            "one key too many": Planted(taps=WEIGHTS, reason="the next token is seen"),
            "diagonal hidden": Planted(taps=WEIGHTS, reason="a token does not see itself"),
            "buffer from its end": Planted(
                taps=WEIGHTS, reason="the last rows of the buffer are taken, which see everything",
                option="option:causal",
            ),
            "upper for lower": Planted(taps=WEIGHTS, reason="the future is seen, the past is not"),
            "one or the other": Planted(taps=WEIGHTS, reason="a key is kept if either of the masks keeps it"),
            "causal lost beside padding": CAUSAL_LOST,
            "padding lost beside causal": LOST, "padding of queries": OF_QUERIES,
            "padding as lengths of the batch": Planted(
                taps=WEIGHTS, reason="a key is kept if any example of the batch has it"
            ),
            "filled with -10": Planted(taps=WEIGHTS, reason="masked scores are -10, which is not low enough"),
            "merged by heads": Planted(taps="merged", reason="heads are merged as (d, h)"),
            "padded rows zeroed": Planted(taps="output|projected", reason="rows of padded queries are set to 0"),
        },
        pairs=(
            "one key too many+padding of queries", "causal lost beside padding+merged by heads",
            "filled with -10+padded rows zeroed",
        ),
    ),
    TorchWild(
        cls=Lengths, block=ar.MultiHeadAttention(width=12, num_heads=3, output_bias=False), draw=with_lengths,
        inputs={"lengths": "whole numbers (b,), how many keys are there"},
        call=lambda inputs: ([inputs["query"]], {"lengths": inputs["key_lengths"]}),
        copy=lambda layer: linears(layer, query="linear_q", key="linear_k", value="linear_v", project="linear_out"),
        faults={
            "one key too many": Planted(taps=WEIGHTS, reason="a length counts one key more"),
            "one key too few": Planted(taps=WEIGHTS, reason="a length counts one key less"),
            "padding on the left": Planted(taps=WEIGHTS, reason="the last keys are kept, not the first"),
            "longest for each": Planted(taps=WEIGHTS, reason="all have the longest example's length"),
            "lengths upside down": UPSIDE_DOWN,
            "scale by the heads": Planted(
                taps="attention.scores", reason="scaled by the root of the heads", option="option:scale"
            ),
            "infinite rows": Planted(taps=WEIGHTS, reason="padded queries are masked too, so they see nothing"),
            "weights transposed": Planted(taps="attention.context", reason="the weights are applied transposed"),
            "padded rows zeroed": Planted(
                taps="merged|attention.context|projected", reason="rows of padded queries are set to 0"
            ),
            "projection of the heads' mean": Planted(
                taps="merged|projected", reason="every head is the mean of all heads", alias=mean_of_heads
            ),
        },
        pairs=("one key too many+scale by the heads", "padding on the left+weights transposed"),
    ),
    TorchWild(
        cls=BloomAttention, block=ar.MultiHeadAttention(width=12, num_heads=4, causal="top_left"), draw=padded(12),
        inputs={"attention_mask": "whole numbers (b, s), 1 = attend; the bias is made inside, m·j for key j"},
        call=whole_mask, copy=bloom_weights, given=alibi_given,
        faults={
            "slopes of half the range": Planted(taps="attention.biased|" + WEIGHTS, reason="slopes are 2^(-4h/n)"),
            "slopes from 1": Planted(taps="attention.biased|" + WEIGHTS, reason="the first head's slope is 1"),
            "one slope for all": Planted(taps="attention.biased|" + WEIGHTS, reason="all have the first head's slope"),
            "slopes turned about": Planted(taps="attention.biased|" + WEIGHTS, reason="slopes in reverse order"),
            "nearer counts less": Planted(taps="attention.biased|" + WEIGHTS, reason="the bias has the other sign"),
            "heads before batch": Planted(
                taps="attention.biased|" + WEIGHTS, reason="the bias is (h·b), where scores are (b·h)"
            ),
            "no scale": NO_SCALE,
            "bias is scaled too": Planted(taps="attention.biased|" + WEIGHTS, reason="the bias is scaled too"),
            "bias lost": Planted(taps="attention.biased|" + WEIGHTS, reason="no bias is added"),
            "causal lost": CAUSAL_LOST, "padding lost": LOST,
        },
        pairs=("no scale+slopes from 1", "bias lost+causal lost"),
    ),
    TorchWild(
        cls=OldGpt, block=ar.MultiHeadAttention(width=12, num_heads=3, causal="top_left"), draw=padded(12),
        inputs={"padding": "additive, (b, 1, 1, s): 0 or -1e4"},
        call=lambda inputs: ([inputs["query"], added(inputs["attention_mask"], -1e4)], {}), copy=old_gpt_weights,
        faults={
            "no scale": NO_SCALE,
            "scale by the key's last axis": Planted(
                taps="attention.scores", reason="the keys lie transposed, so their last axis is the length"
            ),
            "nothing is lowered": Planted(taps=WEIGHTS, reason="scores of the future are 0"),
            "lowered by 1": Planted(taps=WEIGHTS, reason="scores of the future are -1"),
            "the past is lowered": Planted(taps=WEIGHTS, reason="the causal mask is upside down"),
            "raised": Planted(taps=WEIGHTS, reason="scores of the future are raised by 1e4"),
            "padding lost": LOST,
            "softmax over features": Planted(
                taps="value|attention.context", reason="the values go through a softmax"
            ),
            "queries for keys": Planted(taps="key|attention.scores", reason="keys are the queries",
                                        alias=same_as(key="query")),
            "projection transposed": Planted(
                taps="projected", reason="the output's weight is transposed", alias=transposed("project.kernel")
            ),
        },
        pairs=("no scale+lowered by 1", "queries for keys+padding lost"),
    ),
    TorchWild(
        cls=SdpaDecoder, draw=padded(24),
        block=ar.MultiHeadAttention(
            width=24, num_heads=4, num_kv_heads=2, use_bias=False, output_bias=False, causal="top_left"
        ),
        inputs={"attention_mask": "whole numbers (b, s), 1 = attend"}, call=whole_mask,
        copy=lambda layer: linears(layer, query="q_proj", key="k_proj", value="v_proj", project="o_proj"),
        faults={
            "mask means left out": UPSIDE_DOWN, "causal lost beside padding": CAUSAL_LOST,
            "padding lost beside causal": LOST, "heads tiled": TILED,
            "values tiled alone": Planted(taps="attention.context", reason="value heads are tiled, key heads are not"),
            "scale by the width": BY_WIDTH, "no scale": NO_SCALE,
            "mask as numbers": Planted(taps=WEIGHTS, reason="the mask's bools are added as 0 and 1"),
            "dropout in evaluation": DROPPED, "merged as it lies": MERGED,
        },
        pairs=("causal lost beside padding+heads tiled", "scale by the width+merged as it lies"),
    ),
    TorchWild(
        cls=T5Attention, draw=padded(12, 4, 24),
        block=ar.MultiHeadAttention(
            width=12, num_heads=2, head_width=5, scale=None, use_bias=False, output_bias=False
        ),
        inputs={"mask": "additive, (b, 1, 1, s); the relative bias is made inside, of a table"},
        call=lambda inputs: ([inputs["query"]], {"mask": added(inputs["attention_mask"])}), given=t5_given,
        copy=lambda layer: linears(layer, query="q", key="k", value="v", project="o"),
        faults={
            "another largest distance": Planted(taps="attention.biased", reason="buckets end at a distance of 32"),
            "one side alone": Planted(taps="attention.biased", reason="keys after the query have no buckets"),
            "half as many exact buckets": Planted(taps="attention.biased", reason="4 distances have their own bucket"),
            "distances backwards": Planted(taps="attention.biased", reason="query - key, not key - query"),
            "no sides": Planted(taps="attention.biased", reason="keys before and after share their buckets"),
            "bias of the first head": Planted(taps="attention.biased", reason="all heads have the first one's bias"),
            "scaled": Planted(
                taps="attention.scores|attention.biased", reason="T5 does not scale", option="option:scale"
            ),
            "bias is scaled": Planted(taps="attention.biased", reason="the bias is scaled"),
            "mask lost": LOST, "bias lost": Planted(taps="attention.biased", reason="no bias is added"),
            "bias multiplied": Planted(taps="attention.biased", reason="the scores are multiplied by the bias"),
        },
        pairs=("scaled+distances backwards", "mask lost+bias of the first head"),
    ),
    TorchWild(
        cls=BartCross, block=ar.MultiHeadAttention(width=12, num_heads=3), draw=decoder,
        inputs={"encoder_hidden_states": "keys and values (b, s, width)", "attention_mask": "additive, (b, 1, t, s)"},
        call=lambda inputs: ([inputs["query"], inputs["key"], added(inputs["attention_mask"])], {}),
        copy=lambda layer: linears(layer, query="q_proj", key="k_proj", value="v_proj", project="out_proj"),
        faults={
            "scaled without bias": Planted(taps="attention.scores|query", reason="the query's bias is not scaled"),
            "scaled by the root": Planted(
                taps="attention.scores", reason="queries are scaled by d^(-1/4)", option="option:scale"
            ),
            "keys and values of the decoder": Planted(taps="key", reason="it attends to itself"),
            "keys are values": Planted(
                taps="value|attention.context", reason="values are the keys", alias=same_as(value="key")
            ),
            "mask of the last query": Planted(taps=WEIGHTS, reason="all queries have the last one's mask"),
            "mask of the first head": Planted(taps=WEIGHTS, reason="only the first head is masked"),
            "mask lost": LOST, "softmax over queries": QUERIES,
            "heads and length exchanged": Planted(taps="merged", reason="(h, t) is read as (t, h)"),
        },
        pairs=("scaled by the root+mask of the last query", "softmax over queries+heads and length exchanged"),
    ),
    TorchWild(
        cls=Wrapped, block=ar.MultiHeadAttention(width=12, num_heads=3, causal="top_left"), draw=padded(12),
        inputs={"mask": "whole numbers (b, s), 1 = attend"}, call=whole_mask,
        copy=lambda layer: {
            **packed(("query", "key", "value"), layer.attn.in_proj_weight, layer.attn.in_proj_bias),
            **linear("project", layer.attn.out_proj),
        },
        faults={
            "padding upside down": UPSIDE_DOWN,
            "causal upside down": Planted(taps=WEIGHTS, reason="True means leave out here, and the past is True"),
            "causal lost": CAUSAL_LOST, "padding lost": LOST,
            "mask as numbers": Planted(taps=WEIGHTS, reason="float masks are added: hidden keys count more"),
            "values shifted by one": Planted(taps="value", reason="the values belong to the token before"),
            "queries scaled before": Planted(
                taps="query", reason="what comes in as query is halved",
                alias=lambda w: {**w, "query.kernel": w["query.kernel"] / 2},
            ),
            "weights for values": Planted(taps="output|projected", reason="the mean weights are applied once more"),
            "residual inside": RESIDUAL,
        },
        pairs=("causal lost+residual inside", "padding lost+weights for values"),
    ),
    TorchWild(
        cls=Gemma2Attention, draw=little_padded,
        block=ar.MultiHeadAttention(
            width=16, num_heads=4, num_kv_heads=2, head_width=6, use_bias=False, output_bias=False, scale=10**-0.5,
            softcap=2.0, causal="top_left", window_left=2,
        ),
        inputs={"attention_mask": "whole numbers (b, s), 1 = attend; no window is all padding"},
        call=lambda inputs: ([inputs["query"], whole(inputs["attention_mask"])], {}),
        copy=lambda layer: linears(layer, query="q_proj", key="k_proj", value="v_proj", project="o_proj"),
        faults={
            "window off by one": Planted(taps=WEIGHTS, reason="a key more is seen", option="option:window_left"),
            "window lost": Planted(taps=WEIGHTS, reason="there is no window", option="option:window_left"),
            "window on both sides": Planted(
                taps=WEIGHTS, reason="the future is seen within the window"
            ),
            "window on the other side": Planted(taps=WEIGHTS, reason="the window lies in the future"),
            "window of whole blocks": Planted(taps=WEIGHTS, reason="tokens see their own block, not the last tokens"),
            "padding lost": LOST,
            "scale by the head": Planted(
                taps="attention.scores", reason="scaled by the head's width", option="option:scale"
            ),
            "cap after the mask": Planted(
                taps="attention.capped|" + WEIGHTS, reason="masked scores are capped too, and so leak"
            ),
            "cap not undone": Planted(taps="attention.capped", reason="the tanh is not multiplied by the cap"),
            "clipped for capped": Planted(taps="attention.capped", reason="scores are clipped"),
            "cap inside out": Planted(
                taps="attention.capped", reason="multiplied before, divided after", option="option:softcap"
            ),
            "cap lost": Planted(taps="attention.capped", reason="scores are not capped", option="option:softcap"),
        },
        pairs=("window off by one+cap not undone", "scale by the head+padding lost", "cap lost+window lost"),
    ),
    TorchWild(
        cls=FloatBias, draw=biased,
        block=ar.MultiHeadAttention(width=12, num_heads=2, head_width=5, use_bias=False),
        inputs={"bias": "added to the scores, (b, t, s)", "attn_mask": "bool (t, s), True = leave out"},
        call=lambda inputs: (
            [inputs["query"]], {"bias": inputs["bias"][:, 0], "attn_mask": ~inputs["attention_mask"][0, 0]}
        ),
        copy=lambda layer: {
            **packed(("query", "key", "value"), layer.to_qkv.weight, None), **linear("project", layer.to_out)
        },
        faults={
            "bias before the scale": Planted(taps="attention.biased|attention.scores", reason="the bias is scaled too"),
            "bias subtracted": Planted(taps="attention.biased", reason="the bias is subtracted"),
            "bias multiplied": Planted(taps="attention.biased", reason="scores are multiplied by the bias"),
            "bias transposed": Planted(taps="attention.biased", reason="the bias is (s, t)"),
            "bias of the first example": Planted(taps="attention.biased", reason="all have the first one's bias"),
            "bias in the exponent's place": Planted(taps="attention.biased", reason="e to the bias is added"),
            "bias for the first head": Planted(taps="attention.biased", reason="only the first head has the bias"),
            "mask upside down": UPSIDE_DOWN,
            "mask sets to 0": Planted(taps=WEIGHTS, reason="masked scores are 0"),
            "bias after the softmax": Planted(
                taps="attention.weights|attention.context", reason="the bias is added to the weights once more"
            ),
        },
        pairs=("bias before the scale+mask sets to 0", "bias transposed+mask upside down"),
    ),
)  # fmt: skip
