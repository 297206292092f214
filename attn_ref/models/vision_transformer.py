r"""Vision transformer: patches of an image as tokens, encoder layers, pooling, and a linear head.

.. math:: X_0 = [\,x_{\text{class}};\ E(I)\,] + P,\qquad X_{i+1} = \operatorname{layer}_i(X_i),\qquad
          Y = \operatorname{pool}(N(X_L))\, W + b

b batch, H rows of patches, W patches in a row, t tokens, c width, f hidden width, h heads, k classes. The image I is
(b, H·patch, W·patch, channels) and E its patch embedding, row by row; the class token comes first, then the distilled
token, then registers, then patches. Registers have no position. What comes out is every token (b, t, c), one pooled
vector (b, c), or what the head makes of it: (b, t, k) or (b, k).

The defaults are the model of the paper. Every part can be left out: without positions, class token and norms, with
"mean" pooling and a head, it is the plainest transformer of patches, x + A(x) and x + F(x) throughout. Learned
positions fix the size of the image; without them it is free, and the order of the patches does not matter to the mean.

DeiT has a distilled token, whose head of its own is averaged with that of the class token (pooling "distilled"). CLIP
has no bias in the patches, a norm before the layers, and "quick_gelu". DINOv2 has layer scale and registers. SigLIP has
no class token, and pools by attention. timm's ViTs that take the mean norm it and not the tokens (``pooled_norm``).

Differences: eps is 1e-6 here and in the paper's code, and 1e-12 in ``ViTConfig`` of Hugging Face. The mean is that of
the patches: the tokens before them are left out of it. Training drops of the embedded tokens, of both
sub-layers' results and of the hidden values, as the paper's code does; Hugging Face's ViT does not drop hidden values.

Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1; distilled token: Touvron et al. 2021,
"Training data-efficient image transformers", section 4; registers: Darcet et al. 2024, "Vision Transformers Need
Registers"; attention pooling: Zhai et al. 2022, "Scaling Vision Transformers", section 3.2.

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
from attn_ref.blocks.attention_pooling import AttentionPooling
from attn_ref.blocks.encoder_layer import EncoderLayer
from attn_ref.blocks.feed_forward import FeedForward
from attn_ref.blocks.layer_norm import LayerNorm
from attn_ref.blocks.multi_head_attention import MultiHeadAttention
from attn_ref.blocks.patch_embedding import PatchEmbedding
from attn_ref.blocks.transformer_layer import TransformerLayer
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
        default="gelu", meaning='"gelu" (error function), "gelu_tanh", "quick_gelu" or "relu"',
        choices=tuple(ops.ACTIVATIONS), witness="relu",
    )  # fmt: skip
    class_token: bool = option(
        default=True, meaning="is there a learned token before those of the patches?", witness=False
    )
    distilled_token: bool = option(
        default=False, meaning="is there another one behind it, with a position of its own?", needs="class_token",
        witness=True,
    )  # fmt: skip
    register_tokens: int = option(
        default=0, meaning="learned tokens without a position between these and the patches", least=0, witness=2
    )
    patch_bias: bool = option(default=True, meaning="has the patch embedding a bias?", witness=False)
    positions: bool = option(
        default=True, meaning="are learned positions added? That takes image_height and image_width", witness=False
    )
    class_position: bool = option(
        default=True, meaning="has the class token a position, and the distilled one? False: patches alone",
        witness={"class_token": True, "class_position": False},
    )  # fmt: skip
    embedding_norm: bool = option(default=False, meaning="is there a norm before the first layer?", witness=True)
    norm_first: bool | None = option(
        default=True, meaning="of the encoder layers: True: pre-norm; False: post-norm; None: no norms", witness=False
    )
    layer_scale: float | None = option(
        default=None, meaning="where learned factors of every sub-layer's result start; None: there are none", above=0,
        witness=0.1,
    )  # fmt: skip
    final_norm: bool = option(default=True, meaning="is there a norm after the last layer?", witness=False)
    eps: float = option(default=1e-6, meaning="added to the variance by every norm", above=0, witness=0.1)
    pooling: str = option(
        default="class", choices=("class", "mean", "none", "attention", "distilled"), witness="none",
        meaning='"class": the class token; "mean": over patches; "none": every token; "attention": a learned query '
        'attends to all patches; "distilled": the heads of class and distilled token, averaged',
    )  # fmt: skip
    pooled_norm: bool = option(default=False, meaning="is there a norm of what is pooled?", witness=True)
    num_classes: int | None = option(
        default=None, meaning="width of the linear head; None: there is none", above=0, witness=3
    )
    head_bias: bool = option(
        default=True,
        meaning="has the head a bias?",
        needs="num_classes",
        witness={"num_classes": 3, "head_bias": False},
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
            self.class_position or (self.class_token and self.positions),
            "class_position = False needs class_token and positions",
        )
        self.require(
            self.pooling != "distilled" or (self.distilled_token and self.num_classes is not None),
            "pooling = 'distilled' needs distilled_token and num_classes",
        )
        self.require(
            not self.pooled_norm or self.pooling in ("class", "mean", "attention"),
            f"pooled_norm needs one vector; pooling = {self.pooling!r} gives several",
        )
        self.require(
            self.normed or self.eps == 1e-6, "eps needs a norm: norm_first, embedding_norm, final_norm or pooled_norm"
        )
        _ = self.layers, self.pool  # how their options go together is checked there

    @property
    def normed(self) -> bool:
        """Is there any norm?"""
        own = self.embedding_norm or self.final_norm or self.pooled_norm or self.pooling == "attention"
        return own or self.norm_first is not None

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
        """How many positions are learned: one for each patch, and for the tokens before that have one."""
        first = self.class_token + self.distilled_token if self.class_position else 0
        return (self.rows or 0) * (self.columns or 0) + first if self.positions else 0

    @property
    def prefix(self) -> int:
        """How many tokens come before the patches."""
        return self.class_token + self.distilled_token + self.register_tokens

    @cached_property
    def patch_embedding(self) -> PatchEmbedding:
        return PatchEmbedding.from_options({**self.fields(), "use_bias": self.patch_bias})

    @cached_property
    def layers(self) -> tuple[Block, ...]:
        """Plain encoder layers, or with layer scale transformer layers, which have the same parameters and that."""
        if self.layer_scale is None:
            return (EncoderLayer(**self.layer_options),) * self.num_layers
        layer = TransformerLayer(
            width=self.width,
            attention=MultiHeadAttention(width=self.width, num_heads=self.num_heads, dropout=self.attention_dropout),
            feed_forward=FeedForward.from_options(self.fields()),
            norm=None if self.norm_first is None else LayerNorm(width=self.width, eps=self.eps),
            norm_place="after" if self.norm_first is False else "before",
            layer_scale=self.layer_scale,
            dropout=self.dropout,
        )
        return (layer,) * self.num_layers

    @cached_property
    def pool(self) -> AttentionPooling | None:
        return AttentionPooling.from_options(self.fields()) if self.pooling == "attention" else None

    @property
    def layer_options(self) -> dict[str, Any]:
        """The options of every encoder layer."""
        names = ["width", "num_heads", "hidden_width", "activation", "norm_first", "dropout", "attention_dropout"]
        names += ["eps"] if self.norm_first is not None else []
        return {name: getattr(self, name) for name in names}

    def params(self) -> dict[str, Param]:
        return {
            **({"class_token": Param((1, self.width), "embedding")} if self.class_token else {}),
            **({"distilled_token": Param((1, self.width), "embedding")} if self.distilled_token else {}),
            **(
                {"register_tokens": Param((self.register_tokens, self.width), "embedding")}
                if self.register_tokens
                else {}
            ),
            **nest("patch_embedding", self.patch_embedding),
            **({"position.embedding": Param((self.num_positions, self.width))} if self.positions else {}),
            **(norm("embedding_norm", self.width) if self.embedding_norm else {}),
            **nest("layers", self.layers),
            **(norm("final_norm", self.width) if self.final_norm else {}),
            **(nest("pool", self.pool) if self.pool else {}),
            **(norm("pooled_norm", self.width) if self.pooled_norm else {}),
            **self.heads(),
        }

    def heads(self) -> dict[str, Param]:
        """The parameters of the head, or of both."""
        names = ("head", "distilled_head") if self.pooling == "distilled" else ("head",)
        if self.num_classes is None:
            return {}
        found = [dense(name, self.width, self.num_classes, bias=self.head_bias) for name in names]
        return {name: param for part in found for name, param in part.items()}

    @classmethod
    def sample(cls, pick: Pick) -> VisionTransformer:
        heads, patch, class_token = pick(1, 2, 3), pick(1, 2, 3), pick(True, False)
        positions, norm_first, final_norm = pick(True, False), pick(True, True, False, None), pick(True, False)
        fixed = positions or pick(True, False)
        distilled, embedding_norm = class_token and pick(False, True), pick(False, False, True)
        pooling = pick("class" if class_token else "mean", "mean", "none", "attention", "distilled")
        pooling = pooling if distilled or pooling != "distilled" else "mean"
        pooled_norm = pooling in ("class", "mean", "attention") and pick(False, True)
        normed = norm_first is not None or final_norm or embedding_norm or pooled_norm or pooling == "attention"
        classes = pick(3, 7) if pooling == "distilled" else pick(None, 3, 7)
        drawn = cls.drawn(pick)
        return cls(
            patch=patch,
            channels=pick(1, 3),
            image_height=patch * pick(1, 2, 3) if fixed else None,
            image_width=patch * pick(1, 2, 5, 70) if fixed else None,
            width=heads * pick(4, 5),
            num_layers=pick(1, 2),
            num_heads=heads,
            hidden_width=pick(7, 16),
            activation=pick("gelu", "relu", "gelu_tanh", "quick_gelu"),
            class_token=class_token,
            distilled_token=distilled,
            register_tokens=pick(0, 0, 2),
            patch_bias=pick(True, True, False),
            positions=positions,
            class_position=not (class_token and positions) or pick(True, True, False),
            embedding_norm=embedding_norm,
            norm_first=norm_first,
            layer_scale=pick(None, None, 0.1),
            final_norm=final_norm,
            eps=pick(1e-12, 1e-6, 1e-5) if normed else 1e-6,
            pooling=pooling,
            pooled_norm=pooled_norm,
            num_classes=classes,
            head_bias=classes is None or pick(True, True, False),
            **drawn,
        )

    def forward(self, w: Any, image: Any) -> np.ndarray:
        x = self.patch_embedding(w["patch_embedding"], image)
        first = [w[name] for name in ("class_token", "distilled_token") if getattr(self, name)]
        x = x if self.class_position else self.placed(w, x)
        if first:
            x = tap("with_class", self.before(x, np.concatenate(first)), "b t c")
        x = self.placed(w, x) if self.class_position else x
        if self.register_tokens:
            at = len(first)
            x = np.concatenate([x[:, :at], self.before(x[:, at:], w["register_tokens"])], axis=1)
            x = tap("with_registers", x, "b t c")
        x = ops.dropout(x, self.dropout, "b t c")
        if self.embedding_norm:
            x = tap("embedding_norm", self.layer_norm(w, "embedding_norm", x), "b t c")

        for i, layer in enumerate(self.layers):
            x = tap(f"layer_{i}", layer(w[f"layers.{i}"], x), "b t c")
        if self.final_norm:
            x = tap("final_norm", self.layer_norm(w, "final_norm", x), "b t c")

        if self.pooling == "distilled":
            logits = self.logits(w, "head", x[:, 0]), self.logits(w, "distilled_head", x[:, 1])
            return tap("logits", (logits[0] + logits[1]) / 2.0, "b k")
        if self.pooling == "class":
            x = tap("pooled", x[:, 0], "b c")
        elif self.pooling == "mean":
            x = tap("pooled", ops.mean(x[:, self.prefix :], axis=1), "b c")
        elif self.pool is not None:
            x = tap("pooled", self.pool(w["pool"], x[:, self.prefix :]), "b c")
        if self.pooled_norm:
            x = tap("pooled_norm", self.layer_norm(w, "pooled_norm", x), "b c")
        if self.num_classes:
            x = tap("logits", self.logits(w, "head", x), "b t k" if self.pooling == "none" else "b k")
        return x

    def placed(self, w: Any, x: Any) -> Any:
        return tap("positioned", x + w["position.embedding"], "b t c") if self.positions else x

    def before(self, x: Any, tokens: Any) -> Any:
        """The same ``tokens`` (n, c) before those of every example."""
        return np.concatenate([np.broadcast_to(tokens, (len(x), *tokens.shape)), x], axis=1)

    def layer_norm(self, w: Any, name: str, x: Any) -> Any:
        return ops.layer_norm(x, w[f"{name}.scale"], w[f"{name}.offset"], eps=self.eps)

    def logits(self, w: Any, name: str, x: Any) -> Any:
        return ops.linear(x, w[f"{name}.kernel"], w[f"{name}.bias"] if self.head_bias else None)
