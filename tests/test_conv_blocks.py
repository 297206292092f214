"""Blocks over space: their ops and themselves against scalar loops, third-party layers, training, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles_conv as oracles
import pytest
from test_oracles import assert_close, lists, real

import attn_ref as ar
from attn_ref import ops
from attn_ref.weights import Weights

#: heights and widths: odd and even, never the same, one smaller than every kernel
SIZES = [(5, 6), (8, 3), (1, 2)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)

# ops ------------------------------------------------------------------------------------------------------------------

KERNEL, GROUPED = real(3, 2, 4, 6, seed="kernel"), real(3, 2, 2, 6, seed="grouped")
BIAS = real(6, seed="bias")
NORM = {"norm.scale": real(4, seed="s") + 2, "norm.offset": real(4, seed="o"), "norm.mean": real(4, seed="m"),
        "norm.variance": real(4, seed="v") + 2}  # fmt: skip


def normed(**options: Any) -> tuple[Any, Any]:
    """A batch norm of ours, and of the loops; in training if ``training``."""
    training = options.pop("training", False)

    def ours(x: Any) -> Any:
        with ar.training(training):
            return ops.batch_norm(x, Weights(NORM)["norm"], **options)

    w = {name: value.tolist() for name, value in NORM.items()}
    return ours, lambda x: np.array(oracles.batch_norm(lists(x), w, "norm", training=training, seen=None, **options))


def image(function: Any, *more: Any, **options: Any) -> Any:
    """A function of the loops, of an array."""
    return lambda x: np.array(function(lists(x), *more, **options))


OPS = {
    "conv": (lambda x: ops.conv(x, KERNEL, BIAS), image(oracles.conv, KERNEL.tolist(), BIAS.tolist())),
    "conv, stride and padding": (
        lambda x: ops.conv(x, KERNEL, stride=2, padding=1), image(oracles.conv, KERNEL.tolist(), stride=2, padding=1)
    ),
    "conv, groups": (
        lambda x: ops.conv(x, GROUPED, BIAS, stride=3, padding=2, groups=2),
        image(oracles.conv, GROUPED.tolist(), BIAS.tolist(), stride=3, padding=2, groups=2),
    ),
    "max_pool": (
        lambda x: ops.max_pool(x, 3, stride=2, padding=1), image(oracles.max_pool, 3, stride=2, padding=1)
    ),
    "max_pool, as wide as its stride": (lambda x: ops.max_pool(x, 2), image(oracles.max_pool, 2, stride=2, padding=0)),
    "largest": (
        lambda x: ops.largest(x, axis=(1, 2)), lambda x: np.array([oracles.maximum(part) for part in x.tolist()])
    ),
    "largest, one axis": (
        lambda x: ops.largest(x, axis=-1, keepdims=True),
        lambda x: np.array(oracles.vectors(lambda v: [max(v)], x.tolist())),
    ),
    "sigmoid": (ops.sigmoid, image(lambda x: oracles.each(oracles.sigmoid, x))),
    "hard_sigmoid": (ops.hard_sigmoid, image(lambda x: oracles.each(oracles.hard_sigmoid, x))),
    "batch_norm": normed(eps=0.1, momentum=0.1, unbiased=True),
    "batch_norm, training": normed(eps=0.1, momentum=0.1, unbiased=True, training=True),
}  # fmt: skip


@pytest.mark.parametrize("name", OPS)
def test_op(name: str) -> None:
    """Values at ordinary and at large arguments; Im f(x + ihv) / h against differences of the scalar definition."""
    op, oracle = OPS[name]
    for size in (1.0, 30.0):
        x = real(2, 5, 6, 4, size=size)
        assert_close(op(x), oracle(x))
    x, v, h, step = real(2, 5, 6, 4, size=2.0), real(2, 5, 6, 4, seed="v"), 1e-30, 1e-6
    tangent = op(x + 1j * h * v).imag / h
    assert_close(tangent, (oracle(x + step * v) - oracle(x - step * v)) / (2 * step), 1e-8)
    assert np.abs(tangent).max() > 1e-3
    np.testing.assert_array_equal(op(x + 0j).imag, 0)


@pytest.mark.parametrize("name", OPS)
def test_op_far_out_has_a_finite_derivative(name: str) -> None:
    op, oracle = OPS[name]
    x = np.where(real(2, 5, 6, 4) > 0, 800.0, -800.0)
    z = op(x + 1e-30j * real(2, 5, 6, 4, seed="v"))
    assert_close(z.real, oracle(x))
    assert np.isfinite(z.imag).all()


def test_parameters_of_ops_let_imaginary_parts_through() -> None:
    x, h = real(2, 5, 6, 4), 1e-30
    v, u = real(3, 2, 4, 6, seed="v"), real(6, seed="u")
    assert_close(
        ops.conv(x, KERNEL + 1j * h * v, BIAS + 1j * h * u).imag / h, oracles.conv(lists(x), lists(v), lists(u))
    )
    for training in (False, True):
        with ar.training(training):
            for name in ("scale", "offset", "mean", "variance"):
                d, step, full = real(4, seed="d"), 1e-6, f"norm.{name}"
                options = {"eps": 0.1, "momentum": 0.1, "unbiased": True}

                def run(w: Any, full: str = full) -> Any:
                    return ops.batch_norm(x, Weights({**NORM, full: w})["norm"], **options)  # noqa: B023

                differences = (run(NORM[full] + step * d) - run(NORM[full] - step * d)) / (2 * step)
                error = np.abs(np.imag(run(NORM[full] + 1j * h * d)) / h - differences)
                assert error.max() < 1e-8, name
                assert differences.any() == (not training or name in ("scale", "offset"))


def test_ops_of_no_images_have_none() -> None:
    x = np.zeros((0, 5, 6, 4))
    assert ops.conv(x, GROUPED, padding=1, groups=2).shape == (0, 5, 7, 6)
    assert ops.max_pool(x, 3, stride=2, padding=1).shape == (0, 3, 3, 4)
    assert ops.largest(x, axis=(1, 2)).shape == (0, 4)


def test_padding_never_wins() -> None:
    assert ops.max_pool(np.full((1, 3, 2, 1), -5.0), 3, stride=2, padding=1).tolist() == [[[[-5.0]], [[-5.0]]]]


def test_ties_and_corners_are_kinks() -> None:
    from attn_ref.ops.primitive import kinks

    for op, x, there in [
        (lambda x: ops.largest(x, axis=-1), [1.0, 2.0, 2.0], True),
        (lambda x: ops.largest(x, axis=-1), [1.0, 1.0, 2.0], False),
        (ops.hard_sigmoid, [3.0, 0.0], True),
        (ops.hard_sigmoid, [0.0, 6.0], False),
    ]:
        with kinks() as found:
            op(np.array(x))
        assert any(found) == there


# blocks ---------------------------------------------------------------------------------------------------------------


def assert_is_oracle(block: ar.Block, oracle: Any, x: np.ndarray) -> None:
    """Inference, and training with what the statistics become where there is a batch norm."""
    w = block.init(seed=11)
    given = {name: value.tolist() for name, value in w.items()}
    assert_close(block(w, x), oracle(given, x.tolist(), **block.fields()))
    if not any(name.endswith("variance") for name in w):
        return
    want: dict[str, Any] = {}
    expected = oracle(given, x.tolist(), training=True, seen=want, **block.fields())
    with ar.training(), ar.record() as taps:
        assert_close(block(w, x), expected, 1e-12)
    running = {name: tapped.value for name, tapped in taps.items() if "running" in name}
    assert {name.removeprefix("spatial_attention.") for name in running} == set(want)
    for name, value in running.items():
        assert_close(value, want[name.removeprefix("spatial_attention.")])


@every_size
@pytest.mark.parametrize(
    "fields",
    [{}, {"gate": "hard_sigmoid"}, {"use_bias": False}, {"reduction": 2}, {"reduced_width": 3}],
    ids=str,
)
def test_squeeze_excitation(size: tuple[int, int], fields: dict[str, Any]) -> None:
    block = ar.SqueezeExcitation(**{"channels": 7, "reduction": 3, **fields})
    assert_is_oracle(block, oracles.squeeze_excitation, real(2, *size, 7, size=4.0))


@every_size
@pytest.mark.parametrize("fields", [{}, {"use_bias": True}, {"reduced_width": 3}], ids=str)
def test_channel_attention(size: tuple[int, int], fields: dict[str, Any]) -> None:
    block = ar.ChannelAttention(**{"channels": 7, "reduction": 3, **fields})
    assert_is_oracle(block, oracles.channel_attention, real(2, *size, 7, size=4.0))


NORMS = [
    {"batch_norm": True, "unbiased": u, "momentum": m, "eps": e} for u, m, e in [(True, 0.3, 1e-5), (False, 0.01, 0.1)]
]


@every_size
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("fields", [{}, *NORMS], ids=str)
def test_spatial_attention(size: tuple[int, int], kernel_size: int, fields: dict[str, Any]) -> None:
    block = ar.SpatialAttention(kernel_size=kernel_size, **fields)
    assert_is_oracle(block, oracles.spatial_attention, real(2, *size, 7, size=4.0))


@every_size
@pytest.mark.parametrize("fields", [{}, *NORMS], ids=str)
def test_cbam(size: tuple[int, int], fields: dict[str, Any]) -> None:
    block = ar.CBAM(channels=7, reduction=2, kernel_size=5, **fields)
    assert_is_oracle(block, oracles.cbam, real(2, *size, 7, size=4.0))


@every_size
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel_size", "unbiased"), [(3, True), (5, False)])
def test_cbam_residual(size: tuple[int, int], stride: int, kernel_size: int, unbiased: bool) -> None:
    block = ar.CBAMResidual(channels=3, output_channels=7, kernel_size=kernel_size, stride=stride, unbiased=unbiased)
    x = real(2, *size, 3, size=4.0)
    assert_is_oracle(block, oracles.cbam_residual, x)
    assert block(block.init(), x).shape == (2, -(-size[0] // stride), -(-size[1] // stride), 7)


@every_size
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"groups": 1, "bottleneck_norm": False},
        {"branches": 3, "use_bias": True},
        {"unbiased": False, "momentum": 0.3},
    ],
    ids=str,
)
def test_selective_kernel(size: tuple[int, int], stride: int, fields: dict[str, Any]) -> None:
    block = ar.SelectiveKernel(**{"channels": 6, "groups": 3, "min_width": 5, "stride": stride, **fields})
    assert_is_oracle(block, oracles.selective_kernel, real(3, *size, 6, size=4.0))


def test_selective_kernel_has_the_width_of_the_paper() -> None:
    """d = max(C / r, L), L = 32."""
    assert [ar.SelectiveKernel(channels=c).bottleneck for c in (64, 512, 1024)] == [32, 32, 64]


def test_squeeze_excitation_by_hand() -> None:
    """Two channels of means 1 and 3: r = max(0, 1 + 3) = 4, gates σ(4) and σ(−4)."""
    w = {"reduce.kernel": np.ones((2, 1)), "expand.kernel": np.array([[1.0, -1.0]])}
    block = ar.SqueezeExcitation(channels=2, reduction=2, use_bias=False)
    x = np.array([[[[0.0, 3.0], [2.0, 3.0]]]])
    gate = 1 / (1 + np.exp([-4.0, 4.0]))
    assert_close(block(w, x), x * gate)


# third parties --------------------------------------------------------------------------------------------------------


def test_batch_norms_of_the_frameworks() -> None:
    """nn.BatchNorm2d is ``unbiased`` with our momentum; keras.layers.BatchNormalization is not, with 1 − momentum."""
    import torch

    ar.backend("tensorflow")
    import keras

    x, w = real(2, 5, 6, 4, size=3.0), Weights(NORM)["norm"]
    theirs = torch.nn.BatchNorm2d(4, momentum=0.3, eps=1e-3).double()
    layer = keras.layers.BatchNormalization(momentum=0.7, epsilon=1e-3, dtype="float64")
    layer.build((None, None, None, 4))
    layer.set_weights([NORM[f"norm.{name}"] for name in ("scale", "offset", "mean", "variance")])
    with torch.no_grad():
        for name, leaf in (
            ("weight", "scale"),
            ("bias", "offset"),
            ("running_mean", "mean"),
            ("running_var", "variance"),
        ):
            getattr(theirs, name).copy_(torch.from_numpy(NORM[f"norm.{leaf}"]))
        for unbiased in (True, False):
            with ar.training(), ar.record() as taps:
                y = ops.batch_norm(x, w, eps=1e-3, momentum=0.3, unbiased=unbiased)
            if unbiased:
                got = theirs(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
                mean, variance = theirs.running_mean.numpy(), theirs.running_var.numpy()
            else:
                got = keras.ops.convert_to_numpy(layer(x, training=True))
                mean, variance = (keras.ops.convert_to_numpy(v) for v in layer.weights[2:])
            assert_close(got, y)
            assert_close(mean, taps["norm.running_mean"].value)
            assert_close(variance, taps["norm.running_variance"].value)


@every_size
@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 1, 1), (2, 2, 2), (3, 1, 1)])
def test_convolution_and_pooling_of_torch(size: tuple[int, int], stride: int, padding: int, groups: int) -> None:
    import torch
    from torch.nn import functional as F

    x, kernel = real(2, *size, 4), real(3, 3, 4 // groups, 6, seed="kernel")
    image, weight = torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(kernel).permute(3, 2, 0, 1)
    got = F.conv2d(image, weight, torch.from_numpy(BIAS), stride=stride, padding=padding, groups=groups)
    assert_close(
        got.permute(0, 2, 3, 1).numpy(), ops.conv(x, kernel, BIAS, stride=stride, padding=padding, groups=groups)
    )
    got = F.max_pool2d(image, 3, stride=stride, padding=1)
    assert_close(got.permute(0, 2, 3, 1).numpy(), ops.max_pool(x, 3, stride=stride, padding=1))


# bad input ------------------------------------------------------------------------------------------------------------

REFUSED = [
    ("SqueezeExcitation", {"channels": 8}, r"channels // reduction = 8 // 16 = 0 values; give a reduction up to"),
    (
        "SqueezeExcitation",
        {"channels": 8, "reduced_width": 0},
        "reduced_width should be an integer above zero or None; got 0",
    ),
    ("SqueezeExcitation", {"channels": 16, "gate": "tanh"}, "gate should be one of 'sigmoid', 'hard_sigmoid'"),
    ("ChannelAttention", {"channels": 3, "reduction": 4}, r"channels // reduction = 3 // 4 = 0 values"),
    ("CBAM", {"channels": 3, "reduction": 4}, r"channels // reduction = 3 // 4 = 0 values"),
    ("SpatialAttention", {"kernel_size": 4}, "kernel_size should be odd, so that kernel_size // 2 pads both .* got 4"),
    ("SpatialAttention", {"eps": 0.1}, "eps needs batch_norm, which is False"),
    ("SpatialAttention", {"batch_norm": True, "eps": 0.0}, "eps should be a number above zero; got 0.0"),
    ("CBAM", {"channels": 16, "kernel_size": 2}, "kernel_size should be odd"),
    ("CBAMResidual", {"channels": 3, "output_channels": 3}, r"channels // reduction = 3 // 4 = 0 values"),
    ("CBAMResidual", {"channels": 3, "output_channels": 8, "kernel_size": 2}, "kernel_size should be odd, .* got 2"),
    (
        "CBAMResidual",
        {"channels": 3, "output_channels": 8, "momentum": 1.5},
        r"momentum should be .* \[0, 1\].* got 1.5",
    ),
    ("SelectiveKernel", {"channels": 8, "groups": 3}, "groups = 3 does not divide channels = 8"),
    ("SelectiveKernel", {"channels": 8}, "groups = 32 does not divide channels = 8"),
    ("SelectiveKernel", {"channels": 8, "groups": 1, "stride": 0}, "stride should be an integer above zero; got 0"),
]


def said(function: Any) -> str:
    with pytest.raises(ValueError) as caught:
        function()
    return str(caught.value)


@pytest.mark.parametrize(("name", "fields", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_options_that_cannot_be_are_refused_alike(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ar.block(name)(**fields)
    texts = {said(lambda: ar.block(name)(**fields))}
    for engine, package in (("torch", "attn_ref_torch"), ("tensorflow", "attn_ref_keras")):
        ar.backend(engine)
        from attn_ref.discovery import find

        mirror = find(name, package)
        assert mirror is not None
        texts.add(said(lambda: mirror(**fields)))  # noqa: B023
    assert len(texts) == 1


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
@pytest.mark.parametrize("name", ["SqueezeExcitation", "ChannelAttention", "CBAM", "SelectiveKernel"])
def test_channels_on_the_wrong_side_are_refused(name: str, engine: str) -> None:
    """The reference and Keras take them last, torch first."""
    block = ar.block(name)(**ar.block(name).example)
    x = np.ones((2, 8, 5, 6))
    with pytest.raises(ValueError, match=r"axes 'b H W \{channels\}' = \(2, 8, 5, 8\); got \(2, 8, 5, 6\)"):
        block(block.init(), x)
    layer = ar.backend(engine).build(block)
    if engine == "torch":
        import torch

        with pytest.raises(ValueError, match=r"axes 'b \{channels\} H W' = \(2, 8, H, W\); got \(2, 5, 6, 8\)"):
            layer(torch.ones(2, 5, 6, 8, dtype=torch.float64))
        return
    with pytest.raises(ValueError, match=r"axes 'b H W \{channels\}' = \(2, 8, 5, 8\); got \(2, 8, 5, 6\)"):
        layer(x)


@pytest.mark.parametrize(("name", "x"), [("SelectiveKernel", (1, 5, 6, 8)), ("CBAMResidual", (1, 1, 2, 3))])
@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_training_on_one_value_is_refused_alike(name: str, x: tuple[int, ...], engine: str) -> None:
    """After pooling over space one image is one value for each channel."""
    block, backend = ar.block(name)(**ar.block(name).example), ar.backend(engine)
    message = "batch norm: training takes at least 2 values for each channel; got 1"
    with ar.training(), pytest.raises(ValueError, match=message):
        block(block.init(), np.ones(x))
    layer = backend.load(backend.build(block), block.init())
    with pytest.raises(ValueError, match=message):
        backend.run(layer, {"x": np.ones(x)}, training=True)
    assert backend.run(layer, {"x": np.ones(x)}).output.shape == block(block.init(), np.ones(x)).shape
