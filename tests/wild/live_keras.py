"""The same ten models as people write them in Keras; ``fault`` plants what they get wrong when they write them anew."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops


class Block(layers.Layer):
    """A block of GPT with layers of its own for queries, keys and values."""

    def __init__(self, width: int, heads: int, fault: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.heads, self.fault = width, heads, fault
        self.norm_1 = layers.LayerNormalization(epsilon=1e-5)
        self.norm_2 = layers.LayerNormalization(epsilon=1e-3 if fault == "eps" else 1e-5)
        self.query, self.key, self.value = (layers.Dense(width, name=name) for name in ("query", "key", "value"))
        self.out = layers.Dense(width)
        self.up, self.down = layers.Dense(4 * width), layers.Dense(width)

    def call(self, x: Any) -> Any:
        t = x.shape[1]
        h = self.norm_1(x)
        q, k, v = (ops.reshape(f(h), (-1, t, self.heads, self.width // self.heads))
                   for f in (self.query, self.key, self.value))  # fmt: skip
        scores = ops.einsum("bqhd,bkhd->bhqk", q, k)
        scores = scores / float(self.width // self.heads) ** 0.5
        causal = ops.arange(t)[:, None] >= ops.arange(t)[None, :]
        scores = ops.where(causal, scores, ops.cast(-1e9, scores.dtype))
        y = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores, axis=-1), v)
        x = x + self.out(ops.reshape(y, (-1, t, self.width)))
        h = self.norm_2(x)  # eps
        h = self.up(h)
        h = keras.activations.gelu(h, approximate=self.fault != "gelu")  # gelu
        return x + self.down(h)


class GPT(keras.Model):
    def __init__(self, vocab: int = 29, length: int = 9, width: int = 12, heads: int = 3, fault: str = "") -> None:
        super().__init__()
        self.tokens, self.positions = layers.Embedding(vocab, width), layers.Embedding(length, width)
        self.blocks = [Block(width, heads, fault=fault if i == 1 else "") for i in range(2)]
        self.norm = layers.LayerNormalization(epsilon=1e-5)
        self.head = layers.Dense(vocab, use_bias=False)

    def call(self, ids: Any) -> Any:
        x = self.tokens(ids) + self.positions(ops.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class AddTokens(layers.Layer):
    """Class token and positions."""

    def build(self, shape: Any) -> None:
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="cls")
        self.table = self.add_weight(shape=(1, shape[1] + 1, shape[-1]), name="positions")

    def call(self, x: Any) -> Any:
        token = ops.repeat(self.token, ops.shape(x)[0], axis=0)
        return ops.concatenate([token, x], axis=1) + self.table


def vit(fault: str = "") -> Any:
    """A functional model with ``keras.layers.MultiHeadAttention``."""
    image = keras.Input((8, 12, 3))
    x = layers.Conv2D(12, 4, strides=4)(image)
    x = layers.Reshape((6, 12))(x)
    x = AddTokens()(x)
    for _ in range(2):
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(3, 4)(h, h)])
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        h = layers.Dense(24, activation="gelu")(h)
        x = layers.Add()([x, layers.Dense(12)(h)])
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    return keras.Model(image, layers.Dense(5)(x[:, 0]))


class SEBlock(layers.Layer):
    def __init__(self, filters: int, stride: int = 1, project: bool = False, fault: str = "") -> None:
        super().__init__()
        self.project, self.fault = project, fault
        eps = 1e-3 if fault == "epsilon" else 1e-5
        self.conv_a = layers.Conv2D(filters, 3, stride, padding="valid", use_bias=False)
        self.bn_a = layers.BatchNormalization(epsilon=1e-5)
        self.conv_b = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.bn_b = layers.BatchNormalization(epsilon=eps)
        self.squeeze = layers.Dense(filters // 2, use_bias=False, activation="relu")
        self.excite = layers.Dense(filters, use_bias=False, activation="sigmoid")
        if project:
            self.shortcut = layers.Conv2D(filters, 1, stride, use_bias=False)
            self.bn_s = layers.BatchNormalization(epsilon=1e-5)

    def call(self, x: Any) -> Any:
        rest = self.bn_s(self.shortcut(x)) if self.project else x
        y = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        y = ops.relu(self.bn_a(self.conv_a(y)))
        y = self.conv_b(y)
        y = self.bn_b(y)  # epsilon
        gate = self.excite(self.squeeze(ops.mean(y, (1, 2))))
        return ops.relu(y * gate[:, None, None, :] + rest)


class SEResNet(keras.Model):
    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.stem = layers.Conv2D(8, 3, padding="same", use_bias=False)
        self.stem_bn = layers.BatchNormalization(epsilon=1e-5)
        self.stage_1 = SEBlock(8, fault=fault)
        self.stage_2 = SEBlock(12, 2, project=True)
        self.pool, self.logits = layers.GlobalAveragePooling2D(), layers.Dense(5)

    def call(self, x: Any) -> Any:
        x = ops.relu(self.stem_bn(self.stem(x)))
        return self.logits(self.pool(self.stage_2(self.stage_1(x))))


class ConvBlockAttention(layers.Layer):
    """CBAM, its shared network made of dense layers."""

    def __init__(self, channels: int, ratio: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense_1 = layers.Dense(channels // ratio, activation="relu", use_bias=False)
        self.dense_2 = layers.Dense(channels, use_bias=False)
        self.conv = layers.Conv2D(1, 7, padding="same", use_bias=False, activation="sigmoid")

    def call(self, x: Any) -> Any:
        average = self.dense_2(self.dense_1(ops.mean(x, (1, 2), keepdims=True)))
        largest = self.dense_2(self.dense_1(ops.max(x, (1, 2), keepdims=True)))
        x = x * ops.sigmoid(average + largest)
        maps = ops.concatenate([ops.mean(x, -1, keepdims=True), ops.max(x, -1, keepdims=True)], -1)
        return x * self.conv(maps)


def cbam_net(fault: str = "") -> Any:
    """A ``Sequential``."""
    return keras.Sequential([
        keras.Input((6, 8, 3)),
        layers.Conv2D(8, 3, padding="same"), layers.BatchNormalization(), layers.ReLU(), ConvBlockAttention(8),
        layers.MaxPooling2D(), layers.Conv2D(8, 3, padding="same", activation="relu"), ConvBlockAttention(8),
        layers.Flatten(), layers.Dense(5),
    ])  # fmt: skip


class Bert(keras.Model):
    """Takes ids and a mask that is True for real tokens."""

    def __init__(self, vocab: int = 31, width: int = 12, heads: int = 3, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.tokens, self.positions = layers.Embedding(vocab, width), layers.Embedding(16, width)
        self.norm = layers.LayerNormalization(epsilon=1e-12)
        self.attend = [layers.MultiHeadAttention(heads, width // heads, dropout=0.1) for _ in range(2)]
        self.norm_a = [layers.LayerNormalization(epsilon=1e-12) for _ in range(2)]
        self.up = [layers.Dense(2 * width, activation="gelu") for _ in range(2)]
        self.down = [layers.Dense(width) for _ in range(2)]
        self.norm_b = [layers.LayerNormalization(epsilon=1e-12) for _ in range(2)]
        self.pooler = layers.Dense(width, activation="tanh")

    def call(self, ids: Any, mask: Any) -> Any:
        x = self.norm(self.tokens(ids) + self.positions(ops.arange(ids.shape[1])))
        for attend, one, up, down, two in zip(self.attend, self.norm_a, self.up, self.down, self.norm_b, strict=True):
            if self.fault == "norm":
                h = one(x)  # norm
                x = x + attend(h, h, attention_mask=mask[:, None, :])
                x = x + down(up(two(x)))
            else:
                x = one(x + attend(x, x, attention_mask=mask[:, None, :]))
                x = two(x + down(up(x)))
        return self.pooler(x[:, 0])


class RMS(layers.Layer):
    def __init__(self, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x: Any) -> Any:
        return x / ops.sqrt(ops.mean(ops.square(x), -1, keepdims=True) + self.epsilon) * self.scale


class T5Layer(layers.Layer):
    def __init__(self, width: int, heads: int, fault: str = "") -> None:
        super().__init__()
        self.width, self.heads, self.fault = width, heads, fault
        self.norm_1, self.norm_2 = RMS(), RMS()
        self.q, self.k, self.v = (
            layers.EinsumDense("btd,dhe->bhte", (heads, None, width // heads), name=name) for name in ("q", "k", "v")
        )
        self.o = layers.EinsumDense("bhte,hed->btd", (None, width))
        self.wi, self.wo = layers.Dense(20, "relu", use_bias=False), layers.Dense(width, use_bias=False)

    def call(self, x: Any, bias: Any) -> Any:
        h = self.norm_1(x)
        scores = ops.matmul(self.q(h), ops.transpose(self.k(h), (0, 1, 3, 2)))
        if self.fault == "scale":
            scores = scores / 2.0  # scale
        weights = ops.softmax(scores + bias)
        x = x + self.o(ops.matmul(weights, self.v(h)))
        return x + self.wo(self.wi(self.norm_2(x)))


class T5Encoder(keras.Model):
    def __init__(self, vocab: int = 23, width: int = 12, heads: int = 3, fault: str = "") -> None:
        super().__init__()
        self.shared = layers.Embedding(vocab, width)
        self.relative = layers.Embedding(9, heads)
        self.blocks = [T5Layer(width, heads, fault) for _ in range(2)]
        self.norm = RMS()

    def call(self, ids: Any) -> Any:
        x, at = self.shared(ids), np.arange(ids.shape[1])
        buckets = np.clip(at[None] - at[:, None], -4, 4) + 4
        bias = ops.transpose(self.relative(ops.convert_to_tensor(buckets)), (2, 0, 1))[None]
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)


class LlamaLayer(layers.Layer):
    """Groups of queries as an axis of their own; gate and up in one kernel."""

    def __init__(self, width: int, heads: int, kv_heads: int, fault: str = "") -> None:
        super().__init__()
        self.width, self.h, self.g, self.fault = width, heads, kv_heads, fault
        self.norm_in, self.norm_out = RMS(1e-5), RMS(1e-5)
        self.wq = layers.Dense(width, use_bias=False)
        self.wk = layers.Dense(width // heads * kv_heads, use_bias=False)
        self.wv = layers.Dense(width // heads * kv_heads, use_bias=False)
        self.wo = layers.Dense(width, use_bias=False)
        self.gate_up, self.down = layers.Dense(40, use_bias=False), layers.Dense(width, use_bias=False)

    def rope(self, x: Any) -> Any:
        t, d = x.shape[1], x.shape[-1]
        angles = np.outer(np.arange(t), 10000.0 ** (-np.arange(0, d, 2) / d))[:, None]
        cos, sin = (ops.cast(f(angles), x.dtype) for f in (np.cos, np.sin))
        a, b = ops.split(x, 2, axis=-1)
        return ops.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def call(self, x: Any) -> Any:
        t, d = x.shape[1], self.width // self.h
        y = self.norm_in(x)
        q = self.rope(ops.reshape(self.wq(y), (-1, t, self.h, d)))
        k = self.rope(ops.reshape(self.wk(y), (-1, t, self.g, d)))
        v = ops.reshape(self.wv(y), (-1, t, self.g, d))
        q = ops.reshape(q, (-1, t, self.g, self.h // self.g, d))
        scores = ops.einsum("btgrd,bsgd->bgrts", q, k) / d**0.5
        scores = ops.where(np.tril(np.ones((t, t), bool)), scores, ops.cast(-1e9, scores.dtype))
        y = ops.einsum("bgrts,bsgd->btgrd", ops.softmax(scores), v)
        x = x + self.wo(ops.reshape(y, (-1, t, self.width)))
        gate, up = ops.split(self.gate_up(self.norm_out(x)), 2, axis=-1)
        return x + self.down(ops.silu(gate) * up)


class Llama(keras.Model):
    def __init__(self, vocab: int = 27, width: int = 16, heads: int = 4, kv_heads: int = 2, fault: str = "") -> None:
        super().__init__()
        self.embed = layers.Embedding(vocab, width)
        self.blocks = [LlamaLayer(width, heads, kv_heads, fault) for _ in range(2)]
        self.norm, self.head = RMS(1e-5), layers.Dense(vocab, use_bias=False)

    def call(self, ids: Any) -> Any:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class SpeechNet(keras.Model):
    """Frames (b, t, features)."""

    def __init__(self, hidden: int = 6, fault: str = "") -> None:
        super().__init__()
        self.conv = layers.Conv1D(8, 3, padding="same")
        self.norm = layers.BatchNormalization(epsilon=1e-5)
        self.gru, self.lstm = layers.GRU(hidden, return_sequences=True), layers.LSTM(hidden, return_sequences=True)
        self.score, self.out = layers.Dense(1), layers.Dense(4)

    def call(self, x: Any) -> Any:
        x = self.lstm(self.gru(ops.relu(self.norm(self.conv(x)))))
        weights = ops.softmax(self.score(x), axis=1)
        return self.out(ops.sum(weights * x, axis=1))


class NonLocal(layers.Layer):
    def __init__(self, channels: int, fault: str = "") -> None:
        super().__init__()
        self.channels, self.fault = channels, fault
        self.theta, self.phi, self.g = (layers.Conv2D(channels // 2, 1, name=name) for name in ("theta", "phi", "g"))
        self.w = layers.Conv2D(channels, 1)
        self.bn = layers.BatchNormalization(epsilon=1e-5)

    def call(self, x: Any) -> Any:
        _, h, w, _ = x.shape
        theta, phi, g = (ops.reshape(f(x), (-1, h * w, self.channels // 2)) for f in (self.theta, self.phi, self.g))
        f = ops.softmax(ops.einsum("bic,bjc->bij", theta, phi), axis=-1)
        y = ops.reshape(ops.matmul(f, g), (-1, h, w, self.channels // 2))
        return x + self.bn(self.w(y))


class NonLocalNet(keras.Model):
    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.pad = layers.ZeroPadding2D(1)
        self.stem = layers.Conv2D(8, 3, 2)
        self.blocks = [NonLocal(8, fault) for _ in range(2)]
        self.head = layers.Conv2D(8, 3, padding="same", groups=2)
        self.fault = fault

    def call(self, x: Any) -> Any:
        x = ops.relu(self.stem(self.pad(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(ops.relu(x))


def unet(fault: str = "") -> Any:
    """A functional model."""
    image = keras.Input((4, 6, 3))
    x = layers.Conv2D(6, 3, padding="same")(image)
    skip = layers.Activation("silu")(layers.GroupNormalization(3, epsilon=1e-5)(x))
    y = layers.ZeroPadding2D(1)(skip)
    y = layers.DepthwiseConv2D(3, strides=2)(y)
    y = layers.Conv2D(12, 1, activation="silu")(y)
    y = layers.Conv2DTranspose(6, 2, strides=2)(y)
    y = layers.Concatenate()([y, skip])
    y = layers.Conv2D(6, 3, padding="same")(y)
    y = layers.Activation("silu")(layers.GroupNormalization(3, epsilon=1e-5)(y))
    y = layers.Dense(7, activation="tanh")(layers.Flatten()(y))
    return keras.Model(image, layers.Dense(7)(y))
