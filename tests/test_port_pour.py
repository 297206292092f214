"""Bytes on their way from file to file: what is written is what NumPy would write, and little memory is taken."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from language_families import SIZES

import attn_ref as ar
from attn_ref.port import pour
from attn_ref.port.checkpoint import Checkpoint, Spec, Way

DTYPES = st.sampled_from([np.dtype(name) for name in ("<f4", "<f8", "<f2", "|u1", ">f4", "<i8")])


@given(st.data(), st.integers(8, 60), st.integers(1, 5))  # a number fits into a slab
def test_any_view_is_put_as_numpy_orders_it(data: Any, slab: int, run: int) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
    array = np.arange(int(np.prod(shape))).astype(data.draw(DTYPES)).reshape(shape)
    array = array.transpose(data.draw(st.permutations(range(array.ndim))))
    ends = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted)
    array = array[tuple(slice(*data.draw(ends), data.draw(st.sampled_from([1, 2, -1]))) for _ in shape)]
    out = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pour, "SLAB", slab)
        patch.setattr(pour, "RUN", run)
        patch.setattr(pour, "PIECE", 7)
        pour.put(out, array)
    assert out.getvalue() == array.astype(array.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (0,), (0, 3)])
@pytest.mark.parametrize("dtype", [">f4", "<f4", ">i8"])
def test_one_number_and_none_are_put(dtype: str, shape: tuple[int, ...]) -> None:
    """Axes of one are left out, and of one number none is left; big-endian numbers are turned all the same."""
    array, out = np.full(shape, 3, dtype), io.BytesIO()
    pour.put(out, array)
    assert out.getvalue() == array.astype(array.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize(
    ("view", "shape"),
    [
        (lambda x: x, (60,)),
        (lambda x: x[:, :2], (3, 10)),
        (lambda x: x[:, :, 1:], (12, 4)),
        (lambda x: x.transpose(2, 0, 1), (5, 12)),
        (lambda x: x.transpose(1, 0, 2)[:, None], (4, 3, 5)),
        (lambda x: x[::2], (2, 20)),
    ],
)
def test_axes_are_put_together_without_a_copy(view: Any, shape: tuple[int, ...]) -> None:
    array = view(np.arange(60).reshape(3, 4, 5))
    found = pour.merged(array)
    assert found.shape == shape
    assert np.shares_memory(found, array)
    assert found.tolist() == np.ascontiguousarray(array).reshape(shape).tolist()


def llama(folder: Path, width: int = 24, layers: int = 2, dtype: str = "f4") -> Path:
    """A Llama of random numbers, without a head of its own."""
    sizes = {**SIZES, "hidden_size": width, "intermediate_size": width + 8, "num_hidden_layers": layers}
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": True, **sizes}
    inner, kv, vocabulary = sizes["intermediate_size"], width // 2, sizes["vocab_size"]
    shapes = {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)}
    for i in range(layers):
        own = {
            "self_attn.q_proj": (width, width), "self_attn.k_proj": (kv, width), "self_attn.v_proj": (kv, width),
            "self_attn.o_proj": (width, width), "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner), "input_layernorm": (width,), "post_attention_layernorm": (width,),
        }  # fmt: skip
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in own.items()}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    ar.port.write(
        folder / "model.safetensors", {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    )
    return folder


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "bfloat16"])
def test_the_bytes_are_those_of_the_tensors(tmp_path: Path, dtype: str) -> None:
    if dtype == "bfloat16":
        import ml_dtypes

        dtype = ml_dtypes.bfloat16
    source = llama(tmp_path / "in", dtype=dtype)
    with ar.port.read(source) as held:
        want = dict(held)
    ar.port.convert(source, tmp_path / "w.weights.h5", to="keras")
    ar.port.convert(source, tmp_path / "w.safetensors", to="torch")
    kernel = want["model.layers.1.mlp.down_proj.weight"]
    with ar.port.read(tmp_path / "w.weights.h5") as there, ar.port.read(tmp_path / "w.safetensors") as here:
        found = next(there[name] for name in there if name.endswith("layer_1/feed_forward/reduce/vars/0"))
        assert found.tobytes() == np.ascontiguousarray(kernel.T).tobytes()
        assert here["layers.1.feed_forward.reduce.weight"].tobytes() == kernel.tobytes()
    ar.port.convert(tmp_path / "w.weights.h5", tmp_path / "back.safetensors", to="hf.Llama")
    with ar.port.read(tmp_path / "back.safetensors") as back:
        assert {name: value.tobytes() for name, value in back.items()} == {n: v.tobytes() for n, v in want.items()}


def test_nothing_is_loaded_that_has_a_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = llama(tmp_path / "in")
    monkeypatch.setattr(Checkpoint, "__getitem__", lambda self, name: pytest.fail(f"{name} was loaded"))
    for target, to in (("w.safetensors", "torch"), ("w.weights.h5", "keras")):
        assert ar.port.convert(source, tmp_path / target, to=to).ok


def test_the_same_tensors_give_the_same_file(tmp_path: Path) -> None:
    tensors = {"layers/dense/vars/0": np.ones((3, 4)), "layers/dense/vars/1": np.zeros(0), "scalar": np.float32(2)}
    for name in ("w.weights.h5", "w.safetensors"):
        ar.port.write(tmp_path / name, tensors)
        before = (tmp_path / name).read_bytes()
        time.sleep(1.1)  # HDF5 would write down the second
        ar.port.write(tmp_path / name, tensors)
        assert (tmp_path / name).read_bytes() == before


def test_a_worker_that_fails_ends_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(100))
    (tmp_path / "out").write_bytes(bytes(1000))
    specs = {str(i): Spec((4,), "float32") for i in range(50)}
    held = Checkpoint(
        specs, lambda name: pytest.fail(name),
        way=lambda name: Way(tmp_path / "in", int(name) * 2, (4,), np.dtype("<f4")),
    )  # fmt: skip
    ticks: list[str] = []
    with pytest.raises(ar.port.CheckpointError, match=r"in: 4. ends beyond the end of the file"):
        pour.pour(tmp_path / "out", {name: 16 * int(name) for name in specs}, held, ticks.append)
    assert "49" not in ticks


MEASURED = """
import sys
from attn_ref import port
port.convert(sys.argv[1], sys.argv[2], to=sys.argv[3])
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say")
@pytest.mark.parametrize(("target", "to"), [("w.safetensors", "torch"), ("w.weights.h5", "keras")])
def test_memory_is_that_of_two_tensors(tmp_path: Path, target: str, to: str) -> None:
    def peak(source: Path) -> int:
        command = [sys.executable, "-c", MEASURED, str(source), str(tmp_path / target), to]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) << 10

    small, large = llama(tmp_path / "small"), llama(tmp_path / "large", width=1536, layers=4)
    largest, room = 4 * 1536 * 1544, 2 * (pour.SLAB + pour.PIECE)
    assert (large / "model.safetensors").stat().st_size > 20 * largest
    assert peak(large) - peak(small) < 2 * largest + room + (4 << 20)
