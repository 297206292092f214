"""The definitions once more, as scalar loops over plain Python floats: slow, and nothing to get wrong in bulk.

Written from the papers' equations and the blocks' documented fields, not from their code; nothing here calls NumPy or
``attn_ref.ops``. Arrays are nested lists (``array.tolist()``), indices are spelled out, sums are ``math.fsum``, which
rounds once. Every function of a block takes its parameters by canonical name (``w``), its inputs, and its fields as
keywords; fields that do not matter to the value (widths, dropout) are let through. Widths are those of the parameters.

Vaswani et al. 2017, "Attention Is All You Need", 3.1 to 3.3; Xiong et al. 2020 (pre-norm); Ainslie et al. 2023 (grouped
heads); Hendrycks and Gimpel 2016 (GELU); Ba et al. 2016 (layer norm); Devlin et al. 2019 (BERT); Zhang and Sennrich
2019 (RMS norm); Su et al. 2021 (rotary positions); Beltagy et al. 2020 (windows); Gemma Team 2024 (soft capping);
OpenAI 2025, gpt-oss (sinks).
"""

from __future__ import annotations

import math
from typing import Any


def rank(array: Any) -> int:
    """How deeply the lists are nested: 0 for a number."""
    return 1 + rank(array[0]) if isinstance(array, list) else 0


def read(array: Any, *index: int) -> Any:
    """One element, as if ``array`` were repeated to the rank and sizes of ``index``: aligned at the last axis."""
    for i in index[len(index) - rank(array) :]:
        array = array[0 if len(array) == 1 else i]
    return array


# functions of one number or one vector --------------------------------------------------------------------------------


def relu(x: float) -> float:
    """max(x, 0)."""
    return x if x > 0 else 0.0


def gelu(x: float) -> float:
    """x Φ(x) = x/2 (1 + erf(x/√2))."""
    return 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0)))


def gelu_tanh(x: float) -> float:
    """x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    return 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def quick_gelu(x: float) -> float:
    """x / (1 + exp(−1.702 x))."""
    return x / (1.0 + math.exp(-1.702 * x)) if x > 0 else x * math.exp(1.702 * x) / (1.0 + math.exp(1.702 * x))


ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "quick_gelu": quick_gelu}


def softmax(x: list, keep: list | None = None) -> list:
    """e^xᵢ / Σⱼ e^xⱼ, i and j over what is kept; 0 for the others, and for all if nothing is kept."""
    kept = [i for i in range(len(x)) if keep is None or keep[i]]
    if not kept:
        return [0.0 for _ in x]
    top = max(x[i] for i in kept)
    total = math.fsum(math.exp(x[i] - top) for i in kept)
    return [math.exp(x[i] - top) / total if i in kept else 0.0 for i in range(len(x))]


def layer_norm(x: list, scale: list, offset: list, eps: float) -> list:
    """(xᵢ − μ) / √(σ² + eps) · scaleᵢ + offsetᵢ, with μ = Σ x / n and σ² = Σ (x − μ)² / n."""
    n = len(x)
    mean = math.fsum(x) / n
    variance = math.fsum((x[i] - mean) ** 2 for i in range(n)) / n
    return [(x[i] - mean) / math.sqrt(variance + eps) * scale[i] + offset[i] for i in range(n)]


def linear(x: list, kernel: list, bias: list | None = None) -> list:
    """yⱼ = Σᵢ xᵢ Wᵢⱼ + bⱼ."""
    out = range(len(kernel[0]))
    return [math.fsum([x[i] * kernel[i][j] for i in range(len(x))] + ([bias[j]] if bias else [])) for j in out]


def dense(w: dict, name: str, x: list) -> list:
    """``linear`` with the parameters ``name.kernel`` and, if there is one, ``name.bias``."""
    return linear(x, w[f"{name}.kernel"], w.get(f"{name}.bias"))


def normed(w: dict, name: str, x: list, eps: float) -> list:
    """``layer_norm`` with the parameters ``name.scale`` and ``name.offset``."""
    return layer_norm(x, w[f"{name}.scale"], w[f"{name}.offset"], eps)


def below(w: dict, prefix: str) -> dict:
    """The parameters of a sub-block, by its own names."""
    return {name[len(prefix) + 1 :]: value for name, value in w.items() if name.startswith(prefix + ".")}


# blocks ---------------------------------------------------------------------------------------------------------------


def visible(
    i: int,
    j: int,
    t: int,
    s: int,
    *,
    causal: str | None = None,
    window_left: int | None = None,
    window_right: int | None = None,
    offset: int = 0,
    length: int | None = None,
) -> bool:
    """May query i of t see key j of s?

    A query's own place is i, or counted so that the last query meets the last key that is there ("bottom_right"), and
    ``offset`` further on; causal: no key beyond it; windows: so many on each side.
    """
    there = s if length is None else length
    own = (there - 1) - (t - 1 - i) if causal == "bottom_right" else i
    own += offset
    if j >= there:
        return False
    if causal and j > own:
        return False
    if window_left is not None and own - j > window_left:
        return False
    return window_right is None or j - own <= window_right


def factor(scale: float | str | None, heads: int, d: int) -> float:
    """ "head": 1/√d; "total": 1/√(h·d); a number: itself; None: 1."""
    if isinstance(scale, str):
        return {"head": 1.0 / math.sqrt(d), "total": 1.0 / math.sqrt(heads * d)}[scale]
    return 1.0 if scale is None else scale


def attention_weights(
    query: list,
    key: list,
    mask: Any,
    bias: Any,
    sinks: list | None,
    offsets: list | None,
    lengths: list | None,
    *,
    scale: float | str | None = "head",
    softcap: float | None = None,
    **sight: Any,
) -> list:
    """softmax(cap(scale · q·k) + bias) over the keys that may be seen, as weights[b][h][t][s]."""
    heads, d, t, s = len(query[0]), len(query[0][0][0]), len(query[0][0]), len(key[0][0])
    r = heads // len(key[0])
    weights: list = []
    for b in range(len(query)):
        where = {"offset": offsets[b] if offsets else 0, "length": lengths[b] if lengths else None}
        weights.append([])
        for h in range(heads):
            weights[b].append([])
            for i in range(t):
                scores, keep = [], []
                for j in range(s):
                    product = math.fsum(query[b][h][i][c] * key[b][h // r][j][c] for c in range(d))
                    score = factor(scale, heads, d) * product
                    if softcap is not None:
                        score = softcap * math.tanh(score / softcap)
                    scores.append(score + read(bias, b, h, i, j))
                    keep.append(read(mask, b, h, i, j) and visible(i, j, t, s, **where, **sight))
                if sinks is not None:  # one more score, always kept, its weight thrown away
                    scores, keep = [*scores, sinks[h]], [*keep, True]
                weights[b][h].append(softmax(scores, keep)[:s])
    return weights


def scaled_dot_product_attention(
    w: dict,
    query: list,
    key: list,
    value: list,
    attention_mask: Any = True,
    bias: Any = 0.0,
    sinks: list | None = None,
    query_offset: list | None = None,
    key_lengths: list | None = None,
    *,
    dropout: float = 0.0,
    **options: Any,
) -> list:
    """y[b][h][t][e] = Σₛ weights[b][h][t][s] · value[b][h // r][s][e]."""
    weights = attention_weights(query, key, attention_mask, bias, sinks, query_offset, key_lengths, **options)
    heads, s, width = len(query[0]), len(value[0][0]), len(value[0][0][0])
    r = heads // len(value[0])
    return [
        [
            [
                [math.fsum(row[j] * value[b][h // r][j][e] for j in range(s)) for e in range(width)]
                for row in weights[b][h]
            ]
            for h in range(heads)
        ]
        for b in range(len(query))
    ]


def rms_norm(x: list, scale: list, eps: float) -> list:
    """xᵢ / √(Σ x² / n + eps) · scaleᵢ."""
    root = math.sqrt(math.fsum(v * v for v in x) / len(x) + eps)
    return [v / root * g for v, g in zip(x, scale, strict=True)]


def turned(x: list, position: float, pairing: str, features: int, base: float) -> list:
    """Pair k of the first ``features`` numbers turned by position / base^(2k/features), counter-clockwise."""
    y = list(x)
    for k in range(features // 2):
        first, second = (k, k + features // 2) if pairing == "half" else (2 * k, 2 * k + 1)
        angle = position / base ** (2 * k / features)
        y[first] = x[first] * math.cos(angle) - x[second] * math.sin(angle)
        y[second] = x[second] * math.cos(angle) + x[first] * math.sin(angle)
    return y


ATTENTION = ("scale", "softcap", "causal", "window_left", "window_right")


def multi_head_attention(
    w: dict,
    query: list,
    key: list | None = None,
    value: list | None = None,
    attention_mask: Any = True,
    bias: Any = 0.0,
    query_offset: list | None = None,
    key_lengths: list | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    qk_norm: str | None = None,
    qk_norm_eps: float = 1e-6,
    qk_norm_over: str = "head",
    rotation: dict | None = None,
    clip: float | None = None,
    rotary: str | None = None,
    rotary_width: int | None = None,
    rotary_base: float = 10000.0,
    rotary_scaling: float = 1.0,
    **options: Any,
) -> list:
    """Project, cut into heads (head h is the h-th slice), norm, turn, attend in each, lay side by side, project."""
    from oracles_positions import rotary_embedding

    key = query if key is None else key
    value = key if value is None else value

    def heads(name: str, x: list, count: int) -> list:
        rows = [[dense(w, name, vector) for vector in sequence] for sequence in x]
        if clip is not None:
            rows = [[[min(max(z, -clip), clip) for z in row] for row in sequence] for sequence in rows]
        if qk_norm and qk_norm_over == "all" and name != "value":
            rows = [[norm(f"{name}_norm", row) for row in sequence] for sequence in rows]
        d = len(rows[0][0]) // count
        return [[[row[h * d : h * d + d] for row in sequence] for h in range(count)] for sequence in rows]

    def norm(name: str, vector: list) -> list:
        if qk_norm == "layer":
            return normed(w, name, vector, qk_norm_eps)
        scale = w[f"{name}.scale"]
        return rms_norm(vector, [1.0 + g for g in scale] if qk_norm != "rms" else scale, qk_norm_eps)

    def prepared(name: str, vector: list, position: float) -> list:
        if qk_norm and qk_norm_over == "head":
            vector = norm(name, vector)
        if rotation:
            return rotary_embedding({}, [[[vector]]], [position], **rotation["fields"])[0][0][0]
        if rotary:
            return turned(vector, position / rotary_scaling, rotary, rotary_width or len(vector), rotary_base)
        return vector

    q = heads("query", query, num_heads)
    k, v = heads("key", key, num_kv_heads or num_heads), heads("value", value, num_kv_heads or num_heads)
    t, s = len(q[0][0]), len(k[0][0])
    for b in range(len(q)):
        first = query_offset[b] if query_offset else 0
        if options.get("causal") == "bottom_right":
            first += (key_lengths[b] if key_lengths else s) - t
        q[b] = [[prepared("query_norm", head[i], first + i) for i in range(t)] for head in q[b]]
        k[b] = [[prepared("key_norm", head[j], j) for j in range(s)] for head in k[b]]
    own = {name: options[name] for name in ATTENTION if name in options}
    y = scaled_dot_product_attention(
        {}, q, k, v, attention_mask, bias, w.get("sinks"), query_offset, key_lengths, **own
    )
    merged = [[[x for h in range(num_heads) for x in of[h][i]] for i in range(len(of[0]))] for of in y]
    return [[dense(w, "project", vector) for vector in sequence] for sequence in merged]


def feed_forward(w: dict, x: list, *, activation: str = "relu", **_: Any) -> list:
    """W₂ φ(W₁ x + b₁) + b₂ at every position."""
    phi = ACTIVATIONS[activation]

    def at(vector: list) -> list:
        return dense(w, "reduce", [phi(z) for z in dense(w, "expand", vector)])

    return [[at(vector) for vector in sequence] for sequence in x]


def sigmoid(z: float) -> float:
    """1 / (1 + e⁻ᶻ)."""
    return 1.0 / (1.0 + math.exp(-z)) if z > 0 else math.exp(z) / (1.0 + math.exp(z))


GATED = {**ACTIVATIONS, "silu": lambda z: z * sigmoid(z), "sigmoid": sigmoid}


def gated_feed_forward(w: dict, x: list, *, activation: str = "silu", **_: Any) -> list:
    """W₂ (φ(W_g x + b_g) ⊙ (W₁ x + b₁)) + b₂ at every position."""
    phi = GATED[activation]

    def at(vector: list) -> list:
        gate, hidden = dense(w, "gate", vector), dense(w, "expand", vector)
        return dense(w, "reduce", [phi(gate[i]) * hidden[i] for i in range(len(gate))])

    return [[at(vector) for vector in sequence] for sequence in x]


def layer_norm_block(w: dict, x: list, *, eps: float = 1e-5, **_: Any) -> list:
    """``layer_norm`` of every token; what is not there is 1 or 0."""
    ones, zeros = [1.0] * len(x[0][0]), [0.0] * len(x[0][0])
    scale, offset = w.get("scale", ones), w.get("offset", zeros)
    return [[layer_norm(vector, scale, offset, eps) for vector in sequence] for sequence in x]


def rms_norm_block(w: dict, x: list, *, eps: float = 1e-6, zero_centered: bool = False, **_: Any) -> list:
    """``rms_norm`` of every token by γ, of which the parameter is γ or γ − 1."""
    scale = [1.0 + g for g in w["scale"]] if zero_centered else w["scale"]
    return [[rms_norm(vector, scale, eps) for vector in sequence] for sequence in x]


def transformer_layer(
    w: dict,
    x: list,
    memory: list | None = None,
    attention_mask: Any = True,
    bias: Any = 0.0,
    memory_mask: Any = True,
    *,
    attention: dict,
    feed_forward: dict,
    cross_attention: dict | None = None,
    norm: dict | None = None,
    norm_place: str = "before",
    attention_normed: bool = True,
    parallel: str | None = None,
    skip_scale: float = 1.0,
    residual_scale: float = 1.0,
    **_: Any,
) -> list:
    """Before: s x + r γ f(N(x)). After: N(s x + r γ f(x)). Inside: s x + r γ N(f(x)). Around: s x + r γ N'(f(N(x))).

    Of attention, cross-attention and feed-forward one after the other; or s x + r γ A(N x) + r γ F(N x), in parallel.
    """
    known = {
        "MultiHeadAttention": multi_head_attention, "FeedForward": feed_forward_of,
        "GatedFeedForward": gated_feed_forward, "LayerNorm": layer_norm_block, "RMSNorm": rms_norm_block,
    }  # fmt: skip

    def run(part: dict, name: str, *given: Any, **more: Any) -> list:
        return known[part["block"]](below(w, name), *given, **more, **part["fields"])

    def n(name: str, x: list) -> list:
        return run(norm, name, x) if norm and (attention_normed or not name.startswith("attention")) else x

    def weighed(name: str, y: list) -> list:
        factor = w.get(f"{name}_scale", [1.0] * len(y[0][0]))
        return [[[residual_scale * factor[c] * z[c] for c in range(len(z))] for z in sequence] for sequence in y]

    def skipped(x: list) -> list:
        return [[[skip_scale * v for v in vector] for vector in sequence] for sequence in x]

    compute = {
        "attention": lambda x: run(attention, "attention", x, attention_mask=attention_mask, bias=bias),
        "feed_forward": lambda x: run(feed_forward, "feed_forward", x),
    }
    if parallel:
        own = "feed_forward_norm" if parallel == "own" else "attention_norm"
        one = weighed("attention", compute["attention"](n("attention_norm", x)))
        two = weighed("feed_forward", compute["feed_forward"](n(own, x)))
        return add(add(skipped(x), one), two)
    if cross_attention:
        compute["cross_attention"] = lambda x: run(
            cross_attention, "cross_attention", x, memory, attention_mask=memory_mask
        )
    for name in ("attention", "cross_attention", "feed_forward"):
        if name not in compute:
            continue
        first = f"{name}_norm"
        y = compute[name](n(first, x) if norm_place in ("before", "around") else x)
        if norm_place == "inside":
            y = n(first, y)
        if norm_place == "around":
            y = n(f"{name}_post_norm", y)
        x = add(skipped(x), weighed(name, y))
        if norm_place == "after":
            x = n(first, x)
    return x


feed_forward_of = feed_forward


def encoder_layer(
    w: dict,
    x: list,
    attention_mask: Any = True,
    bias: Any = 0.0,
    *,
    num_heads: int,
    activation: str = "relu",
    norm_first: bool | None = False,
    eps: float = 1e-5,
    **_: Any,
) -> list:
    """Post-norm: z = N₁(x + A(x)), y = N₂(z + F(z)). Pre-norm: z = x + A(N₁(x)), y = z + F(N₂(z)). None: no norms."""

    def norm(name: str, x: list) -> list:
        return [[normed(w, name, vector, eps) for vector in sequence] for sequence in x]

    def attend(x: list) -> list:
        own = below(w, "attention")
        return multi_head_attention(own, x, attention_mask=attention_mask, bias=bias, num_heads=num_heads)

    def feed(x: list) -> list:
        return feed_forward(below(w, "feed_forward"), x, activation=activation)

    if norm_first is None:
        z = add(x, attend(x))
        return add(z, feed(z))
    if norm_first:
        z = add(x, attend(norm("attention_norm", x)))
        return add(z, feed(norm("feed_forward_norm", z)))
    z = norm("attention_norm", add(x, attend(x)))
    return norm("feed_forward_norm", add(z, feed(z)))


def add(a: Any, b: Any) -> Any:
    """a + b, element by element."""
    return [add(x, y) for x, y in zip(a, b, strict=True)] if isinstance(a, list) else a + b


def text_encoder(
    w: dict,
    token_ids: list,
    padding_mask: list | None = None,
    segment_ids: list | None = None,
    *,
    num_layers: int,
    num_heads: int,
    activation: str = "gelu",
    eps: float = 1e-12,
    pooling: str = "none",
    num_segments: int | None = 2,
    padding_id: int | None = None,
    shared_layers: bool = False,
    **_: Any,
) -> list:
    """x₀ = N(T[token] + P[position] + S[segment]); post-norm layers that do not attend to padding; pooling."""
    token, position = w["token.embedding"], w["position.embedding"]
    x: list = []
    for b, ids in enumerate(token_ids):
        x.append([])
        count = 0
        for i in range(len(ids)):
            row = i
            if padding_id is not None:
                count += ids[i] != padding_id
                row = padding_id + (count if ids[i] != padding_id else 0)
            vector = [token[ids[i]][c] + position[row][c] for c in range(len(token[0]))]
            if num_segments is not None:
                kind = segment_ids[b][i] if segment_ids else 0
                vector = [value + more for value, more in zip(vector, w["segment.embedding"][kind], strict=True)]
            vector = normed(w, "embedding_norm", vector, eps)
            x[b].append(dense(w, "embedding_project", vector) if "embedding_project.kernel" in w else vector)
    real = padding_mask or [[True] * len(ids) for ids in token_ids]
    mask = [[[row]] for row in real]
    for n in range(num_layers):
        own = below(w, "layer" if shared_layers else f"layers.{n}")
        x = encoder_layer(own, x, mask, num_heads=num_heads, activation=activation, eps=eps)
    if pooling == "mean":
        return [mean_of_real(sequence, real[b]) for b, sequence in enumerate(x)]
    if pooling == "pooler":
        return [[math.tanh(z) for z in dense(w, "pool", sequence[0])] for sequence in x]
    return x


def mean_of_real(sequence: list, real: list) -> list:
    """The mean of the vectors where ``real`` is True; zeros if it is nowhere."""
    kept = [vector for vector, keep in zip(sequence, real, strict=True) if keep]
    return [math.fsum(vector[c] for vector in kept) / max(len(kept), 1) for c in range(len(sequence[0]))]
