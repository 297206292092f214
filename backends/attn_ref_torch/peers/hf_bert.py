"""Hugging Face's ``BertModel``: BERT, MiniLM and their like, and the encoder inside ``BertFor…`` checkpoints.

Source: ``transformers/models/bert/modeling_bert.py``; the names are those of its ``state_dict``. Files are loaded by
``from_pretrained``, from the files they were published in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attn_ref.foreign.job import Job, Outcome
from attn_ref.models.text_encoder import TextEncoder
from attn_ref_torch import hugging_face_text
from attn_ref_torch.bert_like import EMBEDDINGS, LAYER, family, in_layer

FAMILY = family(
    "hf.BertModel",
    "Hugging Face BertModel, with or without its pooler",
    {**EMBEDDINGS, **in_layer("layers.{i}", "encoder.layer.{i}", LAYER), "pool": "pooler.dense"},
    {"bert": "BertModel"},
    prefixes=("", "bert."),
    pooler="pooler",
    unused={"cls.*": "the heads of pre-training, which come after the encoder"},
    heads=("classifier", "qa_outputs"),
    spellings={"gamma, beta": {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}},
)
MAP = FAMILY.map
MAPS = (MAP,)


def make(block: TextEncoder, dtype: str) -> Any:
    """A new model."""
    import torch
    import transformers

    told = hugging_face_text.config(FAMILY, block)
    told._attn_implementation = "eager"
    return transformers.BertModel(told, add_pooling_layer=block.pooler).to(getattr(torch, dtype))


def hidden(block: TextEncoder, inputs: Mapping[str, np.ndarray]) -> bool:
    """Is a row all padding?"""
    return "padding_mask" in inputs and not inputs["padding_mask"].any(axis=1).all()


PEER = hugging_face_text.peer(
    FAMILY, make=make, deviates={"in a row of padding every token attends to all of it alike": hidden}
)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    return hugging_face_text.run(FAMILY, job)
