"""Patch embedding and vision transformer: scalar loops, laws, refusals, and planted faults at their taps."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import oracles
import pytest
from planting import Fault, assert_caught, on_engines
from test_oracles import assert_is_oracle

import attn_ref as ar
from attn_ref.weights import uniform

ENGINES = ("torch", "tensorflow")


# scalar loops ---------------------------------------------------------------------------------------------------------


def patch_embedding(w: dict, image: list, *, patch: int, channels: int, width: int) -> list:
    """Token i·W + j: Σ over u, v, k of image[p·i + u][p·j + v][k] · kernel[u][v][k], and the bias. Row by row."""
    kernel, bias = w["project.kernel"], w["project.bias"]
    found = []
    for picture in image:
        found.append([])
        for i in range(len(picture) // patch):
            for j in range(len(picture[0]) // patch):
                token = []
                for c in range(width):
                    terms = [bias[c]]
                    for u in range(patch):
                        for v in range(patch):
                            for k in range(channels):
                                terms.append(picture[patch * i + u][patch * j + v][k] * kernel[u][v][k][c])
                    token.append(math.fsum(terms))
                found[-1].append(token)
    return found


def plain_layer(w: dict, x: list, *, num_heads: int, activation: str) -> list:
    """z = x + A(x), y = z + F(z): an encoder layer without norms."""
    attended = oracles.multi_head_attention(oracles.below(w, "attention"), x, num_heads=num_heads)
    z = oracles.add(x, attended)
    return oracles.add(z, oracles.feed_forward(oracles.below(w, "feed_forward"), z, activation=activation))


def vision_transformer(
    w: dict, image: list, *, patch: int, channels: int, width: int, num_layers: int, num_heads: int, activation: str,
    class_token: bool, positions: bool, norm_first: bool | None, final_norm: bool, eps: float, pooling: str,
    num_classes: int | None, **_: Any,
) -> list:  # fmt: skip
    """The class token first, positions added to all, the layers, a norm, what is pooled, the head."""
    own = oracles.below(w, "patch_embedding")
    x = patch_embedding(own, image, patch=patch, channels=channels, width=width)
    if class_token:
        x = [[w["class_token"][0], *tokens] for tokens in x]
    if positions:
        x = [oracles.add(tokens, w["position.embedding"]) for tokens in x]
    for n in range(num_layers):
        own = oracles.below(w, f"layers.{n}")
        if norm_first is None:
            x = plain_layer(own, x, num_heads=num_heads, activation=activation)
        else:
            options: dict = {"num_heads": num_heads, "activation": activation, "norm_first": norm_first, "eps": eps}
            x = oracles.encoder_layer(own, x, **options)
    if final_norm:
        x = [[oracles.normed(w, "final_norm", vector, eps) for vector in tokens] for tokens in x]
    if pooling == "none":
        return [[oracles.dense(w, "head", v) for v in tokens] for tokens in x] if num_classes else x
    if pooling == "class":
        pooled = [tokens[0] for tokens in x]
    else:
        patches = [tokens[1:] if class_token else tokens for tokens in x]
        pooled = [[math.fsum(v[c] for v in tokens) / len(tokens) for c in range(width)] for tokens in patches]
    return [oracles.dense(w, "head", vector) for vector in pooled] if num_classes else pooled


@pytest.mark.parametrize(("patch", "channels", "rows", "columns"), [(1, 1, 2, 3), (2, 3, 3, 2), (3, 2, 1, 5)])
def test_patch_embedding_is_the_scalar_loop(patch: int, channels: int, rows: int, columns: int) -> None:
    block = ar.PatchEmbedding(patch=patch, channels=channels, width=7)
    assert_is_oracle(block, patch_embedding, image=uniform((2, rows * patch, columns * patch, channels), 3, "image"))


PLAIN = {"class_token": False, "positions": False, "norm_first": None, "final_norm": False, "activation": "relu"}


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "class"},
        {"pooling": "mean", "num_classes": None},
        {"pooling": "none", "norm_first": False},
        {"pooling": "none", "num_classes": None, "class_token": False},
        {"pooling": "mean", "positions": False, "final_norm": False},
        {"pooling": "class", "norm_first": None},
        {"pooling": "mean", **PLAIN},
    ],
    ids=str,
)
def test_vision_transformer_is_the_scalar_loop(options: dict[str, Any]) -> None:
    block = ar.VisionTransformer(**{**ar.VisionTransformer.example, "patch": 2, "image_height": 4, "image_width": 6,
                                    **options})  # fmt: skip
    assert_is_oracle(block, vision_transformer, image=uniform((2, 4, 6, 3), 3, "image"))


def test_an_encoder_layer_without_norms_is_the_scalar_loop() -> None:
    block = ar.EncoderLayer(width=6, num_heads=3, hidden_width=5, norm_first=None)
    assert not any("norm" in name for name in block.params())

    def layer(w: dict, x: list, *, num_heads: int, activation: str, **_: Any) -> list:
        return plain_layer(w, x, num_heads=num_heads, activation=activation)

    assert_is_oracle(block, layer, x=uniform((2, 4, 6), 3, "x"))
    peer = pytest.importorskip("attn_ref_torch.peers.transformer_encoder_layer", exc_type=ImportError)
    with pytest.raises(ValueError, match="cannot express norm_first = None"):
        peer.build(block, block.init())


# laws -----------------------------------------------------------------------------------------------------------------


def cut(images: np.ndarray, patch: int, order: np.ndarray) -> np.ndarray:
    """The images with their patches in another order."""
    b, height, width, channels = images.shape
    rows, columns = height // patch, width // patch
    parts = images.reshape(b, rows, patch, columns, patch, channels).swapaxes(2, 3)
    parts = parts.reshape(b, rows * columns, patch, patch, channels)[:, order]
    parts = parts.reshape(b, rows, columns, patch, patch, channels).swapaxes(2, 3)
    return parts.reshape(images.shape)


@pytest.mark.parametrize("engine", ["reference", *ENGINES])
@pytest.mark.parametrize("class_token", [False, True])
def test_without_positions_the_order_of_patches_does_not_matter(engine: str, class_token: bool) -> None:
    images, order = uniform((2, 8, 12, 3), 5, "image"), np.array([4, 0, 5, 2, 1, 3])

    def run(block: ar.Block, images: np.ndarray) -> np.ndarray:
        if engine == "reference":
            return block(block.init(2), images)
        backend = ar.backend(engine)
        return backend.run(backend.load(backend.build(block), block.init(2)), {"image": images}, observe=False).output

    options = {**ar.VisionTransformer.example, "class_token": class_token, "num_classes": 5}
    free = ar.VisionTransformer(**{**options, "positions": False, "image_height": None, "image_width": None})
    learned = ar.VisionTransformer(**options)
    np.testing.assert_allclose(run(free, cut(images, 4, order)), run(free, images), rtol=0, atol=1e-13)
    assert np.abs(run(learned, cut(images, 4, order)) - run(learned, images)).max() > 1e-3


@pytest.mark.parametrize("engine", ENGINES)
def test_without_positions_one_layer_takes_images_of_any_size(engine: str) -> None:
    plain = {**ar.VisionTransformer.example, **PLAIN, "image_height": None, "image_width": None}
    block, backend = ar.VisionTransformer(**plain), ar.backend(engine)
    w = block.init(2)
    layer = backend.load(backend.build(block), w)
    for height, width in ((4, 4), (8, 12), (16, 4)):
        images = uniform((2, height, width, 3), 5, "image")
        got = backend.run(layer, {"image": images}, observe=False).output
        np.testing.assert_allclose(got, block(w, images), rtol=0, atol=1e-13)


# refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["reference", *ENGINES])
@pytest.mark.parametrize("shape", [(2, 9, 12, 3), (2, 8, 13, 3)])
def test_an_image_that_the_patch_does_not_divide_is_refused(engine: str, shape: tuple[int, ...]) -> None:
    block, images = ar.PatchEmbedding(patch=4, channels=3, width=8), np.ones(shape)
    axis, size = ("(H {patch})", 9) if shape[1] == 9 else ("(W {patch})", 13)
    said = f"axis {axis} is {size}, which patch = 4 does not divide"

    def run() -> Any:
        """By the layer itself, which a user calls."""
        if engine == "reference":
            return block(block.init(), images)
        layer = ar.backend(engine).build(block)
        if engine == "torch":
            import torch

            return layer(torch.from_numpy(images).permute(0, 3, 1, 2))
        return layer(images)

    with pytest.raises(ValueError, match=re.escape(said)):
        run()


def test_options_that_do_not_fit_are_refused() -> None:
    def build(**options: Any) -> None:
        ar.VisionTransformer(**{**ar.VisionTransformer.example, **options})

    for options, said in [
        ({"image_height": None}, "learned positions need image_height; give it, or positions = False"),
        ({"image_width": 10}, "patch = 4 does not divide image_width = 10"),
        ({"class_token": False, "pooling": "class"}, "pooling = 'class' needs class_token = True"),
        ({"norm_first": None, "final_norm": False, "eps": 1e-3}, "eps needs a norm: norm_first or final_norm"),
        ({"norm_first": "pre"}, "norm_first should be one of False, True, None; got 'pre'"),
        ({"num_classes": 0}, "num_classes should be an integer above zero; got 0"),
    ]:
        with pytest.raises(ValueError) as error:
            build(**options)
        assert said in str(error.value)
    with pytest.raises(ValueError, match="eps needs norms; norm_first is None"):
        ar.EncoderLayer(width=4, num_heads=2, hidden_width=4, norm_first=None, eps=1e-3)
    block = ar.VisionTransformer(**ar.VisionTransformer.example)
    with pytest.raises(ValueError, match=r"axis \(H \{patch\}\) is 12, not 8"):
        block(block.init(), np.ones((1, 12, 12, 3)))


# planted faults -------------------------------------------------------------------------------------------------------

PATCH, VIT, LAYER = "blocks.patch_embedding", "models.vision_transformer", "blocks.encoder_layer"
ADDED = 'tap("positioned", x + self.position'


FAULTS = [
    Fault(
        "patches column by column", PATCH, "PatchEmbedding", "tokens",
        torch=("projected.flatten(2)", "projected.transpose(2, 3).flatten(2)"),
        keras=("ops.reshape(projected, (b, rows", "ops.reshape(ops.swapaxes(projected, 1, 2), (b, rows"),
    ),
    Fault(
        "kernel's height and width exchanged", "codec", "PatchEmbedding", "projected",
        torch=("x.transpose(x.ndim - 1, x.ndim - 2, *range(x.ndim - 2))", "x.transpose(3, 2, 1, 0)"),
        keras=("variable.assign)", "lambda x: variable.assign(x.swapaxes(0, 1) if x.ndim == 4 else x))"),
    ),
    Fault(
        "bias of the patches dropped", PATCH, "PatchEmbedding", "projected",
        torch=("self.project(image)", "self.project(image) - self.project.bias[:, None, None]"),
        keras=("self.project(image)", "self.project(image) - self.project.bias"),
    ),
    Fault(
        "channels reversed, as between RGB and BGR", PATCH, "PatchEmbedding", "projected",
        torch=("self.project(image)", "self.project(image.flip(1))"),
        keras=("self.project(image)", "self.project(ops.flip(image, axis=-1))"),
    ),
    Fault(
        "class token at the end", VIT, "VisionTransformer", "with_class",
        torch=("torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)",
               "torch.cat([x, self.class_token.expand(x.shape[0], -1, -1)], dim=1)"),
        keras=("ops.concatenate([first, x], axis=1)", "ops.concatenate([x, first], axis=1)"),
    ),
    Fault(
        "the class token takes no position", VIT, "VisionTransformer", "positioned",
        torch=(f"{ADDED}.weight", f"{ADDED}.weight.roll(-1, 0)"),
        keras=(f"{ADDED}(ops.arange(self.length))", f"{ADDED}(ops.roll(ops.arange(self.length), -1))"),
    ),
    Fault(
        "positions not added to the class token", VIT, "VisionTransformer", "positioned",
        torch=(f"{ADDED}.weight", f"{ADDED}.weight * (torch.arange(x.shape[1]) > 0)[:, None]"),
        keras=("self.position(ops.arange(self.length))",
               "self.position(ops.arange(self.length)) * ops.cast(ops.arange(self.length) > 0, x.dtype)[:, None]"),
    ),
    Fault(
        "final norm missing", VIT, "VisionTransformer", "final_norm",
        torch=('tap("final_norm", self.final_norm(x)', 'tap("final_norm", x'),
        keras=('tap("final_norm", self.final_norm(x)', 'tap("final_norm", x'),
    ),
    Fault(
        "the mean includes the class token", VIT, "VisionTransformer", "pooled",
        torch=("0 if self.class_token is None else 1 :", "0:"),
        keras=("x if self.class_token is None else x[:, 1:]", "x"),
    ),
    Fault(
        "the last token for the class token", VIT, "VisionTransformer", "pooled",
        torch=('tap("pooled", x[:, 0]', 'tap("pooled", x[:, -1]'),
        keras=('tap("pooled", x[:, 0]', 'tap("pooled", x[:, -1]'),
    ),
    Fault(
        "no residual around the network where there are no norms", LAYER, "EncoderLayer", "fed",
        torch=('            return tap("fed", x + self.feed(x)', '            return tap("fed", self.feed(x)'),
        keras=('            return tap("fed", x + self.feed(x, training)',
               '            return tap("fed", self.feed(x, training)'),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "engine"), on_engines(FAULTS))
def test_fault_is_caught_at_its_tap(fault: Fault, engine: str) -> None:
    assert_caught(fault, engine, 16)
