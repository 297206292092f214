"""Names that people try: which ones were meant, and how to say so.

A name is compared with those that there are by its spelling, its initials, its words, and what the text of each says.
``ALSO`` has only what none of these finds.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")

#: names come from strangers' files too: of longer ones, and of more than so many, nobody is told what was meant
LONGEST, MOST = 100, 8
#: our name -> what others call it
ALSO = {
    # blocks
    "MultiHeadAttention": "mhsa self_attention cross_attention",
    "FeedForward": "mlp ffn",
    "RotaryEmbedding": "rope",
    "SpatialSelfAttention": "pam",
    "ChannelSelfAttention": "cam",
    # engines
    "torch": "pytorch",
    "tensorflow": "tf",
    "jax": "flax",
    # dtypes
    "float64": "fp64 f64 double",
    "float32": "fp32 f32 float single",
    "bfloat16": "bf16",
    "float16": "fp16 f16 half",
    # options: of torch, Keras, Hugging Face, timm
    "width": "embed_dim d_model hidden_size dim n_embd emb_dim",
    "channels": "dim filters c",
    "num_heads": "nhead",
    "head_width": "key_dim",
    "key_width": "key_dim kdim",
    "value_width": "vdim",
    "value_head_width": "value_dim",
    "hidden_width": "dim_feedforward intermediate_size intermediate_dim mlp_dim mlp_ratio ffn_dim d_ff hidden_dim",
    "num_layers": "depth n_layer",
    "num_kv_heads": "num_key_value_heads",
    "num_segments": "type_vocab_size",
    "activation": "hidden_act",
    "norm_place": "norm_first pre_norm post_norm",
    "attention_dropout": "attn_drop attention_probs_dropout_prob",
    "image_height": "img_size",
    "image_width": "img_size",
    "reduction": "ratio r",
    "rotary_base": "rope_theta",
    "token_ids": "input_ids",
    "segment_ids": "token_type_ids",
    "source": "src",
    "target": "dst out output destination",
    # commands
    "check": "verify test validate",
    "conform": "compare diagnose inspect",
    "list": "blocks ls seeds engines",
    "port": "convert export import load move",
    "reproduce": "replay rerun",
    "show": "describe explain info",
    "traps": "pitfalls bugs deviations",
}


def suggest(name: str, known: Iterable[str], about: Mapping[str, str] | None = None) -> list[str]:
    """Those of ``known`` that ``name`` may mean, the likeliest first; ``about``: texts that may speak of it."""
    known = list(known)
    if len(name := str(name)) > LONGEST:
        return []
    for likely in (_same, _derived, _near, _words, _told, _far):
        if found := likely(name, known, about or {}):
            return found
    return []


def hint(name: str, known: Iterable[str], about: Mapping[str, str] | None = None) -> str:
    """``'did you mean A or B? '``, or nothing."""
    found = suggest(name, known, about)
    return f"did you mean {either(found)}? " if found else ""


def hints(given: Iterable[str], known: Iterable[str]) -> str:
    """The same for several names: ``'did you mean width for embed_dim, num_heads for heads? '``."""
    given, known = list(given), list(known)
    if len(given) == 1:
        return hint(given[0], known)
    found = {name: suggest(name, known) for name in given[:MOST]}
    told = ", ".join(f"{either(meant)} for {name}" for name, meant in found.items() if meant)
    return f"did you mean {told}? " if told else ""


def either(names: list[str]) -> str:
    """``'A, B or C'``."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def listed(known: Iterable[str], most: int = 30) -> str:
    """``'a, b, c'``, cut where there are very many: a model has hundreds of taps."""
    known = list(known)
    more = [f"… and {len(known) - most} more"] if len(known) > most else []
    return ", ".join([*known[:most], *more]) or "none"


def squeezed(name: str) -> str:
    """The name without case and separators: 'Multi-Head_attention' and 'MultiHeadAttention' are one."""
    return re.sub(r"[\W_]", "", name).casefold()


def words(name: str) -> list[str]:
    """'MultiHeadAttention2d' and 'multi_head_attention_2d' → ['multi', 'head', 'attention', '2d']."""
    return [word.casefold() for word in re.findall(r"\d+[a-z]*|[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def _same(name: str, known: list[str], about: Mapping[str, str]) -> list[str]:
    return [k for k in known if squeezed(k) == squeezed(name)]


def _derived(name: str, known: list[str], about: Mapping[str, str]) -> list[str]:
    """Called so elsewhere, or made of its initials, or a part of it, or it is a part of the name."""
    wanted = squeezed(name)
    short = re.sub(r"(?<=..)(block|layer|module|net)$", "", wanted)
    also = [k for k in known if any(squeezed(other) in (wanted, short) for other in ALSO.get(k, "").split())]
    initials = [k for k in known if re.fullmatch(_shortened(words(k)), short)]
    part = [k for k in known if len(wanted) > 2 and any(tail.startswith(wanted) for tail in _tails(k))]
    whole = [k for k in known if len(squeezed(k)) > 3 and squeezed(k) in wanted]
    whole = [k for k in whole if not any(k != other and squeezed(k) in squeezed(other) for other in whole)]
    return list(dict.fromkeys([*also, *initials, *part, *whole]))


def _shortened(parts: list[str]) -> str:
    """A pattern for a beginning of each word: 'mha' and 'multiheadatt' of multi head attention, 'vit' of …"""
    return "".join(part[0] + "".join(f"(?:{re.escape(c)}" for c in part[1:]) + ")?" * (len(part) - 1) for part in parts)


def _tails(name: str) -> Iterator[str]:
    parts = words(name)
    return ("".join(parts[i:]) for i in range(len(parts)))


def _near(name: str, known: list[str], about: Mapping[str, str], least: float = 0.8) -> list[str]:
    """Spelled almost so, whole or in one word."""
    wanted = squeezed(name)
    parts = {k: [squeezed(k), *(words(k) if len(wanted) > 4 else [])] for k in known}
    likeness = {k: max((SequenceMatcher(None, wanted, part).ratio() for part in parts[k]), default=0.0) for k in known}
    best = max(likeness.values(), default=0.0)
    return [k for k in known if likeness[k] >= max(least, best - 0.05)]


def _words(name: str, known: list[str], about: Mapping[str, str]) -> list[str]:
    """Shares the largest part of its words."""
    given = set(words(name))
    share = {k: len(given & set(words(k))) / max(1, len(given | set(words(k)))) for k in known}
    return [k for k in known if share[k] > 0 and share[k] == max(share.values())]


def _told(name: str, known: list[str], about: Mapping[str, str]) -> list[str]:
    """Its text says the word, first of all in its first paragraph; a word that is everywhere tells nothing."""
    said = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
    for part in (lambda text: text.partition("\n\n")[0], lambda text: text):
        found = [k for k in known if said.search(part(about.get(k, "")))]
        if 0 < len(found) <= 4:
            return found
    return []


def _far(name: str, known: list[str], about: Mapping[str, str]) -> list[str]:
    """Spelled a little so."""
    return _near(name, known, about, 0.6)


class Named(dict[str, V]):
    """A dict that says of a name it has not which one was meant: ``what`` its names are, for the message."""

    def __init__(self, what: str, given: Mapping[str, V] | None = None) -> None:
        super().__init__(given or {})
        self.what = what

    def __missing__(self, name: str) -> V:
        raise KeyError(f"no {self.what} {name!r}; {hint(name, self)}the {self.what}s are {listed(self)}")


def suggesting(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, whose TypeError for a keyword that it does not take says which one was meant."""
    parameters = inspect.signature(function).parameters.values()
    taken = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    shown = {p.name: f"*{p.name} (without a name)" if p.kind is p.VAR_POSITIONAL else p.name for p in parameters}

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if unknown := [name for name in kwargs if name not in taken]:
            told = hints(unknown, shown)
            for name in shown:
                told = told if shown[name] == name else re.sub(rf"\b{name}\b", shown[name], told)
            title = f"{function.__name__}() has no argument {', '.join(unknown)}"
            raise TypeError(f"{title}; {told}its arguments are {', '.join(shown.values())}")
        return function(*args, **kwargs)

    return call
