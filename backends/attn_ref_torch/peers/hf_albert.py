"""Hugging Face's ``AlbertModel``: one layer used again and again, and a linear layer behind narrow tables.

Source: ``transformers/models/albert/modeling_albert.py``. Models with several groups of layers are refused.
"""

from __future__ import annotations

from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch import hugging_face_text
from attn_ref_torch.bert_like import CONFIG, EMBEDDINGS, PRE_TRAINING, family, in_layer

LAYER = {
    "attention.query": "attention.query", "attention.key": "attention.key", "attention.value": "attention.value",
    "attention.project": "attention.dense", "attention_norm": "attention.LayerNorm", "feed_forward.expand": "ffn",
    "feed_forward.reduce": "ffn_output", "feed_forward_norm": "full_layer_layer_norm",
}  # fmt: skip

FAMILY = family(
    "hf.AlbertModel",
    "Hugging Face AlbertModel, with or without its pooler",
    {
        **EMBEDDINGS, "embedding_project": "encoder.embedding_hidden_mapping_in",
        **in_layer("layer", "encoder.albert_layer_groups.0.albert_layers.0", LAYER), "pool": "pooler",
    },
    {"albert": "AlbertModel"},
    prefixes=("", "albert."),
    pooler="pooler_activation",
    unused={"predictions.*": PRE_TRAINING, "sop_classifier.*": PRE_TRAINING},
    config={**CONFIG, "embedding_width": "embedding_size"},
    sizes={"embedding_width": ("token.embedding", 1), "width": ("layer.attention.query.kernel", 0)},
    only={"shared_layers": (True,)},
    allowed={"num_hidden_groups": (1,), "inner_group_num": (1,)},
    defaults={"activation": "gelu_tanh", "dropout": 0.0, "attention_dropout": 0.0, "embedding_width": 128},
    heads=("classifier", "qa_outputs"),
)  # fmt: skip
MAP = FAMILY.map
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    return hugging_face_text.run(FAMILY, job)
