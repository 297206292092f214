"""Non-local block for torch, channels first, in 1, 2 and 3 dimensions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.non_local import NonLocal as Reference
from attn_ref.tap import probing, tap
from attn_ref_torch.batch_norm import BatchNorm
from attn_ref_torch.batch_norm import batch_norm as normalise
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror

CONVS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLS: dict[int, Any] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
FUSED = "torch.nn.functional.scaled_dot_product_attention"


class NonLocal(Mirror):
    """Mirror of ``attn_ref.NonLocal``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        dimensions: int = 2,
        inner_width: int | None = None,
        pairing: str = "softmax",
        scale: float | str | None = None,
        sub_sample: bool = False,
        batch_norm: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        unbiased: bool = True,
        use_bias: bool = True,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.pairing = pairing
        self.axes = "b c " + " ".join("DHW"[3 - dimensions :])
        inner = inner_width or max(1, channels // 2)
        named = {"input": channels**-0.5, "inner": inner**-0.5}
        self.factor = 1.0 if scale is None else named[scale] if isinstance(scale, str) else float(scale)
        conv = CONVS[dimensions]
        self.theta = conv(channels, inner, 1, bias=use_bias)
        self.phi = conv(channels, inner, 1, bias=use_bias)
        self.g = conv(channels, inner, 1, bias=use_bias)
        self.project = conv(inner, channels, 1, bias=use_bias)
        self.norm = BatchNorm(channels, eps=eps, momentum=momentum, unbiased=unbiased) if batch_norm else None
        self.pool = POOLS[dimensions]((1, 2, 2)[3 - dimensions :]) if sub_sample else nn.Identity()
        for last in (self.norm or self.project).parameters():
            nn.init.zeros_(last)  # a new block is the identity

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        theta = tap("theta", self.positions(self.theta(x)), "b t d")
        phi = tap("phi", self.positions(self.pool(self.phi(x))), "b s d")
        g = tap("g", self.positions(self.pool(self.g(x))), "b s e")
        context = self.attend(theta, phi, g).transpose(1, 2).unflatten(2, x.shape[2:])
        y = tap("projected", self.project(tap("context", context, self.axes)), self.axes)
        if self.norm is not None:
            y = tap("normed", normalise(self.norm, y, "norm"), self.axes)
        return y + x

    def attend(self, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        if self.pairing == "softmax" and not probing():
            return F.scaled_dot_product_attention(theta, phi, g, scale=self.factor)
        scores = tap("scores", theta @ phi.transpose(1, 2) * self.factor, "b t s")
        weights = scores.softmax(dim=-1) if self.pairing == "softmax" else scores / phi.shape[1]
        return tap("weights", weights, "b t s") @ g

    @staticmethod
    def positions(x: Tensor) -> Tensor:
        """(b, c, space…) → (b, positions, c)."""
        return x.flatten(2).transpose(1, 2)
