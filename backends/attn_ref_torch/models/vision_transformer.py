"""Vision transformer for torch, which takes images channels first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_ref.models.vision_transformer import VisionTransformer as Reference
from attn_ref.tap import tap
from attn_ref_torch.blocks.attention_pooling import AttentionPooling
from attn_ref_torch.blocks.patch_embedding import PatchEmbedding
from attn_ref_torch.checks import check
from attn_ref_torch.dropout import dropout as drop
from attn_ref_torch.mirror import Mirror, mirrored


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
        distilled_token: bool = False,
        register_tokens: int = 0,
        patch_bias: bool = True,
        positions: bool = True,
        class_position: bool = True,
        embedding_norm: bool = False,
        norm_first: bool | None = True,
        layer_scale: float | None = None,
        final_norm: bool = True,
        eps: float = 1e-6,
        pooling: str = "class",
        pooled_norm: bool = False,
        num_classes: int | None = None,
        head_bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block = Reference.from_options(locals())
        self.pooling, self.prefix, self.class_position = pooling, self.block.prefix, class_position
        self.class_token = nn.Parameter(torch.zeros(1, width)) if class_token else None
        self.distilled_token = nn.Parameter(torch.zeros(1, width)) if distilled_token else None
        self.register_tokens = nn.Parameter(torch.zeros(register_tokens, width)) if register_tokens else None
        self.patch_embedding = PatchEmbedding(patch=patch, channels=channels, width=width, use_bias=patch_bias)
        self.position = nn.Embedding(self.block.num_positions, width) if positions else None
        if self.position is not None:
            nn.init.normal_(self.position.weight, std=0.02)  # as in the paper's code; torch's own start is 50 times it
        self.drop = nn.Dropout(dropout)
        self.embedding_norm = nn.LayerNorm(width, eps=eps) if embedding_norm else None
        self.layers = nn.ModuleList(mirrored(layer) for layer in self.block.layers)
        self.final_norm = nn.LayerNorm(width, eps=eps) if final_norm else None
        self.pool = AttentionPooling(**self.block.pool.fields()) if self.block.pool else None
        self.pooled_norm = nn.LayerNorm(width, eps=eps) if pooled_norm else None
        self.head = nn.Linear(width, num_classes, bias=head_bias) if num_classes else None
        if pooling == "distilled" and num_classes:
            self.distilled_head = nn.Linear(width, num_classes, bias=head_bias)

    def forward(self, image: Tensor) -> Tensor:
        check(self, image=image)
        x = self.patch_embedding(image)
        first: list[Tensor] = [token for token in (self.class_token, self.distilled_token) if token is not None]
        x = x if self.class_position else self.placed(x)
        if first:
            tokens = torch.cat(first).expand(x.shape[0], -1, -1)
            x = tap("with_class", torch.cat([tokens, x], dim=1), "b t c")
        x = self.placed(x) if self.class_position else x
        if self.register_tokens is not None:
            registers = self.register_tokens.expand(x.shape[0], -1, -1)
            at = len(first)
            x = tap("with_registers", torch.cat([x[:, :at], registers, x[:, at:]], dim=1), "b t c")
        x = drop(self.drop, x, "b t c")
        if self.embedding_norm is not None:
            x = tap("embedding_norm", self.embedding_norm(x), "b t c")

        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(x), "b t c")
        if self.final_norm is not None:
            x = tap("final_norm", self.final_norm(x), "b t c")

        if self.pooling == "distilled" and self.head is not None:
            return tap("logits", (self.head(x[:, 0]) + self.distilled_head(x[:, 1])) / 2, "b k")
        if self.pooling == "class":
            x = tap("pooled", x[:, 0], "b c")
        elif self.pooling == "mean":
            x = tap("pooled", x[:, self.prefix :].mean(dim=1), "b c")
        elif self.pool is not None:
            x = tap("pooled", self.pool(x[:, self.prefix :]), "b c")
        if self.pooled_norm is not None:
            x = tap("pooled_norm", self.pooled_norm(x), "b c")
        if self.head is not None:
            x = tap("logits", self.head(x), "b t k" if self.pooling == "none" else "b k")
        return x

    def placed(self, x: Tensor) -> Tensor:
        return x if self.position is None else tap("positioned", x + self.position.weight, "b t c")
