"""Maps of text encoders: what transformers saved goes to torch and to Keras, computes the same, and comes back."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_families import in_this_process, no_field_is_lost, of_config, tensors, there_and_back
from test_port_requests import refused
from test_vision_maps import drawn

import attn_ref as ar

pytestmark = pytest.mark.xdist_group("hugging face")

SIZES = {
    "vocab_size": 17, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "max_position_embeddings": 16, "type_vocab_size": 2,
}  # fmt: skip
MODERN = {
    "vocab_size": 17, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "pad_token_id": 0,
}  # fmt: skip
#: title -> map, model_type, what its configuration says, options of the model, fields that have to arrive
MODELS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "bert": ("hf.BertModel", "bert", SIZES, {}, {"pooler": True}),
    "roberta": (
        "hf.RobertaModel", "roberta", {**SIZES, "pad_token_id": 1}, {}, {"padding_id": 1, "max_length": 14},
    ),
    "xlm-roberta": (
        "hf.RobertaModel", "xlm-roberta", {**SIZES, "type_vocab_size": 1, "pad_token_id": 3},
        {"add_pooling_layer": False}, {"padding_id": 3, "max_length": 12, "num_segments": 1, "pooler": False},
    ),
    "camembert": ("hf.RobertaModel", "camembert", {**SIZES, "pad_token_id": 0}, {}, {"padding_id": 0}),
    "distilbert": (
        "hf.DistilBertModel", "distilbert",
        {"vocab_size": 17, "dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 20, "max_position_embeddings": 16},
        {}, {"num_segments": None, "pooler": False},
    ),
    "electra": ("hf.ElectraModel", "electra", {**SIZES, "embedding_size": 7}, {}, {"embedding_width": 7}),
    "electra, as wide": ("hf.ElectraModel", "electra", {**SIZES, "embedding_size": 12}, {}, {"embedding_width": None}),
    "albert": (
        "hf.AlbertModel", "albert", {**SIZES, "num_hidden_layers": 3, "embedding_size": 7}, {},
        {"embedding_width": 7, "shared_layers": True, "num_layers": 3, "activation": "gelu_tanh"},
    ),
    "albert, as wide": (
        "hf.AlbertModel", "albert", {**SIZES, "embedding_size": 12, "hidden_act": "relu"}, {"add_pooling_layer": False},
        {"embedding_width": 12, "pooler": False},
    ),
    "modernbert": (
        "hf.ModernBert", "modernbert",
        {**MODERN, "num_hidden_layers": 5, "local_attention": 6, "global_attn_every_n_layers": 2}, {},
        {"pattern": "lo", "other_layer.attention.window_right": 3, "layer.attention.rotary_base": 160000.0,
         "first_norm": False, "head": None},
    ),
    "modernbert, windows alone": (
        "hf.ModernBert", "modernbert",
        {**MODERN, "local_attention": 4, "layer_types": ["sliding_attention"] * 2, "norm_bias": True, "mlp_bias": True,
         "attention_bias": True, "hidden_activation": "gelu_pytorch_tanh"}, {},
        {"layer.attention.window_left": 2, "layer.attention.rotary_base": 10000.0, "final_norm.use_offset": True},
    ),
    "clip": (
        "hf.CLIPTextModel", "clip_text_model",
        {**MODERN, "max_position_embeddings": 14, "eos_token_id": 3, "bos_token_id": 2}, {},
        {"layer.feed_forward.activation": "quick_gelu", "max_length": 14, "layer.attention.causal": "bottom_right"},
    ),
}  # fmt: skip


def model(title: str, *, seed: int = 0, **more: Any) -> Any:
    """A small model of transformers, no bias of which is 0 and no scale 1."""
    transformers: Any = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    _, kind, told, options, _ = MODELS[title]
    config = transformers.AutoConfig.for_model(kind, **{**told, **more})
    return drawn(transformers.AutoModel.from_config(config, attn_implementation="eager", **options), seed)


def save(folder: Path, title: str, **more: Any) -> Path:
    model(title, **more).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("to", ["torch", pytest.param("keras", marks=pytest.mark.deep)])
@pytest.mark.parametrize("title", MODELS)
def test_it_arrives_and_comes_back(title: str, to: str, tmp_path: Path) -> None:
    """Both ends agree with the block at every tap, no name is left, and every bit comes back."""
    ar.backend("tensorflow")
    name, _, _, _, fields = MODELS[title]
    report = there_and_back(save(tmp_path / "source", title), tmp_path, name, to)
    here = report.proof.ends[0]
    assert type(model(title)).__name__ in here.by
    block: Any = report.plan.block
    assert {field: attrgetter(field)(block) for field in fields} == fields
    assert len(here.rows) >= (13 if block.as_data()["block"] == "TextEncoder" else 8) * block.num_layers + 2


@pytest.mark.deep
@settings(max_examples=40, deadline=None)
@given(
    title=st.sampled_from(sorted(MODELS)), heads=st.integers(1, 3), head_width=st.integers(1, 5),
    layers=st.integers(1, 3), hidden=st.integers(3, 21), vocab=st.integers(6, 30), length=st.integers(6, 20),
    dtype=st.sampled_from(("float64", "float32", "bfloat16", "float16")), keras=st.booleans(),
)  # fmt: skip
def test_drawn_sizes_come_back_bit_for_bit(
    title: str, heads: int, head_width: int, layers: int, hidden: int, vocab: int, length: int, dtype: str,
    keras: bool, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    torch = pytest.importorskip("torch")
    folder, name = tmp_path_factory.mktemp("drawn"), MODELS[title][0]
    told = {
        "vocab_size": vocab, "hidden_size": heads * head_width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": hidden, "max_position_embeddings": length,
    }  # fmt: skip
    if title == "distilbert":
        told = {"hidden_dim": hidden, **{key: value for key, value in told.items() if key != "intermediate_size"}}
    if name == "hf.ModernBert":
        told = {**told, "layer_types": None, "hidden_size": 2 * heads * head_width, "local_attention": 2 * head_width}
    made = model(title, **told).to(getattr(torch, dtype))
    made.save_pretrained(folder / "source")
    target = folder / ("there.weights.h5" if keras else "there.safetensors")
    ar.port.convert(folder / "source", target, to="keras" if keras else "torch")
    ar.port.convert(target, folder / "back.safetensors", to=name)
    assert tensors(folder / "source" / "model.safetensors") == tensors(folder / "back.safetensors")


def test_a_position_offset_that_is_forgotten_is_told_with_its_place(tmp_path: Path) -> None:
    """The definition as a map would have it that takes RoBERTa for BERT, in a model whose padding is token 0."""
    from attn_ref.port.verify import prove

    source, target = save(tmp_path / "source", "camembert"), tmp_path / "x.safetensors"
    plan = ar.port.convert(source, target, to="torch").plan
    # the table of positions keeps its rows, and the first is taken for position 0
    bert = replace(plan, block=replace(plan.block, padding_id=None, max_length=plan.block.max_length + 1))
    with in_this_process(), ar.port.read(source) as file:
        here, there = prove(bert, file, target, tick=lambda what: None).ends
    assert not here.ok
    assert here.first == "embedded"
    assert there.ok, "the file that was written is run by what it is said to be"


def test_names_that_families_share_are_told_apart_by_the_config(tmp_path: Path) -> None:
    source = save(tmp_path / "source", "roberta")
    (source / "config.json").unlink()
    with pytest.raises(
        ValueError, match=r"fits the maps hf\.BertModel, hf\.ElectraModel, hf\.RobertaModel; choose one"
    ):
        ar.port.plan(source, tmp_path / "x.npz")
    with pytest.raises(ValueError, match="max_length, num_heads, activation, eps, padding_id cannot be told from"):
        ar.port.plan(source, tmp_path / "x.npz", from_="hf.RobertaModel")
    told = {"max_length": 14, "num_heads": 3, "activation": "gelu", "eps": 1e-12, "padding_id": 1}
    block: Any = ar.port.plan(source, tmp_path / "x.npz", from_="hf.RobertaModel", set=told).block
    assert block.padding_id == 1


def test_what_cannot_be_expressed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(tmp_path / "groups", "albert", num_hidden_groups=3)
    refused(capsys, ["num_hidden_groups is 3; 1 can be expressed"], "port", source, tmp_path / "x.npz")
    source = save(tmp_path / "inner", "albert", inner_group_num=2)
    refused(capsys, ["inner_group_num is 2; 1 can be expressed"], "port", source, tmp_path / "x.npz")
    source = save(tmp_path / "mish", "electra", hidden_act="mish")
    refused(capsys, ['hidden_act is "mish"; gelu, gelu_new'], "port", source, tmp_path / "x.npz")
    source = save(tmp_path / "decoder", "roberta", is_decoder=True)
    refused(capsys, ["is_decoder is true; false can be expressed"], "port", source, tmp_path / "x.npz")
    source = save(tmp_path / "dropped", "modernbert", attention_dropout=0.5)
    refused(capsys, ["attention_dropout is 0.5; 0.0 can be expressed"], "port", source, tmp_path / "x.npz")
    source = save(tmp_path / "albert", "albert")
    target = tmp_path / "x.safetensors"
    texts = ["files of map hf.BertModel mean shared_layers = False; this TextEncoder has True", "embedding_width"]
    refused(capsys, texts, "port", source, target, "--to", "hf.BertModel")
    texts = ["files of map hf.RobertaModel cannot mean padding_id = None"]
    refused(capsys, texts, "port", save(tmp_path / "bert", "bert"), target, "--to", "hf.RobertaModel")
    texts = ["files of map hf.BertModel mean padding_id = None; this TextEncoder has 1"]
    refused(capsys, texts, "port", save(tmp_path / "roberta", "roberta"), target, "--to", "hf.BertModel")
    assert not target.exists()


@pytest.mark.parametrize("title", ["modernbert", "modernbert, windows alone", "clip"])
def test_no_field_of_any_part_is_lost(title: str) -> None:
    name, kind, told, *_ = MODELS[title]
    item = ar.port.maps()[name]
    no_field_is_lost(item, ar.LanguageModel.build(of_config(item, kind, told)))


def test_a_file_of_ours_is_told_what_another_family_cannot_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What shapes say under the other family's rules is not held against what the file says of itself."""
    ours = tmp_path / "ours.safetensors"
    ar.port.convert(save(tmp_path / "source", "electra"), ours, to="torch")
    texts = ["files of map hf.BertModel mean embedding_width = None; this TextEncoder has 7"]
    refused(capsys, texts, "port", ours, tmp_path / "x.safetensors", "--to", "hf.BertModel")


def test_the_text_tower_of_a_whole_clip_is_taken_by_its_name(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    text = transformers.CLIPTextConfig(**MODELS["clip"][2], projection_dim=5)
    vision = transformers.CLIPVisionConfig(
        image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=9
    )
    told = transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=5)
    drawn(transformers.CLIPModel(told)).save_pretrained(tmp_path / "source")
    with in_this_process():
        report = ar.port.convert(
            tmp_path / "source", tmp_path / "x.safetensors", from_="hf.CLIPTextModel", to="torch", verify=True
        )
    assert report.ok, report.proof
    assert {"the vision tower", "the loss of both towers"} <= set(report.plan.unused.values())
    assert (report.plan.block.width, report.plan.block.num_layers) == (12, 2)


@pytest.mark.parametrize("title", ["roberta", "electra", "albert", "distilbert"])
def test_a_model_with_a_head_is_one_with_a_prefix(title: str, tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    _, kind, told, _, _ = MODELS[title]
    config = transformers.AutoConfig.for_model(kind, **told, num_labels=4)
    drawn(transformers.AutoModelForTokenClassification.from_config(config)).save_pretrained(tmp_path / "source")
    report = ar.port.convert(tmp_path / "source", tmp_path / "x.safetensors", to="torch")
    assert set(report.plan.unused) == {"classifier.weight", "classifier.bias"}
    assert report.plan.from_variant.prefix == f"{kind}."
