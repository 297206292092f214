"""Language models of transformers as one end of a conversion, in float64 throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch.overrides import TorchFunctionMode

from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Peer, Spot
from attn_ref_torch.hugging_face import outcome, pretrained


class Wide(TorchFunctionMode):
    """Where float32 is asked for, float64 is given.

    These models go to float32 for norms, angles and softmax, for the sake of narrower dtypes; in one of float64 that
    rounds what needs no rounding, and hides faults up to 1e-7.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func = torch.Tensor.double if func is torch.Tensor.float else func
        return func(*map(wide, args), **{name: wide(value) for name, value in (kwargs or {}).items()})


def wide(value: Any) -> Any:
    """float64 for float32; anything else as it is."""
    return torch.float64 if value is torch.float32 else value


@contextmanager
def in_float64() -> Iterator[None]:
    """While it lasts, float32 is float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Wide(), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


def load(item: Map, job: Job, classes: tuple[str, str]) -> Any:
    """The model of a job's file; ``classes``: with its head, and without."""
    assert item.fields is not None
    config = transformers.AutoConfig.for_model(**{"pad_token_id": None, **item.fields.to_config(job.block)})
    kind: Any = getattr(transformers, classes[0 if getattr(job.block, "head", None) else 1])
    return pretrained(kind, job, config, attention="eager")


def call(model: Any, block: Any, given: Mapping[str, Any]) -> Any:
    """The model on canonical inputs."""
    mask = given.get("padding_mask")
    mask = torch.ones_like(given["token_ids"]) if mask is None else mask.long()
    result = model(input_ids=given["token_ids"], attention_mask=mask, use_cache=False)
    return result.logits if block.head else result.last_hidden_state


def run(
    item: Map, spots: Callable[[Any], Iterable[Spot]], job: Job, exact: Callable[[Any], None] = lambda model: None, *,
    call: Callable[..., Any] = call, classes: tuple[str, str] = ("AutoModelForCausalLM", "AutoModel"),
) -> Outcome:  # fmt: skip
    """Run the file of ``job`` and read the values at ``spots``; ``exact`` mends what its code rounds."""
    peer = Peer(
        name=item.name, block=str(item.block), engine="torch", needs=item.needs, refuses=item.inexpressible,
        inputs=tuple(item.inputs or ()), weights=item.rules_for, make=lambda *_: None, call=call, spots=spots,
    )  # fmt: skip
    with in_float64():
        model = load(item, job, classes)
        exact(model)
        return outcome(peer, job.block, model, job)


def sequence_to_sequence(auto: str) -> dict[str, Any]:
    """The options of ``run`` for a model with an encoder."""
    return {"call": translate, "classes": (auto, "AutoModel")}


def translate(model: Any, block: Any, given: Mapping[str, Any]) -> Any:
    """A model with an encoder on canonical inputs."""
    masks = {"source_mask": "attention_mask", "padding_mask": "decoder_attention_mask"}
    told = {theirs: given[ours].long() for ours, theirs in masks.items() if given.get(ours) is not None}
    source = {"input_ids": given["source_ids"]} if block.stem is None else {"input_features": given["features"]}
    result = model(**source, **told, decoder_input_ids=given["token_ids"], use_cache=False)
    return result.logits if block.head else result.last_hidden_state
