"""Evidence of ``LayerNorm``: a scalar loop, faults that must be caught, and layers of torch and Keras."""

from __future__ import annotations

import numpy as np
import pytest
from evidence import Fault
from oracles import layer_norm_block as oracle

import attn_ref as ar
from attn_ref.weights import uniform

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "the framework's own eps",
        "normed",
        torch=("scale, offset, self.eps)", "scale, offset)"),
        keras=("epsilon=self.eps)", "epsilon=1e-3)"),
    ),
    Fault(
        "the root mean square in place of the spread",
        "normed",
        torch=(
            "F.layer_norm(x, self.normalized_shape, scale, offset, self.eps)",
            "F.rms_norm(x, self.normalized_shape, scale, self.eps) + (0 if offset is None else offset)",
        ),
        reference=("ops.layer_norm(x, eps=self.eps)", "ops.rms_norm(x, eps=self.eps)"),
        keras=(
            "ops.layer_normalization(x, scale, offset, axis=-1, epsilon=self.eps)",
            "ops.rms_normalization(x, scale, axis=-1, epsilon=self.eps) + (0 if offset is None else offset)",
        ),
    ),
    Fault(
        "scaled after the shift",
        "shifted",
        torch=("y + self.bias", "y + self.bias * (1 if self.weight is None else self.weight)"),
        keras=("y + self.offset", "y + self.offset * (1 if self.scale is None else self.scale)"),
    ),
    Fault(
        "the scale is its distance from 1",
        "scaled",
        torch=("y * self.weight", "y * (1 + self.weight)"),
        keras=("y * self.scale", "y * (1 + self.scale)"),
    ),
]


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_the_layers_of_torch_and_keras_agree(eps: float) -> None:
    torch = pytest.importorskip("torch")
    ar.backend("tensorflow")
    import keras

    block, x = ar.LayerNorm(width=7, eps=eps), uniform((2, 3, 7), 1, "x")
    w = block.init(3)
    layer = torch.nn.LayerNorm(7, eps=eps, dtype=torch.float64)
    layer.load_state_dict({"weight": torch.from_numpy(w["scale"]), "bias": torch.from_numpy(w["offset"])})
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), block(w, x), rtol=0, atol=1e-14)
    other = keras.layers.LayerNormalization(epsilon=eps, dtype="float64")
    other.build((None, None, 7))
    other.set_weights([w["scale"], w["offset"]])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(other(x)), block(w, x), rtol=0, atol=1e-14)
