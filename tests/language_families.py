"""Small models of transformers with random weights, in folders as people have them; and ends run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter, eq
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tiny_bert

import attn_ref as ar
from attn_ref.foreign.map import Map, Variant
from attn_ref.foreign.nested import folded
from attn_ref.port import ends

SIZES = {
    "vocab_size": 41, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32,
}  # fmt: skip
GPT2 = {"vocab_size": 41, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}

#: heads have three pairs; the tokens of a proof are 13
LONG = {
    "rope_type": "longrope", "rope_theta": 100.0, "short_factor": [1.0, 1.25, 1.5], "long_factor": [1.5, 2.0, 4.0],
}  # fmt: skip

#: title -> (model_type, what its config says)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", GPT2),
    "gpt2, untied": (
        "gpt2",
        {**GPT2, "tie_word_embeddings": False, "n_inner": 17, "activation_function": "gelu",
         "scale_attn_weights": False},
    ),
    "llama": ("llama", {**SIZES, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}),
    "llama, linear": (
        "llama",
        {**SIZES, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 10,
         "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}},
    ),
    "mistral": ("mistral", {**SIZES, "sliding_window": 5, "head_dim": 8}),
    "qwen2": (
        "qwen2",
        {**SIZES, "num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", {**SIZES, "head_dim": 10}),
    "gpt-neox": (
        "gpt_neox",
        {**SIZES, "hidden_act": "gelu_new",
         "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.7}},
    ),
    "gpt-neox, in a row": ("gpt_neox", {**SIZES, "hidden_size": 32, "use_parallel_residual": False}),
    "phi3": ("phi3", {**SIZES, "sliding_window": 6, "pad_token_id": 0}),
    "phi3, long": (
        "phi3",
        {**SIZES, "pad_token_id": 0, "original_max_position_embeddings": 9, "rope_parameters": LONG},
    ),
    "phi3, short": (
        "phi3",
        {**SIZES, "pad_token_id": 0, "original_max_position_embeddings": 20,
         "rope_parameters": {**LONG, "attention_factor": 1.25}},
    ),
    "gemma2": (
        "gemma2",
        {**SIZES, "num_hidden_layers": 3, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 10},
    ),
    "llama 3": (
        "llama",
        {**SIZES, "head_dim": 16,
         "rope_parameters": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 40, "rope_theta": 50.0}},
    ),
    "llama, yarn": (
        "llama",
        {**SIZES, "head_dim": 16,
         "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 60,
                             "rope_theta": 1000.0}},
    ),
    "llama, dynamic": (
        "llama",
        {**SIZES, "max_position_embeddings": 9, "hidden_act": "gelu",
         "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 100.0}},
    ),
    "gpt-neox, dynamic": (
        "gpt_neox",
        {**SIZES, "max_position_embeddings": 7,
         "rope_parameters": {"rope_type": "dynamic", "factor": 2.5, "rope_theta": 50.0, "partial_rotary_factor": 0.7}},
    ),
    "olmo2": ("olmo2", {**SIZES, "head_dim": 10}),
    "gemma3": (
        "gemma3_text",
        {**SIZES, "num_hidden_layers": 7, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 10,
         "final_logit_softcapping": 5.0},
    ),
    "gemma3, windows alone": (
        "gemma3_text", {**SIZES, "head_dim": 8, "sliding_window": 4, "layer_types": ["sliding_attention"] * 2},
    ),
    "gpt-oss": (
        "gpt_oss",
        {**SIZES, "head_dim": 8, "sliding_window": 4, "num_local_experts": 5, "num_experts_per_tok": 2,
         "swiglu_limit": 0.75, "num_hidden_layers": 3,
         "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 40,
                             "rope_theta": 100.0, "truncate": False}},
    ),
    "mpt": (
        "mpt",
        {"vocab_size": 41, "d_model": 24, "n_layers": 2, "n_heads": 3, "attn_config": {"clip_qkv": 0.5}},
    ),
    "bloom": ("bloom", {"vocab_size": 41, "hidden_size": 24, "n_layer": 2, "n_head": 3}),
}  # fmt: skip


def model(title: str, *, head: bool = True, seed: int = 0, **more: Any) -> Any:
    """The model, no bias of which is 0 and no scale 1."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    kind, told = FAMILIES[title]
    auto = transformers.AutoModelForCausalLM if head else transformers.AutoModel
    config = transformers.AutoConfig.for_model(kind, **{"bos_token_id": 1, "eos_token_id": 2, **told, **more})
    made = auto.from_config(config, attn_implementation="eager").eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(
                torch.empty_like(parameter).normal_(0.1 if parameter.ndim > 1 else 0.4, 0.4, generator=draw)
            )
    return made


def save(folder: Path, title: str, **options: Any) -> Path:
    """The folder, by ``save_pretrained``, in three shards or so."""
    made = model(title, head=options.pop("head", True))
    made.save_pretrained(folder, **{"max_shard_size": "9KB", **options})
    return folder


def tensors(folder: Path) -> dict[str, Any]:
    """Name -> (dtype, shape, bytes), of all shards, or of one file."""
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else [folder]
    found = {}
    for file in files:
        with safe_open(file, "pt") as held:
            for name in held.keys():  # noqa: SIM118  (it is no dict)
                value = held.get_tensor(name)
                found[name] = value.dtype, tuple(value.shape), value.contiguous().flatten().tolist()
    return found


class Done:
    """A process that has ended."""

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def kill(self) -> None:
        pass


@contextmanager
def in_this_process() -> Iterator[None]:
    """While it lasts, the ends of a proof are run here, one after the other: a process takes seconds to start."""

    def start(
        folder: Path, item: Map, path: Path, variant: Variant, config: str | None, block: Mapping[str, Any], inputs: Any
    ) -> Done:
        folder.mkdir()
        np.savez(folder / "inputs.npz", **inputs)
        job = {"end": item.end, "path": str(path.absolute()), "config": config, **block, **variant._asdict()}
        (folder / "job.json").write_text(json.dumps(job))
        ends.main(str(folder))
        return Done()

    with mock.patch("attn_ref.port.verify.start", start):
        yield


def of_config(item: Any, kind: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a block that a map makes of a configuration of transformers."""
    config = pytest.importorskip("transformers").AutoConfig.for_model(kind, **told).to_dict()
    said = {name: value for name, (value, _) in item.fields.from_config(config, "").items()}
    return folded({"head": "own", **item.fields.always, **said}, item.fields.blocks)


def no_field_is_lost(item: Any, plain: Any, same: Callable[[Any, Any], bool] = eq) -> None:
    """A field of any part with another value is refused, gives other parameters, or is said by another config.

    ``same``: are two blocks one to the map?
    """
    assert item.inexpressible(plain) == []
    told, shapes = item.fields.to_config(plain), {name: p.shape for name, p in plain.params().items()}
    parts = {"": plain, **{f"{path}.": attrgetter(path)(plain) for path in item.fields.blocks}}
    tried = 0
    for path, part in parts.items():
        for name, value in type(part).witnesses.items():
            try:
                other = plain.build({**plain.fields(), f"{path}{name}": value})
            except (ValueError, TypeError, AttributeError):  # of fields that do not go together
                continue
            tried += 1
            kept = {name: p.shape for name, p in other.params().items()} == shapes
            refused = bool(item.inexpressible(other))
            assert refused or not kept or same(other, plain) or item.fields.to_config(other) != told, f"{path}{name}"
    assert tried > 20


def there_and_back(source: Path, folder: Path, name: str, to: str) -> Any:
    """The report of a port of ``source`` to ``to``, both ends run, by map ``name``; every bit has come back."""
    target = folder / {"torch": "there.safetensors", "keras": "there.weights.h5"}[to]
    with in_this_process():
        report = ar.port.convert(source, target, to=to, verify=True)
    assert report.proof
    assert report.ok, report.to_json()["proof"]
    assert report.plan.from_map.name == name
    assert not report.plan.unused
    assert not report.proof.believed
    here, there = report.proof.ends
    assert {row.tap for row in here.rows} <= {row.tap for row in there.rows}
    print(f"{source} to {to}: {len(here.rows)} taps, {here.ratio:.2f} σ and {there.ratio:.2f} σ")
    with in_this_process():
        back = ar.port.convert(target, folder / "back.safetensors", to=name, verify=to == "keras")
    assert back.ok, back.to_json()["proof"]
    assert tiny_bert.same_bits(tiny_bert.tensors(source), tiny_bert.tensors(folder / "back.safetensors"))
    return report
