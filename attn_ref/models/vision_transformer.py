r"""Vision transformer: patches of an image as tokens, encoder layers, pooling, and a linear head.

.. math:: X_0 = [\,x_{\text{class}};\ E(I)\,] + P,\qquad X_{i+1} = \operatorname{layer}_i(X_i),\qquad
          Y = \operatorname{pool}(N(X_L))\, W + b

b batch, H rows of patches, W patches in a row, t tokens, c width, f hidden width, h heads, k classes. The image I is
(b, H·patch, W·patch, channels) and E its patch embedding, row by row; the class token comes first. What comes out is
every token (b, t, c), one pooled vector (b, c), or what the head makes of it: (b, t, k) or (b, k).

The defaults are the model of the paper. Every part can be left out: without positions, class token and norms, with
"mean" pooling and a head, it is the plainest transformer of patches, x + A(x) and x + F(x) throughout. Learned
positions fix the size of the image; without them it is free, and the order of the patches does not matter to the mean.

Differences: eps is 1e-6 here and in the paper's code, and 1e-12 in ``ViTConfig`` of Hugging Face. The mean is that of
the patches: the class token, where there is one, is left out of it. Training drops of the embedded tokens, of both
sub-layers' results and of the hidden values, as the paper's code does; Hugging Face's ViT does not drop hidden values.

Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1.

>>> import attn_ref as ar, numpy as np
>>> block = ar.VisionTransformer(**ar.VisionTransformer.example)
>>> block(block.init(), np.ones((1, 8, 12, 3))).shape
(1, 5)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attn_ref import ops
from attn_ref.block import Block, Input, Param, Pick, dense, nest, norm, option, same
from attn_ref.blocks.encoder_layer import EncoderLayer
from attn_ref.blocks.patch_embedding import PatchEmbedding
from attn_ref.tap import tap


@dataclass(frozen=True, kw_only=True)
class VisionTransformer(Block):
    """Patches, class token, positions, encoder layers, norm, pooling, head."""

    patch: int = option(meaning="side of a patch, in pixels", above=0, witness=2)
    channels: int = option(default=3, meaning="channels of the image", above=0, witness=2)
    image_height: int | None = option(
        default=None, meaning="height of the image in pixels; None: any", above=0, witness=16
    )
    image_width: int | None = option(
        default=None, meaning="width of the image in pixels; None: any", above=0, witness=8
    )
    width: int = option(meaning="width of every token", above=0, witness=12)
    num_layers: int = option(meaning="encoder layers", above=0, witness=1)
    num_heads: int = option(meaning="attention heads of each", above=0, witness=2)
    hidden_width: int = option(meaning="width inside the feed-forward networks", above=0, witness=16)
    activation: str = option(
        default="gelu", meaning='"gelu" (error function), "gelu_tanh" or "relu"', choices=tuple(ops.ACTIVATIONS),
        witness="relu",
    )  # fmt: skip
    class_token: bool = option(
        default=True, meaning="is there a learned token before those of the patches?", witness=False
    )
    positions: bool = option(
        default=True, meaning="are learned positions added? That takes image_height and image_width", witness=False
    )
    norm_first: bool | None = option(
        default=True, meaning="of the encoder layers: True: pre-norm; False: post-norm; None: no norms", witness=False
    )
    final_norm: bool = option(default=True, meaning="is there a norm after the last layer?", witness=False)
    eps: float = option(default=1e-6, meaning="added to the variance by every norm", above=0, witness=0.1)
    pooling: str = option(
        default="class", meaning='"class": the class token; "mean": over patches; "none": every token',
        choices=("class", "mean", "none"), witness="none",
    )  # fmt: skip
    num_classes: int | None = option(
        default=None, meaning="width of the linear head; None: there is none", above=0, witness=3, draw=(None, 3, 7)
    )
    dropout: float = same(
        EncoderLayer, "dropout",
        meaning="share that training drops of embedded tokens, sub-layers' results and hidden values",
    )  # fmt: skip
    attention_dropout: float = same(EncoderLayer, "attention_dropout")

    inputs = {"image": Input("b (H {patch}) (W {patch}) {channels}")}
    output_axes = "b t c | b c"
    counts = {"num_layers": "layers"}
    fixed = {"H": "rows", "W": "columns"}
    example = {
        "patch": 4, "image_height": 8, "image_width": 12, "width": 8, "num_layers": 2, "num_heads": 4,
        "hidden_width": 12, "pooling": "mean", "num_classes": 5,
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.class_token or self.pooling != "class", "pooling = 'class' needs class_token = True")
        for name in ("image_height", "image_width"):
            size = getattr(self, name)
            if size is None:
                self.require(not self.positions, f"learned positions need {name}; give it, or positions = False")
            else:
                self.require(size % self.patch == 0, f"patch = {self.patch} does not divide {name} = {size}")
        self.require(
            self.norm_first is not None or self.final_norm or self.eps == 1e-6,
            "eps needs a norm: norm_first or final_norm",
        )
        _ = self.layers  # how their options go together is checked there

    @property
    def rows(self) -> int | None:
        """Rows of patches, if that is fixed."""
        return None if self.image_height is None else self.image_height // self.patch

    @property
    def columns(self) -> int | None:
        """Patches in a row, if that is fixed."""
        return None if self.image_width is None else self.image_width // self.patch

    @property
    def num_positions(self) -> int:
        """How many positions are learned: one for each patch, and one for the class token."""
        return (self.rows or 0) * (self.columns or 0) + self.class_token if self.positions else 0

    @cached_property
    def patch_embedding(self) -> PatchEmbedding:
        return PatchEmbedding.from_options(self.fields())

    @cached_property
    def layers(self) -> tuple[EncoderLayer, ...]:
        return (EncoderLayer(**self.layer_options),) * self.num_layers

    @property
    def layer_options(self) -> dict[str, Any]:
        """The options of every encoder layer."""
        names = ["width", "num_heads", "hidden_width", "activation", "norm_first", "dropout", "attention_dropout"]
        names += ["eps"] if self.norm_first is not None else []
        return {name: getattr(self, name) for name in names}

    def params(self) -> dict[str, Param]:
        return {
            **({"class_token": Param((1, self.width), "embedding")} if self.class_token else {}),
            **nest("patch_embedding", self.patch_embedding),
            **({"position.embedding": Param((self.num_positions, self.width))} if self.positions else {}),
            **nest("layers", self.layers),
            **(norm("final_norm", self.width) if self.final_norm else {}),
            **(dense("head", self.width, self.num_classes) if self.num_classes else {}),
        }

    @classmethod
    def sample(cls, pick: Pick) -> VisionTransformer:
        heads, patch, class_token = pick(1, 2, 3), pick(1, 2, 3), pick(True, False)
        positions, norm_first, final_norm = pick(True, False), pick(True, True, False, None), pick(True, False)
        fixed = positions or pick(True, False)
        normed = norm_first is not None or final_norm
        return cls(
            patch=patch,
            channels=pick(1, 3),
            image_height=patch * pick(1, 2, 3) if fixed else None,
            image_width=patch * pick(1, 2, 5, 70) if fixed else None,
            width=heads * pick(4, 5),
            num_layers=pick(1, 2),
            num_heads=heads,
            hidden_width=pick(7, 16),
            activation=pick("gelu", "relu", "gelu_tanh"),
            class_token=class_token,
            positions=positions,
            norm_first=norm_first,
            final_norm=final_norm,
            eps=pick(1e-12, 1e-6, 1e-5) if normed else 1e-6,
            pooling=pick("class" if class_token else "mean", "mean", "none"),
            **cls.drawn(pick),
        )

    def forward(self, w: Any, image: Any) -> np.ndarray:
        x = self.patch_embedding(w["patch_embedding"], image)
        if self.class_token:
            first = np.broadcast_to(w["class_token"], (len(x), 1, self.width))
            x = tap("with_class", np.concatenate([first, x], axis=1), "b t c")
        if self.positions:
            x = tap("positioned", x + w["position.embedding"], "b t c")
        x = ops.dropout(x, self.dropout, "b t c")

        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(w[f"layers.{i}"], x), "b t c")
        if self.final_norm:
            x = ops.layer_norm(x, w["final_norm.scale"], w["final_norm.offset"], eps=self.eps)
            x = tap("final_norm", x, "b t c")

        if self.pooling == "class":
            x = tap("pooled", x[:, 0], "b c")
        elif self.pooling == "mean":
            x = tap("pooled", ops.mean(x[:, int(self.class_token) :], axis=1), "b c")
        if self.num_classes:
            labels = "b t k" if self.pooling == "none" else "b k"
            x = tap("logits", ops.linear(x, w["head.kernel"], w["head.bias"]), labels)
        return x
