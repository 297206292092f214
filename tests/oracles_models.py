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
    first_norm: bool = True,
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
        bare = {"attention_normed": False} if n == 0 and not first_norm else {}
        x = transformer_layer(below(w, f"layers.{n}"), x, **given, **{**part["fields"], **bare})
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


def conv_stem(w: dict, x: list, *, channels: int, width: int, kernel_size: int = 3, stride: int = 2) -> list:
    """y[n][c] = GELU(Σ over u, k of x[r·n + u − side][k] · K[u][k][c] + b[c]), twice; x is 0 beyond its ends."""
    side = kernel_size // 2

    def convolved(name: str, frames: list, inner: int, step: int) -> list:
        kernel, bias = w[f"{name}.kernel"], w[f"{name}.bias"]
        found = []
        for n in range((len(frames) + 2 * side - kernel_size) // step + 1):
            row = []
            for c in range(width):
                terms = [bias[c]]
                for u in range(kernel_size):
                    i = step * n + u - side
                    if 0 <= i < len(frames):
                        terms += [frames[i][k] * kernel[u][k][c] for k in range(inner)]
                z = math.fsum(terms)
                row.append(z * (1.0 + math.erf(z / math.sqrt(2.0))) / 2.0)
            found.append(row)
        return found

    return [convolved("second", convolved("first", frames, channels, 1), width, stride) for frames in x]


def transformer_stack(
    w: dict,
    x: list,
    memory: list | None = None,
    padding_mask: list | None = None,
    memory_mask: list | None = None,
    *,
    num_layers: int,
    layer: dict,
    position_offset: int = 0,
    position_bias: dict | None = None,
    embedding_norm: dict | None = None,
    final_norm: dict | None = None,
    **_: object,
) -> list:
    """N₀(x + P[offset + i]); layers that read a memory, if they have something to read it with; the last norm."""
    table = w.get("position.embedding")
    if table:
        x = [
            [[a + b for a, b in zip(row, table[position_offset + i], strict=True)] for i, row in enumerate(sequence)]
            for sequence in x
        ]
    if embedding_norm:
        x = NORMS[embedding_norm["block"]](below(w, "embedding_norm"), x, **embedding_norm["fields"])
    given: dict = {"memory": memory} if layer["fields"].get("cross_attention") else {}
    if padding_mask:
        given["attention_mask"] = [[[row]] for row in padding_mask]
    if memory_mask:
        given["memory_mask"] = [[[row]] for row in memory_mask]
    if position_bias:
        where = list(range(len(x[0])))
        given["bias"] = [BIASES[position_bias["block"]](below(w, "position_bias"), where, **position_bias["fields"])]
    for n in range(num_layers):
        x = transformer_layer(below(w, f"layers.{n}"), x, **given, **layer["fields"])
    if final_norm:
        x = NORMS[final_norm["block"]](below(w, "final_norm"), x, **final_norm["fields"])
    return x


def encoder_decoder(
    w: dict,
    source_ids: list | None = None,
    features: list | None = None,
    token_ids: list | None = None,
    source_mask: list | None = None,
    padding_mask: list | None = None,
    *,
    encoder: dict,
    decoder: dict,
    stem: dict | None = None,
    embedding_scale: float = 1.0,
    head: str | None = "own",
    head_scale: float = 1.0,
    head_bias: bool = False,
    **_: object,
) -> list:
    """M = encoder(s T[source]) or of a stem; decoder(s T[token], M); logits a y W + b, W a kernel or T turned."""
    tokens = w["token.embedding"]

    def embedded(ids: list) -> list:
        return [[[embedding_scale * value for value in tokens[token]] for token in row] for row in ids]

    source = conv_stem(below(w, "stem"), features or [], **stem["fields"]) if stem else embedded(source_ids or [])
    memory = transformer_stack(below(w, "encoder"), source, None, source_mask, **encoder["fields"])
    x = embedded(token_ids or [])
    x = transformer_stack(below(w, "decoder"), x, memory, padding_mask, source_mask, **decoder["fields"])
    if head is None:
        return x
    kernel = w["head.kernel"] if head == "own" else [list(column) for column in zip(*tokens, strict=True)]
    bias = w["logits_bias"] if head_bias else [0.0] * len(tokens)
    return [
        [[z + b for z, b in zip(linear([head_scale * v for v in row], kernel), bias, strict=True)] for row in sequence]
        for sequence in x
    ]
