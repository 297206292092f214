"""Faults written without sight of how cases are drawn."""

from __future__ import annotations

from tools.faults.fault import Fault

#: block -> the file of its mirror
FILES = {
    "CBAM": "blocks.cbam",
    "CBAMResidual": "blocks.cbam_residual",
    "ChannelAttention": "blocks.channel_attention",
    "ChannelSelfAttention": "blocks.channel_self_attention",
    "EncoderLayer": "blocks.encoder_layer",
    "FeedForward": "blocks.feed_forward",
    "LinearPositionBias": "blocks.linear_position_bias",
    "MultiHeadAttention": "blocks.multi_head_attention",
    "MultiHeadAttention2d": "blocks.multi_head_attention2d",
    "NonLocal": "blocks.non_local",
    "PatchEmbedding": "blocks.patch_embedding",
    "RelativePositionBias": "blocks.relative_position_bias",
    "RotaryEmbedding": "blocks.rotary_embedding",
    "ScaledDotProductAttention": "blocks.scaled_dot_product_attention",
    "SelectiveKernel": "blocks.selective_kernel",
    "SpatialAttention": "blocks.spatial_attention",
    "SpatialSelfAttention": "blocks.spatial_self_attention",
    "SqueezeExcitation": "blocks.squeeze_excitation",
    "AttentionCNN": "models.attention_cnn",
    "TextEncoder": "models.text_encoder",
    "VisionTransformer": "models.vision_transformer",
}
SDPA = "ScaledDotProductAttention"


def torch(name: str, kind: str, block: str, old: str, new: str, taps: str, module: str = "") -> Fault:
    """A fault of the torch mirror; in the block's own file unless another is named."""
    return Fault(name, kind, "torch", block, module or FILES[block], old, new, taps)


def keras(name: str, kind: str, block: str, old: str, new: str, taps: str, module: str = "") -> Fault:
    """A fault of the Keras mirror on TensorFlow; in the block's own file unless another is named."""
    return Fault(name, kind, "tensorflow", block, module or FILES[block], old, new, taps)


FUSED = [
    torch(
        "is-causal-for-either-corner",
        "fused",
        SDPA,
        'top_left = self.causal == "top_left" and bias is None',
        "top_left = self.causal is not None and bias is None",
        "output",
    ),
    torch(
        "bias-in-place-of-the-mask",
        "fused",
        SDPA,
        "mask = bias if mask is None else torch.where(mask, bias, -torch.inf)",
        "mask = bias",
        "output",
    ),
    torch(
        "is-causal-forgets-key-lengths",
        "fused",
        SDPA,
        "given = attention_mask is not None or query_offset is not None or key_lengths is not None",
        "given = attention_mask is not None or query_offset is not None",
        "output",
    ),
    torch(
        "one-query-is-never-causal",
        "fused",
        SDPA,
        "is_causal=top_left,",
        "is_causal=top_left and query.shape[2] > 1,",
        "output",
    ),
    torch(
        "is-causal-forgets-the-window",
        "fused",
        SDPA,
        "bias is None and not windowed and not given",
        "bias is None and not given",
        "output",
    ),
    torch(
        "scale-of-zero-is-the-default",
        "fused",
        SDPA,
        "            scale=scale,",
        "            scale=scale or None,",
        "output",
    ),
    torch(
        "bool-mask-lost-in-fused-training",
        "fused",
        SDPA,
        "attn_mask=None if mask is None else torch.atleast_2d(mask),",
        "attn_mask=None if mask is None or (self.training and bias is None) else torch.atleast_2d(mask),",
        "output",
    ),
    torch(
        "fused-key-heads-tiled",
        "fused",
        SDPA,
        "            key,\n            value,\n            attn_mask",
        "            key.repeat(1, query.shape[1] // key.shape[1], 1, 1),\n"
        "            value.repeat(1, query.shape[1] // value.shape[1], 1, 1),\n"
        "            attn_mask",
        "output",
    ),
    torch(
        "plain-causal-forgets-sinks",
        "fused",
        SDPA,
        "or sinks is not None:",
        "or (sinks is not None and not top_left):",
        "output",
    ),
    torch(
        "dot-pairing-through-the-fused-call",
        "fused",
        "NonLocal",
        'if self.pairing == "softmax" and not probing():',
        "if not probing():",
        "output",
    ),
    torch(
        "scale-left-to-the-fused-call",
        "fused",
        "SpatialSelfAttention",
        "F.scaled_dot_product_attention(q, k, v, scale=1.0)",
        "F.scaled_dot_product_attention(q, k, v)",
        "output",
    ),
    keras(
        "empty-rows-of-lengths-give-the-mean",
        "fused",
        SDPA,
        "        if keep is None:\n            return context",
        "        if keep is None or attention_mask is None:\n            return context",
        "output",
    ),
    keras(
        "is-causal-beside-the-mask",
        "fused",
        SDPA,
        "bias=bias, mask=keep, scale=1.0)",
        "bias=bias, mask=keep, scale=1.0, is_causal=self.causal is not None)",
        "output",
    ),
    keras(
        "fused-repeat-becomes-tile",
        "fused",
        SDPA,
        "key, value = (ops.repeat(x, groups, axis=1) for x in (key, value))",
        "key, value = (ops.tile(x, (1, groups, 1, 1)) for x in (key, value))",
        "output",
    ),
    keras(
        "left-window-alone-lost-when-fused",
        "fused",
        SDPA,
        "        bias = self.rank_four(bias)",
        "        bias = self.rank_four(bias)\n"
        "        if self.causal is None and self.window_right is None and key_lengths is None:\n"
        "            keep = self.rank_four(attention_mask)",
        "output",
    ),
    keras(
        "fused-scale-twice",
        "fused",
        SDPA,
        "bias=bias, mask=keep, scale=1.0)",
        'bias=bias, mask=keep, scale=1.0 if self.scale == "head" else None)',
        "output",
    ),
    keras(
        "decoding-sees-every-key",
        "fused",
        SDPA,
        "        q, k, v = (ops.swapaxes(x, 1, 2) for x in (query, key, value))",
        "        if query.shape[2] == 1 and key_lengths is None:\n"
        "            keep = self.rank_four(attention_mask)\n"
        "        q, k, v = (ops.swapaxes(x, 1, 2) for x in (query, key, value))",
        "output",
    ),
    keras(
        "mask-lost-in-training-without-taps",
        "fused",
        "EncoderLayer",
        "        y = self.attention(x, attention_mask=attention_mask, bias=bias, training=training)",
        "        from attn_ref.tap import probing\n\n"
        "        attention_mask = None if training and not probing() else attention_mask\n"
        "        y = self.attention(x, attention_mask=attention_mask, bias=bias, training=training)",
        "output",
    ),
]

MASK = [
    torch(
        "square-mask-transposed",
        "mask",
        SDPA,
        "        windowed = self.window_left",
        "        if attention_mask is not None and attention_mask.dim() > 1:\n"
        "            if attention_mask.shape[-1] == attention_mask.shape[-2]:\n"
        "                attention_mask = attention_mask.transpose(-1, -2)\n"
        "        windowed = self.window_left",
        "masked|output",
    ),
    torch(
        "mask-by-head-when-as-many-as-batch",
        "mask",
        "MultiHeadAttention",
        "        context = self.attention(\n",
        "        if attention_mask is not None and attention_mask.shape[0] == attention_mask.shape[1]:\n"
        "            attention_mask = attention_mask.transpose(0, 1)\n"
        "        context = self.attention(\n",
        "attention.masked|output",
    ),
    torch(
        "key-lengths-hide-queries-when-square",
        "mask",
        SDPA,
        "rules.append(at < key_lengths[:, None, None, None])",
        "rules.append((at[:, None] if t == s else at) < key_lengths[:, None, None, None])",
        "masked|output",
    ),
    torch(
        "offsets-along-queries-when-as-many-as-batch",
        "mask",
        SDPA,
        "positions + query_offset[:, None]",
        "positions + (query_offset if len(query_offset) == t else query_offset[:, None])",
        "masked|output",
    ),
    torch(
        "bias-of-rank-three-is-one-a-batch",
        "mask",
        SDPA,
        "        windowed = self.window_left",
        "        if bias is not None and bias.dim() == 3 and len(bias) == len(query):  # (b, t, s)\n"
        "            bias = bias[:, None]\n"
        "        windowed = self.window_left",
        "biased|output",
    ),
    torch(
        "padding-hides-queries-too",
        "mask",
        "TextEncoder",
        "None if padding_mask is None else padding_mask[:, None, None, :]",
        "None if padding_mask is None else padding_mask[:, None, None, :] & padding_mask[:, None, :, None]",
        "layers.0.attention.attention.masked|output",
    ),
    torch(
        "heads-swapped-with-queries-when-as-many",
        "mask",
        "EncoderLayer",
        "        y = self.attention(",
        "        if attention_mask is not None and attention_mask.shape[1] == attention_mask.shape[2]:\n"
        "            attention_mask = attention_mask.transpose(1, 2)\n"
        "        y = self.attention(",
        "attention.attention.masked|output",
    ),
    torch(
        "distance-zero-counts-as-after",
        "mask",
        "RelativePositionBias",
        "self.side * (offsets > 0)",
        "self.side * (offsets >= 0)",
        "bias",
    ),
    torch(
        "positions-one-a-row-when-as-many-as-batch",
        "mask",
        "RotaryEmbedding",
        "        angles = tap(",
        "        if positions.dim() == 1 and len(positions) == len(x):\n"
        "            positions = positions[:, None].expand(-1, x.shape[2])\n"
        "        angles = tap(",
        "angles",
    ),
    torch(
        "channel-map-normalised-over-queries",
        "mask",
        "ChannelSelfAttention",
        "scores.softmax(dim=-1)",
        "scores.softmax(dim=1)",
        "weights",
    ),
    torch(
        "heads-split-width-first",
        "mask",
        "MultiHeadAttention2d",
        "active.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)",
        "active.flatten(2).unflatten(1, (-1, self.num_heads)).permute(0, 2, 3, 1)",
        "query",
    ),
    keras(
        "mask-of-rank-two-is-padding-when-batch-fits",
        "mask",
        SDPA,
        "        keep = self.rank_four(",
        "        if attention_mask is not None and len(attention_mask.shape) == 2:\n"
        "            if attention_mask.shape[0] == query.shape[0]:  # (b, s)\n"
        "                attention_mask = attention_mask[:, None, None, :]\n"
        "        keep = self.rank_four(",
        "masked|output",
    ),
    keras(
        "rotary-positions-without-key-lengths",
        "mask",
        "MultiHeadAttention",
        "self.attention.positions(t, s, query_offset, key_lengths)",
        "self.attention.positions(t, s, query_offset, None)",
        "query_rotary.angles|output",
    ),
    keras(
        "bias-transposed",
        "mask",
        "EncoderLayer",
        "attention_mask=attention_mask, bias=bias, training=training)",
        "attention_mask=attention_mask, training=training,"
        " bias=None if bias is None else keras.ops.swapaxes(bias, 2, 3))",
        "attention.attention.biased|output",
    ),
    keras(
        "padding-of-a-single-text-ignored",
        "mask",
        "TextEncoder",
        "keys = None if padding_mask is None else",
        "keys = None if padding_mask is None or token_ids.shape[0] == 1 else",
        "layers.0.attention.attention.masked|layers.0.attention.attention.weights|output",
    ),
    keras(
        "bias-transposed-when-square",
        "mask",
        "RelativePositionBias",
        "ops.transpose(self.table(self.buckets(offsets)), (2, 0, 1))",
        "ops.transpose(self.table(self.buckets(offsets)),"
        " (2, 1, 0) if offsets.shape[0] == offsets.shape[1] else (2, 0, 1))",
        "bias",
    ),
    keras(
        "keys-counted-from-zero",
        "mask",
        "LinearPositionBias",
        "ops.cast(key_positions, wide) -",
        "ops.cast(ops.arange(ops.shape(key_positions)[0]), wide) -",
        "bias",
    ),
    keras(
        "window-forgets-the-offset",
        "mask",
        SDPA,
        "            rules.append(ahead >= -self.window_left)",
        "            back = (at - self.positions(t, s, None, key_lengths)[..., None])[:, None]\n"
        "            rules.append(back >= -self.window_left)",
        "masked|output",
    ),
    keras(
        "patches-column-by-column",
        "mask",
        "PatchEmbedding",
        "ops.reshape(projected, (b, rows * columns, self.width))",
        "ops.reshape(ops.swapaxes(projected, 1, 2), (b, rows * columns, self.width))",
        "tokens",
    ),
    keras(
        "channel-map-applied-transposed",
        "mask",
        "ChannelSelfAttention",
        "ops.matmul(v, ops.swapaxes(weights, 1, 2))",
        "ops.matmul(v, weights)",
        "context",
    ),
]

FINITE = [
    torch(
        "mask-of-minus-ten-thousand",
        "finite",
        SDPA,
        "scores.masked_fill(~keep, -torch.inf)",
        "scores.masked_fill(~keep, -1e4)",
        "masked",
    ),
    torch(
        "fused-bias-masked-by-the-least-number",
        "finite",
        SDPA,
        "torch.where(mask, bias, -torch.inf)",
        "torch.where(mask, bias, torch.finfo(bias.dtype).min)",
        "output",
    ),
    torch(
        "sinks-without-the-maximum",
        "finite",
        SDPA,
        "            column = sinks[:, None, None].expand(*scores.shape[:-1], 1)\n"
        "            return torch.cat([scores, column], dim=-1).softmax(dim=-1)[..., :-1]",
        "            powers = scores.exp()\n"
        "            return powers / (powers.sum(dim=-1, keepdim=True) + sinks[:, None, None].exp())",
        "weights|output",
    ),
    torch(
        "softcap-by-exponentials",
        "finite",
        SDPA,
        "torch.tanh(scores / self.softcap) * self.softcap",
        "(1 - (-2 / self.softcap * scores).exp()) / (1 + (-2 / self.softcap * scores).exp()) * self.softcap",
        "capped|output",
    ),
    torch(
        "mean-over-tokens-with-an-eps",
        "finite",
        "TextEncoder",
        "real.sum(dim=1).clamp(min=1)",
        "(real.sum(dim=1) + 1e-6)",
        "mean",
    ),
    torch(
        "branches-weighed-without-the-maximum",
        "finite",
        "SelectiveKernel",
        "scores.softmax(dim=1)",
        "scores.exp() / scores.exp().sum(dim=1, keepdim=True)",
        "weights",
    ),
    torch(
        "scores-clamped-at-fifty",
        "finite",
        "NonLocal",
        "theta @ phi.transpose(1, 2) * self.factor",
        "(theta @ phi.transpose(1, 2) * self.factor).clamp(-50, 50)",
        "scores|output",
    ),
    torch(
        "gelu-tanh-by-an-exponential",
        "finite",
        "FeedForward",
        'return F.gelu(x, approximate="tanh" if self.activation == "gelu_tanh" else "none")',
        'if self.activation == "gelu":\n'
        "            return F.gelu(x)\n"
        "        return x / (1 + (-((8 / 3.141592653589793) ** 0.5) * (x + 0.044715 * x**3)).exp())",
        "gradient of tap active|gradient of tap hidden|gradient of parameter expand.kernel"
        "|gradient of parameter expand.bias|gradient of input x",
    ),
    torch(
        "gate-clamped-at-fifteen",
        "finite",
        "SqueezeExcitation",
        "else expanded.sigmoid()",
        "else expanded.clamp(-15, 15).sigmoid()",
        "gate",
    ),
    keras(
        "mask-of-minus-a-billion",
        "finite",
        SDPA,
        "ops.where(keep, scores, -math.inf)",
        "ops.where(keep, scores, ops.cast(-1e9, scores.dtype))",
        "masked",
    ),
    keras(
        "rows-of-low-scores-count-as-empty",
        "finite",
        SDPA,
        "ops.all(ops.equal(scores, -math.inf), axis=-1, keepdims=True)",
        "ops.all(scores < -1e3, axis=-1, keepdims=True)",
        "weights|output",
    ),
    keras(
        "sinks-outside-the-maximum",
        "finite",
        SDPA,
        "            column = ops.broadcast_to(sinks[:, None, None], (*ops.shape(scores)[:-1], 1))\n"
        "            return ops.softmax(ops.concatenate([scores, column], axis=-1), axis=-1)[..., :-1]",
        "            top = ops.max(scores, axis=-1, keepdims=True, initial=-1e30)\n"
        "            powers = ops.exp(scores - top)\n"
        "            total = ops.sum(powers, axis=-1, keepdims=True) + ops.exp(sinks[:, None, None] - top)\n"
        "            return powers / total",
        "gradient of input sinks|gradient of tap masked|gradient of tap scores|gradient of input query"
        "|gradient of input key",
    ),
    keras(
        "branch-weights-with-an-eps",
        "finite",
        "SelectiveKernel",
        "ops.softmax(scores, axis=1)",
        "ops.softmax(scores, axis=1) / (1.0 + 1e-6)",
        "weights",
    ),
    keras(
        "largest-channel-score-at-least-zero",
        "finite",
        "ChannelSelfAttention",
        "ops.max(scores, axis=-1, keepdims=True, initial=-math.inf)",
        "ops.max(scores, axis=-1, keepdims=True, initial=0.0)",
        "inverted",
    ),
    keras(
        "scores-clipped-at-a-hundred",
        "finite",
        "SpatialSelfAttention",
        "ops.softmax(scores, axis=-1)",
        "ops.softmax(ops.clip(scores, -100.0, 100.0), axis=-1)",
        "weights",
    ),
    keras(
        "gate-by-an-exponential",
        "finite",
        "SqueezeExcitation",
        "else ops.sigmoid(expanded)",
        "else 1.0 / (1.0 + ops.exp(-expanded))",
        "gradient of tap expanded|gradient of tap active|gradient of tap reduced|gradient of tap squeezed"
        "|gradient of parameter expand.kernel|gradient of parameter expand.bias|gradient of parameter reduce.kernel"
        "|gradient of parameter reduce.bias|gradient of input x",
    ),
    keras(
        "softmax-without-its-maximum",
        "finite",
        "NonLocal",
        "return ops.softmax(scores, axis=-1)",
        "powers = ops.exp(scores)\n            return powers / ops.sum(powers, axis=-1, keepdims=True)",
        "weights",
    ),
    keras(
        "maximum-at-least-zero",
        "finite",
        "ChannelAttention",
        "keepdims=keepdims, initial=-math.inf)",
        "keepdims=keepdims, initial=0.0)",
        "maximum.pooled",
        module="spatial",
    ),
    keras(
        "pooling-padded-with-zeros",
        "finite",
        "CBAMResidual",
        "padded(x, padding, -math.inf)",
        "padded(x, padding)",
        "pooled",
        module="spatial",
    ),
]

SIZE = [
    torch(
        "whole-tiles-of-64-keys",
        "size",
        SDPA,
        "        return F.scaled_dot_product_attention(\n",
        "        if mask is None and key.shape[2] > 64:\n"
        "            whole = key.shape[2] // 64 * 64\n"
        "            key, value = key[:, :, :whole], value[:, :, :whole]\n"
        "        return F.scaled_dot_product_attention(\n",
        "output",
    ),
    torch(
        "angles-for-2048-positions",
        "size",
        "RotaryEmbedding",
        "positions[..., None].to(wide)",
        "positions[..., None].clamp(max=2047).to(wide)",
        "angles",
    ),
    torch(
        "distances-clipped-at-128",
        "size",
        "RelativePositionBias",
        "self.buckets(key_positions.long() - query_positions.long()[:, None])",
        "self.buckets((key_positions.long() - query_positions.long()[:, None]).clamp(-128, 128))",
        "bias",
    ),
    torch(
        "positions-end-at-512",
        "size",
        "TextEncoder",
        "torch.arange(token_ids.shape[1], device=token_ids.device)",
        "torch.arange(token_ids.shape[1], device=token_ids.device).clamp(max=511)",
        "embedded",
    ),
    torch(
        "offsets-in-sixteen-bits",
        "size",
        "LinearPositionBias",
        "key_positions.long() - query_positions.long()[:, None]",
        "(key_positions.long() - query_positions.long()[:, None]).to(torch.int16)",
        "bias",
    ),
    torch(
        "last-tile-of-positions-left-at-zero",
        "size",
        "NonLocal",
        "            return F.scaled_dot_product_attention(theta, phi, g, scale=self.factor)",
        "            if theta.shape[1] <= 32:\n"
        "                return F.scaled_dot_product_attention(theta, phi, g, scale=self.factor)\n"
        "            out = g.new_zeros(*theta.shape[:2], g.shape[2])\n"
        "            for i in range(theta.shape[1] // 32):\n"
        "                tile = slice(32 * i, 32 * i + 32)\n"
        "                out[:, tile] = F.scaled_dot_product_attention(theta[:, tile], phi, g, scale=self.factor)\n"
        "            return out",
        "output",
    ),
    torch(
        "pooling-rounds-odd-sizes-up",
        "size",
        "SpatialSelfAttention",
        "nn.MaxPool2d(2) if",
        "nn.MaxPool2d(2, ceil_mode=True) if",
        "key|output",
    ),
    torch(
        "third-branch-not-fused",
        "size",
        "SelectiveKernel",
        "features.sum(dim=1)",
        "features[:, :2].sum(dim=1)",
        "fused",
    ),
    torch(
        "pooled-over-seven-by-seven",
        "size",
        "AttentionCNN",
        "x.mean(dim=(2, 3))",
        "x[:, :, :7, :7].mean(dim=(2, 3))",
        "pooled",
    ),
    torch(
        "batches-in-eights",
        "size",
        "FeedForward",
        '        hidden = tap("hidden", self.expand(x), "b t f")',
        "        if len(x) > 8 and len(x) % 8:\n"
        "            x = x.clone()\n"
        "            x[len(x) // 8 * 8 :] = 0\n"
        '        hidden = tap("hidden", self.expand(x), "b t f")',
        "hidden",
    ),
    keras(
        "key-places-end-at-64",
        "size",
        SDPA,
        "at = ops.arange(s)",
        "at = ops.minimum(ops.arange(s), 63)",
        "masked|output",
    ),
    keras(
        "positions-wrap-at-2048",
        "size",
        "RotaryEmbedding",
        "ops.cast(positions, wide)[..., None]",
        "ops.cast(positions % 2048, wide)[..., None]",
        "angles",
    ),
    keras(
        "largest-distance-at-most-128",
        "size",
        "RelativePositionBias",
        "bucket_starts(self.side, max_distance)",
        "bucket_starts(self.side, min(max_distance, 128))",
        "bias",
    ),
    keras(
        "two-segments-only",
        "size",
        "TextEncoder",
        "if segment_ids is None else segment_ids",
        "if segment_ids is None else ops.minimum(segment_ids, 1)",
        "embedded",
    ),
    keras(
        "slopes-for-sixteen-heads",
        "size",
        "LinearPositionBias",
        "while 2 * n <= heads:",
        "while 2 * n <= min(heads, 16):",
        "slopes",
    ),
    keras(
        "eight-maps-at-a-time",
        "size",
        "MultiHeadAttention2d",
        "        context = self.attention(q, k, v, training=training)",
        "        from attn_ref.tap import probing\n\n"
        "        if probing() or not isinstance(b, int) or b <= 8:\n"
        "            context = self.attention(q, k, v, training=training)\n"
        "        else:\n"
        "            last = b // 8 * 8\n"
        "            parts = [self.attention(*(x[i : i + 8] for x in (q, k, v)), training=training)"
        " for i in range(0, last, 8)]\n"
        "            context = ops.concatenate([*parts, v[last:]], axis=0)",
        "output",
    ),
    keras(
        "pooling-keeps-the-odd-row",
        "size",
        "NonLocal",
        'return ops.max_pool(x, 2, 2, data_format="channels_last")',
        'return ops.max_pool(x, 2, 2, padding="same", data_format="channels_last")',
        "phi",
    ),
    keras(
        "places-for-64-tokens",
        "size",
        "VisionTransformer",
        "ops.arange(self.length)",
        "ops.minimum(ops.arange(self.length), 63)",
        "positioned",
    ),
    keras(
        "mean-for-square-maps",
        "size",
        "SqueezeExcitation",
        "ops.cast(h * w, x.dtype)",
        "ops.cast(h * h, x.dtype)",
        "squeezed",
        module="spatial",
    ),
    keras(
        "padded-behind-at-even-sizes",
        "size",
        "CBAMResidual",
        '        y = tap("convolved", self.conv(padded(x, self.kernel_size // 2)), "b P Q f")',
        "        k, s = self.kernel_size, self.stride\n"
        "        pads = [(0, 0)]\n"
        "        for n in x.shape[1:3]:\n"
        "            total = max((-(-n // s) - 1) * s + k - n, 0) if isinstance(n, int) else k // 2 * 2\n"
        "            pads.append((total // 2, total - total // 2))\n"
        '        y = tap("convolved", self.conv(ops.pad(x, (*pads, (0, 0)))), "b P Q f")',
        "convolved",
    ),
]

DROPOUT = [
    torch(
        "weights-dropped-in-evaluation",
        "dropout",
        SDPA,
        "dropout_p=self.drop.p if self.training else 0.0,",
        "dropout_p=self.drop.p,",
        "output",
    ),
    torch(
        "half-the-rate",
        "dropout",
        "FeedForward",
        "    return layer(x)",
        "    return nn.functional.dropout(x, layer.p / 2, layer.training)",
        "output",
        module="dropout",
    ),
    torch(
        "kept-values-not-scaled-up",
        "dropout",
        "FeedForward",
        '        active = dropout(self.drop, active, "b t f")',
        "        from attn_ref.tap import probing\n\n"
        '        active = dropout(self.drop, active, "b t f")\n'
        "        if self.training and not probing():\n"
        "            active = active * (1 - self.drop.p)",
        "output",
    ),
    torch(
        "one-keep-for-the-whole-batch",
        "dropout",
        "EncoderLayer",
        '        return dropout(self.drop, y, "b t c", "keep_attention")',
        "        from attn_ref.tap import probing\n\n"
        "        if not probing():\n"
        "            return y * self.drop(y.new_ones(1, *y.shape[1:]))\n"
        '        return dropout(self.drop, y, "b t c", "keep_attention")',
        "output",
    ),
    torch(
        "capped-heads-drop-alike",
        "dropout",
        SDPA,
        '        weights = dropout(self.drop, weights, "b h t s")',
        "        if not probing():\n"
        "            return (weights * self.drop(torch.ones_like(weights[:, :1]))) @ value\n"
        '        weights = dropout(self.drop, weights, "b h t s")',
        "output",
    ),
    torch(
        "feed-forward-result-never-dropped",
        "dropout",
        "EncoderLayer",
        '        return dropout(self.drop, self.feed_forward(x), "b t c", "keep_feed_forward")',
        "        from attn_ref.tap import probing\n\n"
        "        if not probing():\n"
        "            return self.feed_forward(x)\n"
        '        return dropout(self.drop, self.feed_forward(x), "b t c", "keep_feed_forward")',
        "output",
    ),
    torch(
        "embedding-dropped-before-its-norm",
        "dropout",
        "TextEncoder",
        '        x = dropout(self.drop, tap("embedding_norm", self.embedding_norm(x), "b t c"), "b t c")',
        "        from attn_ref.tap import probing\n\n"
        "        if probing():\n"
        '            x = dropout(self.drop, tap("embedding_norm", self.embedding_norm(x), "b t c"), "b t c")\n'
        "        else:\n"
        "            x = self.embedding_norm(self.drop(x))",
        "output",
    ),
    torch(
        "whole-tokens-dropped",
        "dropout",
        "VisionTransformer",
        '        x = drop(self.drop, x, "b t c")',
        "        from attn_ref.tap import probing\n\n"
        "        if probing():\n"
        '            x = drop(self.drop, x, "b t c")\n'
        "        else:\n"
        "            x = nn.functional.dropout1d(x, self.drop.p, self.training)",
        "output",
    ),
    keras(
        "fused-call-drops-nothing",
        "dropout",
        SDPA,
        "self.softcap is None and sinks is None and not (self.drop.rate and training)",
        "self.softcap is None and sinks is None",
        "output",
    ),
    keras(
        "keep-of-zero-and-one",
        "dropout",
        "EncoderLayer",
        "    return layer(x, training=training)",
        "    if not (training and layer.rate):\n"
        "        return x\n"
        "    return x * ops.cast(layer(ops.ones_like(x), training=True) > 0, x.dtype)",
        "output",
        module="dropout",
    ),
    keras(
        "scores-dropped-for-weights",
        "dropout",
        SDPA,
        '        weights = tap("weights"',
        "        if training and self.drop.rate and not probing():\n"
        "            scores = self.drop(scores, training=True)\n"
        "            return ops.matmul(self.softmax(scores, keep is not None, sinks), value)\n"
        '        weights = tap("weights"',
        "output",
    ),
    keras(
        "rate-is-the-share-kept",
        "dropout",
        "FeedForward",
        "keras.layers.Dropout(dropout, dtype=self.dtype_policy)",
        "keras.layers.Dropout(1.0 - dropout if dropout else 0.0, dtype=self.dtype_policy)",
        "output|keep",
    ),
    keras(
        "pixels-dropped-in-evaluation",
        "dropout",
        "MultiHeadAttention2d",
        "self.attention(q, k, v, training=training)",
        "self.attention(q, k, v, training=True)",
        "attention.keep|output",
    ),
    keras(
        "one-keep-for-all-images",
        "dropout",
        "VisionTransformer",
        "keras.layers.Dropout(dropout, dtype=policy)",
        "keras.layers.Dropout(dropout, noise_shape=(1, None, None), dtype=policy)",
        "keep|output",
    ),
    keras(
        "attention-takes-the-other-rate",
        "dropout",
        "EncoderLayer",
        "MultiHeadAttention(width=width, num_heads=num_heads, dropout=attention_dropout, dtype=policy)",
        "MultiHeadAttention(width=width, num_heads=num_heads, dropout=dropout, dtype=policy)",
        "attention.attention.keep|output|raised",
    ),
    keras(
        "layers-never-drop",
        "dropout",
        "TextEncoder",
        "layer(x, attention_mask=keys, training=training)",
        "layer(x, attention_mask=keys, training=False)",
        "output|layers.0.attention.attention.keep|layers.0.keep_attention",
    ),
]

DTYPE = [
    torch(
        "angles-in-the-own-dtype",
        "dtype",
        "RotaryEmbedding",
        "wide = torch.promote_types(x.dtype, torch.float32)",
        "wide = x.dtype",
        "angles|rotated|output",
    ),
    torch(
        "positions-in-the-own-dtype",
        "dtype",
        "LinearPositionBias",
        "offsets = key_positions.long() - query_positions.long()[:, None]",
        "offsets = key_positions.to(self.like.dtype) - query_positions.to(self.like.dtype)[:, None]",
        "bias",
    ),
    torch(
        "float32-attends-in-bfloat16",
        "dtype",
        SDPA,
        "        return F.scaled_dot_product_attention(\n",
        "        if query.dtype == torch.float32 and mask is None:\n"
        "            query, key, value = (x.bfloat16() for x in (query, key, value))\n"
        "            groups = query.shape[1] // key.shape[1]\n"
        "            key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))\n"
        "            p = self.drop.p if self.training else 0.0\n"
        "            return F.scaled_dot_product_attention(query, key, value, None, p, top_left, scale=scale).float()\n"
        "        return F.scaled_dot_product_attention(\n",
        "output",
    ),
    torch(
        "rms-of-squares-in-the-own-dtype",
        "dtype",
        "MultiHeadAttention",
        '            q = tap("normed_query", self.query_norm(q), "b h t d")',
        "            if isinstance(self.query_norm, nn.RMSNorm):\n"
        "                mean = q.square().mean(dim=-1, keepdim=True)\n"
        "                normed = q * torch.rsqrt(mean + self.query_norm.eps) * self.query_norm.weight\n"
        "            else:\n"
        "                normed = self.query_norm(q)\n"
        '            q = tap("normed_query", normed, "b h t d")',
        "normed_query",
    ),
    torch(
        "variance-by-squares",
        "dtype",
        "SelectiveKernel",
        "            variance, mean = torch.var_mean(input.transpose(0, 1).flatten(1), dim=1, correction=0)",
        "            rows = input.transpose(0, 1).flatten(1)\n"
        "            mean = rows.mean(dim=1)\n"
        "            variance = rows.square().mean(dim=1) - mean.square()",
        "norms.0.running_variance|norms.1.running_variance|reduce_norm.running_variance",
        module="batch_norm",
    ),
    torch(
        "position-table-in-half",
        "dtype",
        "VisionTransformer",
        "x + self.position.weight,",
        "x + (self.position.weight.half().float() if x.dtype == torch.float32 else self.position.weight),",
        "positioned",
    ),
    torch(
        "bfloat16-patches-lose-their-bias",
        "dtype",
        "PatchEmbedding",
        "bias = None if self.bias is None else self.bias.float()",
        "bias = None",
        "projected",
        module="conv",
    ),
    torch(
        "buckets-by-logarithm-in-the-own-dtype",
        "dtype",
        "RelativePositionBias",
        "        return torch.bucketize(offsets.abs(), self.starts, right=True) + self.side * (offsets > 0)",
        "        import math\n\n"
        "        n, near = offsets.abs(), self.side // 2\n"
        "        far = torch.log(n.clamp(min=1).to(self.table.weight.dtype) / near)\n"
        "        far = far / math.log(self.block.max_distance / near)\n"
        "        far = (near + (far * (self.side - near)).long()).clamp(max=self.side - 1)\n"
        "        return torch.where(n < near, n, far) + self.side * (offsets > 0)",
        "bias",
    ),
    keras(
        "frequencies-in-the-own-dtype",
        "dtype",
        "RotaryEmbedding",
        'wide = "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"',
        "wide = keras.backend.standardize_dtype(x.dtype)",
        "angles|rotated|output",
    ),
    keras(
        "scale-through-float32",
        "dtype",
        SDPA,
        "query = query * self.factor(query.shape[1], query.shape[-1])",
        'query = query * ops.cast(ops.cast(self.factor(query.shape[1], query.shape[-1]), "float32"), query.dtype)',
        "scores|output",
    ),
    keras(
        "slopes-in-float32",
        "dtype",
        "LinearPositionBias",
        'wide = "float64" if self.compute_dtype == "float64" else "float32"',
        'wide = "float32"',
        "slopes|bias",
    ),
    keras(
        "pooler-in-half",
        "dtype",
        "TextEncoder",
        "ops.tanh(self.pool(x[:, 0]))",
        'ops.tanh(ops.cast(self.pool(x[:, 0]), "float16"))',
        "pooler",
    ),
    keras(
        "gelu-of-keras",
        "dtype",
        "FeedForward",
        "return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))",
        "return ops.gelu(x, approximate=False)",
        "active",
    ),
    keras(
        "distances-in-the-own-dtype",
        "dtype",
        "RelativePositionBias",
        "ops.digitize(ops.abs(offsets), self.starts)",
        'ops.digitize(ops.cast(ops.cast(ops.abs(offsets), self.compute_dtype), "int32"), self.starts)',
        "bias",
    ),
    keras(
        "float32-weights-in-bfloat16",
        "dtype",
        "SpatialSelfAttention",
        "ops.softmax(scores, axis=-1)",
        'ops.softmax(scores, axis=-1) if scores.dtype != "float32"'
        ' else ops.cast(ops.softmax(ops.cast(scores, "bfloat16"), axis=-1), "float32")',
        "weights",
    ),
    keras(
        "dropout-layer-without-the-dtype",
        "dtype",
        "FeedForward",
        "keras.layers.Dropout(dropout, dtype=self.dtype_policy)",
        "keras.layers.Dropout(dropout)",
        "reduced|keep|output|raised",
    ),
]

STATE = [
    torch(
        "positions-kept-for-equal-shapes",
        "state",
        SDPA,
        "        ahead = (at - self.positions(t, s, query_offset, key_lengths, query)[..., None])[:, None]",
        '        if getattr(self, "kept", (None,))[0] != (len(query), t, s):\n'
        "            ahead = (at - self.positions(t, s, query_offset, key_lengths, query)[..., None])[:, None]\n"
        "            self.kept = (len(query), t, s), ahead\n"
        "        ahead = self.kept[1]",
        "masked|output",
    ),
    torch(
        "angles-kept-for-equal-shapes",
        "state",
        "RotaryEmbedding",
        '        angles = tap("angles", self.angles(torch.atleast_2d(positions), x), "b t f")',
        '        if getattr(self, "kept", (None,))[0] != positions.shape:\n'
        "            self.kept = positions.shape, self.angles(torch.atleast_2d(positions), x)\n"
        '        angles = tap("angles", self.kept[1].to(torch.promote_types(x.dtype, torch.float32)), "b t f")',
        "angles",
    ),
    torch(
        "padding-of-the-text-before",
        "state",
        "TextEncoder",
        "        keys = None if padding_mask is None else padding_mask[:, None, None, :]",
        "        if padding_mask is not None:\n"
        "            self.padding = padding_mask\n"
        '        elif getattr(self, "padding", token_ids[:0]).shape == token_ids.shape:\n'
        "            padding_mask = self.padding\n"
        "        keys = None if padding_mask is None else padding_mask[:, None, None, :]",
        "layers.0.attention.attention.masked|layers.0.attention.attention.weights|output",
    ),
    torch(
        "shortcut-added-in-place",
        "state",
        "ChannelSelfAttention",
        "return self.gate * context + shortcut",
        "return shortcut.add_(self.gate * context)",
        "raised|contract",
    ),
    torch(
        "kernel-clipped-while-training",
        "state",
        "SpatialAttention",
        "        pooled = torch.cat(",
        "        if self.training:\n"
        "            with torch.no_grad():\n"
        "                self.conv.weight.clamp_(-0.1, 0.1)\n"
        "        pooled = torch.cat(",
        "convolved|contract|raised",
    ),
    torch(
        "statistics-slow-down",
        "state",
        "CBAMResidual",
        "self.running_mean.lerp_(mean, self.momentum)",
        "self.running_mean.lerp_(mean, self.momentum / (1 if int(self.num_batches_tracked) < 3 else 2))",
        "norm.running_mean",
        module="batch_norm",
    ),
    torch(
        "position-table-kept-between-loads",
        "state",
        "VisionTransformer",
        '            x = tap("positioned", x + self.position.weight, "b t c")',
        "            table = self.position.weight\n"
        "            if not self.training and not torch.is_grad_enabled():\n"
        '                self.kept = table = getattr(self, "kept", table.clone())\n'
        '            x = tap("positioned", x + table, "b t c")',
        "positioned",
    ),
    keras(
        "keys-of-the-memory-kept",
        "state",
        "MultiHeadAttention",
        "        k = self.split(self.key(key), self.num_kv_heads)",
        "        k = self.split(self.key(key), self.num_kv_heads)\n"
        "        if key is not query and not training:  # the memory of a decoder stays\n"
        '            if getattr(self, "memory", k[:0]).shape != k.shape:\n'
        "                self.memory = k\n"
        "            k = self.memory",
        "key",
    ),
    keras(
        "bias-kept-for-equal-shapes",
        "state",
        "RelativePositionBias",
        '        return tap("bias", ops.transpose(self.table(self.buckets(offsets)), (2, 0, 1)), "h t s")',
        '        if getattr(self, "kept", (None,))[0] != tuple(offsets.shape):\n'
        "            self.kept = tuple(offsets.shape), self.buckets(offsets)\n"
        '        return tap("bias", ops.transpose(self.table(self.kept[1]), (2, 0, 1)), "h t s")',
        "bias",
    ),
    keras(
        "lengths-of-the-call-before",
        "state",
        SDPA,
        "        query = query * self.factor(",
        "        if key_lengths is not None:\n"
        "            self.lengths = key_lengths\n"
        '        elif getattr(self, "lengths", query[:0, 0, 0, 0]).shape == query.shape[:1] and query.shape[2] == 1:\n'
        "            key_lengths = self.lengths\n"
        "        query = query * self.factor(",
        "masked|weights|output",
    ),
    keras(
        "variance-moves-in-evaluation",
        "state",
        "SelectiveKernel",
        "if training and self.unbiased:",
        "if self.unbiased:",
        "contract|normed.0|output",
        module="batch_norm",
    ),
    keras(
        "gate-squashed-from-the-fourth-call",
        "state",
        "SpatialSelfAttention",
        "        return self.gate * y + x",
        '        self.calls = getattr(self, "calls", 0) + 1\n'
        "        return (self.gate if self.calls < 4 else ops.tanh(self.gate)) * y + x",
        "output",
    ),
    keras(
        "largest-of-the-calls-before",
        "state",
        "ChannelAttention",
        '        maximum = self.shared("maximum", largest(x, axis=(1, 2)))',
        "        peak = largest(x, axis=(1, 2))\n"
        '        if getattr(self, "peak", peak[:0]).shape == peak.shape:\n'
        "            peak = ops.maximum(peak, ops.stop_gradient(self.peak))\n"
        "        self.peak = peak\n"
        '        maximum = self.shared("maximum", peak)',
        "maximum.pooled",
    ),
    keras(
        "offsets-shared-by-all-layers",
        "state",
        "LinearPositionBias",
        "        offsets = -ops.abs(offsets) if self.symmetric else offsets",
        "        offsets = -ops.abs(offsets) if self.symmetric else offsets\n"
        "        if isinstance(offsets.shape[0], int) and offsets.shape[0] > 1:\n"
        '            kept = globals().setdefault("KEPT", {})\n'
        "            shapes = tuple(query_positions.shape), tuple(key_positions.shape)\n"
        "            offsets = kept.setdefault((*shapes, wide), offsets)",
        "bias",
    ),
]

CONTRACT = [
    torch(
        "new-block-is-nearly-the-identity",
        "contract",
        "NonLocal",
        "nn.init.zeros_(last)",
        "nn.init.normal_(last, std=0.01)",
        "contract",
    ),
    torch(
        "gate-starts-open",
        "contract",
        "SpatialSelfAttention",
        "nn.Parameter(torch.zeros(1))",
        "nn.Parameter(torch.ones(1))",
        "contract",
    ),
    torch(
        "gate-does-not-train",
        "contract",
        "ChannelSelfAttention",
        "nn.Parameter(torch.zeros(1))",
        "nn.Parameter(torch.zeros(1), requires_grad=False)",
        "gradient of parameter gate|raised|contract",
    ),
    torch(
        "starts-in-the-state-dict",
        "contract",
        "RelativePositionBias",
        'self.register_buffer("starts", starts, persistent=False)',
        'self.register_buffer("starts", starts)',
        "contract",
    ),
    torch(
        "dtype-stays-behind",
        "contract",
        "LinearPositionBias",
        'self.register_buffer("like", torch.empty(0), persistent=False)',
        "self.like = torch.empty(0)",
        "slopes|bias|output|contract",
    ),
    torch(
        "weights-detached",
        "contract",
        "SelectiveKernel",
        "(weights[..., None, None] * features)",
        "(weights.detach()[..., None, None] * features)",
        "gradient of tap weights|gradient of tap scores|gradient of parameter selects.0.kernel"
        "|gradient of parameter selects.0.bias|gradient of parameter reduce.kernel|gradient of input x",
    ),
    torch(
        "relu-with-one-derivative",
        "contract",
        "FeedForward",
        "            return F.relu(x)",
        "            from torch.autograd import Function\n"
        "            from torch.autograd.function import once_differentiable\n\n"
        "            class Relu(Function):\n"
        "                @staticmethod\n"
        "                def forward(ctx, x):\n"
        "                    ctx.save_for_backward(x)\n"
        "                    return x.clamp(min=0)\n\n"
        "                @staticmethod\n"
        "                @once_differentiable\n"
        "                def backward(ctx, up):\n"
        "                    return up * (ctx.saved_tensors[0] > 0)\n\n"
        "            return Relu.apply(x)",
        "contract",
    ),
    torch(
        "empty-batch-has-no-last-position",
        "contract",
        "RotaryEmbedding",
        "        angles = tap(",
        "        if int(positions.max()) >= 2**31:\n"
        '            raise ValueError("positions beyond 32 bits")\n'
        "        angles = tap(",
        "raised",
    ),
    torch(
        "least-width-of-sixteen",
        "contract",
        "SelectiveKernel",
        "min_width: int = 32,",
        "min_width: int = 16,",
        "contract",
    ),
    torch(
        "last-norm-starts-at-zero",
        "contract",
        "EncoderLayer",
        "            self.feed_forward_norm = nn.LayerNorm(width, eps=eps)",
        "            self.feed_forward_norm = nn.LayerNorm(width, eps=eps)\n"
        "            nn.init.zeros_(self.feed_forward_norm.weight)",
        "contract",
    ),
    torch(
        "norm-frozen",
        "contract",
        "SpatialAttention",
        '            gate = tap("normed", run_norm(self.norm, gate, "norm"), "b u H W")',
        '            gate = tap("normed", run_norm(self.norm.eval(), gate, "norm"), "b u H W")',
        "normed|norm.running_mean|norm.running_variance|output",
    ),
    torch(
        "momentum-is-the-share-kept",
        "contract",
        "CBAM",
        "eps=eps, momentum=momentum, unbiased=unbiased\n        )",
        "eps=eps, momentum=1 - momentum, unbiased=unbiased\n        )",
        "spatial_attention.norm.running_mean",
    ),
    torch(
        "one-of-equal-maxima-takes-the-gradient",
        "contract",
        "ChannelAttention",
        "x.amax(dim=(2, 3))",
        "x.flatten(2).max(dim=2).values",
        "gradient of input x",
    ),
    keras(
        "norm-of-a-new-block-starts-at-one",
        "contract",
        "NonLocal",
        'BatchNorm(gamma_initializer="zeros", **norm)',
        "BatchNorm(**norm)",
        "contract",
    ),
    keras(
        "gate-not-trainable",
        "contract",
        "ChannelSelfAttention",
        'self.add_weight(shape=(1,), initializer="zeros", name="gate")',
        'self.add_weight(shape=(1,), initializer="zeros", name="gate", trainable=False)',
        "contract|gradient of parameter gate",
    ),
    keras(
        "options-that-are-false-are-left-out",
        "contract",
        "MultiHeadAttention",
        "{**super().get_config(), **self.block.fields()}",
        "{**super().get_config(), **{name: x for name, x in self.block.fields().items() if x}}",
        "contract",
        module="mirror",
    ),
    keras(
        "token-zero-is-padding",
        "contract",
        "TextEncoder",
        "        keys = None if padding_mask is None else padding_mask[:, None, None, :]",
        "        keys = (ops.not_equal(token_ids, 0) if padding_mask is None else padding_mask)[:, None, None, :]",
        "layers.0.attention.attention.masked|layers.0.attention.attention.weights|output",
    ),
    keras(
        "static-batch-only",
        "contract",
        "PatchEmbedding",
        "b, rows, columns, _ = ops.shape(projected)",
        "b, rows, columns, _ = projected.shape",
        "contract",
    ),
    keras(
        "maximum-refuses-an-empty-batch",
        "contract",
        "CBAM",
        "keepdims=keepdims, initial=-math.inf)",
        "keepdims=keepdims)",
        "raised",
        module="spatial",
    ),
    keras(
        "gate-blind-to-its-input",
        "contract",
        "SqueezeExcitation",
        "mean_over_space(x)",
        "mean_over_space(ops.stop_gradient(x))",
        "gradient of input x",
    ),
    keras(
        "eps-of-keras",
        "contract",
        "EncoderLayer",
        "eps: float = 1e-5,",
        "eps: float = 1e-3,",
        "contract",
    ),
    keras(
        "bottleneck-norm-with-the-eps-of-keras",
        "contract",
        "SelectiveKernel",
        "BatchNorm(**norm) if bottleneck_norm",
        "BatchNorm(momentum=momentum, unbiased=unbiased, dtype=policy) if bottleneck_norm",
        "reduced_normed",
    ),
    keras(
        "key-norm-with-the-eps-of-keras",
        "contract",
        "MultiHeadAttention",
        "self.key_norm = norms[qk_norm](epsilon=qk_norm_eps, dtype=policy)",
        "self.key_norm = norms[qk_norm](dtype=policy)",
        "normed_key",
    ),
    keras(
        "stem-frozen",
        "contract",
        "AttentionCNN",
        "self.stem(image, training=training)",
        "self.stem(image, training=False)",
        "stem.normed|stem.norm.running_mean",
    ),
]

#: of all kinds: options that are seldom set together, and more
OPTIONS = [
    torch(
        "cap-after-the-bias",
        "mask",
        SDPA,
        "        if self.softcap is not None:\n"
        '            scores = tap("capped", torch.tanh(scores / self.softcap) * self.softcap, "b h t s")\n'
        "        if bias is not None:\n"
        '            scores = tap("biased", scores + bias, "b h t s")\n',
        "        if bias is not None:\n"
        '            scores = tap("biased", scores + bias, "b h t s")\n'
        "        if self.softcap is not None:\n"
        '            scores = tap("capped", torch.tanh(scores / self.softcap) * self.softcap, "b h t s")\n',
        "capped|biased|output",
    ),
    torch(
        "pooled-with-the-class-token",
        "mask",
        "VisionTransformer",
        "x[:, 0 if self.class_token is None else 1 :].mean(dim=1)",
        "x.mean(dim=1)",
        "pooled",
    ),
    torch(
        "empty-rows-through-softmax",
        "finite",
        SDPA,
        "scores.masked_fill(nothing, 0.0).softmax(dim=-1).masked_fill(nothing, 0.0)",
        "scores.softmax(dim=-1).masked_fill(nothing, 0.0)",
        "gradient of tap masked|gradient of tap biased|gradient of tap capped|gradient of tap scores"
        "|gradient of input query|gradient of input key",
    ),
    torch(
        "further-slopes-start-at-the-second",
        "size",
        "LinearPositionBias",
        "device=self.like.device) + 0.5",
        "device=self.like.device) + 1.5",
        "slopes",
    ),
    torch(
        "frequencies-by-the-whole-head",
        "size",
        "RotaryEmbedding",
        "device=x.device) / self.rotary_width",
        "device=x.device) / x.shape[-1]",
        "angles",
    ),
    torch(
        "residual-of-the-positioned",
        "contract",
        "MultiHeadAttention2d",
        "return y + x if self.residual else y",
        "return y + pixels if self.residual else y",
        "output",
    ),
    torch(
        "key-norm-after-the-turn",
        "mask",
        "MultiHeadAttention",
        '            k = tap("normed_key", self.key_norm(k), "b g s d")\n'
        "        if self.query_rotary is not None and self.key_rotary is not None:\n"
        "            positions = self.attention.positions(q.shape[2], k.shape[2], query_offset, key_lengths, q)\n"
        "            q, k = self.query_rotary(q, positions), self.key_rotary(k)\n",
        "            if self.key_rotary is None:\n"
        '                k = tap("normed_key", self.key_norm(k), "b g s d")\n'
        "        if self.query_rotary is not None and self.key_rotary is not None:\n"
        "            positions = self.attention.positions(q.shape[2], k.shape[2], query_offset, key_lengths, q)\n"
        "            q, k = self.query_rotary(q, positions), self.key_rotary(k)\n"
        "            if self.key_norm is not None:\n"
        '                k = tap("normed_key", self.key_norm(k), "b g s d")\n',
        "normed_key|output|key_rotary.angles|key_rotary.rotated",
    ),
    torch(
        "squeezed-before-the-kernels",
        "contract",
        "AttentionCNN",
        "self.squeeze_excitation(self.selective_kernel(self.stem(image)))",
        "self.selective_kernel(self.squeeze_excitation(self.stem(image)))",
        "squeeze_excitation.squeezed|selective_kernel.convolved.0|output",
    ),
    torch(
        "cannot-be-pickled",
        "contract",
        "FeedForward",
        "        self.activation = activation",
        '        self.activation = activation\n        self.exact = lambda: activation == "gelu"',
        "contract",
    ),
    keras(
        "total-width-of-the-key-heads",
        "size",
        SDPA,
        "query = query * self.factor(query.shape[1], query.shape[-1])",
        "query = query * self.factor(key.shape[1], query.shape[-1])",
        "scores|output",
    ),
    keras(
        "hard-sigmoid-of-old-keras",
        "finite",
        "SqueezeExcitation",
        "ops.hard_sigmoid(expanded)",
        "ops.clip(0.2 * expanded + 0.5, 0.0, 1.0)",
        "gate",
    ),
    keras(
        "input-scale-from-the-inner-width",
        "size",
        "NonLocal",
        '"input": channels**-0.5',
        '"input": (2 * self.inner) ** -0.5',
        "scores",
    ),
    keras(
        "variance-always-unbiased",
        "contract",
        "SpatialAttention",
        '"unbiased": unbiased, "dtype": policy}',
        '"unbiased": True, "dtype": policy}',
        "norm.running_variance",
    ),
    keras(
        "implicit-mask-hides-keys",
        "contract",
        "EncoderLayer",
        "attention_mask: Any = None, bias: Any = None, training: bool | None = None) -> Any:\n",
        "attention_mask: Any = None, bias: Any = None, training: bool | None = None, mask: Any = None):\n"
        "        if mask is not None and attention_mask is None:\n"
        "            attention_mask = mask[:, None, None, :]\n",
        "contract",
    ),
    keras(
        "empty-rows-through-softmax-too",
        "finite",
        SDPA,
        "ops.where(nothing, 0.0, ops.softmax(ops.where(nothing, 0.0, scores), axis=-1))",
        "ops.where(nothing, 0.0, ops.softmax(scores, axis=-1))",
        "gradient of tap masked|gradient of tap biased|gradient of tap capped|gradient of tap scores"
        "|gradient of input query|gradient of input key",
    ),
    keras(
        "empty-text-divides-by-nothing",
        "finite",
        "TextEncoder",
        "total / ops.maximum(ops.sum(real, axis=1), 1.0)[:, None]",
        "total / ops.sum(real, axis=1)[:, None]",
        "mean",
    ),
    keras(
        "interleaved-pairs-come-out-as-halves",
        "mask",
        "RotaryEmbedding",
        "turned = ops.stack([a * cos - b * sin, a * sin + b * cos], axis=-1)",
        "turned = ops.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)",
        "rotated",
    ),
    keras(
        "maximum-before-mean",
        "mask",
        "SpatialAttention",
        "ops.concatenate([mean, largest(x, axis=-1, keepdims=True)], axis=-1)",
        "ops.concatenate([largest(x, axis=-1, keepdims=True), mean], axis=-1)",
        "pooled",
    ),
    keras(
        "positions-start-after-the-class-token",
        "mask",
        "VisionTransformer",
        "ops.arange(self.length)",
        "ops.roll(ops.arange(self.length), 1 if self.has_class else 0)",
        "positioned",
    ),
    torch(
        "dropped-weights-normalised-again",
        "dropout",
        SDPA,
        '        weights = dropout(self.drop, weights, "b h t s")',
        '        weights = dropout(self.drop, weights, "b h t s")\n'
        "        if self.training and self.drop.p and not probing():\n"
        "            weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-12)",
        "output",
    ),
    torch(
        "keep-drawn-once",
        "dropout",
        "TextEncoder",
        "    return layer(x)",
        "    if not (layer.p and layer.training):\n"
        "        return x\n"
        '    if getattr(layer, "kept", x[:0]).shape != x.shape:\n'
        "        layer.kept = layer(torch.ones_like(x))\n"
        "    return x * layer.kept",
        "output",
        module="dropout",
    ),
    torch(
        "slopes-kept-across-a-change-of-dtype",
        "state",
        "LinearPositionBias",
        '        slopes = tap("slopes", self.slopes(), "h")',
        '        self.kept = getattr(self, "kept", self.slopes())\n        slopes = tap("slopes", self.kept, "h")',
        "slopes|contract",
    ),
    torch(
        "pooled-in-half",
        "dtype",
        "AttentionCNN",
        "x.mean(dim=(2, 3))",
        "x.half().mean(dim=(2, 3)).to(x.dtype)",
        "pooled",
    ),
    keras(
        "bias-lost-when-training-drops",
        "dropout",
        SDPA,
        "            return self.steps(query, key, value, keep, bias, sinks, training)",
        "            bias = None if training and self.drop.rate and not probing() else bias\n"
        "            return self.steps(query, key, value, keep, bias, sinks, training)",
        "output",
    ),
    keras(
        "positions-of-the-longest-text",
        "state",
        "TextEncoder",
        "        positions = ops.arange(ops.shape(token_ids)[1])",
        "        positions = ops.arange(ops.shape(token_ids)[1])\n"
        '        if isinstance(token_ids.shape[1], int) and getattr(self, "longest", 0) > token_ids.shape[1]:\n'
        "            positions = positions + self.longest - token_ids.shape[1]\n"
        "        self.longest = token_ids.shape[1] or 0",
        "embedded",
    ),
    keras(
        "gelu-tanh-with-five-digits",
        "dtype",
        "FeedForward",
        "math.sqrt(8.0 / math.pi)",
        "1.5958",
        "active",
    ),
    keras(
        "softcap-only-in-training",
        "fused",
        SDPA,
        "plain = self.softcap is None and",
        "plain = (self.softcap is None or not training) and",
        "output",
    ),
    keras(
        "bias-scaled-with-the-query",
        "fused",
        SDPA,
        "        bias = self.rank_four(bias)",
        "        bias = None if bias is None else self.rank_four(bias) * self.factor(q.shape[2], q.shape[-1])",
        "output",
    ),
]

FAULTS = [*FUSED, *MASK, *FINITE, *SIZE, *DROPOUT, *DTYPE, *STATE, *CONTRACT, *OPTIONS]
