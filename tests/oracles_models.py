"""Whole models once more, as scalar loops over plain Python numbers: see ``oracles.py`` for the rules.

Radford et al. 2019 (GPT-2); Touvron et al. 2023 (LLaMA); Press et al. 2022 (linear biases); Gemma Team 2024 (soft
capping of logits).
"""

from __future__ import annotations

import math

from oracles import below, layer_norm_block, linear, rms_norm_block, transformer_layer
from oracles_positions import linear_position_bias, relative_position_bias

NORMS = {"LayerNorm": layer_norm_block, "RMSNorm": rms_norm_block}
BIASES = {"LinearPositionBias": linear_position_bias, "RelativePositionBias": relative_position_bias}


def language_model(
    w: dict,
    token_ids: list,
    padding_mask: list | None = None,
    *,
    num_layers: int,
    layer: dict,
    other_layer: dict | None = None,
    pattern: str = "l",
    position_bias: dict | None = None,
    embedding_scale: float = 1.0,
    embedding_norm: dict | None = None,
    final_norm: dict | None = None,
    head: str | None = "own",
    softcap: float | None = None,
    **_: object,
) -> list:
    """x₀ = N₀(s T[token] + P[position]); layers; the last norm; logits by a kernel or by the table of tokens."""
    tokens, positions = w["token.embedding"], w.get("position.embedding")
    x: list = []
    for b, ids in enumerate(token_ids):
        x.append([])
        for i, token in enumerate(ids):
            place = positions[i] if positions else [0.0] * len(tokens[0])
            x[b].append([embedding_scale * tokens[token][c] + place[c] for c in range(len(place))])
    if embedding_norm:
        x = NORMS[embedding_norm["block"]](below(w, "embedding_norm"), x, **embedding_norm["fields"])
    given = {}
    if padding_mask:
        given["attention_mask"] = [[[row]] for row in padding_mask]
    if position_bias:
        where = list(range(len(token_ids[0])))
        given["bias"] = [BIASES[position_bias["block"]](below(w, "position_bias"), where, **position_bias["fields"])]
    letters = pattern * num_layers
    for n in range(num_layers):
        part = other_layer if letters[n] == "o" else layer
        assert part is not None
        x = transformer_layer(below(w, f"layers.{n}"), x, **given, **part["fields"])
    if final_norm:
        x = NORMS[final_norm["block"]](below(w, "final_norm"), x, **final_norm["fields"])
    if head is None:
        return x
    turned = [list(column) for column in zip(*tokens, strict=True)]
    kernel = w["head.kernel"] if head == "own" else turned
    logits = [[linear(vector, kernel) for vector in sequence] for sequence in x]
    if softcap is None:
        return logits
    return [[[softcap * math.tanh(z / softcap) for z in vector] for vector in sequence] for sequence in logits]
