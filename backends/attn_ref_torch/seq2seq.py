"""What models with an encoder and a decoder share: T5, BART and Whisper.

A family is a table from what an ``EncoderDecoder`` holds to the module that holds it in transformers. Rules of files
and places of taps both follow from it. torch and transformers are not imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attn_ref.foreign.entry import ABSENT, Entry, Values, key
from attn_ref.foreign.fields import FieldRules
from attn_ref.foreign.map import Map
from attn_ref.foreign.peer import Spot
from attn_ref.foreign.rules import Rule, conv, linear, norm
from attn_ref_torch.hugging_face import WORDS

#: the attentions of a layer of each part
ATTENTIONS = {"encoder": ("attention",), "decoder": ("attention", "cross_attention")}
#: sub-layer -> the tap of its sum with the residual
SUMS = {"attention": "attended", "cross_attention": "crossed", "feed_forward": "fed"}


def of_parts(*fields: str) -> tuple[str, ...]:
    """Fields of both stacks: ``layer.dropout`` → ``encoder.layer.dropout``, ``decoder.layer.dropout``."""
    return tuple(f"{part}.{field}" for part in ATTENTIONS for field in fields)


def of_attentions(field: str) -> tuple[str, ...]:
    """A field of all three attentions."""
    return tuple(f"{part}.layer.{name}.{field}" for part, names in ATTENTIONS.items() for name in names)


def blocks(norm: str, feed_forward: str, **others: str) -> dict[str, str]:
    """Path -> the block there; ``others``: of each stack, or of the model where the name is ``stem``."""
    found = {"stem": others.pop("stem")} if "stem" in others else {}
    for part, names in ATTENTIONS.items():
        own = {"": "TransformerStack", ".layer": "TransformerLayer", ".layer.feed_forward": feed_forward,
               ".layer.norm": norm, **{f".layer.{name}": "MultiHeadAttention" for name in names},
               **{f".{name}": kind for name, kind in others.items()}}  # fmt: skip
        found |= {f"{part}{path}": kind for path, kind in own.items()}
    return found


def widths(held: Mapping[str, str]) -> tuple[str, ...]:
    """The widths of the model and of all its blocks but position biases, which have none."""
    return ("width", *(f"{path}.width" for path, kind in held.items() if kind != "RelativePositionBias"))


def scaled() -> Entry:
    """``scale_embedding``: are embeddings multiplied by the root of the width?"""

    def read(config: Values) -> Values:
        value = config.get("scale_embedding", False)
        if value not in (True, False, None):
            raise ValueError(f"scale_embedding is {value}; true or false can be expressed")
        return {"embedding_scale": config["d_model"] ** 0.5 if value else 1.0}

    return Entry(("scale_embedding",), read, lambda held: {"scale_embedding": held["embedding_scale"] != 1.0})


def bart_entries(default: Any = ABSENT) -> tuple[Entry, ...]:
    """What BART's and Whisper's configurations say alike."""
    return (
        key("vocab_size", "vocab_size"),
        key("encoder_layers", "encoder.num_layers"),
        key("decoder_layers", "decoder.num_layers"),
        key("encoder_attention_heads", "encoder.layer.attention.num_heads"),
        key("decoder_attention_heads", "decoder.layer.attention.num_heads", "decoder.layer.cross_attention.num_heads"),
        key("encoder_ffn_dim", "encoder.layer.feed_forward.hidden_width"),
        key("decoder_ffn_dim", "decoder.layer.feed_forward.hidden_width"),
        key("activation_function", *of_parts("layer.feed_forward.activation"), default="gelu", values=WORDS),
        key("dropout", *of_parts("dropout", "layer.dropout"), default=default),
        key("attention_dropout", *of_attentions("dropout"), default=0.0),
        key("activation_dropout", *of_parts("layer.feed_forward.dropout"), default=0.0),
    )


#: a layer of BART and Whisper, and what lies beside the layers
BART_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "project": "out_proj"}
BART_LAYER = {
    **{f"attention.{ours}": f"self_attn.{theirs}" for ours, theirs in BART_ATTENTION.items()},
    "attention_norm": "self_attn_layer_norm", "feed_forward.expand": "fc1", "feed_forward.reduce": "fc2",
    "feed_forward_norm": "final_layer_norm",
}  # fmt: skip
BART_CROSS = {
    **{f"cross_attention.{ours}": f"encoder_attn.{theirs}" for ours, theirs in BART_ATTENTION.items()},
    "cross_attention_norm": "encoder_attn_layer_norm",
}


def bart_names(**others: str) -> dict[str, str]:
    """The modules of BART's and Whisper's stacks; ``others`` are one of each."""
    found: dict[str, str] = {}
    for part in ATTENTIONS:
        layer = {**BART_LAYER, **(BART_CROSS if part == "decoder" else {})}
        found |= {f"{part}.{ours}": f"{part}.{theirs}" for ours, theirs in others.items()}
        found |= {f"{part}.position": f"{part}.embed_positions", f"{part}.layers.{{i}}": f"{part}.layers.{{i}}"}
        found |= {f"{part}.layers.{{i}}.{ours}": f"{part}.layers.{{i}}.{theirs}" for ours, theirs in layer.items()}
    return found


def rules_of(names: Mapping[str, str]) -> Iterator[Rule]:
    """The rules of every module in a table."""
    for ours, theirs in names.items():
        last = ours.rpartition(".")[2]
        if last in ("token", "position", "table"):
            yield Rule(f"{theirs}.weight", f"{ours}.embedding")
        elif last.endswith("norm"):
            yield from norm(theirs, ours)
        elif ours.startswith("stem."):
            yield from conv(theirs, ours)
        elif not last.endswith("}"):  # a whole layer
            yield from linear(theirs, ours)


def family(
    name: str, summary: str, names: Mapping[str, str], types: tuple[str, ...], *, held: Mapping[str, str],
    entries: Iterable[Entry], always: Mapping[str, Any], allowed: Mapping[str, tuple[Any, ...]] = {},
    rules: Iterable[Rule] = (), unsaid: Mapping[str, tuple[str, Any, Any]], inputs: tuple[str, ...],
    asked: tuple[str, ...] = (), **more: Any,
) -> Map:  # fmt: skip
    """The map of a family."""
    return Map(
        name=name, summary=summary, formats=("safetensors", "torch_pt"), needs=("torch", "transformers"),
        extra="port", block="EncoderDecoder", rules=(*rules_of(names), *rules), inputs=inputs,
        fields=FieldRules(
            sizes={"vocab_size": ("token.embedding", 0)},
            unsaid=unsaid, blocks=held, entries=(key("d_model", *widths(held)), *entries),
            allowed={"model_type": types, "is_encoder_decoder": (True,), **allowed},
            always={
                "decoder.layer.attention.causal": "bottom_right",
                **dict.fromkeys(of_parts("layer.norm_place"), "before"), **always,
            },
            asked=(*asked, *of_attentions("num_heads"), *of_parts("layer.norm.eps", "layer.feed_forward.activation")),
        ),
        **more,
    )  # fmt: skip


def spots(names: Mapping[str, str], block: Any, inside: str = "") -> Iterator[Spot]:
    """Where the taps are, ``inside`` of a module; where logits have a bias, no module gives them."""
    for part in ATTENTIONS:
        stack = getattr(block, part)
        for i in range(stack.num_layers):
            yield from in_layer(names, part, stack.layer, i, inside)
        first = names.get(f"{part}.embedding_norm") or names[f"{part}.layers.{{i}}"].replace("{i}", "0")
        yield Spot(f"{inside}{first}", "read", f"{part}.embedded", "b t c")
        for own in ("embedding_norm", "final_norm"):
            if f"{part}.{own}" in names:
                tap = f"{part}.{own}.{last_of(getattr(stack, own))}"
                yield Spot(f"{inside}{names[f'{part}.{own}']}", "out", tap, "b t c")
    if block.head and not block.head_bias:
        yield Spot(names["head"], "out", "logits", "b t v")


def last_of(norm: Any) -> str:
    """The last tap of a norm."""
    return "shifted" if getattr(norm, "use_offset", False) else "scaled"


def in_layer(names: Mapping[str, str], part: str, layer: Any, i: int, inside: str) -> Iterator[Spot]:
    """The places in a layer."""
    own = {
        ours.removeprefix(f"{part}.layers.{{i}}."): inside + theirs.replace("{i}", str(i))
        for ours, theirs in names.items()
        if ours.startswith(f"{part}.layers.{{i}}")
    }
    there, last = f"{part}.layers.{i}", last_of(layer.norm)
    subs = (*ATTENTIONS[part], "feed_forward")
    for n, sub in enumerate(subs):
        yield Spot(own[f"{sub}_norm"], "out", f"{there}.{sub}_norm.{last}", "b t c")
        if layer.norm_place == "after":
            yield Spot(own[f"{sub}_norm"], "in", f"{there}.{SUMS[sub]}", "b t c")
        elif n:
            yield Spot(own[f"{sub}_norm"], "read", f"{there}.{SUMS[subs[n - 1]]}", "b t c")
        if sub == "feed_forward":
            break
        heads = getattr(layer, sub).num_heads
        for name, labels in {"query": "b h t d", "key": "b g s d", "value": "b g s e"}.items():
            yield Spot(own[f"{sub}.{name}"], "heads", f"{there}.{sub}.{name}", labels, heads)
        yield Spot(own[f"{sub}.project"], "in", f"{there}.{sub}.merged", "b t c")
        yield Spot(own[f"{sub}.project"], "out", f"{there}.{sub}.projected", "b t c")
    gated = "feed_forward.gate" in own
    if gated:
        yield Spot(own["feed_forward.gate"], "out", f"{there}.feed_forward.gate", "b t f")
    yield Spot(own["feed_forward.expand"], "out", f"{there}.feed_forward.hidden", "b t f")
    yield Spot(own["feed_forward.reduce"], "in", f"{there}.feed_forward.{'gated' if gated else 'active'}", "b t f")
    yield Spot(own["feed_forward.reduce"], "out", f"{there}.feed_forward.reduced", "b t c")
    yield Spot(inside + names[f"{part}.layers.{{i}}"].replace("{i}", str(i)), "out", f"{part}.layer_{i}", "b t c")
