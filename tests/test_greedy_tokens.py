"""Decoding: the same 64 greedy tokens from transformers and from the mirrors, with a cache and without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import language_families
import numpy as np
import pytest
import test_seq2seq_maps

import attn_ref as ar

COUNT, PROMPT = 64, [3, 1, 4, 1, 5]
#: title -> the seed of the model, and what its config says besides. A random model may say one token for ever, or come
#: to two that are nearly as good; with these seeds it does neither, and ``greedy`` holds them to that.
DECODERS: dict[str, tuple[int, dict[str, Any]]] = {
    "gpt2": (22, {"n_positions": 80}),
    "llama 3": (0, {}),
    "mistral": (0, {}),
    "qwen2": (0, {}),
    "qwen3": (2, {}),
    "gpt-neox": (4, {}),
    "phi3": (0, {}),
    "olmo2": (1, {}),
    "gemma2": (0, {"tie_word_embeddings": False}),
    "gemma3": (7, {}),
    "gpt-oss": (0, {}),
    "bloom": (11, {"tie_word_embeddings": False}),
    "mpt": (6, {}),
}
WITH_ENCODERS: dict[str, tuple[int, dict[str, Any]]] = {
    "t5": (12, {}),
    "t5, gated": (3, {}),
    "bart": (1, {"max_position_embeddings": 80, "vocab_size": 300}),
    "whisper": (10, {"max_target_positions": 80}),
}
#: those whose biases and offsets, which are the same after every token, are a tenth
QUIET = {"bloom"}
EVERYDAY = {("mistral", "torch"), ("bart", "torch")}
WAYS = [
    pytest.param(title, engine, marks=[] if (title, engine) in EVERYDAY else [pytest.mark.deep])
    for engine in ("torch", "tensorflow")
    for title in (*DECODERS, *WITH_ENCODERS)
]


def made(title: str, seed: int | None = None, dtype: str = "float64") -> Any:
    """The model of transformers. Its layers weigh more than its embeddings, or it would say the last token again."""
    torch = pytest.importorskip("torch")
    known, make = (DECODERS, language_families.model) if title in DECODERS else (WITH_ENCODERS, test_seq2seq_maps.model)
    own, more = known[title]
    seed = own if seed is None else seed
    model, draw = make(title, seed=seed, **more), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and not any(word in name for word in ("wte", "wpe", "embed", "shared", "bias")):
                parameter.normal_(0.0, 1.0, generator=draw)
            if parameter.ndim == 1 and name.endswith("bias") and title in QUIET:
                parameter.mul_(0.1)
    if title == "gpt-oss":  # see its map
        model.set_experts_implementation("eager")
    return model.to(getattr(torch, dtype)).eval()


def source(title: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the encoder reads, by our names and by theirs; of a decoder nothing."""
    if title in DECODERS:
        return {}, {}
    if title == "whisper":
        heard = np.random.default_rng(0).normal(size=(1, 5, 16))
        return {"features": heard}, {"input_features": heard}
    read = np.array([[3, 1, 4, 1, 5, 9, 2]])
    return {"source_ids": read}, {"input_ids": read}


def greedy(model: Any, title: str, cache: bool) -> list[int]:
    """What transformers says: a decoder by ``generate``, others step by step, since theirs has rules of its own.

    Every choice is clear, by 1e-6 of the largest logit. It runs in float64 throughout, which rounds by 1e-12 or so; and
    BLOOM's GELU, the least exact of what is left, is 1e-9 away.
    """
    from attn_ref_torch.hugging_face_language import in_float64

    torch = pytest.importorskip("torch")
    theirs = {name: torch.from_numpy(value) for name, value in source(title)[1].items()}
    ids, held = torch.tensor([PROMPT]), None
    with in_float64():
        if title in DECODERS:
            options = {"max_new_tokens": COUNT, "min_new_tokens": COUNT, "pad_token_id": 0, "eos_token_id": None}
            ids = model.generate(ids, **options, do_sample=False, use_cache=cache)
        for _ in range(COUNT if theirs else 0):
            given = {"decoder_input_ids": ids if held is None else ids[:, -1:], "past_key_values": held}
            result = model(**theirs, **given, use_cache=cache)
            held = result.past_key_values if cache else None
            ids = torch.cat([ids, result.logits[:, -1:].argmax(-1)], 1)
        known = {"input_ids": ids[:, :-1]} if title in DECODERS else {**theirs, "decoder_input_ids": ids[:, :-1]}
        logits = model(**known, use_cache=False).logits[0, len(PROMPT) - 1 :]
    first, second = logits.topk(2).values.unbind(-1)
    assert float((first - second).min()) > 1e-6 * float(logits.abs().max()), "two tokens are nearly as good"
    said: list[int] = ids[0, len(PROMPT) :].tolist()
    assert len(said) == COUNT
    assert len(set(said)) >= 8, "it says the same again and again, which tells nothing"
    return said


def of_mirror(engine: str, block: Any, w: dict[str, np.ndarray], given: dict[str, Any]) -> tuple[list[int], list[int]]:
    """What the mirror of ``engine`` says without a cache, and with one."""
    backend = ar.backend(engine)
    layer = backend.load(backend.build(block), {name: value.astype(np.float64) for name, value in w.items()})
    lift: Callable[[Any], Any]
    if engine == "torch":
        torch = pytest.importorskip("torch")
        layer.eval()
        lift, join, still = torch.as_tensor, torch.cat, torch.no_grad
    else:
        from contextlib import nullcontext

        import keras

        lift, join, still = keras.ops.convert_to_tensor, keras.ops.concatenate, nullcontext
        given = {name: np.moveaxis(x, 1, -1) if name == "features" else x for name, x in given.items()}
    known = {name: lift(value) for name, value in given.items()}

    def after(ids: list[int]) -> int:
        with still():
            return int(np.asarray(layer(**known, token_ids=lift(np.array([ids]))))[0, -1].argmax())

    whole, cached, decoding, new = [*PROMPT], list[int](), ar.Decoding(join), PROMPT
    for _ in range(COUNT):
        whole.append(after(whole))
        with decoding.step():
            cached.append(after(new))
        new = cached[-1:]
    return whole[len(PROMPT) :], cached


@pytest.mark.parametrize(("title", "engine"), WAYS)
def test_the_same_64_tokens_with_the_cache_and_without(title: str, engine: str, tmp_path: Path) -> None:
    model = made(title)
    want = greedy(model, title, cache=False)
    assert greedy(model, title, cache=True) == want
    made(title, dtype="float32").save_pretrained(tmp_path / "source")
    block, w = ar.port.load(tmp_path / "source")
    whole, cached = of_mirror(engine, block, w, source(title)[0])
    print(f"{title} on {engine}: {len(set(want))} different tokens of {COUNT}: {want}")
    assert whole == want
    assert cached == want


def test_every_model_that_decodes_is_tried() -> None:
    """Every map of a decoder, and of an encoder with one; those of Meta's names are Llama's."""
    decodes = [item for item in ar.port.maps().values() if item.block in ("LanguageModel", "EncoderDecoder")]
    known = {name for item in decodes if item.fields for name in item.fields.allowed.get("model_type", ())}
    tried = {language_families.FAMILIES[title][0] for title in DECODERS}
    tried |= {test_seq2seq_maps.MODELS[title][1] for title in WITH_ENCODERS}
    assert known - {"modernbert", "clip_text_model", "mt5"} == tried, "those are encoders, and T5's like"
