"""Maps of language models: what transformers saved goes to torch and to Keras, computes the same, and comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_families import FAMILIES, in_this_process, model, no_field_is_lost, of_config, save, tensors
from test_port_requests import refused

import attn_ref as ar
from attn_ref.port.believed import believed

TARGETS = {"torch": "there.safetensors", "keras": "there.weights.h5"}
#: every family goes to torch every day, and one with packed parts and one with two kinds of layers to Keras
EVERYDAY = {"torch": set(FAMILIES), "keras": {"gpt2", "gemma2"}}
WAYS = [
    pytest.param(title, to, marks=[] if title in EVERYDAY[to] else [pytest.mark.deep])
    for to in TARGETS
    for title in FAMILIES
]


@pytest.mark.parametrize(("title", "to"), WAYS)
def test_it_arrives_and_comes_back(title: str, to: str, tmp_path: Path) -> None:
    """Both ends agree with the block at every tap, no name is left, and every bit comes back."""
    ar.backend("tensorflow")
    source = save(tmp_path / "source", title)
    assert (source / "model.safetensors.index.json").exists()
    with in_this_process():
        report = ar.port.convert(source, tmp_path / TARGETS[to], to=to, verify=True)
    assert report.proof
    assert report.ok, report.to_json()["proof"]
    here, there = report.proof.ends
    assert "ForCausalLM" in here.by or "LMHeadModel" in here.by
    assert len(here.rows) >= 20
    assert {row.tap for row in here.rows} <= {row.tap for row in there.rows}
    assert not report.plan.unused
    assert not report.proof.believed
    back = tmp_path / "back.safetensors"
    ar.port.convert(tmp_path / TARGETS[to], back, to=report.plan.from_map.name)
    assert tensors(back) == tensors(source)


@pytest.mark.parametrize("title", ["gpt2", "qwen2"])
def test_a_model_without_its_head_is_one_too(title: str, tmp_path: Path) -> None:
    """``GPT2Model``, whose names have nothing before them; its own head is the table, so it has one all the same."""
    source = save(tmp_path / "source", title, head=False)
    with in_this_process():
        report = ar.port.convert(source, tmp_path / "there.safetensors", to="torch", verify=True)
    assert report.ok, report.proof
    block: Any = report.plan.block
    assert block.head == ("tied" if title == "gpt2" else None)
    ar.port.convert(tmp_path / "there.safetensors", tmp_path / "back.safetensors", to=report.plan.from_map.name)
    assert tensors(tmp_path / "back.safetensors") == tensors(source)


@settings(max_examples=4, deadline=None)
@given(
    title=st.sampled_from(("gpt2", "phi3", "gpt-neox", "bloom", "mpt")), seed=st.integers(0, 99),
    dtype=st.sampled_from(("bfloat16", "float16", "float64")), size=st.sampled_from(("3KB", "1GB")),
)  # fmt: skip
def test_what_is_packed_is_cut_and_joined_bit_for_bit(
    title: str, seed: int, dtype: str, size: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("packed")
    model(title, seed=seed).to(getattr(torch, dtype)).save_pretrained(folder / "source", max_shard_size=size)
    report = ar.port.convert(folder / "source", folder / "there.safetensors", to="torch")
    ar.port.convert(folder / "there.safetensors", folder / "back.safetensors", to=report.plan.from_map.name)
    assert tensors(folder / "back.safetensors") == tensors(folder / "source")


def changed(folder: Path, **told: Any) -> Path:
    """The folder, with another config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("llama") / "source", "llama, linear", max_shard_size="1GB")


def copy(folder: Path, place: Path) -> Path:
    """A folder of one's own."""
    import shutil

    shutil.copytree(folder, place)
    return place


def test_what_the_block_cannot_express_is_listed(
    llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"hidden_act": "mish", "rms_norm_eps": "small", "tie_word_embeddings": 3, "pretraining_tp": 4}
    source = changed(copy(llama, tmp_path / "source"), rope_parameters={"rope_type": "spiral"}, **told)
    texts = [
        "describes a model that the block cannot express", "pretraining_tp is 4; 1 or null can be expressed",
        'hidden_act is "mish"; "silu" or', "tie_word_embeddings is 3; true or false",
        'rope_type is "spiral"; "default", "linear", "dynamic"',
    ]  # fmt: skip
    refused(capsys, texts, "port", source, tmp_path / "x.safetensors", "--to", "torch")
    source = changed(copy(llama, tmp_path / "small"), rms_norm_eps="small")
    refused(capsys, ["eps should be a number above zero; got 'small'"], "port", source, tmp_path / "x.npz")
    source = changed(copy(llama, tmp_path / "huge"), num_hidden_layers=10**9)
    refused(capsys, ["num_layers = 1000000000, and the file holds no more than"], "port", source, tmp_path / "x.npz")
    source = changed(copy(llama, tmp_path / "family"), model_type="hydra")
    refused(capsys, ["holds a model of type 'hydra'", "there is no map for it yet"], "port", source, tmp_path / "x.npz")


def test_what_the_files_cannot_mean_is_refused(tmp_path: Path) -> None:
    """A field inside a layer that no config.json of the family has; another norm; a bias of one projection."""
    from attn_ref.foreign import maps

    item, title = maps()["hf.Llama"], "layer.attention."
    block = ar.LanguageModel(**ar.LanguageModel.example)
    assert item.inexpressible(block) == []
    said = item.inexpressible(ar.LanguageModel.build({**block.fields(), f"{title}softcap": 2.0}))
    assert said == [f"files of map hf.Llama mean {title}softcap = None; this LanguageModel has 2.0"]
    said = item.inexpressible(ar.LanguageModel.build({**block.fields(), f"{title}use_bias": True}))
    assert said == [f"files of map hf.Llama mean {title}output_bias = True; this LanguageModel has False"]
    said = item.inexpressible(ar.LanguageModel.build({**block.fields(), "final_norm": ar.LayerNorm(width=8)}))
    assert said == ["files of map hf.Llama mean final_norm = RMSNorm; this LanguageModel has LayerNorm(width=8)"]
    said = item.inexpressible(ar.LanguageModel.build({**block.fields(), "max_length": 5}))
    assert said == ["files of map hf.Llama mean max_length = None; this LanguageModel has 5"]


@pytest.mark.parametrize("title", FAMILIES)
def test_no_field_of_any_part_is_lost(title: str) -> None:
    kind, told = FAMILIES[title]
    (item,) = [item for item in ar.port.maps().values() if item.fields and kind in types(item)]
    no_field_is_lost(item, ar.LanguageModel.build(of_config(item, kind, told)))


def test_without_a_config_what_shapes_do_not_say_is_asked_for_and_believed(llama: Path, tmp_path: Path) -> None:
    source = copy(llama, tmp_path / "source")
    (source / "config.json").unlink()
    with pytest.raises(
        ValueError, match=r"layer\.attention\.num_heads, layer\.attention\.rotary_base, layer\.feed_forw"
    ):
        ar.port.plan(source, tmp_path / "x.npz", from_="hf.Llama")
    told = {"layer.attention.num_heads": 4, "layer.attention.num_kv_heads": 2, "layer.attention.head_width": 10,
            "layer.attention.rotary_base": 100.0, "layer.attention.rotary_scaling": 2.0, "layer.norm.eps": 1e-6,
            "final_norm.eps": 1e-6, "layer.feed_forward.activation": "silu", "head": "tied",
            "layer.attention.use_bias": True, "layer.attention.output_bias": True,
            "layer.feed_forward.use_bias": True}  # fmt: skip
    plan = ar.port.plan(source, tmp_path / "x.npz", from_="hf.Llama", set=told)
    assert plan.block == ar.port.plan(llama, tmp_path / "x.npz").block
    said = {"layer.attention.rotary_base", "layer.norm.eps", "final_norm.eps", "head"}
    assert said <= believed(plan).keys()
    assert not {"layer.attention.causal", "layer.norm_place", "layer.attention.num_heads"} & believed(plan).keys()


def test_faults_of_a_port_are_told_with_their_places(tmp_path: Path) -> None:
    """In the file, or in what is believed of it."""
    from safetensors.torch import load_file, save_file

    source = save(tmp_path / "source", "qwen3", max_shard_size="1GB")
    file, target = source / "model.safetensors", tmp_path / "x.safetensors"
    state, prefix = load_file(file), "model.layers.1.self_attn"
    last = {name: value for name, value in state.items() if not name.startswith("model.layers.1.mlp")}
    save_file(last, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: model\.layers\.1\.mlp\.gate_proj\.weight \(20, 24\)"):
        ar.port.plan(source, target, to="torch")
    save_file({**state, f"{prefix}.k_proj.weight": state[f"{prefix}.q_proj.weight"] + 1}, file, {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"wrong shape: model\.layers\.1\.self_attn\.k_proj\.weight should be \(20, 24\)"
    ):
        ar.port.plan(source, target, to="torch")
    save_file({name: value for name, value in state.items() if name != "lm_head.weight"}, file, {"format": "pt"})
    assert ar.port.plan(source, target, to="torch").block.fields()["head"] is None
    changed(source, tie_word_embeddings=True)
    save_file(state, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"unexpected: lm_head\.weight"):
        ar.port.plan(source, target, to="torch")
    save_file({**state, "lm_head.weight": state["model.embed_tokens.weight"] + 0}, file, {"format": "pt"})
    plan = ar.port.plan(source, target, to="torch")
    assert plan.unused == {"lm_head.weight": "the same as model.embed_tokens.weight"}
    assert plan.block.fields()["head"] == "tied"


@pytest.mark.parametrize(
    ("name", "turn", "taps"),
    [
        ("layers.0.attention.sinks", lambda w: w[::-1], ["attention.merged", "attention.attention.weights"]),
        ("layers.1.attention.value.bias", lambda w: -w, ["attention.value", "attention.value"]),
        (
            "layers.0.feed_forward.gate_kernels",
            lambda w: np.concatenate([w[..., ::2], w[..., 1::2]], -1),
            ["feed_forward.mixed", "feed_forward.gate"],
        ),
        ("layers.2.feed_forward.reduce_biases", lambda w: w[::-1], ["feed_forward.mixed", "feed_forward.reduced"]),
        ("layers.1.feed_forward.router.kernel", lambda w: w[:, ::-1], ["feed_forward.mixed", "feed_forward.logits"]),
    ],
    ids=["sinks", "bias of the value", "halves of gate and expansion", "experts in another order", "router"],
)
def test_a_fault_of_gpt_oss_is_told_at_its_tap(name: str, turn: Any, taps: list[str], tmp_path: Path) -> None:
    """Its own experts compute their own tokens alone, so it has fewer places than the mirror."""
    layer = ".".join(name.split(".")[:2])
    assert told_at("gpt-oss", name, turn, tmp_path) == [f"{layer}.{tap}" for tap in taps]


@pytest.mark.parametrize(
    ("name", "turn", "tap"),
    [
        ("layers.0.attention.query.kernel", lambda w: w.T, "layers.0.attention.query"),
        ("layers.1.attention.key.kernel", lambda w: w.reshape(24, 2, 6).swapaxes(1, 2), "layers.1.attention.key"),
        ("layers.1.attention.project.kernel", lambda w: w[::-1], "layers.1.attention.projected"),
        ("layers.0.attention_norm.scale", lambda w: w + 1, "layers.0.attention_norm.scaled"),
        ("final_norm.scale", lambda w: w[::-1], "final_norm.scaled"),
        ("head.kernel", lambda w: w[:, ::-1], "logits"),
    ],
    ids=["square and transposed", "heads interleaved", "projected", "γ for γ − 1", "last norm", "head"],
)
def test_a_fault_of_a_map_is_told_at_its_tap(name: str, turn: Any, tap: str, tmp_path: Path) -> None:
    """The definition on weights as a map with the fault would read them."""
    assert told_at("llama", name, turn, tmp_path) == [tap, tap]


def told_at(title: str, name: str, turn: Any, tmp_path: Path) -> list[str]:
    """The first tap that differs at either end, where the parameter is read so."""
    from attn_ref.port.plan import Plan
    from attn_ref.port.verify import prove

    source, target, real = save(tmp_path / "source", title), tmp_path / "x.safetensors", Plan.canonical

    def canonical(plan: Plan, file: Any) -> dict[str, np.ndarray]:
        found = real(plan, file)
        return {**found, name: np.ascontiguousarray(turn(found[name])).reshape(found[name].shape)}

    plan = ar.port.convert(source, target, to="torch").plan
    with in_this_process(), ar.port.read(source) as file, mock.patch.object(Plan, "canonical", canonical):
        ends = prove(plan, file, target, tick=lambda what: None).ends
    return [end.first for end in ends]


def test_every_map_of_a_language_model_is_tried() -> None:
    tried = {kind for kind, _ in FAMILIES.values()}
    known = {name for item in ar.port.maps().values() if item.block == "LanguageModel" for name in types(item)}
    assert known - {"modernbert", "clip_text_model"} == tried, "those encoders: test_text_maps.py"


def types(item: Any) -> tuple[str, ...]:
    return tuple(item.fields.allowed.get("model_type", ()))
