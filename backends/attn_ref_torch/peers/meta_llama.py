"""Meta's own checkpoints of Llama, 1 to 3: ``consolidated.00.pth`` with ``params.json``.

Source: ``llama/model.py`` of meta-llama/llama and meta-llama/llama3. Rotary positions turn neighbours there, so the
rows of queries and keys are in another order than in Hugging Face's files. A checkpoint that is cut over several
processors (``consolidated.01.pth`` …) is not joined. A file is run by Hugging Face's model, under the names and in the
order that its converter gives (``convert_llama_weights_to_hf.py``).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from attn_ref.foreign.entry import Entry, Values, key
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.rules import Rule, linear
from attn_ref_torch.llama_config import ATTENTION, FEED, WIDTHS, follows
from attn_ref_torch.llama_like import ALWAYS, ASKED, BLOCKS, SIZES
from attn_ref_torch.llama_rotary import turned, turning
from attn_ref_torch.peers import hf_llama

#: name below a layer -> the canonical one, and Hugging Face's
LINEAR = {
    "attention.wq": ("attention.query", "self_attn.q_proj"), "attention.wk": ("attention.key", "self_attn.k_proj"),
    "attention.wv": ("attention.value", "self_attn.v_proj"), "attention.wo": ("attention.project", "self_attn.o_proj"),
    "feed_forward.w1": ("feed_forward.gate", "mlp.gate_proj"),
    "feed_forward.w3": ("feed_forward.expand", "mlp.up_proj"),
    "feed_forward.w2": ("feed_forward.reduce", "mlp.down_proj"),
}  # fmt: skip
NORMS = {
    "attention_norm": ("attention_norm", "input_layernorm"),
    "ffn_norm": ("feed_forward_norm", "post_attention_layernorm"),
}
AROUND = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
RULES = (
    Rule("tok_embeddings.weight", "token.embedding"),
    *[rule for own, (our, _) in LINEAR.items() for rule in linear(f"layers.{{i}}.{own}", f"layers.{{i}}.{our}")[:1]],
    *[Rule(f"layers.{{i}}.{own}.weight", f"layers.{{i}}.{our}.scale") for own, (our, _) in NORMS.items()],
    Rule("norm.weight", "final_norm.scale"),
    Rule("output.weight", "head.kernel", "transpose"),
)


def derive(block: Any) -> Iterator[Rule]:
    """The rules of a block: of queries and keys the features that turn together are neighbours."""
    heads = {"query": block.layer.attention.num_heads, "key": block.layer.attention.kv_heads}
    for rule in NAMES.rules_for(block):
        _, _, part = rule.canonical.removesuffix(".kernel").rpartition(".")
        yield replace(rule, layout=f"pairs {heads[part]}") if part in heads else rule


def inner() -> Entry:
    """The width of the feed-forward, which is said by what it is a multiple of, and a factor."""

    def read(config: Values) -> Values:
        if "multiple_of" not in config:
            return {}
        width, multiple = int(2 * 4 * config["dim"] / 3), config["multiple_of"]
        if (factor := config.get("ffn_dim_multiplier")) is not None:
            width = int(factor * width)
        return {f"{FEED}.hidden_width": multiple * ((width + multiple - 1) // multiple)}

    def write(held: Values) -> Values:
        return {"multiple_of": held[f"{FEED}.hidden_width"], "ffn_dim_multiplier": 1 / held["width"]}

    return Entry(("multiple_of", "ffn_dim_multiplier"), read, write)


def rope() -> Entry:
    """Rotary positions; what ``use_scaled_rope`` scales by stands in the program: 8, from 8192 positions."""
    scaled = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip

    def read(config: Values) -> Values:
        told = scaled if config.get("use_scaled_rope") else {}
        sizes = {"hidden_size": config["dim"], "num_attention_heads": config["n_heads"]}
        return turning(sizes, told, float(config.get("rope_theta", 10000.0)), 1.0)

    def write(held: Values) -> Values:
        told = turned(held)
        own = {name: told.get(name) for name in scaled} == scaled
        return {"rope_theta": told["rope_theta"], "use_scaled_rope": own}

    return Entry(("rope_theta", "use_scaled_rope"), read, write)


def known(config: Values) -> Values:
    """The size of the vocabulary; -1 leaves it to the tokenizer."""
    return {} if config.get("vocab_size", -1) == -1 else {"vocab_size": config["vocab_size"]}


NAMES = replace(
    hf_llama.MAP,
    name="meta.Llama",
    summary="Meta's own checkpoints of Llama, with params.json: rotary positions turn neighbours",
    rules=RULES,
    unused={"rope.freqs": "a buffer of older versions: the frequencies of the angles"},
    prefixes=("",),
    outside=(),
    twins={"output.weight": "tok_embeddings.weight"},
    fields=FieldRules(
        sizes=SIZES,
        blocks=BLOCKS,
        always=ALWAYS,
        asked=ASKED,
        unsaid={"head": ("head.kernel", "own", None)},
        entries=(
            key("dim", *WIDTHS),
            key("n_layers", "num_layers"),
            key("n_heads", f"{ATTENTION}.num_heads"),
            Entry(
                ("n_kv_heads",),
                lambda config: {f"{ATTENTION}.num_kv_heads": config.get("n_kv_heads") or config["n_heads"]},
                lambda held: {"n_kv_heads": held[f"{ATTENTION}.num_kv_heads"]},
            ),
            follows(f"{ATTENTION}.head_width", lambda config: config["dim"] // config["n_heads"], "dim", "n_heads"),
            Entry(("vocab_size",), known, lambda held: {"vocab_size": held["vocab_size"]}),
            key("norm_eps", "layer.norm.eps", "final_norm.eps", default=1e-5),
            follows(f"{FEED}.activation", lambda config: "silu", "dim"),
            inner(),
            rope(),
        ),
    ),
)
MAP = replace(NAMES, derive=derive)
MAPS = (MAP,)


def hugging_face(state: dict[str, Any], block: Any) -> dict[str, Any]:
    """The tensors under the names of Hugging Face, as its converter puts them."""
    heads = {"attention.wq": block.layer.attention.num_heads, "attention.wk": block.layer.attention.kv_heads}
    found = {}
    for name, value in state.items():
        path = name.removesuffix(".weight")
        if path in AROUND:
            found[f"{AROUND[path]}.weight"] = value
        elif match := re.fullmatch(r"layers\.(\d+)\.(.+)", path):
            own = match[2]
            if own in heads:
                n, (rows, width) = heads[own], value.shape
                value = value.view(n, rows // n // 2, 2, width).transpose(1, 2).reshape(rows, width)
            there = (LINEAR[own] if own in LINEAR else NORMS[own])[1]
            found[f"model.layers.{match[1]}.{there}.weight"] = value.contiguous()
    return found


def run_file(job: Job) -> Outcome:
    """Run the tensors of ``job``, under Hugging Face's names."""
    import torch
    from safetensors.torch import load_file, save_file

    path = Path(job.path)
    state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    with tempfile.TemporaryDirectory(prefix="attn_ref-") as folder:
        copy = Path(folder, "model.safetensors")
        save_file(hugging_face(state, job.block), copy, {"format": "pt"})
        return hf_llama.run_file(replace(job, path=str(copy), prefix="model.", config=None))
