"""Hugging Face's ``ElectraModel``: BERT without a pooler, with tables that may be narrower than the layers.

Source: ``transformers/models/electra/modeling_electra.py``. Where ``embedding_size`` is ``hidden_size`` no linear layer
leads from one to the other.
"""

from __future__ import annotations

from typing import Any

from attn_ref.foreign.entry import Entry, Values
from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch import hugging_face_text
from attn_ref_torch.bert_like import EMBEDDINGS, LAYER, PRE_TRAINING, family, in_layer


def narrow() -> Entry:
    """``embedding_size``."""

    def read(config: Values) -> Values:
        size, width = config.get("embedding_size", 128), config.get("hidden_size", 256)
        return {"embedding_width": None if size == width else size}

    def write(held: Values) -> Values:
        return {"embedding_size": held["embedding_width"] or held["width"]}

    return Entry(("embedding_size",), read, write, ("embedding_width",))


def besides(block: Any) -> list[str]:
    """A linear layer that does not change the width."""
    return [f"embedding_width = width = {block.width}"] if block.embedding_width == block.width else []


FAMILY = family(
    "hf.ElectraModel",
    "Hugging Face ElectraModel",
    {
        **EMBEDDINGS, "embedding_project": "embeddings_project",
        **in_layer("layers.{i}", "encoder.layer.{i}", LAYER),
    },
    {"electra": "ElectraModel"},
    prefixes=("", "electra."),
    unused={
        "discriminator_predictions.*": PRE_TRAINING,
        "generator_predictions.*": PRE_TRAINING,
        "generator_lm_head.*": PRE_TRAINING,
    },
    sizes={"width": ("layers.0.attention.query.kernel", 0)},
    raw={"embedding_width": ("embedding_project.kernel", 1)},
    entries=(narrow(),),
    besides=besides,
    heads=("classifier", "qa_outputs"),
)  # fmt: skip
MAP = FAMILY.map
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    return hugging_face_text.run(FAMILY, job)
