"""Hugging Face's ``BertModel``, loaded by ``from_pretrained`` from the files it was published in, and read by hooks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import transformers

from attn_ref.models.text_encoder import TextEncoder
from attn_ref.port.ends import Job, Outcome
from attn_ref.port.text import load_json
from attn_ref.tap import Tapped
from attn_ref_torch.codec import to_numpy

ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}

#: (module, what of it, tap, labels): "in" is its first argument, "out" its result or the first of its results
EMBEDDINGS = [
    ("embeddings.LayerNorm", "in", "embedded", "b t c"),
    ("embeddings.LayerNorm", "out", "embedding_norm", "b t c"),
]
LAYER = [
    ("attention.self.query", "heads", "attention.query", "b h t d"),
    ("attention.self.key", "heads", "attention.key", "b g s d"),
    ("attention.self.value", "heads", "attention.value", "b g s e"),
    ("attention.self", "out", "attention.merged", "b t c"),
    ("attention.output.dense", "out", "attention.projected", "b t c"),
    ("attention.output.LayerNorm", "in", "attended", "b t c"),
    ("attention.output.LayerNorm", "out", "attention_norm", "b t c"),
    ("intermediate.dense", "out", "feed_forward.hidden", "b t f"),
    ("intermediate", "out", "feed_forward.active", "b t f"),
    ("output.dense", "out", "feed_forward.reduced", "b t c"),
    ("output.LayerNorm", "in", "fed", "b t c"),
    ("output.LayerNorm", "out", "feed_forward_norm", "b t c"),
]


def config(block: TextEncoder) -> transformers.BertConfig:
    """The configuration of a ``BertModel`` that computes ``block``."""
    return transformers.BertConfig(
        vocab_size=block.vocab_size,
        max_position_embeddings=block.max_length,
        type_vocab_size=block.num_segments,
        hidden_size=block.width,
        num_hidden_layers=block.num_layers,
        num_attention_heads=block.num_heads,
        intermediate_size=block.hidden_width,
        hidden_act=ACTIVATIONS[block.activation],
        layer_norm_eps=block.eps,
        hidden_dropout_prob=block.dropout,
        attention_probs_dropout_prob=block.attention_dropout,
        pad_token_id=None,
    )


def load(path: Path, block: TextEncoder, config_path: Path | None) -> Any:
    """The model in float64. ValueError if the files leave a parameter without a value: transformers would draw one."""
    with folder_of(path, config_path, config(block)) as folder:
        loaded: Any = transformers.BertModel.from_pretrained(
            folder,
            dtype=torch.float64,
            attn_implementation="eager",
            add_pooling_layer=block.pooler,
            output_loading_info=True,
            local_files_only=True,
        )
    model, info = loaded
    if wrong := [*info["missing_keys"], *info["mismatched_keys"]]:
        raise ValueError(f"transformers finds no value for {', '.join(map(str, wrong))}")
    return model.eval()


@contextmanager
def folder_of(path: Path, config_path: Path | None, config: Any) -> Iterator[Path]:
    """A folder as ``from_pretrained`` wants it: the weights, and ``config_path`` or else ``config``."""
    with tempfile.TemporaryDirectory(prefix="attn_ref-") as name:
        folder = Path(name)
        if path.name.endswith(".index.json"):
            (folder / "model.safetensors.index.json").symlink_to(path)
            for shard in set(load_json(path)["weight_map"].values()):
                (folder / shard).symlink_to(path.parent / shard)
        else:
            target = "model.safetensors" if path.suffix == ".safetensors" else "pytorch_model.bin"
            (folder / target).symlink_to(path)
        if config_path:
            shutil.copy(config_path, folder / "config.json")
        else:
            config.save_pretrained(folder)
        yield folder


def run_file(job: Job) -> Outcome:
    """Run the file of ``job`` and read the values that the block taps."""
    block = cast(TextEncoder, job.block)  # the map that names this function holds no other
    model = load(Path(job.path), block, Path(job.config) if job.config else None)
    taps: dict[str, Tapped] = {}
    for module, what, name, labels in EMBEDDINGS:
        listen(model.get_submodule(module), what, name, labels, block.num_heads, taps)
    for i, layer in enumerate(model.encoder.layer):
        for module, what, name, labels in LAYER:
            listen(layer.get_submodule(module), what, f"layers.{i}.{name}", labels, block.num_heads, taps)
        listen(layer, "out", f"layer_{i}", "b t c", block.num_heads, taps)
    if model.pooler is not None:
        listen(model.pooler, "out", "pooler", "b c", block.num_heads, taps)
    with torch.no_grad():
        result = model(
            input_ids=torch.from_numpy(job.inputs["token_ids"]),
            attention_mask=torch.from_numpy(job.inputs["padding_mask"]).long(),
            token_type_ids=torch.from_numpy(job.inputs["segment_ids"]),
        )
    outputs = {"none": result.last_hidden_state, "pooler": result.pooler_output}
    output = to_numpy(outputs[block.pooling]) if block.pooling in outputs else None
    by = f"transformers {transformers.__version__} BertModel on torch {torch.__version__}, float64"
    return Outcome(output, taps, by)


def listen(module: Any, what: str, name: str, labels: str, heads: int, taps: dict[str, Tapped]) -> None:
    """Put a value of ``module`` into ``taps`` whenever it is called."""

    def hook(_: Any, given: tuple[Any, ...], result: Any) -> None:
        value = given if what == "in" else result
        value = value[0] if isinstance(value, tuple) else value
        if what == "heads":
            value = value.unflatten(-1, (heads, -1)).transpose(1, 2)
        taps[name] = Tapped(to_numpy(value), labels)

    module.register_forward_hook(hook)
