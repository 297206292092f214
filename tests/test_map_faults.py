"""Faults planted in the mirrors of the blocks over feature maps: each is caught, at the tap where it was planted."""

from __future__ import annotations

import pytest
from planting import Fault, assert_caught, on_engines

MHA2D, SAGAN = "blocks.multi_head_attention2d", "blocks.spatial_self_attention"
CHANNEL, NON_LOCAL = "blocks.channel_self_attention", "blocks.non_local"
NAMES = {
    MHA2D: "MultiHeadAttention2d",
    SAGAN: "SpatialSelfAttention",
    CHANNEL: "ChannelSelfAttention",
    NON_LOCAL: "NonLocal",
}


def fault(name: str, module: str, tap: str, torch: tuple[str, str], keras: tuple[str, str]) -> Fault:
    return Fault(name, module, NAMES[module], tap, torch, keras)


FAULTS = [
    fault(
        "no activation of the value", MHA2D, "value",
        ("self.heads(self.value(pixels))", "self.value(pixels).flatten(2).unflatten(1, (self.num_heads, -1)).mT"),
        ("self.heads(self.value(pixels))",
         "ops.swapaxes(ops.reshape(self.value(pixels), (b, height * width, self.num_heads, self.e)), 1, 2)"),
    ),
    fault(
        "channels first read as channels last", MHA2D, "query|key|value|raised",
        ("active.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)",
         "active.reshape(len(x), x.shape[2] * x.shape[3], self.num_heads, -1 if len(x) else 0).transpose(1, 2)"),
        ("ops.reshape(active, split)", "ops.reshape(ops.transpose(active, (0, 3, 1, 2)), split)"),
    ),
    fault(
        "heads interleaved", MHA2D, "query|key|value",
        ("unflatten(1, (self.num_heads, -1)).transpose(2, 3)",
         "unflatten(1, (x.shape[1] // self.num_heads, self.num_heads)).permute(0, 2, 3, 1)"),
        ("split = (b, height * width, self.num_heads, x.shape[-1] // self.num_heads)\n"
         "        return ops.swapaxes(ops.reshape(active, split), 1, 2)",
         "split = (b, height * width, x.shape[-1] // self.num_heads, self.num_heads)\n"
         "        return ops.transpose(ops.reshape(active, split), (0, 3, 1, 2))"),
    ),
    fault(
        "position without its ReLU", MHA2D, "positioned",
        ("F.relu(self.position(x))", "self.position(x)"), ("ops.relu(self.position(x))", "self.position(x)"),
    ),
    fault(
        "the residual after the position", MHA2D, "output",
        ("return y + x if", "return y + pixels if"), ("return y + x if", "return y + pixels if"),
    ),
    fault(
        "softmax over the queries", SAGAN, "weights",
        ("scores.softmax(dim=-1)", "scores.softmax(dim=-2)"),
        ("ops.softmax(scores, axis=-1)", "ops.softmax(scores, axis=-2)"),
    ),
    fault(
        "the value not sub-sampled with the key", SAGAN, "value",
        ("self.pool(self.value(x))", "self.pool(self.value(x).flip(2))"),
        ("self.pool(self.value(x))", "self.pool(ops.flip(self.value(x), 1))"),
    ),
    fault(
        "means instead of the largest", SAGAN, "key",
        ("nn.MaxPool2d(2)", "nn.AvgPool2d(2)"),
        ('ops.max_pool(x, 2, 2, data_format="channels_last")',
         'ops.average_pool(x, 2, 2, data_format="channels_last")'),
    ),
    fault(
        "the gate dropped", SAGAN, "output", ("return self.gate * y + x", "return y + x"),
        ("return self.gate * y + x", "return y + x"),
    ),
    fault(
        "the gate on the shortcut", SAGAN, "output", ("return self.gate * y + x", "return y + self.gate * x"),
        ("return self.gate * y + x", "return y + self.gate * x"),
    ),
    fault(
        "scaled in the fused call", SAGAN, "output (taps off, so in the fused path only)",
        ("q, k, v, scale=1.0", "q, k, v"),
        ('weights = tap("weights", ops.softmax(scores, axis=-1), "b t s")',
         'from attn_ref.tap import probing\n'
         '        scores = scores if probing() else scores * q.shape[-1] ** -0.5 * 0.5\n'
         '        weights = tap("weights", ops.softmax(scores, axis=-1), "b t s")'),
    ),
    fault(
        "the scores transposed", CHANNEL, "scores",
        ("torch.bmm(q, k.transpose(1, 2))", "torch.bmm(k, q.transpose(1, 2))"),
        ("ops.matmul(ops.swapaxes(q, 1, 2), k)", "ops.matmul(ops.swapaxes(k, 1, 2), q)"),
    ),
    fault(
        "the map transposed", CHANNEL, "context",
        ("torch.bmm(weights, v)", "torch.bmm(weights.transpose(1, 2), v)"),
        ("ops.matmul(v, ops.swapaxes(weights, 1, 2))", "ops.matmul(v, weights)"),
    ),
    fault(
        "score − max", CHANNEL, "inverted",
        ("scores.amax(dim=-1, keepdim=True) - scores", "scores - scores.amax(dim=-1, keepdim=True)"),
        ("largest - scores", "scores - largest"),
    ),
    fault(
        "the gate on the shortcut", CHANNEL, "output",
        ("self.gate * context + shortcut", "context + self.gate * shortcut"),
        ("y = self.gate * tap", "y = tap"),
    ),
    fault(
        "g not sub-sampled as φ", NON_LOCAL, "raised",  # there are more values than weights
        ("self.pool(self.g(x))", "self.g(x)"), ("self.pool(self.g(x))", "self.g(x)"),
    ),
    fault(
        "φ not sub-sampled as g", NON_LOCAL, "raised",
        ("self.pool(self.phi(x))", "self.phi(x)"), ("self.pool(self.phi(x))", "self.phi(x)"),
    ),
    fault(
        "θ instead of φ", NON_LOCAL, "phi",
        ("self.pool(self.phi(x))", "self.pool(self.theta(x))"),
        ("self.pool(self.phi(x))", "self.pool(self.theta(x))"),
    ),
    fault(
        "divided by the number of queries", NON_LOCAL, "weights",
        ("scores / phi.shape[1]", "scores / theta.shape[1]"),
        ("ops.shape(scores)[-1], scores.dtype", "ops.shape(scores)[-2], scores.dtype"),
    ),
    fault(
        "scale by the inner width", NON_LOCAL, "scores",
        ('{"input": channels**-0.5,', '{"input": inner**-0.5,'),
        ('{"input": channels**-0.5,', '{"input": self.inner**-0.5,'),
    ),
    fault(
        "the framework's own eps", NON_LOCAL, "normed",
        ("BatchNorm(channels, eps=eps,", "BatchNorm(channels, eps=1e-5,"),
        ('"epsilon": eps', '"epsilon": 1e-5'),
    ),
    fault(
        "x normalised too", NON_LOCAL, "normed",
        ('normalise(self.norm, y, "norm")', 'normalise(self.norm, y + x, "norm")'),
        ('normalise(self.norm, y, "norm", training)', 'normalise(self.norm, y + x, "norm", training)'),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "engine"), on_engines(FAULTS))
def test_fault_is_caught_at_its_tap(fault: Fault, engine: str) -> None:
    assert_caught(fault, engine)
