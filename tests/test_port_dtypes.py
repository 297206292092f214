"""The dtypes of weights: floats of every width are kept in every format; what is quantised is refused with a reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from test_port import BERT
from test_port_requests import refused

import attn_ref as ar

pytestmark = pytest.mark.xdist_group("hugging face")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "model")


def torch_file(bert: Path, folder: Path, change: Any) -> Path:
    import torch

    folder.mkdir()
    state = {name: torch.from_numpy(value) for name, value in tiny_bert.tensors(bert).items()}
    torch.save({name: change(torch, name, value) for name, value in state.items()}, folder / "pytorch_model.bin")
    shutil.copy(bert / "config.json", folder)
    return folder


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_torch_files_keep_their_dtype(dtype: str, bert: Path, tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    source = torch_file(bert, tmp_path / "in", lambda torch, name, value: value.to(getattr(torch, dtype)))
    ar.port.convert(source, tmp_path / "w.safetensors", to=BERT)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    given = {name: value.astype(kind) for name, value in tiny_bert.tensors(bert).items()}
    assert tiny_bert.same_bits(given, tiny_bert.tensors(tmp_path / "w.safetensors"))


def test_dtypes_may_be_mixed(bert: Path, tmp_path: Path) -> None:
    """As in models whose norms stay in float32."""
    source = torch_file(
        bert, tmp_path / "in", lambda torch, name, value: value if "LayerNorm" in name else value.to(torch.bfloat16)
    )
    ar.port.convert(source, tmp_path / "w.weights.h5")
    ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "w.safetensors", to=BERT)
    got = {name: value.dtype.name for name, value in tiny_bert.tensors(tmp_path / "w.safetensors").items()}
    assert got == {name: "float32" if "LayerNorm" in name else "bfloat16" for name in got}


@pytest.mark.deep
def test_half_precision_is_proven(bert: Path, tmp_path: Path) -> None:
    """The weights are widened exactly, and both ends are run in float64: no tolerance is widened."""
    source = torch_file(bert, tmp_path / "in", lambda torch, name, value: value.to(torch.bfloat16))
    report = ar.port.convert(source, tmp_path / "w.weights.h5", verify=True)
    assert report.ok, report.to_json()["proof"]
    assert report.proof
    assert report.proof.bound == 16


WIDE = "encoder.layer.1.output.dense.weight"
REASON = "numbers of 8 bits are quantised weights, whose scales lie in other tensors; dequantise the model"


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "int8", "uint8"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_quantised_weights_are_refused_with_the_reason(
    dtype: str, name: str, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import save_file

    def change(torch: Any, key: str, value: Any) -> Any:
        return value.to(getattr(torch, dtype)) if key == WIDE else value

    source = torch_file(bert, tmp_path / "in", change)
    if name == "model.safetensors":
        import torch

        save_file(torch.load(source / "pytorch_model.bin"), source / name, {"format": "pt"})
    refused(capsys, [REASON, WIDE], "port", source, tmp_path / "w.weights.h5")
