"""Vision transformer for torch, which takes images channels first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_ref.models.vision_transformer import VisionTransformer as Reference
from attn_ref.tap import tap
from attn_ref_torch.blocks.encoder_layer import EncoderLayer
from attn_ref_torch.blocks.patch_embedding import PatchEmbedding
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout as drop
from attn_ref_torch.mirror import Mirror


class VisionTransformer(Mirror):
    """Mirror of ``attn_ref.VisionTransformer``, with the same arguments; images are (b, channels, H, W)."""

    def __init__(
        self,
        *,
        patch: int,
        channels: int = 3,
        image_height: int | None = None,
        image_width: int | None = None,
        width: int,
        num_layers: int,
        num_heads: int,
        hidden_width: int,
        activation: str = "gelu",
        class_token: bool = True,
        positions: bool = True,
        norm_first: bool | None = True,
        final_norm: bool = True,
        eps: float = 1e-6,
        pooling: str = "class",
        num_classes: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.pooling = pooling
        self.class_token = nn.Parameter(torch.zeros(1, width)) if class_token else None
        self.patch_embedding = PatchEmbedding(patch=patch, channels=channels, width=width)
        self.position = nn.Embedding(self.block.num_positions, width) if positions else None
        if self.position is not None:
            nn.init.normal_(self.position.weight, std=0.02)  # as in the paper's code; torch's own start is 50 times it
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(**self.block.layer_options) for _ in range(num_layers))
        self.final_norm = nn.LayerNorm(width, eps=eps) if final_norm else None
        self.head = nn.Linear(width, num_classes) if num_classes else None

    def forward(self, image: Tensor) -> Tensor:
        check(self, image=image)
        x = self.patch_embedding(image)
        if self.class_token is not None:
            x = tap("with_class", torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1), "b t c")
        if self.position is not None:
            x = tap("positioned", x + self.position.weight, "b t c")
        x = drop(self.drop, x, "b t c")

        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(x), "b t c")
        if self.final_norm is not None:
            x = tap("final_norm", self.final_norm(x), "b t c")

        if self.pooling == "class":
            x = tap("pooled", x[:, 0], "b c")
        elif self.pooling == "mean":
            x = tap("pooled", x[:, 0 if self.class_token is None else 1 :].mean(dim=1), "b c")
        if self.head is not None:
            x = tap("logits", self.head(x), "b t k" if self.pooling == "none" else "b k")
        return x
