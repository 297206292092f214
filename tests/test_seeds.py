"""The seed systems S1 to S19 against scalar loops of what each computes, on the reference and on every engine.

The loops' options are written here once more, not taken from ``attn_ref.seeds``. ``python tests/test_seeds.py jax``
runs them on one engine in a process of its own and prints the largest deviations.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import oracles_conv
import oracles_maps
import pytest

import attn_ref as ar
from attn_ref.weights import uniform

Arrays = dict[str, np.ndarray]


def real(*shape: int, seed: str = "x") -> np.ndarray:
    return 1.5 * uniform(shape, 7, seed)


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def loops(of: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The scalar loops of a block, under options."""

    def expected(w: Arrays, *given: np.ndarray) -> np.ndarray:
        return np.array(of({name: plain(value) for name, value in w.items()}, *map(plain, given), **options))

    return expected


# what the tutorials compute in their own way --------------------------------------------------------------------------


def attend(
    q: list, k: list, v: list, factor: float, change: Callable[[float, int, int, int], float], kept: Any = None
) -> list:
    """softmax(change(factor · q · k)) v for q[b][h][t][d]; ``kept[b][h][t][s]`` multiplies the weights."""
    out: list = []
    for b in range(len(q)):
        out.append([])
        for h in range(len(q[b])):
            rows = []
            for i, mine in enumerate(q[b][h]):
                scores = [
                    change(factor * math.fsum(x * y for x, y in zip(mine, key, strict=True)), b, i, j)
                    for j, key in enumerate(k[b][h])
                ]
                weights = oracles.softmax(scores)
                if kept is not None:
                    weights = [x * kept[b][h][i][j] for j, x in enumerate(weights)]
                rows.append([math.fsum(x * y for x, y in zip(weights, column, strict=True))
                             for column in zip(*v[b][h], strict=True)])  # fmt: skip
            out[b].append(rows)
    return out


def heads(w: dict, name: str, x: list, count: int) -> list:
    """Projected, and cut into ``count`` contiguous slices: [b][h][t][d]."""
    rows = [[oracles.dense(w, name, vector) for vector in sequence] for sequence in x]
    d = len(rows[0][0]) // count
    return [[[row[h * d : h * d + d] for row in sequence] for h in range(count)] for sequence in rows]


def merged(w: dict, y: list) -> list:
    """Heads side by side, projected."""
    return [[oracles.dense(w, "project", [x for head in of for x in head[i]]) for i in range(len(of[0]))] for of in y]


def s1(w: Arrays, x: np.ndarray) -> np.ndarray:
    """Scale by the total width of the keys; dropout of weights and output, also when nobody trains."""
    weights, rate = {n: plain(v) for n, v in w.items()}, 0.1
    q, k, v = (heads(weights, name, plain(x), 2) for name in ("query", "key", "value"))
    kept = (uniform((len(x), 2, x.shape[1], x.shape[1]), 0, "attention.keep") > 2 * rate - 1) / (1 - rate)
    y = np.array(merged(weights, attend(q, k, v, 1 / math.sqrt(8), lambda s, *_: s, kept.tolist())))
    return y * ((uniform(y.shape, 0, "output") > 2 * rate - 1) / (1 - rate))


def s15(w: Arrays, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Where the mask is 0 a score becomes −1e9, so that a row of zeros is uniform."""
    weights = {n: plain(v) for n, v in w.items()}
    parts = [heads(weights, name, plain(x), 2) for name, x in (("query", q), ("key", k), ("value", v))]
    change = lambda s, b, i, j: -1e9 if mask[b, 0, i, j] == 0 else s  # noqa: E731
    return np.array(merged(weights, attend(*parts, 1 / math.sqrt(4), change)))


def s16(w: Arrays, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """mask · −1e9 is added to the scores."""
    return np.array(attend(plain(q), plain(k), plain(v), 0.5, lambda s, b, i, j: s + mask[i, j] * -1e9))


def s17(w: Arrays, v: np.ndarray, k: np.ndarray, q: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The same in two heads, the arguments being (v, k, q, mask)."""
    weights = {n: plain(x) for n, x in w.items()}
    parts = [heads(weights, name, plain(x), 2) for name, x in (("query", q), ("key", k), ("value", v))]
    change = lambda s, b, i, j: s + mask[b, 0, 0, j] * -1e9  # noqa: E731
    return np.array(merged(weights, attend(*parts, 1 / math.sqrt(4), change)))


def s19(w: Arrays, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Post-norm, eps 1e-6, the mask added as in S16."""
    weights = {n: plain(v) for n, v in w.items()}
    own = {n.removeprefix("attention."): v for n, v in weights.items() if n.startswith("attention.")}
    parts = [heads(own, name, plain(x), 2) for name in ("query", "key", "value")]
    change = lambda s, b, i, j: s + mask[b, 0, 0, j] * -1e9  # noqa: E731
    attended = merged(own, attend(*parts, 1 / math.sqrt(4), change))
    y = [
        [oracles.normed(weights, "attention_norm", [a + b for a, b in zip(*both, strict=True)], 1e-6)
         for both in zip(*rows, strict=True)]
        for rows in zip(plain(x), attended, strict=True)
    ]  # fmt: skip
    fed = oracles.feed_forward(oracles.below(weights, "feed_forward"), y, activation="relu")
    return np.array([
        [oracles.normed(weights, "feed_forward_norm", [a + b for a, b in zip(*both, strict=True)], 1e-6)
         for both in zip(*rows, strict=True)]
        for rows in zip(y, fed, strict=True)
    ])  # fmt: skip


def s4(w: Arrays, image: np.ndarray) -> np.ndarray:
    """Patches; twice x + MHA(x), x + FFN(x); the mean over tokens; a linear layer."""
    weights = {n: plain(v) for n, v in w.items()}
    kernel = np.array(weights["patch_embedding.project.kernel"]).reshape(-1, 8).tolist()
    tokens = [
        [oracles.linear(picture[i : i + 2, j : j + 2].ravel().tolist(), kernel, weights["patch_embedding.project.bias"])
         for i in range(0, picture.shape[0], 2) for j in range(0, picture.shape[1], 2)]
        for picture in image
    ]  # fmt: skip
    for n in range(2):
        layer = oracles.below(weights, f"layers.{n}")
        attended = oracles.multi_head_attention(oracles.below(layer, "attention"), tokens, num_heads=2)
        tokens = (np.array(tokens) + attended).tolist()
        fed = oracles.feed_forward(oracles.below(layer, "feed_forward"), tokens, activation="relu")
        tokens = (np.array(tokens) + fed).tolist()
    means = [[math.fsum(column) / len(rows) for column in zip(*rows, strict=True)] for rows in tokens]
    return np.array([oracles.dense(weights, "head", mean) for mean in means])


MAPS = real(2, 3, 4, 8)
DROPS = np.array([[0, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]], float)
KEEPS = np.stack([1 - DROPS, np.ones_like(DROPS)])[:, None]
S5 = {"scale": None, "activation": "relu", "position": "content", "project": False, "residual": False}
STANDARD = {"scale": "head", "activation": None, "position": None, "project": True, "residual": False}
QKV = (real(2, 3, 8, seed="q"), real(2, 5, 8, seed="k"), real(2, 5, 8, seed="v"))
FOURS = (real(2, 2, 3, 4, seed="q"), real(2, 2, 5, 4, seed="k"), real(2, 2, 5, 6, seed="v"))
NORM = {"eps": 1e-5, "scale": None, "pairing": "softmax", "sub_sample": True, "batch_norm": True}

#: row -> sizes, inputs, and what is expected of weights and inputs
ROWS: dict[str, tuple[dict[str, Any], tuple[np.ndarray, ...], Callable[..., np.ndarray]]] = {
    "S1": ({}, (real(2, 5, 6),), s1),
    "S2": ({}, (MAPS,), loops(oracles_maps.multi_head_attention2d, num_heads=2, **STANDARD)),
    "S3": ({}, (real(2, 5, 8),), loops(oracles.multi_head_attention, num_heads=2)),
    "S4": ({}, (real(2, 4, 6, 3),), s4),
    "S5": ({}, (MAPS,), loops(oracles_maps.multi_head_attention2d, num_heads=1, **S5)),
    "S6": ({}, (MAPS,), loops(oracles_maps.multi_head_attention2d, num_heads=4, **S5)),
    "S7": ({}, (MAPS,), loops(oracles_conv.squeeze_excitation)),
    "S8": ({}, (MAPS,), loops(oracles_conv.channel_attention)),
    "S9": ({}, (MAPS,), loops(oracles_conv.spatial_attention, kernel_size=3)),
    "S9, 5": ({"kernel_size": 5}, (MAPS,), loops(oracles_conv.spatial_attention, kernel_size=5)),
    "S10": ({}, (real(2, 5, 6, 3),), loops(oracles_conv.cbam_residual, kernel_size=3, stride=2)),
    "S10, 5": ({"kernel_size": 5}, (real(2, 5, 6, 3),), loops(oracles_conv.cbam_residual, kernel_size=5, stride=2)),
    "S11": ({}, (MAPS,), loops(oracles_conv.selective_kernel, branches=2, groups=2, bottleneck_norm=False)),
    "S12": ({}, (MAPS,), loops(oracles_maps.spatial_self_attention, sub_sample=False, project=False)),
    "S13": ({}, (MAPS,), loops(oracles_maps.channel_self_attention, project_inputs=True, project_shortcut=True,
                               invert=False)),
    "S14, 1": ({"dimensions": 1}, (real(2, 5, 8),), loops(oracles_maps.non_local, channels=8, dimensions=1, **NORM)),
    "S14": ({}, (MAPS,), loops(oracles_maps.non_local, channels=8, dimensions=2, **NORM)),
    "S14, 3": ({"dimensions": 3}, (real(2, 3, 4, 5, 8),),
               loops(oracles_maps.non_local, channels=8, dimensions=3, **NORM)),
    "S15": ({}, (*QKV, KEEPS), s15),
    "S16": ({}, (*FOURS, DROPS), s16),
    "S17": ({}, (QKV[2], QKV[1], QKV[0], np.array([[0.0, 1, 0, 0, 1], [1, 0, 0, 0, 0]])[:, None, None]), s17),
    "S18": ({}, (real(2, 5, 8),), loops(oracles.feed_forward, activation="relu")),
    "S19": ({}, (real(2, 5, 8), np.array([[0.0, 1, 0, 0, 1], [1, 0, 0, 0, 0]])[:, None, None]), s19),
}  # fmt: skip


def deviation(name: str, engine: str | None) -> float:
    """How far the row is from its loops, relative to the largest value."""
    sizes, given, expected = ROWS[name]
    seed = ar.seed(name.partition(",")[0], **sizes)
    w = seed.block.init(11)
    want, got = expected(w, *given), seed(w, *given, engine=engine)
    assert got.shape == want.shape, f"{name}: {got.shape}, not {want.shape}"
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.mark.parametrize("engine", [None, "torch", "tensorflow"], ids=["reference", "torch", "tensorflow"])
@pytest.mark.parametrize("name", ROWS)
def test_seed_is_its_loops(name: str, engine: str | None) -> None:
    assert deviation(name, engine) < 1e-13


def scores_of(queries: list, keys: list, factor: float = 1.0) -> list:
    return [[factor * math.fsum(x * y for x, y in zip(q, k, strict=True)) for k in keys] for q in queries]


def map_of(name: str, w: Arrays, given: tuple[np.ndarray, ...]) -> np.ndarray:
    """The map that the tutorial returns beside its result."""
    weights = {n: plain(v) for n, v in w.items()}
    if name in ("S12", "S13"):
        pixels = [[pixel for row in picture for pixel in row] for picture in plain(given[0])]
        maps = []
        for of in pixels:
            own = {n: np.array(weights[f"{n}.kernel"]).reshape(8, -1).tolist() for n in ("query", "key")}
            q, k = ([oracles.linear(x, own[n], weights[f"{n}.bias"]) for x in of] for n in own)
            if name == "S13":  # channels attend to channels
                q, k = ([list(column) for column in zip(*rows, strict=True)] for rows in (q, k))
            maps.append([oracles.softmax(row) for row in scores_of(q, k)])
        return np.array(maps)
    if name == "S15":
        q, k = (heads(weights, part, plain(x), 2) for part, x in zip(("query", "key"), given, strict=False))
        dropped, factor = given[3] == 0, 0.5
    else:
        q, k, dropped, factor = plain(given[0]), plain(given[1]), given[3] == 1, 0.5
    found = np.array([[scores_of(a, b, factor) for a, b in zip(*both, strict=True)] for both in zip(q, k, strict=True)])
    # S15 puts −1e9 in the place of a score, S16 adds it: alike where something is kept
    masked = np.where(np.broadcast_to(dropped, found.shape), -1e9 + (found if name == "S16" else 0.0), found)
    return np.array([[[oracles.softmax(row) for row in head] for head in of] for of in masked.tolist()])


@pytest.mark.parametrize("engine", [None, "torch", "tensorflow"], ids=["reference", "torch", "tensorflow"])
@pytest.mark.parametrize("name", ["S12", "S13", "S15", "S16"])
def test_the_map_that_a_row_returns_too(name: str, engine: str | None) -> None:
    sizes, given, _ = ROWS[name]
    seed = ar.seed(name, **sizes)
    w = seed.block.init(11)
    want = map_of(name, w, given)
    (got,) = [x for tap, (x, _) in seed.run(w, *given, engine=engine).taps.items() if tap.endswith("weights")]
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 1e-13


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
@pytest.mark.parametrize(
    ("name", "given", "inside", "count"),
    [
        ("S4", real(2, 4, 6, 3), ["layers.0.feed_forward.keep", "layers.1.feed_forward.keep"], 7),
        ("S19", real(2, 5, 8), ["keep_attention", "keep_feed_forward"], 3),
    ],
    ids=["S4", "S19"],
)
def test_dropout_is_where_the_row_has_it(
    name: str, given: np.ndarray, inside: list[str], count: int, engine: str
) -> None:
    seed = ar.seed(name, dropout=0.5)
    run = seed.run(seed.block.init(1), given, engine=engine, training=True)
    keeps = {name: np.unique(x).tolist() for name, (x, _) in run.taps.items() if "keep" in name}
    assert len(keeps) == count
    assert {name: [0.0, 2.0] if name in inside else [1.0] for name in keeps} == keeps


def test_every_row_is_there() -> None:
    assert list(ar.seeds()) == [f"S{n}" for n in range(1, 20)] == list(dict.fromkeys(n.partition(",")[0] for n in ROWS))


@pytest.mark.slow
def test_seeds_on_jax() -> None:
    """Where Keras on JAX has no float64 (norms, tanh), no better than float32."""
    done = subprocess.run([sys.executable, __file__, "jax"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    loose = {"S10", "S10, 5", "S11", "S14", "S14, 1", "S14, 3", "S19"}
    assert set(found) == set(ROWS)
    for name, off in found.items():
        assert off < (6e-7 if name in loose else 1e-13), f"{name}: {off:.1e}"


def test_errors_say_what_there_is() -> None:
    with pytest.raises(ValueError, match="unknown seed system 'S20'; there are S1, S2, "):
        ar.seed("S20")
    with pytest.raises(ValueError, match="S7 has no width; it has channels, reduction"):
        ar.seed("S7", width=3)
    with pytest.raises(ValueError, match="S1: num_heads should divide key_dim; got num_heads 3, key_dim 8"):
        ar.seed("S1", num_heads=3).block  # noqa: B018
    with pytest.raises(ValueError, match="kernel_size should be 3, 5 or 7; got 9"):
        ar.seed("S9", kernel_size=9).block  # noqa: B018
    with pytest.raises(ValueError, match="S16 takes 4 arguments, query, key, value, mask; got 5"):
        ar.seed("S16")({}, *FOURS, DROPS, DROPS)


if __name__ == "__main__":
    print(json.dumps({name: deviation(name, sys.argv[1]) for name in ROWS}))
