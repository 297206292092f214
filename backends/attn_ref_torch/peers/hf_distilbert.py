"""Hugging Face's ``DistilBertModel``: BERT without segments and pooler, under names of its own.

Source: ``transformers/models/distilbert/modeling_distilbert.py``, where eps is 1e-12 whatever its configuration says.
"""

from __future__ import annotations

from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch import hugging_face_text
from attn_ref_torch.bert_like import CONFIG, EMBEDDINGS, PRE_TRAINING, TASK, family, in_layer

LAYER = {
    "attention.query": "attention.q_lin", "attention.key": "attention.k_lin", "attention.value": "attention.v_lin",
    "attention.project": "attention.out_lin", "attention_norm": "sa_layer_norm", "feed_forward.expand": "ffn.lin1",
    "feed_forward.reduce": "ffn.lin2", "feed_forward_norm": "output_layer_norm",
}  # fmt: skip
OWN = {
    "width": "dim", "num_layers": "n_layers", "num_heads": "n_heads", "hidden_width": "hidden_dim",
    "activation": "activation", "dropout": "dropout", "attention_dropout": "attention_dropout",
}  # fmt: skip

FAMILY = family(
    "hf.DistilBertModel",
    "Hugging Face DistilBertModel",
    {
        **{ours: theirs for ours, theirs in EMBEDDINGS.items() if ours != "segment"},
        **in_layer("layers.{i}", "transformer.layer.{i}", LAYER),
    },
    {"distilbert": "DistilBertModel"},
    prefixes=("", "distilbert."),
    unused={
        "vocab_transform.*": PRE_TRAINING, "vocab_layer_norm.*": PRE_TRAINING, "vocab_projector.*": PRE_TRAINING,
        "pre_classifier.*": TASK,
    },
    config={field: OWN.get(field, key) for field, key in CONFIG.items() if field not in ("num_segments", "eps")},
    only={"num_segments": (None,), "eps": (1e-12,)},
    always={"num_segments": None, "eps": 1e-12},
    asked=("activation",),
    heads=("qa_outputs",),
)  # fmt: skip
MAP = FAMILY.map
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    return hugging_face_text.run(FAMILY, job)
