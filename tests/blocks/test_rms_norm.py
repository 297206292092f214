"""Evidence of ``RMSNorm``: a scalar loop, faults that must be caught where they are, and those of Llama and Gemma."""

from __future__ import annotations

import numpy as np
import pytest
from evidence import Fault
from oracles import rms_norm_block as oracle

import attn_ref as ar
from attn_ref.weights import uniform

__all__ = ["FAULTS", "oracle"]

FAULTS = [
    Fault(
        "the eps of the dtype",
        "normed",
        torch=("scale, self.eps)", "scale)"),
        keras=("epsilon=self.eps)", "epsilon=1e-7)"),
    ),
    Fault(
        "Gemma's parameter read as the scale",
        "scaled",
        torch=("self.weight + 1 if self.zero_centered else self.weight", "self.weight"),
        reference=('1.0 + w["scale"] if self.zero_centered else w["scale"]', 'w["scale"]'),
        keras=("self.scale + 1 if self.zero_centered else self.scale", "self.scale"),
    ),
    Fault(
        "centred as a layer norm",
        "normed",
        torch=(
            "F.rms_norm(x, self.normalized_shape, scale, self.eps)",
            "F.layer_norm(x, self.normalized_shape, scale, None, self.eps)",
        ),
        reference=("ops.rms_norm(x, eps=self.eps)", "ops.layer_norm(x, eps=self.eps)"),
        keras=("ops.rms_normalization(x, scale, axis=-1,", "ops.layer_normalization(x, scale, axis=-1,"),
    ),
]

PEERS = {"llama": ("LlamaRMSNorm", False), "gemma": ("GemmaRMSNorm", True)}


@pytest.mark.parametrize("family", PEERS)
@pytest.mark.parametrize("eps", [1e-6, 1e-3])
def test_the_norms_of_transformers_agree(family: str, eps: float) -> None:
    """Both compute in float32, whatever they are given, so float32 is the precision."""
    torch = pytest.importorskip("torch")
    module = pytest.importorskip(f"transformers.models.{family}.modeling_{family}")
    name, zero_centered = PEERS[family]
    block, x = ar.RMSNorm(width=7, eps=eps, zero_centered=zero_centered), uniform((2, 3, 7), 1, "x")
    w = block.init(3)
    layer = getattr(module, name)(7, eps=eps)
    layer.load_state_dict({"weight": torch.from_numpy(w["scale"]).float()})
    got = layer(torch.from_numpy(x).float()).detach().numpy()
    np.testing.assert_allclose(got, block(w, x), rtol=0, atol=1e-6)
    if zero_centered:
        other = ar.RMSNorm(width=7, eps=eps)
        assert np.abs(got - other(w, x)).max() > 0.5
