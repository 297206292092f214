"""Maps of models with an encoder and a decoder: there and back bit for bit, both ends run, tap by tap."""

from __future__ import annotations

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
from attn_ref.foreign.nested import flat

pytestmark = pytest.mark.xdist_group("hugging face")

T5 = {"vocab_size": 23, "d_model": 12, "d_kv": 5, "d_ff": 20, "num_layers": 2, "num_heads": 3,
      "relative_attention_num_buckets": 8, "relative_attention_max_distance": 11}  # fmt: skip
BART = {
    "vocab_size": 23, "d_model": 12, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 20, "decoder_ffn_dim": 14, "max_position_embeddings": 15,
}  # fmt: skip
WHISPER = {
    **{name: size for name, size in BART.items() if name != "max_position_embeddings"}, "num_mel_bins": 5,
    "max_source_positions": 8, "max_target_positions": 15, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 3, "begin_suppress_tokens": None,
}  # fmt: skip
#: title -> map, model_type, what its configuration says, its class, fields that have to arrive
MODELS: dict[str, tuple[str, str, dict[str, Any], str, dict[str, Any]]] = {
    "t5": ("hf.T5", "t5", T5, "Seq2SeqLM", {"head": "tied", "head_scale": 12**-0.5}),
    "t5, gated": (
        "hf.T5Gated", "t5",
        {**T5, "num_decoder_layers": 1, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, "Seq2SeqLM",
        {"head": "tied", "head_scale": 1.0, "encoder.layer.feed_forward.activation": "gelu_tanh"},
    ),
    "mt5": ("hf.T5Gated", "mt5", {**T5, "feed_forward_proj": "gated-silu"}, "Seq2SeqLM", {"head_scale": 1.0}),
    "bart": ("hf.Bart", "bart", BART, "Seq2SeqLM", {"head": "tied", "head_bias": True, "decoder.position_offset": 2}),
    "bart, without a head": (
        "hf.Bart", "bart", {**BART, "scale_embedding": True}, "",
        {"head": "tied", "head_bias": False, "embedding_scale": 12**0.5},  # its own head is the table
    ),
    "whisper": ("hf.Whisper", "whisper", WHISPER, "SpeechSeq2Seq", {"head": "tied", "stem.channels": 5}),
}  # fmt: skip


def model(title: str, *, seed: int = 0, **more: Any) -> Any:
    """A small model of transformers, no bias of which is 0 and no scale 1."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    _, kind, told, auto, _ = MODELS[title]
    config = transformers.AutoConfig.for_model(kind, **{**told, **more})
    auto = f"AutoModelFor{auto}" if auto else "AutoModel"
    made = drawn(getattr(transformers, auto).from_config(config, attn_implementation="eager"), seed)
    if hasattr(made, "final_logits_bias"):
        made.final_logits_bias.copy_(torch.randn(made.final_logits_bias.shape))
    return made


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
    assert "ForConditionalGeneration" in here.by
    assert {field: attrgetter(field)(report.plan.block) for field in fields} == fields
    assert len(here.rows) >= 45


@pytest.mark.deep
@settings(max_examples=40, deadline=None)
@given(
    title=st.sampled_from(sorted(MODELS)), heads=st.sampled_from((1, 2, 3)), head_width=st.sampled_from((4, 6)),
    layers=st.integers(1, 3), others=st.integers(1, 2), hidden=st.integers(3, 21), vocab=st.integers(6, 30),
    dtype=st.sampled_from(("float64", "float32", "bfloat16", "float16")), keras=st.booleans(),
)  # fmt: skip
def test_drawn_sizes_come_back_bit_for_bit(
    title: str, heads: int, head_width: int, layers: int, others: int, hidden: int, vocab: int, dtype: str,
    keras: bool, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    torch = pytest.importorskip("torch")
    folder, (name, kind, *_) = tmp_path_factory.mktemp("drawn"), MODELS[title]
    told: dict[str, Any] = {"vocab_size": vocab, "d_model": heads * head_width}
    if kind in ("t5", "mt5"):
        told |= {"num_heads": heads, "d_kv": 3, "d_ff": hidden, "num_layers": layers, "num_decoder_layers": others}
    else:
        told |= {
            "encoder_layers": layers, "decoder_layers": others, "encoder_attention_heads": heads,
            "decoder_attention_heads": heads, "encoder_ffn_dim": hidden, "decoder_ffn_dim": hidden + 1,
        }  # fmt: skip
    model(title, **told).to(getattr(torch, dtype)).save_pretrained(folder / "source")
    target = folder / ("there.weights.h5" if keras else "there.safetensors")
    ar.port.convert(folder / "source", target, to="keras" if keras else "torch")
    ar.port.convert(target, folder / "back.safetensors", to=name)
    assert tensors(folder / "source" / "model.safetensors") == tensors(folder / "back.safetensors")


def test_a_head_of_its_own_is_told_by_the_file(tmp_path: Path) -> None:
    """transformers 5 says of every T5 that its head is tied; the published ones of v1.1 have another."""
    from safetensors.torch import load_file, save_file

    torch = pytest.importorskip("torch")
    source = save(tmp_path / "source", "t5, gated")
    state = load_file(source / "model.safetensors")
    own = {**state, "lm_head.weight": torch.randn(state["shared.weight"].shape)}
    save_file(own, source / "model.safetensors", {"format": "pt"})
    with in_this_process():
        report = ar.port.convert(source, tmp_path / "x.safetensors", to="torch", verify=True)
    assert report.ok, report.proof
    assert report.plan.block.fields()["head"] == "own"
    ar.port.convert(tmp_path / "x.safetensors", tmp_path / "back.safetensors", to="hf.T5Gated")
    assert tensors(tmp_path / "back.safetensors") == tensors(source / "model.safetensors")


@pytest.mark.parametrize("title", MODELS)
def test_no_field_of_any_part_is_lost(title: str) -> None:
    name, kind, told, *_ = MODELS[title]
    item = ar.port.maps()[name]
    plain = ar.EncoderDecoder.build(of_config(item, kind, told))
    no_field_is_lost(item, plain, lambda a, b: flat(a, item.fields.blocks) == flat(b, item.fields.blocks))


def test_what_cannot_be_expressed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(tmp_path / "dropped", "bart", encoder_layerdrop=0.5, activation_function="mish")
    texts = ["encoder_layerdrop is 0.5; 0.0 can be expressed", 'activation_function is "mish"; "gelu" or']
    refused(capsys, texts, "port", source, tmp_path / "x.npz")
    source = save(tmp_path / "gate", "mt5", feed_forward_proj="gated-mish")
    refused(capsys, ['feed_forward_proj is "gated-mish"; "gated-gelu" or'], "port", source, tmp_path / "x.npz")
    source = save(tmp_path / "whisper", "whisper")
    texts = ["files of map hf.Bart mean stem = None"]
    refused(capsys, texts, "port", source, tmp_path / "x.safetensors", "--to", "hf.Bart")


def test_a_proof_hides_the_end_of_a_source_and_nothing_else() -> None:
    from attn_ref.port.sample import sample

    block = ar.EncoderDecoder(**ar.EncoderDecoder.example)
    for seed in range(5):
        for name in ("source_mask", "padding_mask"):
            mask = sample(block, seed, [set(block.inputs)])[name]
            assert mask[0].all()
            assert mask[:, :-1].all()
            assert not mask[1:, -1].any()
