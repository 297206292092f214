"""Hugging Face's ``RobertaModel``, and XLM-R and CamemBERT, which are the same model under other types.

Positions are numbered by the tokens: that of padding is row ``pad_token_id``, others are counted from the row behind.
The table of positions has so many rows more than a sequence may be long.

Source: ``transformers/models/roberta/modeling_roberta.py``.
"""

from __future__ import annotations

from attn_ref.foreign.entry import Entry, Values
from attn_ref.foreign.job import Job, Outcome
from attn_ref_torch import hugging_face_text
from attn_ref_torch.bert_like import CONFIG, EMBEDDINGS, LAYER, PRE_TRAINING, TASK, family, in_layer


def positions() -> Entry:
    """``max_position_embeddings``, the rows of the table, and ``pad_token_id``, which is 1 where nobody says it."""

    def read(config: Values) -> Values:
        padding = config.get("pad_token_id", 1)
        if not isinstance(padding, int):
            raise ValueError(f"pad_token_id is {padding}; a token can be expressed, since positions are counted by it")
        rows = config.get("max_position_embeddings")
        return {"padding_id": padding, **({} if rows is None else {"max_length": rows - padding - 1})}

    def write(held: Values) -> Values:
        padding = held["padding_id"]
        return {"pad_token_id": padding, "max_position_embeddings": held["max_length"] + padding + 1}

    return Entry(("max_position_embeddings", "pad_token_id"), read, write, ("max_length", "padding_id"))


FAMILY = family(
    "hf.RobertaModel",
    "Hugging Face RobertaModel, XLMRobertaModel and CamembertModel, with or without their pooler",
    {**EMBEDDINGS, **in_layer("layers.{i}", "encoder.layer.{i}", LAYER), "pool": "pooler.dense"},
    {"roberta": "RobertaModel", "xlm-roberta": "XLMRobertaModel", "camembert": "CamembertModel"},
    prefixes=("", "roberta."),
    pooler="pooler",
    unused={"lm_head.*": PRE_TRAINING, "classifier.*": TASK},
    config={field: key for field, key in CONFIG.items() if field != "max_length"},
    entries=(positions(),),
    besides=lambda block: ["padding_id = None"] if block.padding_id is None else [],
    asked=("activation", "eps", "padding_id"),
    heads=("classifier", "qa_outputs"),
)
MAP = FAMILY.map
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    return hugging_face_text.run(FAMILY, job)
