"""Squeeze-and-excitation for torch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from attn_ref.blocks.squeeze_excitation import SqueezeExcitation as Reference
from attn_ref.tap import tap
from attn_ref_torch.checks import check
from attn_ref_torch.mirror import Mirror


class SqueezeExcitation(Mirror):
    """Mirror of ``attn_ref.SqueezeExcitation``, with the same arguments."""

    def __init__(
        self,
        *,
        channels: int,
        reduction: int = 16,
        reduced_width: int | None = None,
        use_bias: bool = True,
        gate: str = "sigmoid",
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        width = reduced_width or channels // reduction
        self.reduce = nn.Linear(channels, width, bias=use_bias)
        self.expand = nn.Linear(width, channels, bias=use_bias)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        check(self, x=x)
        squeezed = tap("squeezed", x.mean(dim=(2, 3)), "b c")
        reduced = tap("reduced", self.reduce(squeezed), "b r")
        active = tap("active", F.relu(reduced), "b r")
        expanded = tap("expanded", self.expand(active), "b c")
        # not F.hardsigmoid: its gradient has 1 / 6 in float32, which is 3e-8 off in float64
        gate = F.relu6(expanded + 3) / 6 if self.gate == "hard_sigmoid" else expanded.sigmoid()
        return tap("excited", x * tap("gate", gate, "b c")[:, :, None, None], "b c H W")
