"""Patch embedding and vision transformer: laws and refusals."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from bound import Bound

import attn_ref as ar
from attn_ref.weights import uniform

ENGINES = ("torch", "tensorflow")
PLAIN = {"class_token": False, "positions": False, "norm_first": None, "final_norm": False, "activation": "relu"}


def test_an_encoder_layer_without_norms_has_none() -> None:
    block = ar.EncoderLayer(width=6, num_heads=3, hidden_width=5, norm_first=None)
    assert not any("norm" in name for name in block.params())
    peer = Bound("attn_ref_torch.peers.transformer_encoder_layer")
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
        (
            {"norm_first": None, "final_norm": False, "eps": 1e-3},
            "eps needs a norm: norm_first, embedding_norm, final_norm",
        ),
        ({"class_token": False, "distilled_token": True}, "distilled_token needs class_token, which is False"),
        ({"pooling": "distilled"}, "pooling = 'distilled' needs distilled_token and num_classes"),
        ({"pooling": "none", "pooled_norm": True}, "pooled_norm needs one vector; pooling = 'none' gives several"),
        ({"class_token": False, "class_position": False}, "class_position = False needs class_token and positions"),
        ({"num_classes": None, "head_bias": False}, "head_bias needs num_classes, which is None"),
        ({"norm_first": "pre"}, "norm_first should be True, False or None; got 'pre'"),
        ({"num_classes": 0}, "num_classes should be an integer above zero or None; got 0"),
    ]:
        with pytest.raises(ValueError) as error:
            build(**options)
        assert said in str(error.value)
    with pytest.raises(ValueError, match="eps needs norms; norm_first is None"):
        ar.EncoderLayer(width=4, num_heads=2, hidden_width=4, norm_first=None, eps=1e-3)
    block = ar.VisionTransformer(**ar.VisionTransformer.example)
    with pytest.raises(ValueError, match=r"axis \(H \{patch\}\) is 12, not 8"):
        block(block.init(), np.ones((1, 12, 12, 3)))
