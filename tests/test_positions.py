"""Positions: oracles, laws, Hugging Face's implementations, compilers, and faults planted in the mirrors.

Causes are quoted as path:line of transformers 5.23.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles_positions as oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_laws import Law, assert_differs, assert_same, real, run, seeds  # noqa: F401  (run is a fixture)
from test_oracles import assert_close, assert_is_oracle

import attn_ref as ar
from attn_ref import ops

PAIRINGS = ("half", "interleaved")
every_pairing = pytest.mark.parametrize("pairing", PAIRINGS)


def indices(seed: int, name: str, *shape: int, below: int = 300) -> np.ndarray:
    """Seeded positions."""
    return ((real(seed, name, *shape) + 1) / 2 * below).astype(int)


# oracles --------------------------------------------------------------------------------------------------------------


@every_pairing
@pytest.mark.parametrize("shape", [None, (5,), (1,), (2, 5), (1, 5), (2, 1)], ids=str)
@pytest.mark.parametrize(("width", "rotary_width"), [(8, None), (2, None), (11, 6), (8, 2)])
def test_rotary_oracle(pairing: str, shape: tuple[int, ...] | None, width: int, rotary_width: int | None) -> None:
    block = ar.RotaryEmbedding(width=width, rotary_width=rotary_width, pairing=pairing)
    given_ = {} if shape is None else {"positions": indices(0, "p", *shape, below=20)}
    assert_is_oracle(block, oracles.rotary_embedding, x=real(0, "x", 2, 3, 5, width), **given_)


@pytest.mark.parametrize("fields", [{"base": 500000.0}, {"scaling": 2.5}, {"base": 7.0, "scaling": 0.5}], ids=str)
def test_rotary_fields(fields: dict[str, float]) -> None:
    block = ar.RotaryEmbedding(width=6, **fields)
    assert_is_oracle(block, oracles.rotary_embedding, x=real(0, "x", 2, 3, 5, 6))


def test_rotary_by_hand() -> None:
    """Position 1 turns the first pair by 1 radian and the second by 1/100; position 0 nothing."""
    x = np.array([[[[1.0, 1.0, 0.0, 0.0]] * 2]])
    y = ar.RotaryEmbedding(width=4)({}, x)
    assert_close(y[0, 0], [[1, 1, 0, 0], [np.cos(1), np.cos(0.01), np.sin(1), np.sin(0.01)]])


@pytest.mark.parametrize("heads", [1, 2, 3, 5, 6, 7, 8, 12, 16, 20, 32, 40, 71, 112])
@pytest.mark.parametrize("symmetric", [False, True])
def test_linear_bias_oracle(heads: int, symmetric: bool) -> None:
    block = ar.LinearPositionBias(num_heads=heads, symmetric=symmetric)
    for keys in (None, indices(1, "k", 7)):
        given_ = {"query_positions": indices(0, "q", 5), **({} if keys is None else {"key_positions": keys})}
        assert_is_oracle(block, oracles.linear_position_bias, **given_)


def test_slopes_of_the_paper() -> None:
    """Section 3: 1/2 … 1/256 for 8 heads; for 16 the geometric means between are put in."""
    assert ops.bias_slopes(8).tolist() == [2.0**-k for k in range(1, 9)]
    assert_close(ops.bias_slopes(16), [2.0 ** (-k / 2) for k in range(1, 17)])
    assert_close(ops.bias_slopes(3), [2.0**-4, 2.0**-8, 2.0**-2])


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (4, 3), (8, 6), (12, 24), (20, 160), (96, 81), (48, 81)])
def test_relative_bias_oracle(buckets: int, distance: int, bidirectional: bool) -> None:
    block = ar.RelativePositionBias(
        num_heads=3, num_buckets=buckets, max_distance=distance, bidirectional=bidirectional
    )
    for keys in (None, np.arange(300)):
        given_ = {"query_positions": indices(0, "q", 5), **({} if keys is None else {"key_positions": keys})}
        assert_is_oracle(block, oracles.relative_position_bias, **given_)


def test_buckets_of_the_paper() -> None:
    """32 buckets, offsets up to 128: a bucket each up to 7, then wider ones, borders at 8·2^(m/2)."""
    offsets = np.arange(-300, 301)
    found = ops.distance_buckets(offsets, num_buckets=32, max_distance=128, bidirectional=True)
    starts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    before, after = found[:301][::-1], found[301:]
    assert [int(np.argmax(before == k)) for k in range(16)] == starts
    assert [int(np.argmax(after == 16 + k)) + 1 for k in range(1, 16)] == starts[1:]
    assert set(found.tolist()) == set(range(32)) - {16}  # 16 would be "after, at distance 0"
    one_way = ops.distance_buckets(offsets, num_buckets=32, max_distance=128, bidirectional=False)
    assert not one_way[300:].any()
    assert set(one_way.tolist()) == set(range(32))
    assert (np.diff(one_way) <= 0).all()
    assert (one_way[: 300 - 128] == 31).all()


# laws -----------------------------------------------------------------------------------------------------------------


@given(seed=seeds, pairing=st.sampled_from(PAIRINGS), n=st.integers(1, 1000), r=st.sampled_from([2, 6, 8]))
def test_scores_depend_on_the_distance_only(run: Law, seed: int, pairing: str, n: int, r: int) -> None:  # noqa: F811
    """Su et al. 2021, equation 11: ⟨turned q, turned k⟩ is a function of i − j."""
    block = ar.RotaryEmbedding(width=8, rotary_width=r, pairing=pairing)
    q, k = real(seed, "q", 2, 3, 5, 8), real(seed, "k", 2, 3, 7, 8)
    i, j = indices(seed, "i", 2, 5, below=20), indices(seed, "j", 7, below=20)

    def scores(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        turned = [run(block, {}, x=x, positions=p).output for x, p in ((q, i), (k, j))]
        return turned[0] @ turned[1].swapaxes(-1, -2)

    plain, shifted = scores(i, j), scores(i + n, j + n)
    assert np.abs(plain - shifted).max() < 1e-11, f"{n} further on"  # an angle of 1000 has an ulp of 1e-13
    assert_differs(scores(i + 1, j), plain, "another distance")


@given(seed=seeds, pairing=st.sampled_from(PAIRINGS))
def test_turning_keeps_lengths_and_can_be_undone(run: Law, seed: int, pairing: str) -> None:  # noqa: F811
    """Mirrored, turned, mirrored back is turned the other way: (a, b) → (a, −b) undoes it."""
    block = ar.RotaryEmbedding(width=11, rotary_width=6, pairing=pairing)
    x, positions = real(seed, "x", 2, 3, 5, 11), indices(seed, "p", 2, 5) + 1
    flip = np.ones(11)
    flip[slice(3, 6) if pairing == "half" else slice(1, 6, 2)] = -1
    y = run(block, {}, x=x, positions=positions).output
    assert_differs(y, x, "turning")
    assert_same(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), "length")
    assert_same(y[..., 6:], x[..., 6:], "features that do not turn")
    assert_same(flip * run(block, {}, x=flip * y, positions=positions).output, x, "undone")
    assert_same(run(block, {}, x=x, positions=np.zeros(1, int)).output, x, "position 0")


@given(seed=seeds, r=st.sampled_from([2, 6, 8]))
def test_pairings_differ_by_a_permutation(run: Law, seed: int, r: int) -> None:  # noqa: F811
    """What converting a Llama checkpoint relies on: even features first, then odd ones."""
    x = real(seed, "x", 2, 3, 5, 8)
    order = [*range(0, r, 2), *range(1, r, 2), *range(r, 8)]
    half, interleaved = (ar.RotaryEmbedding(width=8, rotary_width=r, pairing=pairing) for pairing in PAIRINGS)
    want = run(interleaved, {}, x=x).output
    assert_same(run(half, {}, x=x[..., order]).output, want[..., order], "permuted")
    if r > 2:
        assert_differs(run(half, {}, x=x).output, want, "the pairing")


@given(seed=seeds)
def test_positions_left_out_count_from_zero(run: Law, seed: int) -> None:  # noqa: F811
    x = real(seed, "x", 2, 3, 5, 8)
    block = ar.RotaryEmbedding(width=8)
    plain = run(block, {}, x=x).output
    for positions in (np.arange(5), np.arange(5)[None], np.tile(np.arange(5), (2, 1))):
        assert_same(run(block, {}, x=x, positions=positions).output, plain, str(positions.shape))
    slow = ar.RotaryEmbedding(width=8, scaling=3.0)
    assert_same(run(slow, {}, x=x, positions=3 * np.arange(5)).output, plain, "scaling divides positions")


@given(seed=seeds, heads=st.integers(1, 20), symmetric=st.booleans(), n=st.integers(1, 1000))
def test_linear_bias_falls_with_the_distance(
    run: Law,  # noqa: F811
    seed: int,
    heads: int,
    symmetric: bool,
    n: int,
) -> None:
    block = ar.LinearPositionBias(num_heads=heads, symmetric=symmetric)
    bias = run(block, {}, query_positions=np.arange(7)).output
    assert not np.diagonal(bias, axis1=1, axis2=2).any()
    steps = np.diff(bias, axis=-1)
    behind = np.tril(np.ones((7, 6), bool), -1)
    assert (steps[:, behind] > 0).all(), "up to the query it rises"
    assert (steps[:, ~behind] < 0).all() == symmetric, "after it, it falls if symmetric"
    assert_same(bias, bias.swapaxes(1, 2) * (1 if symmetric else -1), "symmetry")
    assert_same(run(block, {}, query_positions=np.arange(7) + n).output, bias, "further on")


@given(seed=seeds, bidirectional=st.booleans(), n=st.integers(1, 1000))
def test_relative_bias_is_one_number_a_distance(run: Law, seed: int, bidirectional: bool, n: int) -> None:  # noqa: F811
    block = ar.RelativePositionBias(num_heads=3, num_buckets=12, max_distance=24, bidirectional=bidirectional)
    w = block.init(seed)
    positions = np.arange(40)
    bias = run(block, w, query_positions=positions).output
    for offset in range(-39, 40):
        line = np.diagonal(bias, offset, axis1=1, axis2=2)
        assert (line == line[:, :1]).all()
    assert (bias[:, 39, : 39 - 23] == bias[:, 39, :1]).all(), "from max_distance on, the last bucket"
    assert (bias[:, 0] == bias[:, 0, :1]).all() != bidirectional, "keys after the query"
    np.testing.assert_array_equal(run(block, w, query_positions=positions + n).output, bias)


@pytest.mark.parametrize(
    "block", [ar.LinearPositionBias(num_heads=4), ar.RelativePositionBias(num_heads=4)], ids=lambda b: type(b).__name__
)
def test_a_bias_fits_attention(block: Any) -> None:
    """Rank 3 for the inner block, rank 4 for multi-head attention."""
    bias = block(block.init(), np.arange(3), np.arange(5))
    attention = ar.ScaledDotProductAttention()
    q, k = real(0, "q", 2, 4, 3, 6), real(0, "k", 2, 4, 5, 6)
    plain, biased = attention({}, q, k, k), attention({}, q, k, k, bias=bias)
    assert_differs(biased, plain, "the bias")
    outer = ar.MultiHeadAttention(width=8, num_heads=4)
    x, y = real(0, "x", 2, 3, 8), real(0, "y", 2, 5, 8)
    assert_differs(outer(outer.init(), x, y, bias=bias[None]), outer(outer.init(), x, y), "the bias")


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("RotaryEmbedding", {"width": 5}, "width = 5 is odd, and features turn in pairs; give an even rotary_width"),
        ("RotaryEmbedding", {"width": 8, "rotary_width": 3}, "rotary_width = 3 is odd"),
        ("RotaryEmbedding", {"width": 4, "rotary_width": 6}, "rotary_width = 6 is more than width = 4"),
        (
            "RotaryEmbedding",
            {"width": 8, "rotary_width": 0},
            "rotary_width should be an integer above zero or None; got 0",
        ),
        ("RotaryEmbedding", {"width": 8, "pairing": "neox"}, "pairing should be one of 'half', 'interleaved'; got 'ne"),
        ("RotaryEmbedding", {"width": 8, "base": 0}, "base should be a number above zero; got 0"),
        ("RotaryEmbedding", {"width": 8, "scaling": float("nan")}, "scaling should be a number above zero; got nan"),
        ("LinearPositionBias", {"num_heads": 0}, "num_heads should be an integer above zero; got 0"),
        ("RelativePositionBias", {"num_heads": 2, "num_buckets": 7}, "num_buckets = 7 should be even and at least 4"),
        ("RelativePositionBias", {"num_heads": 2, "num_buckets": 2}, "num_buckets = 2 should be even and at least 4"),
        (
            "RelativePositionBias",
            {"num_heads": 2, "num_buckets": 1, "bidirectional": False},
            "num_buckets = 1 should be at least 2, with bidirectional = False",
        ),
        (
            "RelativePositionBias",
            {"num_heads": 2, "max_distance": 8},
            "max_distance = 8 should be more than 8, the dist",
        ),
    ],
)
def test_fields_are_checked(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ar.block(name).build(fields)


def test_positions_are_checked() -> None:
    block, x = ar.RotaryEmbedding(width=4), np.ones((2, 3, 5, 4))
    for positions, message in (
        (np.arange(4), "axis t is 4, not 5"),
        (np.arange(5) - 1, "positions holds -1 at"),
        (np.arange(5.0), "positions should be of kind index; integers"),
        (np.zeros((2, 3, 5), int), "rank 3, and 1 or 2 is accepted"),
    ):
        with pytest.raises(ValueError, match=message):
            block({}, x, positions)


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "int16"])
def test_integers_of_every_kind_are_positions(dtype: str) -> None:
    """An unsigned difference would wrap."""
    for block in (ar.LinearPositionBias(num_heads=2), ar.RelativePositionBias(num_heads=2)):
        w = block.init()
        want = block(w, np.arange(5), np.arange(7))
        np.testing.assert_array_equal(block(w, np.arange(5).astype(dtype), np.arange(7).astype(dtype)), want)


# Hugging Face ---------------------------------------------------------------------------------------------------------


def test_llama_turns_halves() -> None:
    """The same function of cos and sin; its own are float32, modeling_llama.py:116, so 60 radians are 4e-6 off."""
    torch = pytest.importorskip("torch")
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    block, positions = ar.RotaryEmbedding(width=8, base=500000.0), np.arange(40, 100)
    x = real(0, "x", 2, 3, 60, 8)
    want = block({}, x, positions)
    angles = positions[:, None] * 500000.0 ** (-np.arange(0, 8, 2) / 8)
    cos, sin = (torch.from_numpy(np.tile(f(angles), 2))[None] for f in (np.cos, np.sin))
    got, _ = llama.apply_rotary_pos_emb(torch.from_numpy(x), torch.from_numpy(x), cos, sin)
    assert_close(got.numpy(), want)
    with pytest.raises(AssertionError):
        assert_close(got.numpy(), ar.RotaryEmbedding(width=8, base=500000.0, pairing="interleaved")({}, x, positions))

    for rope, same in (
        ({"rope_type": "default", "rope_theta": 500000.0}, block),
        (
            {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
            ar.RotaryEmbedding(width=8, scaling=4.0),
        ),
    ):
        config = llama.LlamaConfig(hidden_size=24, num_attention_heads=3, rope_parameters=rope)
        cos, sin = llama.LlamaRotaryEmbedding(config)(torch.from_numpy(x), torch.from_numpy(positions)[None])
        assert cos.dtype == torch.float64
        got, _ = llama.apply_rotary_pos_emb(torch.from_numpy(x), torch.from_numpy(x), cos, sin)
        error = np.abs(got.numpy() - same({}, x, positions)).max()
        assert 1e-8 < error < 2e-5, rope


def test_gptj_turns_neighbours() -> None:
    """Its table is float32 too, modeling_gptj.py:49-51; only the first rotary_dim features go through it."""
    torch = pytest.importorskip("torch")
    gptj = pytest.importorskip("transformers.models.gptj.modeling_gptj")
    block = ar.RotaryEmbedding(width=11, rotary_width=6, pairing="interleaved")
    x = real(0, "x", 2, 3, 60, 11)
    want = block({}, x)
    turning = torch.from_numpy(x[..., :6]).transpose(1, 2)  # (b, t, h, d)
    angles = torch.from_numpy(np.arange(60)[:, None] * 10000.0 ** (-np.arange(0, 6, 2) / 6))
    got = gptj.apply_rotary_pos_emb(turning, angles.sin()[None], angles.cos()[None]).transpose(1, 2).numpy()
    assert_close(got, want[..., :6])
    sin, cos = gptj.create_sinusoidal_positions(60, 6).chunk(2, dim=-1)
    got = gptj.apply_rotary_pos_emb(turning, sin[None], cos[None]).transpose(1, 2).numpy()
    assert 1e-8 < np.abs(got - want[..., :6]).max() < 2e-5


@pytest.mark.parametrize("heads", [1, 2, 3, 8, 12, 16, 20, 71, 112])
def test_bloom_and_mpt_have_the_same_slopes(heads: int) -> None:
    """Both give m p_j for all queries alike, MPT counted from the last: a number for each query away from ours."""
    torch = pytest.importorskip("torch")
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    mpt = pytest.importorskip("transformers.models.mpt.modeling_mpt")
    ours = ar.LinearPositionBias(num_heads=heads)({}, np.arange(7))
    for theirs in (
        bloom.build_alibi_tensor(torch.ones(1, 7, dtype=torch.int64), heads, torch.float64),
        mpt.build_mpt_alibi_tensor(heads, 7),
    ):
        rows = theirs.double().numpy().reshape(heads, 1, 7) - ours
        assert np.abs(rows - rows[..., :1]).max() < 1e-6  # their slopes are float32
        attention = ar.ScaledDotProductAttention(causal="top_left")
        q = real(0, "q", 1, heads, 7, 4)
        biases = (ours, np.broadcast_to(theirs.double().numpy().reshape(1, heads, 1, 7), (1, heads, 7, 7)))
        results = [attention({}, q, q, q, bias=bias) for bias in biases]
        assert np.abs(results[0] - results[1]).max() < 1e-6


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (32, 64), (64, 256), (12, 20)])
def test_t5_has_the_same_bias(decoder: bool, buckets: int, distance: int) -> None:
    """``T5Attention.compute_bias`` with the same table, in float64, bit for bit."""
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    block = ar.RelativePositionBias(num_heads=3, num_buckets=buckets, max_distance=distance, bidirectional=not decoder)
    config = t5.T5Config(
        d_model=12, d_kv=4, num_heads=3, relative_attention_num_buckets=buckets, is_decoder=decoder,
        relative_attention_max_distance=distance,
    )  # fmt: skip
    theirs = t5.T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double()
    w = block.init(3)
    theirs.relative_attention_bias.weight.data = torch.from_numpy(w["table.embedding"])
    want = theirs.compute_bias(300, 300)[0].detach().numpy()
    np.testing.assert_array_equal(block(w, np.arange(300)), want)


def test_t5_rounds_a_logarithm() -> None:
    """Where a border is a whole number float32 may miss it, modeling_t5.py:252-256; see torch-log-buckets."""
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    offsets = -np.arange(90)
    options = {"bidirectional": False, "num_buckets": 48, "max_distance": 81}
    ours = ops.distance_buckets(offsets, **options)
    theirs = t5.T5Attention._relative_position_bucket(torch.from_numpy(offsets), **options).numpy()
    missed = set(np.flatnonzero(ours != theirs).tolist())
    borders = {n for n in range(24, 90) for k in range(25) if n**24 * 24**k == 81**k * 24**24}  # (n/24)^24 = (81/24)^k
    assert missed <= borders == {24, 36, 54, 81}  # which of them is the CPU's affair
    assert all(theirs[n] == ours[n] - 1 for n in missed)


# compilers and dtypes -------------------------------------------------------------------------------------------------

BLOCKS = [
    *(ar.RotaryEmbedding(width=11, rotary_width=6, pairing=pairing) for pairing in PAIRINGS),
    ar.LinearPositionBias(num_heads=5),
    ar.LinearPositionBias(num_heads=3, symmetric=True),
    ar.RelativePositionBias(num_heads=3, num_buckets=12, max_distance=24),
    ar.RelativePositionBias(num_heads=3, bidirectional=False),
]
every_mirror = pytest.mark.parametrize("block", BLOCKS, ids=repr)


def arguments(block: Any, t: int, s: int) -> list[np.ndarray]:
    if isinstance(block, ar.RotaryEmbedding):
        return [real(t, "x", 2, 3, t, 11), np.arange(t) + s]
    return [np.arange(t), np.arange(s)]


@every_mirror
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torch_compiles_for_every_length(block: Any) -> None:
    """One graph without a break, and an export with a free length."""
    import torch

    backend, w = ar.backend("torch"), block.init()
    layer = backend.load(backend.build(block), w)
    traced = torch.compile(layer, fullgraph=True, dynamic=True, backend="eager")
    first = tuple(map(torch.from_numpy, arguments(block, 5, 9)))
    t, s = torch.export.Dim("t"), torch.export.Dim("s")
    free = ({2: t}, {0: t}) if isinstance(block, ar.RotaryEmbedding) else ({0: t}, {0: s})
    exported = torch.export.export(layer, first, dynamic_shapes=free).module()
    for lengths in ((5, 9), (7, 4), (30, 33)):
        given_ = arguments(block, *lengths)
        for same in (traced, exported):
            assert_close(same(*map(torch.from_numpy, given_)).detach().numpy(), block(w, *given_))


@every_mirror
@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_tensorflow_compiles_for_every_length(block: Any, jit: bool) -> None:
    backend, w = ar.backend("tensorflow"), block.init()
    import tensorflow as tf

    layer = backend.load(backend.build(block), w)
    rotary = isinstance(block, ar.RotaryEmbedding)
    specs = [tf.TensorSpec((2, 3, None, 11), "float64") if rotary else tf.TensorSpec((None,), "int64")]
    function = tf.function(layer, input_signature=[*specs, tf.TensorSpec((None,), "int64")], jit_compile=jit)
    for lengths in ((5, 9), (7, 4)):
        given_ = arguments(block, *lengths)
        assert_close(function(*map(tf.constant, given_)).numpy(), block(w, *given_))


@every_mirror
def test_torch_dtype_follows_to_and_loses_nothing(block: Any) -> None:
    """Positions are whole numbers or at least float32 until the end, and no digit is kept in a buffer."""
    import torch

    layer = ar.backend("torch").build(block)
    if not block.params():
        assert not layer.state_dict()
        assert [buffer.numel() for buffer in layer.buffers()] in ([], [0])
        given_ = arguments(block, 5, 9)
        back = ar.backend("torch").run(layer.half().double(), dict(zip(block.inputs, given_, strict=True)))
        assert_close(back.output, block({}, *given_))
    for dtype in (torch.bfloat16, torch.float16):
        far = [torch.arange(3), torch.arange(5000)]
        if isinstance(block, ar.RotaryEmbedding):
            far = [torch.ones(1, 1, 3, 11, dtype=dtype), torch.tensor([5000, 5001, 5002])]
        y = layer.to(dtype)(*far)
        assert y.dtype == dtype
        w = {"table.embedding": layer.table.weight.double().detach().numpy()} if block.params() else {}
        want = torch.from_numpy(block(w, *(x.double().numpy() if x.is_floating_point() else x.numpy() for x in far)))
        torch.testing.assert_close(y.double(), want, rtol=torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)


@every_mirror
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_bfloat16"])
def test_keras_dtype_is_the_layers(block: Any, dtype: str) -> None:
    backend = ar.backend("tensorflow")
    import keras

    layer = type(backend.build(block))(**block.fields(), dtype=dtype)
    given_ = arguments(block, 5, 9)
    y = layer(*given_)
    assert keras.backend.standardize_dtype(y.dtype) == dtype.removeprefix("mixed_")
