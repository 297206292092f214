"""Whole layers of transformers, in torch: where the norms stand, what is added to what, side by side or in a row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attn_ref as ar

from .corpus import Arrays, Planted, halved, keep, padding, tokens, values
from .torch_tools import TorchWild, array, constant, exchanged, linears, norm, only_x, packed, same_as


class EncoderPost(nn.Module):
    """Post-norm with ReLU; ``src_key_padding_mask`` (b, s), True for what is left out."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.nhead = 3
        self.in_proj, self.out_proj = nn.Linear(12, 36), nn.Linear(12, 12)
        self.linear1, self.linear2 = nn.Linear(12, 20), nn.Linear(20, 12)
        eps = 1e-6 if "another eps" in self.fault else 1e-5
        self.norm1, self.norm2 = nn.LayerNorm(12, eps=eps), nn.LayerNorm(12, eps=eps)
        self.dropout = nn.Dropout(0.1)

    def self_attention(self, x: Tensor, hidden: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.nhead, -1).transpose(1, 2) for y in self.in_proj(x).chunk(3, -1))
        if "scale by the width" in self.fault:
            scores = q @ k.transpose(-2, -1) / math.sqrt(c)  # fault: scale by the width
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(c // self.nhead)
        if "mask upside down" in self.fault:
            hidden = ~hidden  # fault: mask upside down
        if "mask lost" not in self.fault:
            scores = scores.masked_fill(hidden[:, None, None], -1e9)
        weights = scores.softmax(-1)  # fault: mask lost
        return self.out_proj((weights @ v).transpose(1, 2).reshape(b, t, c))

    def forward(self, src: Tensor, src_key_padding_mask: Tensor) -> Tensor:
        y = self.dropout(self.self_attention(src, src_key_padding_mask))
        if "first residual lost" in self.fault:
            x = self.norm1(y)  # fault: first residual lost
        elif "first residual twice" in self.fault:
            x = self.norm1(src + src + y)  # fault: first residual twice
        elif "norm before the sum" in self.fault:
            x = src + self.norm1(y)  # fault: norm before the sum
        elif "one norm for both" in self.fault:
            x = self.norm2(src + y)  # fault: one norm for both
        else:
            x = self.norm1(src + y)  # fault: another eps
        hidden = self.linear1(src if "network of the input" in self.fault else x)  # fault: network of the input
        active = F.gelu(hidden) if "GELU for ReLU" in self.fault else F.relu(hidden)  # fault: GELU for ReLU
        if "dropout in evaluation" in self.fault:
            active = F.dropout(active, 0.1)  # fault: dropout in evaluation
        z = self.dropout(self.linear2(active))
        if "second residual of the input" in self.fault:
            return self.norm2(src + z)  # fault: second residual of the input
        if "last norm lost" in self.fault:
            return x + z  # fault: last norm lost
        return self.norm2(x + z)


class LlamaBlock(nn.Module):
    """Root mean square norms before, grouped heads, rotary halves, SwiGLU."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.h, self.d = 4, 6
        self.q_proj, self.o_proj = nn.Linear(24, 24, bias=False), nn.Linear(24, 24, bias=False)
        self.k_proj, self.v_proj = nn.Linear(24, 12, bias=False), nn.Linear(24, 12, bias=False)
        self.gate_proj, self.up_proj = nn.Linear(24, 28, bias=False), nn.Linear(24, 28, bias=False)
        self.down_proj = nn.Linear(28, 24, bias=False)
        self.input_layernorm, self.post_attention_layernorm = nn.RMSNorm(24, eps=1e-5), nn.RMSNorm(24, eps=1e-5)

    def turn(self, x: Tensor) -> Tensor:
        base = 500000.0 if "another base" in self.fault else 10000.0
        angle = torch.outer(
            torch.arange(x.shape[2]).to(x), base ** (-torch.arange(0, 6, 2).to(x) / 6)
        )  # fault: another base
        cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
        return x * cos + torch.cat((-x[..., 3:], x[..., :3]), -1) * sin

    def attention(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (f(x).view(b, t, -1, self.d).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        q, k = self.turn(q), self.turn(k)
        if "not causal" in self.fault:
            y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)  # fault: not causal
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))

    def network(self, x: Tensor) -> Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        if "gate and up exchanged" in self.fault:
            gate, up = up, gate  # fault: gate and up exchanged
        if "GELU for SiLU" in self.fault:
            return self.down_proj(F.gelu(gate) * up)  # fault: GELU for SiLU
        if "gate not activated" in self.fault:
            return self.down_proj(gate * up)  # fault: gate not activated
        if "both activated" in self.fault:
            return self.down_proj(F.silu(gate) * F.silu(up))  # fault: both activated
        if "activated after" in self.fault:
            return self.down_proj(F.silu(gate * up))  # fault: activated after
        return self.down_proj(F.silu(gate) * up)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.input_layernorm(x)
        if "keys and values of the raw input" in self.fault:
            normed = x  # fault: keys and values of the raw input
        if "residual of the norm" in self.fault:
            h = normed + self.attention(normed)  # fault: residual of the norm
        elif "attention added twice" in self.fault:
            h = x + 2 * self.attention(normed)  # fault: attention added twice
        else:
            h = x + self.attention(normed)
        second = self.input_layernorm if "first norm for both" in self.fault else self.post_attention_layernorm
        read = x if "second norm of the input" in self.fault else h
        z = self.network(second(read))  # fault: first norm for both, second norm of the input
        return z if "last residual lost" in self.fault else h + z  # fault: last residual lost


class DinoBlock(nn.Module):
    """Pre-norm with a learned factor of every sub-layer's result."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.norm1, self.norm2 = nn.LayerNorm(12, eps=1e-6), nn.LayerNorm(12, eps=1e-6)
        self.qkv, self.proj = nn.Linear(12, 36), nn.Linear(12, 12)
        self.fc1, self.fc2 = nn.Linear(12, 20), nn.Linear(20, 12)
        self.ls1, self.ls2 = nn.Parameter(1e-5 * torch.ones(12)), nn.Parameter(1e-5 * torch.ones(12))

    def attn(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        if "no scale" not in self.fault:
            q = q * 4**-0.5
        a = q @ k.transpose(-2, -1)  # fault: no scale
        a = a.softmax(-2) if "softmax over queries" in self.fault else a.softmax(-1)  # fault: softmax over queries
        return self.proj((a @ v).transpose(1, 2).reshape(b, n, 12))

    def mlp(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        if "GELU by tanh" in self.fault:
            x = F.gelu(x, approximate="tanh")  # fault: GELU by tanh
        elif "GELU by a sigmoid" in self.fault:
            x = x * torch.sigmoid(1.702 * x)  # fault: GELU by a sigmoid
        else:
            x = F.gelu(x)
        return self.fc2(x)

    def forward(self, x: Tensor) -> Tensor:
        if "factor of the sum" in self.fault:
            x = self.ls1 * (x + self.attn(self.norm1(x)))  # fault: factor of the sum
        elif "factor inside" in self.fault:
            x = x + self.attn(self.ls1 * self.norm1(x))  # fault: factor inside
        elif "factor lost" in self.fault:
            x = x + self.attn(self.norm1(x))  # fault: factor lost
        elif "one and the factor" in self.fault:
            x = x + (1 + self.ls1) * self.attn(self.norm1(x))  # fault: one and the factor
        else:
            x = x + self.ls1 * self.attn(self.norm1(x))
        if "factors exchanged" in self.fault:
            return x + self.ls1 * self.mlp(self.norm2(x))  # fault: factors exchanged
        if "norm after" in self.fault:
            return x + self.ls2 * self.norm2(self.mlp(x))  # fault: norm after
        if "second norm lost" in self.fault:
            return x + self.ls2 * self.mlp(x)  # fault: second norm lost
        return x + self.ls2 * self.mlp(self.norm2(x))


class GptJBlock(nn.Module):
    """Attention and network side by side, one norm for both."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.ln_1 = nn.LayerNorm(12)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(12, 12, bias=False) for _ in range(4))
        self.fc_in, self.fc_out = nn.Linear(12, 20), nn.Linear(20, 12)

    def attn(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (f(x).view(b, t, 2, 6).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        w = q @ k.mT / math.sqrt(6)
        future = torch.ones(t, t, dtype=torch.bool).triu(0 if "diagonal hidden" in self.fault else 1)
        if "past hidden" in self.fault:
            future = future.T  # fault: past hidden
        w = w.masked_fill(future, torch.finfo(w.dtype).min)  # fault: diagonal hidden
        return self.out_proj((w.softmax(-1) @ v).transpose(1, 2).reshape(b, t, 12))

    def forward(self, x: Tensor) -> Tensor:
        h = self.ln_1(x)
        a = self.attn(h)
        if "network after attention" in self.fault:
            h = self.ln_1(x + a)  # fault: network after attention
        if "network of the raw input" in self.fault:
            h = x  # fault: network of the raw input
        if "network reads the attention" in self.fault:
            h = a  # fault: network reads the attention
        z = self.fc_in(h)
        if "activation lost" in self.fault:
            m = self.fc_out(z)  # fault: activation lost
        elif "ReLU" in self.fault:
            m = self.fc_out(F.relu(z))  # fault: ReLU
        elif "exact GELU" in self.fault:
            m = self.fc_out(F.gelu(z))  # fault: exact GELU
        else:
            m = self.fc_out(0.5 * z * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))))
        if "residual lost" in self.fault:
            return a + m  # fault: residual lost
        if "residual of the norm" in self.fault:
            return h + a + m  # fault: residual of the norm
        if "residual for each" in self.fault:
            return (x + a) + (x + m)  # fault: residual for each
        if "halved" in self.fault:
            return x + 0.5 * (a + m)  # fault: halved
        return x + a + m


class DecoderPost(nn.Module):
    """Causal attention, attention to a memory, a network; post-norm; masks True for what is kept."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.sa, self.sa_out = nn.Linear(12, 36), nn.Linear(12, 12)
        self.ca_q, self.ca_kv, self.ca_out = nn.Linear(12, 12), nn.Linear(12, 24), nn.Linear(12, 12)
        self.w_1, self.w_2 = nn.Linear(12, 16), nn.Linear(16, 12)
        self.norms = nn.ModuleList(nn.LayerNorm(12) for _ in range(3))

    @staticmethod
    def attend(q: Tensor, k: Tensor, v: Tensor, kept: Tensor) -> Tensor:
        b, t, c = q.shape
        q, k, v = (y.view(b, -1, 3, c // 3).transpose(1, 2) for y in (q, k, v))
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(c // 3)
        scores = scores.masked_fill(kept == 0, -1e9)
        return torch.matmul(scores.softmax(-1), v).transpose(1, 2).reshape(b, t, c)

    def forward(self, x: Tensor, memory: Tensor, src_mask: Tensor, tgt_mask: Tensor) -> Tensor:
        if "target mask lost" in self.fault:
            tgt_mask = torch.ones_like(tgt_mask)  # fault: target mask lost
        if "source mask lost" in self.fault:
            src_mask = torch.ones_like(src_mask)  # fault: source mask lost
        if "source mask upside down" in self.fault:
            src_mask = ~src_mask  # fault: source mask upside down
        q, k, v = self.sa(x).chunk(3, -1)
        y = self.sa_out(self.attend(q, k, v, tgt_mask[:, None]))
        x1 = self.norms[0](x + y)
        read = x1 if "memory is not read" in self.fault else memory
        if read is not memory:
            src_mask = torch.ones_like(src_mask[..., :1])
        k, v = self.ca_kv(read).chunk(2, -1)  # fault: memory is not read
        if "keys and values exchanged" in self.fault:
            k, v = v, k  # fault: keys and values exchanged
        asked = x if "queries of the input" in self.fault else x1
        if "pre-norm in the middle" in self.fault:
            asked = self.norms[1](x1)  # fault: pre-norm in the middle
        y = self.ca_out(self.attend(self.ca_q(asked), k, v, src_mask[:, None]))  # fault: queries of the input
        if "second residual of the input" in self.fault:
            x2 = self.norms[1](x + y)  # fault: second residual of the input
        elif "second residual lost" in self.fault:
            x2 = self.norms[1](y)  # fault: second residual lost
        elif "norms in another order" in self.fault:
            x2 = self.norms[2](x1 + y)  # fault: norms in another order
        elif "pre-norm in the middle" in self.fault:
            x2 = x1 + y
        else:
            x2 = self.norms[1](x1 + y)
        z = self.w_1(x2)
        z = (
            F.relu(self.w_2(z)) if "activated at the end" in self.fault else self.w_2(F.relu(z))
        )  # fault: activated at the end
        last = self.norms[1] if "norms in another order" in self.fault else self.norms[2]
        if "last residual before the memory" in self.fault:
            return last(x1 + z)  # fault: last residual before the memory
        return last(x2 + z)


class Gemma2Block(nn.Module):
    """Norms before and after every sub-layer, their parameters added to 1; gated by GELU."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.qkv, self.o_proj = nn.Linear(12, 36, bias=False), nn.Linear(12, 12, bias=False)
        self.gate_up, self.down = nn.Linear(12, 32, bias=False), nn.Linear(16, 12, bias=False)
        self.norms = nn.ParameterList(torch.zeros(12) for _ in range(4))

    def norm(self, i: int, x: Tensor) -> Tensor:
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        if "scale without one" in self.fault:
            return y * self.norms[i]  # fault: scale without one
        if "centred" in self.fault:
            y = F.layer_norm(x, (12,), eps=1e-6)  # fault: centred
        if "scaled before it is normed" in self.fault:
            z = x * (1 + self.norms[i])  # fault: scaled before it is normed
            return z * torch.rsqrt(z.pow(2).mean(-1, keepdim=True) + 1e-6)  # fault: scaled before it is normed
        return y * (1 + self.norms[i])

    def attention(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 3, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, 12))

    def network(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, -1)
        if "second half gates" in self.fault:
            gate, up = up, gate  # fault: second half gates
        if "exact GELU" in self.fault:
            return self.down(F.gelu(gate) * up)  # fault: exact GELU
        if "SiLU for GELU" in self.fault:
            return self.down(F.silu(gate) * up)  # fault: SiLU for GELU
        return self.down(F.gelu(gate, approximate="tanh") * up)

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(self.norm(0, x))
        if "norm after the sum" in self.fault:
            x = self.norm(1, x + y)  # fault: norm after the sum
        elif "first post-norm lost" in self.fault:
            x = x + y  # fault: first post-norm lost
        else:
            x = x + self.norm(1, y)
        if "norms in pairs exchanged" in self.fault:
            return x + self.norm(2, self.network(self.norm(3, x)))  # fault: norms in pairs exchanged
        if "same norm on both sides" in self.fault:
            return x + self.norm(2, self.network(self.norm(2, x)))  # fault: same norm on both sides
        if "residual of the pre-norm" in self.fault:
            z = self.norm(2, x)
            return z + self.norm(3, self.network(z))  # fault: residual of the pre-norm
        if "network before its norm" in self.fault:
            return x + self.norm(3, self.network(x))  # fault: network before its norm
        return x + self.norm(3, self.network(self.norm(2, x)))


class PreNorm(nn.Module):
    """What comes in is normed, and goes through ``fn``."""

    def __init__(self, fn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(12), fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))  # fault: ReLU, activated twice


class HeadsOf12(nn.Module):
    """Attention of three heads."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qkv, self.to_out = nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (y.view(b, n, 3, 4).transpose(1, 2) for y in self.to_qkv(x).chunk(3, -1))
        attn = (torch.einsum("bhid,bhjd->bhij", q, k) * 0.5).softmax(-1)
        return self.to_out(torch.einsum("bhij,bhjd->bhid", attn, v).transpose(1, 2).reshape(b, n, 12))


class ViTBlock(nn.Module):
    """Modules that norm first, and a loop with residuals over them."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        act: nn.Module = nn.ReLU() if "ReLU" in self.fault else nn.GELU()
        net = [nn.Linear(12, 20), act, nn.Dropout(0.1), nn.Linear(20, 12), nn.Dropout(0.1)]
        if "activated twice" in self.fault:
            net.append(nn.GELU())
        if "activation lost" in self.fault:
            del net[1]
        self.attn, self.ff = PreNorm(HeadsOf12()), PreNorm(nn.Sequential(*net))
        if "activation lost" in self.fault:  # the same names as with it
            self.ff.fn = nn.ModuleDict({"0": net[0], "3": net[2]})  # type: ignore[assignment]

    def network(self, x: Tensor) -> Tensor:
        if "activation lost" in self.fault:
            return self.ff.fn["3"](self.ff.fn["0"](self.ff.norm(x)))  # fault: activation lost
        return self.ff(x)  # fault: ReLU, activated twice

    def forward(self, x: Tensor) -> Tensor:
        if "in reverse" in self.fault:
            x = self.network(x) + x
            return self.attn(x) + x  # fault: in reverse
        if "side by side" in self.fault:
            return self.attn(x) + self.network(x) + x  # fault: side by side
        if "first residual lost" in self.fault:
            x = self.attn(x)  # fault: first residual lost
        elif "residual subtracted" in self.fault:
            x = self.attn(x) - x  # fault: residual subtracted
        elif "attention twice" in self.fault:
            x = self.attn(x) + x
            x = self.attn(x) + x  # fault: attention twice
        elif "residual of the first token" in self.fault:
            x = self.attn(x) + x[:, :1]  # fault: residual of the first token
        else:
            x = self.attn(x) + x
        if "normed once more" in self.fault:
            return F.layer_norm(self.network(x) + x, (12,))  # fault: normed once more
        if "residual scaled" in self.fault:
            return self.network(x) + 0.5 * x  # fault: residual scaled
        return self.network(x) + x


class SwinV2Block(nn.Module):
    """Norms of the sub-layers' results, before they are added."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.q, self.kv, self.proj = nn.Linear(12, 12), nn.Linear(12, 24), nn.Linear(12, 12)
        self.norm1, self.norm2 = nn.LayerNorm(12), nn.LayerNorm(12)
        self.mlp = nn.ModuleList([nn.Linear(12, 20), nn.Linear(20, 12)])

    def attention(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        k, v = self.kv(x).view(b, n, 2, 3, 4).permute(2, 0, 3, 1, 4)
        q = self.q(x).view(b, n, 3, 4).transpose(1, 2)
        a = q @ k.transpose(-2, -1)
        a = a * (4**-1 if "scaled by the square" in self.fault else 4**-0.5)  # fault: scaled by the square
        return self.proj((a.softmax(-1) @ v).transpose(1, 2).reshape(b, n, 12))

    def layer(self, x: Tensor) -> Tensor:
        if "first bias lost" in self.fault:
            return self.mlp[1](F.gelu(F.linear(x, self.mlp[0].weight)))  # fault: first bias lost
        return self.mlp[1](F.gelu(self.mlp[0](x)))

    def forward(self, x: Tensor) -> Tensor:
        if "norm before" in self.fault:
            x = x + self.attention(self.norm1(x))  # fault: norm before
        elif "norm of the sum" in self.fault:
            x = self.norm1(x + self.attention(x))  # fault: norm of the sum
        elif "norm lost" in self.fault:
            x = x + self.attention(x)  # fault: norm lost
        elif "norm over the tokens" in self.fault:
            y = self.attention(x)
            y = (y - y.mean(1, keepdim=True)) / (
                y.var(1, keepdim=True, unbiased=False) + 1e-5
            ).sqrt()  # fault: norm over the tokens
            x = x + y * self.norm1.weight + self.norm1.bias  # fault: norm over the tokens
        elif "norm of batch and tokens" in self.fault:
            y = self.attention(x)
            y = (y - y.mean()) / (y.var(unbiased=False) + 1e-5).sqrt()  # fault: norm of batch and tokens
            x = x + y * self.norm1.weight + self.norm1.bias
        else:
            x = x + self.norm1(self.attention(x))
        if "norms exchanged" in self.fault:
            return x + self.norm1(self.layer(x))  # fault: norms exchanged
        if "unbiased" in self.fault:
            y = self.layer(x)
            y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True) + 1e-5).sqrt()  # fault: unbiased
            return x + y * self.norm2.weight + self.norm2.bias
        if "eps outside the root" in self.fault:
            y = self.layer(x)
            y = (y - y.mean(-1, keepdim=True)) / (
                y.std(-1, keepdim=True, unbiased=False) + 1e-5
            )  # fault: eps outside the root
            return x + y * self.norm2.weight + self.norm2.bias
        return x + self.norm2(self.layer(x))


# what they are given, and their weights -------------------------------------------------------------------------------


def under(name: str, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{name}.{key}": value for key, value in weights.items()}


def padded_x(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, t = int(rng.integers(1, 4)), int(rng.integers(3, 9))
    return {"x": values(rng, b, t, 12), "attention_mask": padding(rng, b, t)[:, None, None]}


def two_lengths(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, t, s = (int(n) for n in rng.integers((1, 2, 3), (4, 7, 8)))
    causal = np.tri(t, dtype=bool) & (keep(rng, b, 1, t, t) | np.eye(t, dtype=bool))
    return {
        "x": values(rng, b, t, 12), "memory": values(rng, b, s, 12), "attention_mask": causal,
        "memory_mask": padding(rng, b, s)[:, None, None],
    }  # fmt: skip


def decode(inputs: Arrays) -> tuple[list[Any], dict[str, Any]]:
    masks = {"src_mask": inputs["memory_mask"][:, 0], "tgt_mask": inputs["attention_mask"][:, 0]}
    return [inputs["x"], inputs["memory"]], masks


QKV = ("query", "key", "value")


def encoder_post_weights(layer: Any) -> dict[str, np.ndarray]:
    return {
        **under("attention", packed(QKV, layer.in_proj.weight, layer.in_proj.bias)),
        **under("attention", linears(layer, project="out_proj")),
        **under("feed_forward", linears(layer, expand="linear1", reduce="linear2")),
        **norm("attention_norm", layer.norm1), **norm("feed_forward_norm", layer.norm2),
    }  # fmt: skip


def llama_weights(layer: Any) -> dict[str, np.ndarray]:
    return {
        **under("attention", linears(layer, query="q_proj", key="k_proj", value="v_proj", project="o_proj")),
        **under("feed_forward", linears(layer, gate="gate_proj", expand="up_proj", reduce="down_proj")),
        **norm("attention_norm", layer.input_layernorm), **norm("feed_forward_norm", layer.post_attention_layernorm),
    }  # fmt: skip


def dino_weights(layer: Any) -> dict[str, np.ndarray]:
    return {
        **under("attention", packed(QKV, layer.qkv.weight, layer.qkv.bias)),
        **under("attention", linears(layer, project="proj")),
        **under("feed_forward", linears(layer, expand="fc1", reduce="fc2")),
        **norm("attention_norm", layer.norm1), **norm("feed_forward_norm", layer.norm2),
        "attention_scale": array(layer.ls1), "feed_forward_scale": array(layer.ls2),
    }  # fmt: skip


def gpt_j_weights(layer: Any) -> dict[str, np.ndarray]:
    return {
        **under("attention", linears(layer, query="q_proj", key="k_proj", value="v_proj", project="out_proj")),
        **under("feed_forward", linears(layer, expand="fc_in", reduce="fc_out")),
        **norm("attention_norm", layer.ln_1),
    }  # fmt: skip


def decoder_weights(layer: Any) -> dict[str, np.ndarray]:
    cross = {
        **linears(layer, query="ca_q", project="ca_out"), **packed(QKV[1:], layer.ca_kv.weight, layer.ca_kv.bias)
    }  # fmt: skip
    names = ("attention_norm", "cross_attention_norm", "feed_forward_norm")
    return {
        **under("attention", packed(QKV, layer.sa.weight, layer.sa.bias)),
        **under("attention", linears(layer, project="sa_out")), **under("cross_attention", cross),
        **under("feed_forward", linears(layer, expand="w_1", reduce="w_2")),
        **{k: v for name, one in zip(names, layer.norms, strict=True) for k, v in norm(name, one).items()},
    }  # fmt: skip


def gemma_weights(layer: Any) -> dict[str, np.ndarray]:
    names = ("attention_norm", "attention_post_norm", "feed_forward_norm", "feed_forward_post_norm")
    return {
        **under("attention", packed(QKV, layer.qkv.weight, None)),
        **under("attention", linears(layer, project="o_proj")),
        **under("feed_forward", packed(("gate", "expand"), layer.gate_up.weight, None)),
        **under("feed_forward", linears(layer, reduce="down")),
        **{f"{name}.scale": array(one) for name, one in zip(names, layer.norms, strict=True)},
    }  # fmt: skip


def vit_weights(layer: Any) -> dict[str, np.ndarray]:
    attention, network = layer.attn.fn, layer.ff.fn
    return {
        **under("attention", packed(QKV, attention.to_qkv.weight, attention.to_qkv.bias)),
        **under("attention", linears(attention, project="to_out")),
        **under("feed_forward", linears(network, expand="0", reduce="3")),
        **norm("attention_norm", layer.attn.norm), **norm("feed_forward_norm", layer.ff.norm),
    }  # fmt: skip


def swin_weights(layer: Any) -> dict[str, np.ndarray]:
    attention = {**linears(layer, query="q", project="proj"), **packed(QKV[1:], layer.kv.weight, layer.kv.bias)}
    return {
        **under("attention", attention), **under("feed_forward", linears(layer.mlp, expand="0", reduce="1")),
        **norm("attention_norm", layer.norm1), **norm("feed_forward_norm", layer.norm2),
    }  # fmt: skip


def with_one(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**w, "attention_scale": 1 + w["attention_scale"]}


def without_one(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k: v - 1 if "norm" in k else v for k, v in w.items()}


def at(tap: str, reason: str, option: str = "", **more: Any) -> Planted:
    return Planted(taps=tap, reason=reason, option=option, **more)


SCORES, SEEN = "attention.attention.scores", "attention.attention.masked|attention.attention.weights"
PLAIN = ar.MultiHeadAttention(width=12, num_heads=3)
GELU = ar.FeedForward(width=12, hidden_width=20, activation="gelu")

WILD = halved(
    TorchWild(
        cls=EncoderPost, block=ar.EncoderLayer(width=12, num_heads=3, hidden_width=20), draw=padded_x,
        inputs={"src_key_padding_mask": "bool (b, s), True = leave out"},
        call=lambda inputs: ([inputs["x"]], {"src_key_padding_mask": ~inputs["attention_mask"][:, 0, 0]}),
        copy=encoder_post_weights,
        faults={
            "another eps": at("attention_norm", "eps is 1e-6", "option:eps"),
            "scale by the width": at(SCORES, "scaled by the root of the width"),
            "mask upside down": at(SEEN, "the mask keeps what it should leave out"),
            "mask lost": at(SEEN, "the mask is not used"),
            "first residual lost": at("attended", "the input is not added"),
            "first residual twice": at("attended", "the input is added twice"),
            "norm before the sum": at("attended|attention_norm", "the norm comes before the sum"),
            "one norm for both": at(
                "attention_norm", "the second norm stands in both places",
                alias=same_as(attention_norm="feed_forward_norm"),
            ),
            "network of the input": at("feed_forward.hidden", "the network reads the input"),
            "GELU for ReLU": at("feed_forward.active", "GELU", "option:activation"),
            "dropout in evaluation": at("feed_forward.active|feed_forward.reduced", "dropout acts in evaluation"),
            "second residual of the input": at("fed", "the input is added to the network's result"),
            "last norm lost": at("feed_forward_norm|output", "there is no norm at the end"),
        },
        pairs=(
            "scale by the width+first residual twice", "mask lost+GELU for ReLU",
            "one norm for both+second residual of the input",
        ),
    ),
    TorchWild(
        cls=LlamaBlock, draw=tokens("x", 24, 3), call=only_x, copy=llama_weights,
        block=ar.TransformerLayer(
            width=24, norm=ar.RMSNorm(width=24, eps=1e-5), feed_forward=ar.GatedFeedForward(width=24, hidden_width=28),
            attention=ar.MultiHeadAttention(
                width=24, num_heads=4, num_kv_heads=2, use_bias=False, output_bias=False, rotary="half",
                causal="top_left",
            ),
        ),
        faults={
            "another base": at(
                "attention.query_rotary.angles|attention.query_rotary.rotated", "another base",
                "option:attention.rotary_base",
            ),
            "not causal": at(SEEN, "it is not causal", "option:attention.causal"),
            "gate and up exchanged": at(
                "feed_forward.gate|feed_forward.active", "gate and up are exchanged",
                alias=exchanged(("feed_forward.gate", "feed_forward.expand")),
            ),
            "GELU for SiLU": at("feed_forward.active", "GELU", "option:feed_forward.activation"),
            "gate not activated": at("feed_forward.active|feed_forward.gated", "the gate is not activated"),
            "both activated": at("feed_forward.gated|feed_forward.hidden", "the other one is activated too"),
            "activated after": at("feed_forward.active|feed_forward.gated", "the product is activated"),
            "keys and values of the raw input": at(
                "attention_norm.normed|attention_norm.scaled|attention.query", "the attention reads the raw input"
            ),
            "residual of the norm": at("attended", "what is normed is added, not the input"),
            "attention added twice": at("attended", "the attention's result is doubled"),
            "first norm for both": at(
                "feed_forward_norm.scaled", "the first norm stands in both places",
                alias=same_as(feed_forward_norm="attention_norm"),
            ),
            "second norm of the input": at(
                "feed_forward_norm.normed|feed_forward_norm.scaled|feed_forward.gate", "the network reads the input",
                option="option:parallel",
            ),
            "last residual lost": at("fed", "the network's result is all"),
        },
        pairs=("another base+GELU for SiLU", "not causal+last residual lost", "attention added twice+both activated"),
    ),
    TorchWild(
        cls=DinoBlock, draw=tokens("x", 12), call=only_x, copy=dino_weights,
        block=ar.TransformerLayer(
            width=12, attention=PLAIN, feed_forward=GELU, norm=ar.LayerNorm(width=12, eps=1e-6), layer_scale=1e-5
        ),
        faults={
            "no scale": at(SCORES, "the scores are not scaled", "option:attention.scale"),
            "softmax over queries": at("attention.attention.weights", "the softmax goes over the queries"),
            "GELU by tanh": at("feed_forward.active", "the tanh form", "option:feed_forward.activation"),
            "GELU by a sigmoid": at("feed_forward.active", "the form with a sigmoid"),
            "factor of the sum": at("attended", "the factor multiplies the input too"),
            "factor inside": at("attention.query", "the factor multiplies what the attention reads"),
            "factor lost": at(
                "attended", "the first factor is not used", alias=constant(attention_scale=1)
            ),
            "one and the factor": at("attended", "1 is added to the factor", alias=with_one),
            "factors exchanged": at(
                "fed", "the first factor stands in both places", alias=lambda w: {
                    **w, "feed_forward_scale": w["attention_scale"]
                },
            ),
            "norm after": at("feed_forward_norm.shifted|feed_forward.hidden", "the norm comes after the network"),
            "second norm lost": at("feed_forward.hidden|feed_forward_norm.shifted", "it reads what is not normed"),
        },
        pairs=("no scale+GELU by tanh", "factor of the sum+second norm lost"),
    ),
    TorchWild(
        cls=GptJBlock, draw=tokens("x", 12, 3), call=only_x, copy=gpt_j_weights,
        block=ar.TransformerLayer(
            width=12, norm=ar.LayerNorm(width=12), parallel="shared",
            attention=ar.MultiHeadAttention(
                width=12, num_heads=2, use_bias=False, output_bias=False, causal="top_left"
            ),
            feed_forward=ar.FeedForward(width=12, hidden_width=20, activation="gelu_tanh"),
        ),
        faults={
            "diagonal hidden": at(SEEN, "a token does not see itself"),
            "past hidden": at(SEEN, "the past is hidden, not the future"),
            "network after attention": at("feed_forward.hidden", "the network comes after the attention",
                                          "option:parallel"),
            "network of the raw input": at("feed_forward.hidden", "the network reads what is not normed"),
            "network reads the attention": at("feed_forward.hidden", "the network reads the attention's result"),
            "activation lost": at("feed_forward.active", "there is no activation"),
            "ReLU": at("feed_forward.active", "ReLU", "option:feed_forward.activation"),
            "exact GELU": at("feed_forward.active", "the error function", "option:feed_forward.activation"),
            "residual lost": at("fed", "the input is not added"),
            "residual of the norm": at("fed", "what is normed is added, not the input"),
            "residual for each": at("fed", "the input is added twice", "option:skip_scale"),
            "halved": at("fed", "the results are halved", "option:residual_scale"),
        },
        pairs=("past hidden+residual for each", "network of the raw input+ReLU"),
    ),
    TorchWild(
        cls=DecoderPost, draw=two_lengths, call=decode, copy=decoder_weights,
        inputs={
            "memory": "(b, s, width)", "src_mask": "bool (b, 1, s), True = attend",
            "tgt_mask": "bool (b, t, t), True = attend, causal",
        },
        block=ar.TransformerLayer(
            width=12, attention=PLAIN, cross_attention=PLAIN, norm=ar.LayerNorm(width=12), norm_place="after",
            feed_forward=ar.FeedForward(width=12, hidden_width=16),
        ),
        faults={
            "target mask lost": at(SEEN, "the target's mask is not used"),
            "source mask lost": at("cross_attention.attention.masked|cross_attention.attention.weights",
                                   "the memory's mask is not used"),
            "source mask upside down": at("cross_attention.attention.masked|cross_attention.attention.weights",
                                          "the memory's mask keeps what it should leave out"),
            "memory is not read": at("cross_attention.key", "the second attention reads the first one's result"),
            "keys and values exchanged": at(
                "cross_attention.key|cross_attention.attention.scores", "keys and values are exchanged",
                alias=exchanged(("cross_attention.key", "cross_attention.value")),
            ),
            "queries of the input": at("cross_attention.query", "the second attention's queries are the input"),
            "second residual of the input": at("crossed", "the input is added to the second attention's result"),
            "second residual lost": at("crossed", "nothing is added to the second attention's result"),
            "norms in another order": at(
                "cross_attention_norm.scaled|cross_attention_norm.shifted", "the last two norms are exchanged",
                alias=exchanged(("cross_attention_norm", "feed_forward_norm")),
            ),
            "pre-norm in the middle": at("cross_attention.query|crossed", "the second norm stands before"),
            "activated at the end": at("feed_forward.active", "ReLU comes after both linear layers"),
            "last residual before the memory": at("fed", "the first attention's result is added to the network's"),
        },
        pairs=("target mask lost+activated at the end", "queries of the input+last residual before the memory"),
    ),
    TorchWild(
        cls=Gemma2Block, draw=tokens("x", 12, 3), call=only_x, copy=gemma_weights,
        block=ar.TransformerLayer(
            width=12, norm=ar.RMSNorm(width=12, zero_centered=True), norm_place="around",
            attention=ar.MultiHeadAttention(
                width=12, num_heads=3, use_bias=False, output_bias=False, causal="top_left"
            ),
            feed_forward=ar.GatedFeedForward(width=12, hidden_width=16, activation="gelu_tanh"),
        ),
        faults={
            "scale without one": at(
                "attention_norm.scaled", "1 is not added to the scale", "option:norm.zero_centered", alias=without_one
            ),
            "centred": at("attention_norm.normed|attention_norm.scaled", "the norm centres"),
            "scaled before it is normed": at("attention_norm.normed|attention_norm.scaled", "scaled, then normed"),
            "second half gates": at(
                "feed_forward.gate|feed_forward.active", "gate and up are exchanged",
                alias=exchanged(("feed_forward.gate", "feed_forward.expand")),
            ),
            "exact GELU": at("feed_forward.active", "the error function", "option:feed_forward.activation"),
            "SiLU for GELU": at("feed_forward.active", "SiLU", "option:feed_forward.activation"),
            "norm after the sum": at(
                "attention_post_norm.normed|attention_post_norm.scaled|attended", "the second norm comes after the sum"
            ),
            "first post-norm lost": at(
                "attention_post_norm.normed|attention_post_norm.scaled|attended", "the result is not normed"
            ),
            "norms in pairs exchanged": at(
                "feed_forward_norm.scaled", "the network's two norms are exchanged",
                alias=exchanged(("feed_forward_norm", "feed_forward_post_norm")),
            ),
            "same norm on both sides": at(
                "feed_forward_post_norm.scaled", "the third norm stands in both places",
                alias=same_as(feed_forward_post_norm="feed_forward_norm"),
            ),
            "residual of the pre-norm": at("fed", "what is normed is added"),
            "network before its norm": at(
                "feed_forward_norm.normed|feed_forward_norm.scaled|feed_forward.gate", "the network reads the raw input"
            ),
        },
        pairs=("norm after the sum+exact GELU", "first post-norm lost+SiLU for GELU"),
    ),
    TorchWild(
        cls=ViTBlock, parts=(PreNorm, HeadsOf12), draw=tokens("x", 12), call=only_x, copy=vit_weights,
        block=ar.EncoderLayer(width=12, num_heads=3, hidden_width=20, activation="gelu", norm_first=True),
        faults={
            "ReLU": at("feed_forward.active", "ReLU", "option:activation"),
            "activated twice": at("feed_forward.reduced|fed", "the network's result is activated too"),
            "activation lost": at("feed_forward.active", "there is no activation"),
            "in reverse": at("attention_norm", "the network comes first"),
            "side by side": at("attended|feed_forward_norm", "the network reads the input"),
            "first residual lost": at("attended", "the input is not added"),
            "residual subtracted": at("attended", "the input is subtracted"),
            "attention twice": at("feed_forward_norm|fed", "the attention acts twice"),
            "residual of the first token": at("attended", "every token has the first one's residual"),
            "normed once more": at("fed|output", "there is a norm at the end"),
            "residual scaled": at("fed", "the residual is halved"),
        },
        pairs=("ReLU+residual subtracted", "first residual lost+residual scaled"),
    ),
    TorchWild(
        cls=SwinV2Block, draw=tokens("x", 12), call=only_x, copy=swin_weights,
        block=ar.TransformerLayer(
            width=12, attention=PLAIN, feed_forward=GELU, norm=ar.LayerNorm(width=12), norm_place="inside"
        ),
        faults={
            "scaled by the square": at(SCORES, "divided by d, not by its root", option="option:attention.scale"),
            "first bias lost": at(
                "feed_forward.hidden", "the first bias is not added", alias=constant(**{"feed_forward.expand.bias": 0})
            ),
            "norm before": at("attention.query|attention_norm.shifted", "the norm stands before"),
            "norm of the sum": at("attended|attention_norm.shifted", "the norm comes after the sum"),
            "norm lost": at("attended|attention_norm.shifted", "there is no norm"),
            "norm over the tokens": at(
                "attention_norm.normed|attention_norm.scaled|attention_norm.shifted", "the norm goes over tokens"
            ),
            "norm of batch and tokens": at(
                "attention_norm.normed|attention_norm.scaled|attention_norm.shifted", "the norm goes over everything"
            ),
            "norms exchanged": at(
                "feed_forward_norm.scaled|feed_forward_norm.shifted", "the first norm stands in both places",
                alias=same_as(feed_forward_norm="attention_norm"),
            ),
            "unbiased": at(
                "feed_forward_norm.normed|feed_forward_norm.scaled|feed_forward_norm.shifted", "the unbiased variance"
            ),
            "eps outside the root": at(
                "feed_forward_norm.normed|feed_forward_norm.scaled|feed_forward_norm.shifted",
                "eps is added to the deviation",
            ),
        },
        pairs=("scaled by the square+norm of the sum", "norm lost+unbiased"),
    ),
)  # fmt: skip
