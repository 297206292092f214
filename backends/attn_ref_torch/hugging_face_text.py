"""Encoders of transformers as the ends of the porter: loaded from a file, called, and listened to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Peer
from attn_ref.models.text_encoder import TextEncoder
from attn_ref_torch.bert_like import Family
from attn_ref_torch.hugging_face import outcome, pretrained


def config(family: Family, block: TextEncoder, kind: str = "") -> Any:
    """The configuration of a model of ``family`` that computes ``block``."""
    import transformers

    return transformers.AutoConfig.for_model(kind or next(iter(family.classes)), **family.config(block))


def pooled(family: Family, block: TextEncoder) -> dict[str, Any]:
    """The option that says whether a model has a pooler, of models that may have one."""
    return {"add_pooling_layer": block.pooler} if family.pooler else {}


def call(model: Any, block: TextEncoder, given: Mapping[str, Any]) -> Any:
    """The model on canonical inputs."""
    mask = given.get("padding_mask")
    segments = {} if block.num_segments is None else {"token_type_ids": given.get("segment_ids")}
    mask = None if mask is None else mask.long()
    result = model(input_ids=given["token_ids"], attention_mask=mask, **segments)
    return result.pooler_output if block.pooling == "pooler" else result.last_hidden_state


def peer(family: Family, **more: Any) -> Peer:
    """A model of ``family`` as an end."""
    return Peer(
        name=family.map.name, block="TextEncoder", engine="torch", needs=family.map.needs,
        refuses=lambda block: [
            *family.map.inexpressible(block),
            *(["it takes no mean over tokens"] if block.pooling == "mean" else []),
        ],
        inputs=("token_ids", "padding_mask", "segment_ids"), weights=family.map.rules_for, call=call,
        spots=family.spots, **{"make": lambda *_: None, **more},
    )  # fmt: skip


def run(family: Family, job: Job) -> Outcome:
    """Run the file of ``job`` and read the values that the block taps. It takes no mean, so then there is no output."""
    import transformers

    block = cast(TextEncoder, job.block)  # the maps that are run here hold no other
    told = json.loads(Path(job.config).read_text("utf-8")).get("model_type") if job.config else None
    kind = str(told) if told in family.classes else next(iter(family.classes))
    own = None if job.config else config(family, block, kind)
    model = pretrained(
        getattr(transformers, family.classes[kind]), job, own, attention="eager", **pooled(family, block)
    )
    seen = replace(block, pooling="none") if block.pooling == "mean" else block
    made = outcome(peer(family), seen, model, job)
    return made if seen is block else replace(made, output=None)
