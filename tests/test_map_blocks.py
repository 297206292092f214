"""Attention over feature maps: scalar loops, laws, other people's layers, and what is refused, alike everywhere."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import oracles_maps as oracles
import pytest
from test_oracles import assert_close, lists, real

import attn_ref as ar

#: even and odd, H ≠ W
SHAPES = [(2, 3, 5), (1, 4, 2), (2, 2, 7)]
MHA2D, SAGAN, CHANNEL, NON_LOCAL = (
    ar.block(n) for n in ("MultiHeadAttention2d", "SpatialSelfAttention", "ChannelSelfAttention", "NonLocal")
)


def options(**choices: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Every combination."""
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def assert_is_oracle(block: ar.Block, oracle: Any, *shape: int, **more: Any) -> None:
    """The block with seeded weights against loops with the same."""
    w, x = block.init(seed=11), real(*shape, size=1.5)
    expected = oracle({name: lists(value) for name, value in w.items()}, lists(x), **block.fields(), **more)
    assert_close(block(w, x), expected)


# scalar loops ---------------------------------------------------------------------------------------------------------

PLAIN = {"activation": "relu", "scale": None, "project": False, "position": "content"}
SEEDS = {
    "one head, ReLU, content": {"num_heads": 1, **PLAIN},
    "heads, ReLU, content": {"num_heads": 3, **PLAIN},
    "standard": {"num_heads": 2},
    "residual": {"num_heads": 2, "residual": True, "position": "content", "use_bias": False},
    "widths": {"num_heads": 2, "head_width": 5, "value_head_width": 3, "output_channels": 7, "scale": "total"},
    "number": {"num_heads": 3, "scale": -0.3, "residual": True, "project": False},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("fields", SEEDS.values(), ids=SEEDS)
def test_multi_head_attention2d(fields: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert_is_oracle(MHA2D(channels=6, **fields), oracles.multi_head_attention2d, *shape, 6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "fields", options(sub_sample=(False, True), project=(False, True), use_bias=(True, False)), ids=str
)
def test_spatial_self_attention(fields: dict[str, Any], shape: tuple[int, ...]) -> None:
    widths = {"value_head_width": 3} if fields["project"] else {"head_width": 2}
    assert_is_oracle(SAGAN(channels=6, **widths, **fields), oracles.spatial_self_attention, *shape, 6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize(
    "fields",
    [{}, {"inner_width": 3}, {"inner_width": 1, "use_bias": False}, {"project_shortcut": False},
     {"project_inputs": False}, {"project_inputs": False, "project_shortcut": False}],
    ids=str,
)  # fmt: skip
def test_channel_self_attention(fields: dict[str, Any], invert: bool, shape: tuple[int, ...]) -> None:
    assert_is_oracle(CHANNEL(channels=4, invert=invert, **fields), oracles.channel_self_attention, *shape, 4)


SPACE = {1: (5,), 2: (4, 3), 3: (3, 2, 5)}


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(
    "fields", options(pairing=("softmax", "dot"), sub_sample=(False, True), batch_norm=(False, True)), ids=str
)
def test_non_local(fields: dict[str, Any], dimensions: int) -> None:
    for more in ({}, {"scale": "input", "inner_width": 3}, {"scale": "inner", "use_bias": False}, {"scale": -0.5}):
        block = NON_LOCAL(channels=4, dimensions=dimensions, **fields, **more)
        assert_is_oracle(block, oracles.non_local, 2, *SPACE[dimensions], 4)
        with ar.training():
            assert_is_oracle(block, oracles.non_local, 2, *SPACE[dimensions], 4, training=True)


@pytest.mark.parametrize("unbiased", [False, True])
def test_running_statistics_of_a_non_local_block(unbiased: bool) -> None:
    block = NON_LOCAL(channels=3, batch_norm=True, momentum=0.25, unbiased=unbiased)
    w = block.init(4)
    with ar.training(), ar.record() as taps:
        block(w, real(2, 3, 2, 3))
    values = taps["projected"].value.reshape(12, 3).tolist()
    for c in range(3):
        column = [row[c] for row in values]
        mean = sum(column) / 12
        variance = sum((value - mean) ** 2 for value in column) / (11 if unbiased else 12)
        for name, batch in (("mean", mean), ("variance", variance)):
            want = 0.75 * w[f"norm.{name}"][c] + 0.25 * batch
            assert taps[f"norm.running_{name}"].value[c] == pytest.approx(want, rel=1e-13)


# laws -----------------------------------------------------------------------------------------------------------------

EQUIVARIANT = [
    MHA2D(channels=6, num_heads=2, position="content", residual=True),
    MHA2D(channels=6, num_heads=3, activation="relu", project=False),
    SAGAN(channels=6), CHANNEL(channels=6, inner_width=3), NON_LOCAL(channels=6), NON_LOCAL(channels=6, pairing="dot"),
]  # fmt: skip


@pytest.mark.parametrize("block", EQUIVARIANT, ids=lambda block: type(block).__name__)
def test_permuting_the_pixels_permutes_the_result(block: ar.Block) -> None:
    x, w = real(2, 3, 5, 6), block.init(3)
    order = np.argsort(real(15, seed="order"))

    def permuted(y: np.ndarray) -> np.ndarray:
        return y.reshape(2, 15, -1)[:, order].reshape(2, 3, 5, -1)

    assert_close(block(w, permuted(x)), permuted(block(w, x)))


@pytest.mark.parametrize("fields", [{}, {"sub_sample": True, "project": True, "value_head_width": 3}], ids=str)
def test_a_closed_gate_leaves_x_as_it_is(fields: dict[str, Any]) -> None:
    x = real(2, 3, 5, 6)
    for block in (SAGAN(channels=6, **fields), CHANNEL(channels=6, project_shortcut=False)):
        np.testing.assert_array_equal(block({**block.init(3), "gate": np.zeros(1)}, x), x)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_non_local_block_with_nothing_behind_it_is_the_identity(dimensions: int) -> None:
    block, x = NON_LOCAL(channels=4, dimensions=dimensions, sub_sample=True), real(2, *SPACE[dimensions], 4)
    nothing = {name: np.zeros_like(v) for name, v in block.init(3).items() if name.startswith("project.")}
    np.testing.assert_array_equal(block({**block.init(3), **nothing}, x), x)


def test_the_last_row_of_an_odd_size_is_never_a_key() -> None:
    x = real(1, 5, 4, 6)
    other = x.copy()
    other[:, 4] += 3.0
    for block in (SAGAN(channels=6, sub_sample=True), NON_LOCAL(channels=6, sub_sample=True)):
        w = block.init(3)
        np.testing.assert_array_equal(block(w, x)[:, :4], block(w, other)[:, :4])


def test_inverting_is_the_softmax_of_minus_the_scores() -> None:
    block, x = CHANNEL(channels=4, invert=True), real(2, 3, 5, 4)
    plain, w = CHANNEL(channels=4), block.init(3)
    minus = {**w, "query.kernel": -w["query.kernel"], "query.bias": -w["query.bias"]}
    assert_close(block(w, x), plain(minus, x))


# other people's layers ------------------------------------------------------------------------------------------------


def flattened(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[0], -1, x.shape[-1])


def test_torch_multihead_attention_on_the_flattened_map() -> None:
    torch = pytest.importorskip("torch")
    block, x = MHA2D(channels=6, num_heads=2), real(2, 3, 5, 6)
    w = block.init(3)
    peer = torch.nn.MultiheadAttention(6, 2, batch_first=True).double()
    names = ("query", "key", "value")
    packed = {
        "in_proj_weight": np.concatenate([w[f"{name}.kernel"][0, 0].T for name in names]),
        "in_proj_bias": np.concatenate([w[f"{name}.bias"] for name in names]),
        "out_proj.weight": w["project.kernel"][0, 0].T, "out_proj.bias": w["project.bias"],
    }  # fmt: skip
    peer.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in packed.items()})
    tokens = torch.from_numpy(flattened(x))
    assert_close(peer(tokens, tokens, tokens)[0].detach().numpy(), flattened(block(w, x)), 1e-13)


def test_keras_multi_head_attention_on_the_flattened_map() -> None:
    """Head width 4: its scale passes through float32, where 1/√4 is exact."""
    ar.backend("tensorflow")
    import keras

    block, x = MHA2D(channels=6, num_heads=2, head_width=4, value_head_width=5), real(2, 3, 5, 6)
    w = block.init(3)
    peer = keras.layers.MultiHeadAttention(2, key_dim=4, value_dim=5, dtype="float64", flash_attention=False)
    peer.build((None, None, 6), (None, None, 6))
    shapes = {"query": (6, 2, 4), "key": (6, 2, 4), "value": (6, 2, 5)}
    values = [v for n, s in shapes.items() for v in (w[f"{n}.kernel"].reshape(s), w[f"{n}.bias"].reshape(s[1:]))]
    peer.set_weights([*values, w["project.kernel"].reshape(2, 5, 6), w["project.bias"]])
    got, _ = peer(flattened(x), flattened(x), return_attention_scores=True)  # its fused path is float32 in places
    assert_close(np.asarray(got), flattened(block(w, x)), 1e-13)


@pytest.mark.parametrize("sub_sample", [False, True])
def test_torch_functions_are_spatial_and_non_local(sub_sample: bool) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn import functional as F

    x = real(2, 5, 4, 6)
    sagan = SAGAN(channels=6, project=True, sub_sample=sub_sample)
    for block, names, out in ((sagan, ("query", "key", "value"), "gate"),
                              (NON_LOCAL(channels=6, sub_sample=sub_sample), ("theta", "phi", "g"), "")):  # fmt: skip
        w = {name: torch.from_numpy(np.array(value)) for name, value in block.init(3).items()}
        image = torch.from_numpy(x).permute(0, 3, 1, 2)

        def conv(y: Any, name: str, w: Any = w) -> Any:
            return F.conv2d(y, w[f"{name}.kernel"].permute(3, 2, 0, 1), w[f"{name}.bias"])

        q, k, v = (conv(image, name) for name in names)
        k, v = (F.max_pool2d(y, 2) if sub_sample else y for y in (k, v))
        q, k, v = (y.flatten(2).mT for y in (q, k, v))
        y = conv(F.scaled_dot_product_attention(q, k, v, scale=1.0).mT.unflatten(2, (5, 4)), "project")
        want = (y * w["gate"] if out else y) + image
        assert_close(block(block.init(3), x), want.permute(0, 2, 3, 1).numpy(), 1e-13)


@pytest.mark.parametrize("use_scale", [False, True])
def test_keras_attention_is_spatial(use_scale: bool) -> None:
    ar.backend("tensorflow")
    import keras

    block, x = SAGAN(channels=6, head_width=3), real(2, 3, 5, 6)
    w = block.init(3)
    with ar.record() as taps:
        block(w, x)
    peer = keras.layers.Attention(use_scale=use_scale, dtype="float64")  # its learned scale starts at 1
    q, k, v = (taps[name].value for name in ("query", "key", "value"))
    assert_close(np.asarray(peer([q, v, k])), taps["context"].value.reshape(2, 15, 6), 1e-13)


# what is refused ------------------------------------------------------------------------------------------------------

REFUSED = [
    (lambda: MHA2D(channels=6, num_heads=4), "num_heads = 4 does not divide channels = 6; give head_width"),
    (lambda: MHA2D(channels=6, num_heads=2, output_channels=4, residual=True), "adds channels = 6 channels to 4"),
    (
        lambda: MHA2D(channels=6, num_heads=2, output_channels=4, project=False),
        "output_channels needs project, which is False",
    ),
    (lambda: MHA2D(channels=6, num_heads=2, position="sine"), "position should be one of None, 'content'; got 'sine'"),
    (lambda: SAGAN(channels=6, value_head_width=3), "value_head_width = 3 is not channels = 6"),
    (lambda: CHANNEL(channels=6, inner_width=3, project_shortcut=False), "inner_width = 3 is not channels = 6"),
    (lambda: CHANNEL(channels=6, inner_width=3, project_inputs=False), "needs project_inputs=True"),
    (lambda: NON_LOCAL(channels=6, dimensions=4), r"dimensions should be an integer in \[1, 3\]; got 4"),
    (lambda: NON_LOCAL(channels=6, pairing="gaussian"), "pairing should be one of 'softmax', 'dot'"),
    (lambda: NON_LOCAL(channels=6, scale="head"), "scale should be 'input', 'inner', a number or None; got 'head'"),
    (lambda: NON_LOCAL(channels=6, eps=0.1), "eps needs batch_norm, which is False"),
    (
        lambda: NON_LOCAL(channels=6, batch_norm=True, momentum=2.0),
        r"momentum should be a number in \[0, 1\]; got 2.0",
    ),
]


@pytest.mark.parametrize(("make", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_options_that_do_not_go_together_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


BAD = [
    (
        MHA2D(channels=6, num_heads=2),
        (2, 6, 3, 5),
        r"x should have axes 'b H W \{channels\}' = \(.*6.*\); got \(2, .*\)",
    ),
    (SAGAN(channels=6, sub_sample=True), (2, 3, 1, 6), "W is 1, and at least pool_size = 2 is needed"),
    (NON_LOCAL(channels=6, sub_sample=True), (2, 1, 3, 6), "H is 1, and at least pool_size = 2 is needed"),
    (NON_LOCAL(channels=6, sub_sample=True, dimensions=3), (2, 1, 3, 1, 6), "W is 1, and at least pool_size = 2"),
    (NON_LOCAL(channels=6, dimensions=1), (2, 4, 3, 6), r"x should have axes 'b W \{channels\}'"),
    (CHANNEL(channels=6), (2, 3, 5, 4), "axis {channels} is 4, not 6"),
]


@pytest.mark.parametrize(("block", "shape", "text"), BAD, ids=[text for *_, text in BAD])
def test_inputs_are_refused_alike_everywhere(block: ar.Block, shape: tuple[int, ...], text: str) -> None:
    x = np.ones(shape)
    with pytest.raises(ValueError, match=text):
        block(block.init(), x)
    for engine in ("torch", "tensorflow"):
        backend = ar.backend(engine)
        layer = backend.load(backend.build(block), block.init())
        with pytest.raises(ValueError, match=text):
            backend.run(layer, {"x": x})
        with pytest.raises(
            ValueError, match=text.replace("b H W \\{channels\\}", ".*").replace("b W \\{channels\\}", ".*")
        ):
            layer(native(engine, x))


def native(engine: str, x: np.ndarray) -> Any:
    """As one gives it to the layer itself: channels first in torch."""
    if engine == "torch":
        return pytest.importorskip("torch").from_numpy(np.moveaxis(x, -1, 1).copy())
    return pytest.importorskip("keras").ops.convert_to_tensor(x)


def test_torch_refuses_channels_last() -> None:
    backend, block = ar.backend("torch"), SAGAN(channels=6)
    layer = backend.load(backend.build(block), block.init())
    with pytest.raises(ValueError, match=r"x should have axes 'b \{channels\} H W' = .* axis \{channels\} is 3, not 6"):
        layer(pytest.importorskip("torch").ones(2, 3, 5, 6, dtype=pytest.importorskip("torch").float64))


def test_depth_is_never_pooled() -> None:
    block = NON_LOCAL(channels=4, dimensions=3, sub_sample=True)
    with ar.record() as taps:
        block(block.init(), real(2, 1, 3, 5, 4))
    assert taps["phi"].value.shape == (2, 2, 2)
