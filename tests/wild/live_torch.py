"""Ten models of torch in the styles in which people publish them, for transfers between live models."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd: int, n_head: int, n_ctx: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.n_head = n_head
        self.register_buffer("mask", torch.tril(torch.ones(n_ctx, n_ctx)).view(1, 1, n_ctx, n_ctx))

    def forward(self, x: Any) -> Any:
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(c, dim=2)
        q, k, v = (y.view(b, t, self.n_head, c // self.n_head).transpose(1, 2) for y in (q, k, v))
        att = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
        att = att.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
        y = F.softmax(att, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))


class GPTBlock(nn.Module):
    def __init__(self, n_embd: int, n_head: int, n_ctx: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn = CausalSelfAttention(n_embd, n_head, n_ctx)
        self.mlp = nn.Sequential(
            nn.Linear(n_embd, 4 * n_embd), nn.GELU(approximate="tanh"), nn.Linear(4 * n_embd, n_embd), nn.Dropout(0.1)
        )

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, vocab: int = 29, n_ctx: int = 9, n_embd: int = 12, n_head: int = 3, n_layer: int = 2) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, n_embd), nn.Embedding(n_ctx, n_embd)
        self.h = nn.ModuleList([GPTBlock(n_embd, n_head, n_ctx) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab, bias=False)

    def forward(self, idx: Any) -> Any:
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1], device=idx.device))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class ViTBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.fc1, self.fc2 = nn.Linear(dim, dim * 2), nn.Linear(dim * 2, dim)
        self.heads = heads

    def forward(self, x: Any) -> Any:
        b, n, c = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(y.transpose(1, 2).reshape(b, n, c))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, size: tuple[int, int] = (8, 12), patch: int = 4, dim: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + size[0] * size[1] // patch**2, dim) * 0.02)
        self.blocks = nn.Sequential(*[ViTBlock(dim, heads) for _ in range(2)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, 5)

    def forward(self, x: Any) -> Any:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class SEBasicBlock(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int = 1, reduction: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.fc = nn.Sequential(
            nn.Linear(planes, planes // reduction, bias=False), nn.ReLU(inplace=True),
            nn.Linear(planes // reduction, planes, bias=False), nn.Sigmoid(),
        )  # fmt: skip
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x: Any) -> Any:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        w = self.fc(out.mean((2, 3)))
        out = out * w[:, :, None, None]
        identity = x if self.downsample is None else self.downsample(x)
        return F.relu(out + identity)


class SEResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = SEBasicBlock(8, 8)
        self.layer2 = SEBasicBlock(8, 12, 2)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


class CBAM(nn.Module):
    def __init__(self, channels: int, reduction: int = 2) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1, bias=False), nn.ReLU(),
            nn.Conv2d(channels // reduction, channels, 1, bias=False),
        )  # fmt: skip
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Any) -> Any:
        gate = torch.sigmoid(self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1)))
        x = x * gate
        maps = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.spatial(maps))


class CBAMNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, eps=1e-3), nn.ReLU(), CBAM(8), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), CBAM(8),
        )  # fmt: skip
        self.classifier = nn.Linear(8 * 3 * 4, 5)

    def forward(self, x: Any) -> Any:
        return self.classifier(torch.flatten(self.features(x), 1))


class BertLayer(nn.Module):
    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden, heads, dropout=0.1, batch_first=True)
        self.attention_norm = nn.LayerNorm(hidden, eps=1e-12)
        self.intermediate, self.output = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=1e-12)

    def forward(self, x: Any, padding: Any) -> Any:
        attended, _ = self.attention(x, x, x, key_padding_mask=padding, need_weights=False)
        x = self.attention_norm(x + attended)
        return self.output_norm(x + self.output(F.gelu(self.intermediate(x))))


class Bert(nn.Module):
    """Takes ids and a mask that is True for padding."""

    def __init__(self, vocab: int = 31, hidden: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, hidden)
        self.position_embeddings = nn.Embedding(16, hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-12)
        self.layers = nn.ModuleList([BertLayer(hidden, heads) for _ in range(2)])
        self.pooler = nn.Linear(hidden, hidden)

    def forward(self, ids: Any, padding: Any) -> Any:
        x = self.norm(self.word_embeddings(ids) + self.position_embeddings.weight[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, padding)
        return torch.tanh(self.pooler(x[:, 0]))


class T5Norm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Any) -> Any:
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.eps))


class T5Attention(nn.Module):
    def __init__(self, dim: int, heads: int, has_bias: bool) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.o = nn.Linear(dim, dim, bias=False)
        self.heads = heads
        if has_bias:
            self.relative_attention_bias = nn.Embedding(9, heads)

    def forward(self, x: Any, bias: Any = None) -> Any:
        b, t, d = x.shape
        q, k, v = (f(x).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = torch.matmul(q, k.transpose(3, 2))
        if bias is None:
            at = torch.arange(t)
            buckets = (at[None, :] - at[:, None]).clamp(-4, 4) + 4
            bias = self.relative_attention_bias(buckets).permute(2, 0, 1)[None]
        weights = F.softmax(scores + bias, dim=-1)
        return self.o((weights @ v).transpose(1, 2).reshape(b, t, d)), bias


class T5Encoder(nn.Module):
    def __init__(self, vocab: int = 23, dim: int = 12, heads: int = 3, layers: int = 2) -> None:
        super().__init__()
        self.shared = nn.Embedding(vocab, dim)
        self.attention = nn.ModuleList([T5Attention(dim, heads, i == 0) for i in range(layers)])
        self.norm1 = nn.ModuleList([T5Norm(dim) for _ in range(layers)])
        self.norm2 = nn.ModuleList([T5Norm(dim) for _ in range(layers)])
        self.wi = nn.ModuleList([nn.Linear(dim, 20, bias=False) for _ in range(layers)])
        self.wo = nn.ModuleList([nn.Linear(20, dim, bias=False) for _ in range(layers)])
        self.final = T5Norm(dim)

    def forward(self, ids: Any) -> Any:
        x, bias = self.shared(ids), None
        for attend, one, two, wi, wo in zip(self.attention, self.norm1, self.norm2, self.wi, self.wo, strict=True):
            y, bias = attend(one(x), bias)
            x = x + y
            x = x + wo(F.relu(wi(two(x))))
        return self.final(x)


def rotate_half(x: Any) -> Any:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


class LlamaLayer(nn.Module):
    def __init__(self, dim: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.hd, self.groups = dim // heads, heads // kv_heads
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, kv_heads * self.hd, bias=False)
        self.v_proj = nn.Linear(dim, kv_heads * self.hd, bias=False)
        self.o_proj = nn.Linear(dim, dim, bias=False)
        self.gate_proj, self.up_proj = nn.Linear(dim, 20, bias=False), nn.Linear(dim, 20, bias=False)
        self.down_proj = nn.Linear(20, dim, bias=False)
        self.input_layernorm, self.post_attention_layernorm = T5Norm(dim, 1e-5), T5Norm(dim, 1e-5)

    def forward(self, x: Any, cos: Any, sin: Any) -> Any:
        b, t, d = x.shape
        h = self.input_layernorm(x)
        q = self.q_proj(h).view(b, t, -1, self.hd).transpose(1, 2)
        k = self.k_proj(h).view(b, t, -1, self.hd).transpose(1, 2)
        v = self.v_proj(h).view(b, t, -1, self.hd).transpose(1, 2)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        k, v = k.repeat_interleave(self.groups, 1), v.repeat_interleave(self.groups, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o_proj(y.transpose(1, 2).reshape(b, t, d))
        h = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class Llama(nn.Module):
    def __init__(self, vocab: int = 27, dim: int = 16, heads: int = 4, kv_heads: int = 2) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, dim)
        self.layers = nn.ModuleList([LlamaLayer(dim, heads, kv_heads) for _ in range(2)])
        self.norm = T5Norm(dim, 1e-5)
        self.lm_head = nn.Linear(dim, vocab, bias=False)
        self.hd = dim // heads

    def forward(self, ids: Any) -> Any:
        x = self.embed_tokens(ids)
        freqs = 10000.0 ** (-torch.arange(0, self.hd, 2, dtype=x.dtype) / self.hd)
        angles = torch.outer(torch.arange(ids.shape[1], dtype=x.dtype), freqs)
        angles = torch.cat([angles, angles], -1)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin())
        return self.lm_head(self.norm(x))


class SpeechNet(nn.Module):
    """Frames (b, features, t): convolutions, two recurrent layers, attention that pools."""

    def __init__(self, features: int = 10, hidden: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv1d(features, 8, 3, padding=1)
        self.bn = nn.BatchNorm1d(8)
        self.gru = nn.GRU(8, hidden, batch_first=True)
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.score = nn.Linear(hidden, 1)
        self.out = nn.Linear(hidden, 4)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.bn(self.conv(x))).transpose(1, 2)
        x, _ = self.gru(x)
        x, _ = self.lstm(x)
        weights = torch.softmax(self.score(x), dim=1)
        return self.out((weights * x).sum(1))


class NonLocalBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.g = nn.Conv2d(channels, inner, 1)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Any) -> Any:
        b, _, h, w = x.shape
        g = self.g(x).flatten(2).transpose(1, 2)
        theta = self.theta(x).flatten(2).transpose(1, 2)
        f = F.softmax(theta @ self.phi(x).flatten(2), dim=-1)
        y = (f @ g).transpose(1, 2).reshape(b, -1, h, w)
        return self.W(y) + x


class NonLocalNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.block1, self.block2 = NonLocalBlock(8), NonLocalBlock(8)
        self.head = nn.Conv2d(8, 8, 3, padding=1, groups=2)

    def forward(self, x: Any) -> Any:
        return self.head(F.relu(self.block2(self.block1(F.relu(self.stem(x))))))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc1 = nn.Conv2d(3, 6, 3, padding=1)
        self.norm1 = nn.GroupNorm(3, 6)
        self.down = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6)
        self.point = nn.Conv2d(6, 12, 1)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.dec = nn.Conv2d(12, 6, 3, padding=1)
        self.norm2 = nn.GroupNorm(3, 6)
        self.fc1 = nn.Linear(6 * 4 * 6, 7)
        self.fc2 = nn.Linear(7, 7)

    def forward(self, x: Any) -> Any:
        skip = F.silu(self.norm1(self.enc1(x)))
        y = F.silu(self.point(self.down(skip)))
        y = torch.cat([self.up(y), skip], dim=1)
        y = F.silu(self.norm2(self.dec(y)))
        return self.fc2(torch.tanh(self.fc1(y.flatten(1))))
