"""Layers as people write them in Keras on TensorFlow, subclassed or functional, each with the faults that people make.

Written here, in the styles that are seen in public; no code is copied. See ``corpus`` for how they are told.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import attn_ref as ar

from .corpus import Planted, Wild, halved, keep, maps, padding, tokens, values
from .weights import by, columns, instead, ones, together, zeroed

WIDTH, HEADS, HIDDEN = 12, 3, 20
DEPTH = WIDTH // HEADS


class TutorialAttention(layers.Layer):
    """Attention as in the tutorial: ``call(v, k, q, mask)``, a mask that is 1 where it drops.

    It gives the weights too.
    """

    def __init__(self, fault: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fault = fault.split("+")
        self.wq, self.wk, self.wv = (layers.Dense(WIDTH, name=name) for name in ("wq", "wk", "wv"))
        self.dense = layers.Dense(WIDTH, name="dense")

    def split_heads(self, x: Any, batch_size: Any, key: bool = False) -> Any:
        if "heads split without transposing" in self.fault and key:
            return tf.reshape(x, (batch_size, HEADS, -1, DEPTH))  # fault: heads split without transposing
        if "depth before heads" in self.fault and key:
            x = tf.reshape(x, (batch_size, -1, DEPTH, HEADS))
            return tf.transpose(x, perm=[0, 3, 1, 2])  # fault: depth before heads
        x = tf.reshape(x, (batch_size, -1, HEADS, DEPTH))
        return tf.transpose(x, perm=[0, 2, 1, 3])

    def attend(self, q: Any, k: Any, v: Any, mask: Any) -> Any:
        logits = tf.matmul(q, k, transpose_b=True)  # fault: no scale
        dk = tf.cast(WIDTH if "scale by the width" in self.fault else tf.shape(k)[-1], logits.dtype)
        if "divided by the depth" in self.fault:
            logits = logits / dk  # fault: divided by the depth
        elif "no scale" not in self.fault:
            logits = logits / tf.math.sqrt(dk)  # fault: scale by the width
        if "mask read as one to keep" in self.fault:
            logits += (1 - mask) * -1e9  # fault: mask read as one to keep
        elif "mask without the large number" in self.fault:
            logits += mask * -1.0  # fault: mask without the large number
        elif "mask of a large plus" in self.fault:
            logits += mask * 1e9  # fault: mask of a large plus
        elif "mask multiplied" in self.fault:
            logits *= 1 - mask  # fault: mask multiplied
        elif "mask one too early" in self.fault:
            logits += tf.concat([mask[..., 1:], mask[..., -1:]], -1) * -1e9  # fault: mask one too early
        else:
            logits += mask * -1e9
        axis = -1
        if "softmax over queries" in self.fault:
            axis = -2
        if "softmax over the batch" in self.fault:
            axis = 0
        weights = tf.nn.softmax(logits, axis=axis)  # fault: softmax over queries, softmax over the batch
        return tf.matmul(weights, v), weights

    def call(self, v: Any, k: Any, q: Any, mask: Any) -> Any:
        b = tf.shape(q)[0]
        q = self.split_heads(self.wq(q), b)
        v = self.wv(k if "values of the keys' input" in self.fault else v)  # fault: values of the keys' input
        k = (self.wq if "keys by the queries' layer" in self.fault else self.wk)(k)  # fault: keys by the queries' layer
        context, weights = self.attend(q, self.split_heads(k, b, key=True), self.split_heads(v, b), mask)
        if "merged without transposing" not in self.fault:
            context = tf.transpose(context, perm=[0, 2, 1, 3])
        merged = tf.reshape(context, (b, -1, WIDTH))  # fault: merged without transposing
        return self.dense(merged), weights


class EinsumAttention(layers.Layer):
    """Causal attention by ``EinsumDense``, whose kernels are (width, heads, depth)."""

    def __init__(self, fault: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fault = fault.split("+")
        self.query, self.key, self.value = (
            layers.EinsumDense("abc,cde->abde", output_shape=(None, HEADS, DEPTH), bias_axes="de", name=name)
            for name in ("query", "key", "value")
        )
        self.out = layers.EinsumDense("abcd,cde->abe", output_shape=(None, WIDTH), bias_axes="e", name="out")

    def visible(self, t: Any) -> Any:
        rows, cols = tf.range(t)[:, None], tf.range(t)[None, :]
        if "diagonal hidden" in self.fault:
            return cols < rows
        if "next key seen" in self.fault:
            return cols <= rows + 1
        if "past hidden" in self.fault:
            return cols >= rows
        if "window of two" in self.fault:
            return (cols <= rows) & (rows - cols < 2)
        return cols <= rows

    def call(self, x: Any) -> Any:
        q, k = self.query(x), self.key(x)
        if "query scaled too" in self.fault:
            q = q / tf.sqrt(tf.cast(DEPTH, q.dtype))  # fault: query scaled too
        of_values = self.key if "values by the keys' layer" in self.fault else self.value
        v = of_values(x)  # fault: values by the keys' layer
        if "keys and values of the first head" in self.fault:
            k, v = k[:, :, :1], v[:, :, :1]
            k, v = tf.repeat(k, HEADS, 2), tf.repeat(v, HEADS, 2)  # fault: keys and values of the first head
        equation = "aecd,abcd->aceb" if "scores transposed" in self.fault else "aecd,abcd->acbe"
        scores = tf.einsum(equation, k, q)  # fault: scores transposed
        if "scale multiplies" in self.fault:
            scores = scores * tf.sqrt(tf.cast(DEPTH, scores.dtype))  # fault: scale multiplies
        else:
            depth = WIDTH if "scale by the width" in self.fault else DEPTH
            scores = scores * depth**-0.5  # fault: scale by the width, not causal
        seen = self.visible(tf.shape(x)[1])
        if "weak mask" in self.fault:
            scores = tf.where(seen, scores, -3.0)  # fault: weak mask
        elif "not causal" not in self.fault:
            scores = tf.where(seen, scores, -1e12)  # fault: diagonal hidden, next key seen, past hidden, window of two
        axis = 1 if "softmax over heads" in self.fault else -1
        weights = keras.activations.softmax(scores, axis=axis)  # fault: softmax over heads
        context = tf.einsum("acbe,aecd->abcd", weights, v)
        if "heads in reverse" in self.fault:
            context = tf.reverse(context, axis=[2])  # fault: heads in reverse
        return self.out(context)


def encoder_model(fault: Any = "") -> keras.Model:
    """A post-norm encoder layer as a functional model, with the attention of Keras."""
    fault = fault.split("+")
    x = inputs = keras.Input((None, WIDTH))
    mha = layers.MultiHeadAttention(HEADS, WIDTH if "key_dim is the width" in fault else DEPTH, name="mha")
    eps = {} if "eps left at its default" in fault else {"epsilon": 1e-6}
    norm1, norm2 = layers.LayerNormalization(name="norm1", **eps), layers.LayerNormalization(name="norm2", **eps)
    if "batch norm" in fault:
        norm1 = layers.BatchNormalization(name="norm1", epsilon=1e-6)
    up = layers.Dense(HIDDEN, activation="relu", name="up")
    if "gelu" in fault:
        up = layers.Dense(HIDDEN, activation="gelu", name="up")
    if "no activation" in fault:
        up = layers.Dense(HIDDEN, name="up")
    down = layers.Dense(WIDTH, name="down", activation="relu" if "activated twice" in fault else None)
    if "pre-norm" in fault:
        y = norm1(x)
        x = x + mha(y, y)  # fault: pre-norm
        return keras.Model(inputs, x + down(up(norm2(x))))  # fault: pre-norm
    causal = "causal" in fault
    attended = mha(x, x, use_causal_mask=causal)  # fault: causal, key_dim is the width, no first residual
    if "no first residual" in fault:
        x = norm1(attended)
    elif "norm before the sum" in fault:
        x = x + norm1(attended)  # fault: norm before the sum
    else:
        x = norm1(x + attended)  # fault: batch norm, eps left at its default
    fed = down(up(x))  # fault: gelu, no activation, activated twice
    rest = inputs if "residual of the input" in fault else x
    fed = rest * fed if "multiplied" in fault else rest + fed  # fault: multiplied, residual of the input
    if "one norm for both" in fault:
        return keras.Model(inputs, norm1(fed))  # fault: one norm for both
    if "second norm lost" in fault:
        return keras.Model(inputs, fed)  # fault: second norm lost
    return keras.Model(inputs, norm2(fed))


class WrappedAttention(layers.Layer):
    """The attention of Keras inside of a layer; ``keep`` (b, s) is True where there is a token."""

    def __init__(self, fault: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fault = fault.split("+")
        self.mha = layers.MultiHeadAttention(HEADS, DEPTH, use_bias="no biases" not in self.fault, name="mha")

    def call(self, query: Any, key: Any, value: Any, keep: Any) -> Any:
        mask = keep[:, tf.newaxis, :]
        if "mask upside down" in self.fault:
            y = self.mha(query, value, key, attention_mask=~mask)  # fault: mask upside down
        elif "mask lost" in self.fault:
            y = self.mha(query, value, key)  # fault: mask lost
        elif "causal mask for it" in self.fault:
            y = self.mha(query, value, key, use_causal_mask=True)  # fault: causal mask for it
        elif "causal too" in self.fault:
            y = self.mha(query, value, key, attention_mask=mask, use_causal_mask=True)  # fault: causal too
        elif "first key always seen" in self.fault:
            first = tf.one_hot(0, tf.shape(key)[1], True, False, dtype=tf.bool)
            y = self.mha(query, value, key, attention_mask=~mask | first)  # fault: first key always seen
        elif "key and value exchanged" in self.fault:
            y = self.mha(query, key, value, attention_mask=mask)  # fault: key and value exchanged
        elif "key not given" in self.fault:
            y = self.mha(query, value, attention_mask=mask)  # fault: key not given
        elif "value for the key's sake" in self.fault:
            y = self.mha(query, key, key, attention_mask=mask)  # fault: value for the key's sake
        elif "padding zeroed and seen" in self.fault:
            there = tf.cast(keep[..., tf.newaxis], key.dtype)
            y = self.mha(query, value * there, key * there)  # fault: padding zeroed and seen
        elif "mask one too long" in self.fault:
            longer = tf.concat([tf.ones_like(mask[..., :1]), mask[..., :-1]], -1)
            y = self.mha(query, value, key, attention_mask=longer)  # fault: mask one too long
        else:
            y = self.mha(query, value, key, attention_mask=mask)  # fault: no biases
        if "residual inside" in self.fault:
            y = y + query  # fault: residual inside
        return y


class Cbam(layers.Layer):
    """Channel attention by shared dense layers, then spatial attention by a convolution."""

    def __init__(self, fault: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fault = fault.split("+")
        activation = "linear" if "no relu" in self.fault else "relu"
        self.average, self.largest = (
            pooling(keepdims=True) for pooling in (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
        )
        self.shared_one = layers.Dense(3, activation=activation, name="shared_one")
        self.shared_two = layers.Dense(WIDTH, name="shared_two")
        self.conv = layers.Conv2D(1, 3, padding="same", use_bias=False, name="conv")

    def channels(self, x: Any) -> Any:
        average = self.shared_two(self.shared_one(self.average(x)))  # fault: no relu, mean alone
        if "mean alone" in self.fault:
            return x * tf.sigmoid(average)
        if "minimum for maximum" in self.fault:
            largest = tf.reduce_min(x, axis=[1, 2], keepdims=True)  # fault: minimum for maximum
        else:
            largest = self.largest(x)
        largest = self.shared_two(self.shared_one(largest))
        if "sigmoid of each" in self.fault:
            return x * (tf.sigmoid(average) + tf.sigmoid(largest))  # fault: sigmoid of each
        if "product of the two" in self.fault:
            return x * tf.sigmoid(average * largest)  # fault: product of the two
        if "mean of the two" in self.fault:
            return x * tf.sigmoid((average + largest) / 2)  # fault: mean of the two
        if "channel gate without a sigmoid" in self.fault:
            return x * (average + largest)  # fault: channel gate without a sigmoid
        return x * tf.sigmoid(average + largest)

    def space(self, x: Any, raw: Any) -> Any:
        read = raw if "map of the input" in self.fault else x
        average = tf.reduce_mean(read, axis=-1, keepdims=True)
        largest = tf.reduce_max(read, axis=-1, keepdims=True)
        if "maximum first" in self.fault:
            both = tf.concat([largest, average], axis=-1)  # fault: maximum first
        elif "mean twice" in self.fault:
            both = tf.concat([average, average], axis=-1)  # fault: mean twice
        else:
            both = tf.concat([average, largest], axis=-1)  # fault: map of the input
        gate = self.conv(both)
        if "spatial gate by relu" in self.fault:
            gate = tf.nn.relu(gate)  # fault: spatial gate by relu
        elif "hard sigmoid" in self.fault:
            gate = keras.activations.hard_sigmoid(gate)  # fault: hard sigmoid
        else:
            gate = tf.sigmoid(gate)
        return (raw if "gate on the input" in self.fault else x) * gate  # fault: gate on the input

    def call(self, x: Any) -> Any:
        if "space before channels" in self.fault:
            return self.channels(self.space(x, x))  # fault: space before channels
        y = self.space(self.channels(x), x)
        if "residual" in self.fault:
            y = y + x  # fault: residual
        return y


def se_model(fault: Any = "") -> keras.Model:
    """Squeeze and excitation as a functional model."""
    fault = fault.split("+")
    x = inputs = keras.Input((None, None, WIDTH))
    biased = "no biases" not in fault
    between: str | None = "relu"
    for name, activation in (("no relu", None), ("swish", "swish"), ("tanh", "tanh")):
        between = activation if name in fault else between
    last: str | None = "sigmoid"
    for name, activation in (("softmax", "softmax"), ("hard sigmoid", "hard_sigmoid"), ("no sigmoid", None)):
        last = activation if name in fault else last
    reduce = layers.Dense(3, activation=between, use_bias=biased, name="reduce")
    expand = layers.Dense(WIDTH, activation=last, use_bias=biased, name="expand")
    if "reduced before it is pooled" in fault:
        y = layers.GlobalAveragePooling2D()(reduce(x))  # fault: reduced before it is pooled
    elif "maximum for mean" in fault:
        y = reduce(layers.GlobalMaxPooling2D()(x))  # fault: maximum for mean
    elif "mean of a maximum" in fault:
        y = reduce(layers.GlobalAveragePooling1D()(keras.ops.max(x, axis=1)))  # fault: mean of a maximum
    elif "mean of windows" in fault:
        y = layers.GlobalMaxPooling2D()(layers.AveragePooling2D(2, padding="same")(x))
        y = reduce(y)  # fault: mean of windows
    else:
        y = reduce(layers.GlobalAveragePooling2D()(x))  # fault: no relu, swish, tanh, no biases
    y = expand(y)  # fault: softmax, hard sigmoid, no sigmoid, no biases
    y = layers.Reshape((1, 1, WIDTH))(y)
    if "added" in fault:
        return keras.Model(inputs, layers.Add()([x, y]))  # fault: added
    if "residual" in fault:
        return keras.Model(inputs, layers.Add()([x, layers.Multiply()([x, y])]))  # fault: residual
    return keras.Model(inputs, layers.Multiply()([x, y]))


class SaganAttention(layers.Layer):
    """Attention of pixels as in the authors' network: pooled keys and values, a projection, a gate."""

    def __init__(self, fault: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fault = fault.split("+")
        act = "relu" if "relu in the convolutions" in self.fault else None
        self.f, self.g, self.h, self.o = (
            layers.Conv2D(n, 1, use_bias=False, activation=act if name == "g" else None, name=name)
            for name, n in (("f", 2), ("g", 2), ("h", 6), ("o", WIDTH))
        )
        pooling = layers.AveragePooling2D if "mean for maximum" in self.fault else layers.MaxPooling2D
        padding = "same" if "pooling pads" in self.fault else "valid"
        self.pool = pooling(2, strides=1 if "pooling overlaps" in self.fault else 2, padding=padding)

    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(name="gamma", shape=(1,), initializer="zeros")

    def flat(self, x: Any) -> Any:
        return tf.reshape(x, (tf.shape(x)[0], -1, x.shape[-1]))

    def call(self, x: Any) -> Any:
        b, height, width = tf.shape(x)[0], tf.shape(x)[1], tf.shape(x)[2]
        g = self.g(x)  # fault: relu in the convolutions
        f = (self.g if "keys by the queries' kernel" in self.fault else self.f)(x)  # fault: keys by the queries' kernel
        f = self.pool(f)  # fault: mean for maximum, pooling pads, pooling overlaps
        first = "pooled before the convolution" in self.fault
        h = self.h(self.pool(x)) if first else self.pool(self.h(x))  # fault: pooled before the convolution
        if "queries column by column" in self.fault:
            g = tf.transpose(g, (0, 2, 1, 3))  # fault: queries column by column
        s = tf.matmul(self.flat(g), self.flat(f), transpose_b=True)
        if "scaled" in self.fault:
            s = s / tf.sqrt(tf.cast(WIDTH, s.dtype))  # fault: scaled
        beta = tf.nn.softmax(s, axis=1 if "softmax over queries" in self.fault else -1)  # fault: softmax over queries
        o = tf.matmul(beta, self.flat(h))
        if "channels and space mixed" in self.fault:
            o = tf.transpose(tf.reshape(o, (b, 6, height, width)), (0, 2, 3, 1))  # fault: channels and space mixed
        else:
            o = tf.reshape(o, (b, height, width, 6))
        o = self.o(o)  # fault: no residual
        if "gate lost" in self.fault:
            return o + x  # fault: gate lost
        if "gate by a sigmoid" in self.fault:
            return tf.sigmoid(self.gamma) * o + x  # fault: gate by a sigmoid
        o = self.gamma * o
        return o if "no residual" in self.fault else o + x


class SelectiveKernelUnit(layers.Layer):
    """Two branches with kernels of 3 and 5, mixed by a softmax."""

    def __init__(self, fault: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fault = fault.split("+")
        eps = 1e-3 if "eps left at its default" in self.fault else 1e-5
        dilated = "dilated three for five" in self.fault
        self.conv3 = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv3")
        self.conv5 = layers.Conv2D(
            8, 3 if dilated else 5, dilation_rate=2 if dilated else 1, padding="same", use_bias=False, name="conv5"
        )
        self.bn3, self.bn5, self.bn = (
            layers.BatchNormalization(epsilon=eps, name=name) for name in ("bn3", "bn5", "bn")
        )
        self.fc = layers.Dense(4, name="fc")
        self.fc3, self.fc5 = layers.Dense(8, name="fc3"), layers.Dense(8, name="fc5")

    def branch(self, conv: Any, norm: Any, x: Any) -> Any:
        y = conv(x)
        if "relu before the norm" in self.fault:
            return norm(tf.nn.relu(y))  # fault: relu before the norm
        y = norm(y)  # fault: eps left at its default, no relu in the branches
        return y if "no relu in the branches" in self.fault else tf.nn.relu(y)

    def call(self, x: Any) -> Any:
        three = self.branch(self.conv3, self.bn3, x)
        five = self.branch(self.conv5, self.bn5, x)  # fault: dilated three for five
        if "larger of the branches" in self.fault:
            fused = tf.maximum(three, five)  # fault: larger of the branches
        elif "one branch is squeezed" in self.fault:
            fused = three  # fault: one branch is squeezed
        else:
            fused = three + five
        if "maximum for mean" in self.fault:
            s = tf.reduce_max(fused, axis=[1, 2])  # fault: maximum for mean
        else:
            s = tf.reduce_mean(fused, axis=(1, 2))
        z = self.fc(s)  # fault: no norm in the bottleneck
        if "no norm in the bottleneck" not in self.fault:
            z = self.bn(z)  # fault: no relu in the bottleneck
        if "no relu in the bottleneck" not in self.fault:
            z = tf.nn.relu(z)
        logits = tf.stack([self.fc3(z), self.fc5(z)], axis=1)
        if "sigmoid for softmax" in self.fault:
            a = tf.sigmoid(logits)  # fault: sigmoid for softmax
        elif "softmax over channels" in self.fault:
            a = tf.nn.softmax(logits, axis=2)  # fault: softmax over channels
        elif "softmax over the batch" in self.fault:
            a = tf.nn.softmax(logits, axis=0)  # fault: softmax over the batch
        else:
            a = tf.nn.softmax(logits, axis=1)
        a3, a5 = a[:, 0, None, None, :], a[:, 1, None, None, :]
        if "weights exchanged" in self.fault:
            a3, a5 = a5, a3  # fault: weights exchanged
        return a3 * three + a5 * five


class NonLocalLayer(layers.Layer):
    """A non-local block: softmax of dot products, a projection with a batch norm, a residual."""

    def __init__(self, fault: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fault = fault.split("+")
        self.theta, self.phi, self.g = (layers.Conv2D(5, 1, name=name) for name in ("theta", "phi", "g"))
        self.w = layers.Conv2D(WIDTH, 1, name="w")
        self.norm = layers.BatchNormalization(epsilon=1e-5 if "eps as in torch" in self.fault else 1e-3, name="norm")

    def call(self, x: Any) -> Any:
        b, height, width = tf.shape(x)[0], tf.shape(x)[1], tf.shape(x)[2]
        theta = tf.reshape(self.theta(x), (b, -1, 5))
        phi = (self.theta if "one embedding for both" in self.fault else self.phi)(x)  # fault: one embedding for both
        if "embedding rectified" in self.fault:
            phi = tf.nn.relu(phi)  # fault: embedding rectified
        phi = tf.reshape(phi, (b, -1, 5))
        g = self.g(x)
        if "values column by column" in self.fault:
            g = tf.transpose(g, (0, 2, 1, 3))  # fault: values column by column
        g = tf.reshape(g, (b, -1, 5))
        f = tf.matmul(theta, phi, transpose_b=True)
        if "scaled by the inner width" in self.fault:
            f = f / tf.sqrt(tf.cast(5, f.dtype))  # fault: scaled by the inner width
        if "divided by the number" in self.fault:
            f = f / tf.cast(tf.shape(f)[-1], f.dtype)  # fault: divided by the number
        else:
            axis = 1 if "softmax over queries" in self.fault else -1
            f = tf.nn.softmax(f, axis=axis)  # fault: softmax over queries
        y = tf.matmul(f, g, transpose_a="map transposed" in self.fault)  # fault: map transposed
        if "channels and space mixed" in self.fault:
            y = tf.transpose(tf.reshape(y, (b, 5, height, width)), (0, 2, 3, 1))  # fault: channels and space mixed
        else:
            y = tf.reshape(y, (b, height, width, 5))
        z = self.w(y)  # fault: norm lost
        if "norm lost" not in self.fault:
            z = self.norm(z)  # fault: no residual, eps as in torch
        if "norm of the sum" in self.fault:
            return self.norm(self.w(y) + x)  # fault: norm of the sum
        return z if "no residual" in self.fault else z + x


class GptLayer(layers.Layer):
    """A layer of a GPT: pre-norm, one dense layer for queries, keys and values, GELU."""

    def __init__(self, fault: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fault = fault.split("+")
        eps = 1e-5 if "another eps" in self.fault else 1e-3
        self.ln_1, self.ln_2 = (layers.LayerNormalization(epsilon=eps, name=name) for name in ("ln_1", "ln_2"))
        self.c_attn, self.c_proj = layers.Dense(3 * WIDTH, name="c_attn"), layers.Dense(WIDTH, name="c_proj")
        self.c_fc, self.c_out = layers.Dense(HIDDEN, name="c_fc"), layers.Dense(WIDTH, name="c_out")

    def attend(self, x: Any) -> Any:
        b, t = tf.shape(x)[0], tf.shape(x)[1]
        y = self.c_attn(x)
        if "keys first" in self.fault:
            k, q, v = tf.split(y, 3, axis=-1)  # fault: keys first
        else:
            q, k, v = tf.split(y, 3, axis=-1)
        q, k, v = (tf.transpose(tf.reshape(z, (b, t, HEADS, DEPTH)), (0, 2, 1, 3)) for z in (q, k, v))
        w = tf.matmul(q, k, transpose_b=True) / DEPTH**0.5
        past = tf.linalg.band_part(tf.ones((t, t), w.dtype), -1, 0)
        if "upper for lower" in self.fault:
            past = tf.linalg.band_part(tf.ones((t, t), w.dtype), 0, -1)
        if "mask multiplied alone" in self.fault:
            w = w * past  # fault: mask multiplied alone
        elif "small number hides" in self.fault:
            w = w * past - 1e-10 * (1 - past)  # fault: small number hides
        else:
            w = w * past - 1e10 * (1 - past)  # fault: upper for lower
        w = tf.nn.softmax(w)
        a = tf.reshape(tf.transpose(tf.matmul(w, v), (0, 2, 1, 3)), (b, t, WIDTH))
        return self.c_proj(a)

    def feed(self, x: Any) -> Any:
        y = self.c_fc(x)
        if "gelu by tanh" in self.fault:
            y = keras.ops.gelu(y)  # fault: gelu by tanh
        elif "relu" in self.fault:
            y = tf.nn.relu(y)  # fault: relu
        else:
            y = 0.5 * y * (1.0 + tf.math.erf(y / 2**0.5))
        return self.c_out(y)

    def call(self, x: Any) -> Any:
        if "post-norm" in self.fault:
            x = self.ln_1(x + self.attend(x))  # fault: post-norm
            return self.ln_2(x + self.feed(x))  # fault: post-norm
        if "side by side" in self.fault:
            return x + self.attend(self.ln_1(x)) + self.feed(self.ln_2(x))  # fault: side by side
        y = self.ln_1(x)  # fault: another eps
        attended = self.attend(y)  # fault: no first residual
        if "residual of the norm" in self.fault:
            z = y + attended  # fault: residual of the norm
        else:
            z = attended if "no first residual" in self.fault else x + attended
        fed = self.feed((self.ln_1 if "one norm for both" in self.fault else self.ln_2)(z))  # fault: one norm for both
        if "normed at the end" in self.fault:
            return self.ln_2(z + fed)  # fault: normed at the end
        return z + fed


class PatchEncoder(layers.Layer):
    """Patches cut by reshape and transpose, then a dense layer."""

    def __init__(self, fault: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fault = fault.split("+")
        self.projection = layers.Dense(WIDTH, name="projection", use_bias="no bias" not in self.fault)

    def call(self, images: Any) -> Any:
        b, rows, cols = tf.shape(images)[0], tf.shape(images)[1] // 2, tf.shape(images)[2] // 2
        if "scaled to one" in self.fault:
            images = images / 255.0  # fault: scaled to one
        if "cut without transposing" in self.fault:
            patches = tf.reshape(images, (b, rows * cols, 12))  # fault: cut without transposing
        else:
            grid = tf.reshape(images, (b, rows, 2, cols, 2, 3))
            order = (0, 1, 3, 2, 4, 5)
            if "columns before rows" in self.fault:
                order = (0, 3, 1, 2, 4, 5)
            if "pixels transposed" in self.fault:
                order = (0, 1, 3, 4, 2, 5)
            if "channels first" in self.fault:
                order = (0, 1, 3, 5, 2, 4)
            grid = tf.transpose(grid, order)
            patches = tf.reshape(grid, (b, -1, 12))  # fault: columns before rows, pixels transposed, channels first
        if "patches normed" in self.fault:
            patches = patches - tf.reduce_mean(patches, -1, keepdims=True)  # fault: patches normed
        tokens = self.projection(patches)  # fault: no bias
        if "last patch first" in self.fault:
            tokens = tf.reverse(tokens, axis=[1])  # fault: last patch first
        if "rectified" in self.fault:
            tokens = tf.nn.relu(tokens)  # fault: rectified
        return tokens


# what they are -------------------------------------------------------------------------------------------------------


def built(*shapes: tuple[int, ...], kept: bool = False) -> Callable[[Any, str, int], Any]:
    """Makes a layer in float64, builds it on inputs of these shapes, and fills its weights by seed and name.

    ``kept``: the last input is of bools.
    """

    def make(cls: Any, fault: str, seed: int) -> Any:
        floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        try:
            layer = cls(fault)
            given = [np.ones(shape) for shape in shapes[: -1 if kept else None]]
            given += [np.ones(shape, dtype=bool) for shape in shapes[len(given) :]]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # with some faults a part is left unused, which Keras warns of
                layer(*given)
        finally:
            keras.config.set_floatx(floatx)
            keras.config.set_dtype_policy(policy)
        for variable in layer.weights:
            variable.assign(filled(variable, seed))
        return layer

    return make


def filled(variable: Any, seed: int) -> np.ndarray:
    """Numbers off 0 and 1, the same in every layer where a variable has the same name."""
    parts = variable.path.split("/")[-2:]
    if "/" not in variable.path.removesuffix(f"/{parts[-1]}"):
        parts[0] = re.sub(r"_\d+$", "", parts[0])  # Keras counts the layers that have no name
    name = "/".join(parts)
    rng, shape = np.random.default_rng([zlib.crc32(name.encode()), seed]), tuple(variable.shape)
    if variable.name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.4, shape)
    return rng.normal(0, 0.4 if variable.name == "kernel" else 0.5, shape)


def run(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> np.ndarray:
    y = layer(*args, **kwargs)
    return np.array(y[0] if isinstance(y, tuple) else y)


def alone(name: str) -> Callable[[Mapping[str, Any]], tuple[list[Any], dict[str, Any]]]:
    return lambda inputs: ([inputs[name]], {})


def dense(name: str, layer: Any) -> dict[str, np.ndarray]:
    """Of a dense layer or of a convolution, as it is."""
    bias = {} if layer.bias is None else {f"{name}.bias": np.array(layer.bias)}
    return {f"{name}.kernel": np.array(layer.kernel)} | bias


def norm(name: str, layer: Any) -> dict[str, np.ndarray]:
    return {f"{name}.scale": np.array(layer.gamma), f"{name}.offset": np.array(layer.beta)}


def batch_norm(name: str, layer: Any) -> dict[str, np.ndarray]:
    mean, variance = np.array(layer.moving_mean), np.array(layer.moving_variance)
    return norm(name, layer) | {f"{name}.mean": mean, f"{name}.variance": variance}


def heads(name: str, layer: Any) -> dict[str, np.ndarray]:
    """Of ``EinsumDense`` with a kernel (width, heads, depth)."""
    kernel = np.array(layer.kernel)
    return {f"{name}.kernel": kernel.reshape(kernel.shape[0], -1), f"{name}.bias": np.array(layer.bias).ravel()}


def keras_attention(mha: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Of ``keras.layers.MultiHeadAttention``."""
    out = mha._output_dense
    parts = {"query": mha._query_dense, "key": mha._key_dense, "value": mha._value_dense}
    found = {k: v for name, part in parts.items() for k, v in heads(name, part).items()}
    found |= {"project.kernel": np.array(out.kernel).reshape(WIDTH, -1), "project.bias": np.array(out.bias)}
    return {prefix + name: y for name, y in found.items()}


def denses(layer: Any, **names: str) -> dict[str, np.ndarray]:
    """``denses(layer, query="wq", …)``."""
    return {k: v for name, said in names.items() for k, v in dense(name, getattr(layer, said)).items()}


def einsum_copy(layer: Any) -> dict[str, np.ndarray]:
    found = {k: v for name in ("query", "key", "value") for k, v in heads(name, getattr(layer, name)).items()}
    kernel = np.array(layer.out.kernel).reshape(WIDTH, WIDTH)
    return found | {"project.kernel": kernel, "project.bias": np.array(layer.out.bias)}


def encoder_copy(model: Any) -> dict[str, np.ndarray]:
    part = model.get_layer
    return {
        **keras_attention(part("mha"), "attention."), **norm("attention_norm", part("norm1")),
        **dense("feed_forward.expand", part("up")), **dense("feed_forward.reduce", part("down")),
        **norm("feed_forward_norm", part("norm2")),
    }  # fmt: skip


def sk_copy(layer: Any) -> dict[str, np.ndarray]:
    return {
        **denses(layer, **{"convs.0": "conv3", "convs.1": "conv5", "reduce": "fc", "selects.0": "fc3",
                           "selects.1": "fc5"}),
        **batch_norm("norms.0", layer.bn3), **batch_norm("norms.1", layer.bn5), **batch_norm("reduce_norm", layer.bn),
    }  # fmt: skip


def gpt_copy(layer: Any) -> dict[str, np.ndarray]:
    kernels = np.split(np.array(layer.c_attn.kernel), 3, axis=1)
    biases = np.split(np.array(layer.c_attn.bias), 3)
    found: dict[str, np.ndarray] = {}
    for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
        found |= {f"attention.{name}.kernel": kernel, f"attention.{name}.bias": bias}
    return {
        **found, **denses(layer, **{"attention.project": "c_proj", "feed_forward.expand": "c_fc",
                                    "feed_forward.reduce": "c_out"}),
        **norm("attention_norm", layer.ln_1), **norm("feed_forward_norm", layer.ln_2),
    }  # fmt: skip


def patch_copy(layer: Any) -> dict[str, np.ndarray]:
    kernel = np.array(layer.projection.kernel).reshape(2, 2, 3, WIDTH)
    return {"project.kernel": kernel, "project.bias": np.array(layer.projection.bias)}


def draw_memory(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Query, key and value apart, and a padding mask."""
    b, t, s = int(rng.integers(1, 4)), int(rng.integers(2, 7)), int(rng.integers(4, 10))
    mask = padding(rng, b, s)[:, None, None, :]
    sizes = {"query": t, "key": s, "value": s}
    return {**{name: values(rng, b, n, WIDTH) for name, n in sizes.items()}, "attention_mask": mask}


def draw_holes(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """As ``draw_memory``, but any key may be hidden."""
    given = draw_memory(rng)
    b, s = given["key"].shape[:2]
    return {**given, "attention_mask": keep(rng, b, 1, 1, s)}


def draw_images(rng: np.random.Generator) -> dict[str, np.ndarray]:
    b, rows, cols = (int(n) for n in rng.integers((1, 2, 2), (4, 5, 5)))
    return {"image": values(rng, b, 2 * rows, 2 * cols + 2, 3)}


def exchanged_selects(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return instead(**{"selects.0": "selects.1", "selects.1": "selects.0"})(w)


def first_head(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = ("key.kernel", "key.bias", "value.kernel", "value.bias")
    return {**w, **{name: np.tile(w[name][..., :DEPTH], HEADS) for name in names}}


def F(taps: str, reason: str, option: str = "", **more: Any) -> Planted:
    return Planted(taps=taps, reason=reason, option=option, **more)


QKV = tuple(f"{name}.{kind}" for name in ("query", "key", "value") for kind in ("kernel", "bias"))
SCORES, MASKED, WEIGHTS = "attention.scores", "attention.masked|attention.weights", "attention.weights"
INNER_MASKED = "attention.attention.masked|attention.attention.weights"
BY_DEPTH = np.arange(WIDTH).reshape(DEPTH, HEADS).T.ravel()  # head h takes h, h + 3, h + 6, h + 9
REVERSED = np.arange(WIDTH).reshape(HEADS, DEPTH)[::-1].ravel()
PIXELS_TRANSPOSED = by("project.kernel", lambda y: y.swapaxes(0, 1))
CHANNELS_FIRST = by("project.kernel", lambda y: y.reshape(3, 2, 2, WIDTH).transpose(1, 2, 0, 3))

WILD = halved(
    Wild(
        cls=TutorialAttention, block=ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS), draw=draw_holes, run=run,
        inputs={"mask": "(b, 1, 1, s) of numbers, 1 = drop"},
        call=lambda inputs: ([inputs["value"], inputs["key"], inputs["query"],
                              1.0 - inputs["attention_mask"].astype(np.float64)], {}),
        make=built((2, 5, WIDTH), (2, 5, WIDTH), (2, 4, WIDTH), (2, 1, 1, 5)),
        copy=lambda m: denses(m, query="wq", key="wk", value="wv", project="dense"),
        faults={
            "no scale": F(SCORES, "scores are not scaled", "option:scale"),
            "scale by the width": F(SCORES, "scores are divided by the root of the model's width", "option:scale"),
            "divided by the depth": F(SCORES, "scores are divided by the head width", "option:scale"),
            "heads split without transposing": F("key", "heads and tokens of the keys are mixed"),
            "depth before heads": F("key", "a head of the keys takes every third feature",
                                    alias=columns(BY_DEPTH, "key.kernel", "key.bias")),
            "mask read as one to keep": F(MASKED, "the mask's 1 is read as keep"),
            "mask without the large number": F(MASKED, "hidden scores lose 1"),
            "mask of a large plus": F(MASKED, "hidden scores gain 1e9"),
            "mask multiplied": F(MASKED, "hidden scores are 0"),
            "mask one too early": F(MASKED, "the mask is shifted by one key"),
            "softmax over queries": F(WEIGHTS, "softmax over the queries"),
            "softmax over the batch": F(WEIGHTS, "softmax over the batch"),
            "values of the keys' input": F("value", "values are read from the keys' input"),
            "keys by the queries' layer": F("key", "queries and keys share a layer", alias=instead(key="query")),
            "merged without transposing": F("merged", "heads and tokens are not exchanged before they are merged"),
        },
        pairs=("divided by the depth+merged without transposing", "mask multiplied+values of the keys' input"),
    ),
    Wild(
        cls=EinsumAttention, block=ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS, causal="top_left"),
        draw=tokens("query", WIDTH, least=4), call=alone("query"), run=run, make=built((2, 4, WIDTH)),
        copy=einsum_copy,
        faults={
            "query scaled too": F("query|attention.scores", "queries are scaled as scores are", "option:scale",
                                  alias=together(by("query.kernel", lambda y: y / 2),
                                                 by("query.bias", lambda y: y / 2))),
            "values by the keys' layer": F("value|attention.context", "keys are summed", alias=instead(value="key")),
            "keys and values of the first head": F("key|attention.scores", "all heads read the first one's",
                                                   alias=first_head),
            "scores transposed": F(SCORES, "rows are keys"),
            "scale multiplies": F(SCORES, "scores are multiplied by the root", "option:scale"),
            "scale by the width": F(SCORES, "scores are divided by the root of the model's width", "option:scale"),
            "not causal": F(MASKED, "the future is seen", "option:causal"),
            "diagonal hidden": F(MASKED, "a query does not see its own key"),
            "next key seen": F(MASKED, "a query sees the next key", "option:window_right"),
            "past hidden": F(MASKED, "a query sees the future and not the past"),
            "window of two": F(MASKED, "keys more than one before are hidden", "option:window_left"),
            "weak mask": F(MASKED, "hidden keys have a score of -3"),
            "softmax over heads": F(WEIGHTS, "softmax over the heads"),
            "heads in reverse": F("merged", "heads are merged from last to first", alias=columns(REVERSED, *QKV)),
        },
        pairs=("scale multiplies+window of two",),
    ),
    Wild(
        cls=encoder_model, draw=tokens("x", WIDTH, least=4), call=alone("x"), run=run, make=built((2, 4, WIDTH)),
        block=ar.EncoderLayer(width=WIDTH, num_heads=HEADS, hidden_width=HIDDEN, eps=1e-6), copy=encoder_copy,
        faults={
            "key_dim is the width": F("attention.query|attention.attention.scores", "a head is as wide as the model"),
            "eps left at its default": F("attention_norm", "eps is 1e-3", "option:eps"),
            "batch norm": F("attention_norm", "a batch norm for the first layer norm"),
            "gelu": F("feed_forward.active", "GELU for ReLU", "option:activation"),
            "no activation": F("feed_forward.active", "no activation"),
            "activated twice": F("feed_forward.reduced", "the network's output is rectified"),
            "pre-norm": F("attention.query|attention_norm", "norms before the sub-layers", "option:norm_first"),
            "causal": F("attention.attention.weights", "the future is hidden"),
            "no first residual": F("attended", "the input is not added to the attention"),
            "norm before the sum": F("attended|attention_norm", "the attention is normed before it is added"),
            "residual of the input": F("fed", "the layer's input is added to the network"),
            "multiplied": F("fed", "a product for the second sum"),
            "one norm for both": F("feed_forward_norm", "one norm twice",
                                   alias=instead(feed_forward_norm="attention_norm")),
            "second norm lost": F("feed_forward_norm", "there is no second norm"),
        },
        pairs=("gelu+second norm lost", "eps left at its default+residual of the input"),
    ),
    Wild(
        cls=WrappedAttention, block=ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS), draw=draw_memory, run=run,
        inputs={"keep": "(b, s) bool, True = keep"},
        call=lambda inputs: ([*(inputs[name] for name in ("query", "key", "value")),
                              inputs["attention_mask"][:, 0, 0]], {}),
        make=built((2, 4, WIDTH), (2, 5, WIDTH), (2, 5, WIDTH), (2, 5), kept=True),
        copy=lambda m: keras_attention(m.mha),
        faults={
            "no biases": F("query", "no layer has a bias",
                           alias=zeroed("query.bias", "key.bias", "value.bias", "project.bias")),
            "mask upside down": F(MASKED, "tokens are hidden and padding is seen"),
            "mask lost": F(MASKED, "the mask is not used"),
            "causal mask for it": F(MASKED, "a causal mask for that of padding", "option:causal"),
            "causal too": F(MASKED, "a causal mask beside that of padding", "option:causal"),
            "first key always seen": F(MASKED, "the mask is upside down but for the first key"),
            "key and value exchanged": F("key", "arguments in another order than Keras has"),
            "key not given": F("key", "the key is the value"),
            "value for the key's sake": F("value", "the value is the key"),
            "padding zeroed and seen": F("key", "padding is set to zero and not hidden"),
            "mask one too long": F(MASKED, "the first key of the padding is seen"),
            "residual inside": F("projected", "the query is added"),
        },
        pairs=("mask one too long+residual inside",),
    ),
    Wild(
        cls=Cbam, block=ar.CBAM(channels=WIDTH, reduction=4, use_bias=True, kernel_size=3), draw=maps(WIDTH),
        call=alone("x"), run=run, make=built((2, 4, 5, WIDTH)),
        copy=lambda m: denses(m, **{"channel_attention.reduce": "shared_one", "channel_attention.expand": "shared_two",
                                    "spatial_attention.conv": "conv"}),
        faults={
            "no relu": F("channel_attention.average.active", "no activation between the dense layers"),
            "mean alone": F("channel_attention.gate|channel_attention.maximum.pooled", "the maximum is not used"),
            "minimum for maximum": F("channel_attention.maximum.pooled", "the minimum over space"),
            "sigmoid of each": F("channel_attention.gate|channel_attention.scaled", "two sigmoids are added"),
            "product of the two": F("channel_attention.gate", "a product for the sum"),
            "mean of the two": F("channel_attention.gate", "the sum is halved"),
            "channel gate without a sigmoid": F("channel_attention.gate|channel_attention.scaled", "no sigmoid"),
            "map of the input": F("spatial_attention.pooled", "the map is made of the layer's input"),
            "maximum first": F("spatial_attention.pooled", "maximum and mean are exchanged",
                               alias=by("spatial_attention.conv.kernel", lambda y: y[:, :, ::-1])),
            "mean twice": F("spatial_attention.pooled", "the mean is taken for the maximum"),
            "spatial gate by relu": F("spatial_attention.gate", "ReLU for the sigmoid"),
            "hard sigmoid": F("spatial_attention.gate", "relu6(x + 3) / 6"),
            "gate on the input": F("spatial_attention.scaled", "the spatial gate multiplies the layer's input"),
            "space before channels": F("channel_attention.average.pooled", "the two are exchanged"),
            "residual": F("output", "the input is added"),
        },
        pairs=("minimum for maximum+hard sigmoid", "mean of the two+residual"),
    ),
    Wild(
        cls=se_model, block=ar.SqueezeExcitation(channels=WIDTH, reduction=4), draw=maps(WIDTH), call=alone("x"),
        run=run, make=built((2, 4, 5, WIDTH)),
        copy=lambda m: {**dense("reduce", m.get_layer("reduce")), **dense("expand", m.get_layer("expand"))},
        faults={
            "no biases": F("reduced", "the dense layers have no biases", alias=zeroed("reduce.bias", "expand.bias")),
            "no relu": F("active", "no activation between the dense layers"),
            "swish": F("active", "swish for ReLU"),
            "tanh": F("active", "tanh for ReLU"),
            "softmax": F("gate", "softmax over the channels"),
            "hard sigmoid": F("gate", "relu6(x + 3) / 6", "option:gate"),
            "no sigmoid": F("gate", "the gate is not between 0 and 1"),
            "reduced before it is pooled": F("squeezed", "the mean is of what is reduced and activated"),
            "maximum for mean": F("squeezed", "the maximum over space"),
            "mean of a maximum": F("squeezed", "the maximum over one axis and the mean over the other"),
            "mean of windows": F("squeezed", "the largest mean of a window"),
            "added": F("excited", "the gate is added"),
            "residual": F("excited", "the input is added"),
        },
        pairs=("swish+added",),
    ),
    Wild(
        cls=SaganAttention, draw=maps(WIDTH, least=3, most=7), call=alone("x"), run=run, make=built((2, 4, 5, WIDTH)),
        block=ar.SpatialSelfAttention(channels=WIDTH, head_width=2, value_head_width=6, sub_sample=True, project=True,
                                      use_bias=False),
        copy=lambda m: {**denses(m, query="g", key="f", value="h", project="o"), "gate": np.array(m.gamma)},
        faults={
            "relu in the convolutions": F("query|scores", "the queries are rectified"),
            "keys by the queries' kernel": F("key", "queries and keys share a kernel", alias=instead(key="query")),
            "mean for maximum": F("key", "mean pooling", ),
            "pooling pads": F("key", "odd rows and columns are keys too"),
            "pooling overlaps": F("key", "windows go by single steps"),
            "pooled before the convolution": F("value", "values are pooled before they are projected"),
            "queries column by column": F("query|scores", "queries come column by column"),
            "scaled": F("scores", "scores are divided by the root of the channels"),
            "softmax over queries": F("weights", "softmax over the queries"),
            "channels and space mixed": F("context", "pixels are read as channels"),
            "gate lost": F("output", "there is no gate", alias=ones("gate")),
            "gate by a sigmoid": F("output", "the sigmoid of the gate",
                                   alias=by("gate", lambda y: 1 / (1 + np.exp(-y)))),
            "no residual": F("output", "the input is not added"),
        },
        pairs=("mean for maximum+no residual",),
    ),
    Wild(
        cls=SelectiveKernelUnit, block=ar.SelectiveKernel(channels=8, groups=1, reduction=2, min_width=4),
        draw=maps(8), call=alone("x"), run=run, make=built((2, 6, 5, 8)), copy=sk_copy,
        faults={
            "eps left at its default": F("normed.0", "eps is 1e-3", "option:eps"),
            "dilated three for five": F("convolved.1", "a kernel of 3 with a dilation of 2"),
            "relu before the norm": F("normed.0|features.0", "ReLU, then the norm"),
            "no relu in the branches": F("features.0", "no ReLU after the norm"),
            "larger of the branches": F("fused", "the maximum of the branches"),
            "one branch is squeezed": F("fused|squeezed", "the first branch for the sum"),
            "maximum for mean": F("squeezed", "the maximum over space"),
            "no norm in the bottleneck": F("reduced_normed", "no batch norm"),
            "no relu in the bottleneck": F("reduced_active", "no ReLU"),
            "sigmoid for softmax": F("weights", "a sigmoid for each branch"),
            "softmax over channels": F("weights", "softmax over the channels"),
            "softmax over the batch": F("weights", "softmax over the batch"),
            "weights exchanged": F("selected|scores", "each branch has the other's weights", alias=exchanged_selects),
        },
        pairs=("larger of the branches+softmax over channels",),
    ),
    Wild(
        cls=NonLocalLayer, draw=maps(WIDTH, least=3, most=6), call=alone("x"), run=run, make=built((2, 4, 5, WIDTH)),
        block=ar.NonLocal(channels=WIDTH, inner_width=5, batch_norm=True, eps=1e-3),
        copy=lambda m: {**denses(m, theta="theta", phi="phi", g="g", project="w"), **batch_norm("norm", m.norm)},
        faults={
            "eps as in torch": F("normed", "eps is 1e-5", "option:eps"),
            "one embedding for both": F("phi", "queries and keys share a kernel", alias=instead(phi="theta")),
            "embedding rectified": F("phi|scores", "keys are rectified"),
            "values column by column": F("g|context", "values come column by column"),
            "scaled by the inner width": F("scores", "scores are divided by the root of the inner width",
                                           "option:scale"),
            "divided by the number": F("weights", "the dot product divided by the number of keys", "option:pairing"),
            "softmax over queries": F("weights", "softmax over the queries"),
            "map transposed": F("context", "the map is transposed before it is used"),
            "channels and space mixed": F("context", "pixels are read as channels"),
            "norm lost": F("normed|output", "there is no batch norm", "option:batch_norm"),
            "norm of the sum": F("normed|output", "the input is added before the norm"),
            "no residual": F("output", "the input is not added"),
        },
        pairs=("scaled by the inner width+no residual",),
    ),
    Wild(
        cls=GptLayer, draw=tokens("x", WIDTH, least=4), call=alone("x"), run=run, make=built((2, 4, WIDTH)),
        block=ar.TransformerLayer(
            width=WIDTH, attention=ar.MultiHeadAttention(width=WIDTH, num_heads=HEADS, causal="top_left"),
            feed_forward=ar.FeedForward(width=WIDTH, hidden_width=HIDDEN, activation="gelu"),
            norm=ar.LayerNorm(width=WIDTH, eps=1e-3)),
        copy=gpt_copy,
        faults={
            "another eps": F("attention_norm.normed", "eps is 1e-5", "option:norm.eps|option:eps"),
            "keys first": F("attention.query|attention.attention.scores", "queries and keys are exchanged",
                            alias=instead(**{"attention.query": "attention.key", "attention.key": "attention.query"})),
            "upper for lower": F(INNER_MASKED, "the past is hidden"),
            "mask multiplied alone": F(INNER_MASKED, "hidden scores are 0"),
            "small number hides": F(INNER_MASKED, "hidden scores are -1e-10"),
            "gelu by tanh": F("feed_forward.active", "GELU by tanh",
                              "option:activation|option:feed_forward.activation"),
            "relu": F("feed_forward.active", "ReLU for GELU", "option:activation|option:feed_forward.activation"),
            "post-norm": F("attention_norm.normed|attention.query", "norms after the sums", "option:norm_place"),
            "side by side": F("attended|feed_forward_norm.normed", "both read the input", "option:parallel"),
            "no first residual": F("attended", "the input is not added to the attention"),
            "residual of the norm": F("attended", "the normed input is added"),
            "one norm for both": F("feed_forward_norm.scaled", "the first norm twice",
                                   alias=instead(feed_forward_norm="attention_norm")),
            "normed at the end": F("output", "the sum is normed"),
        },
        pairs=("mask multiplied alone+relu", "another eps+residual of the norm"),
    ),
    Wild(
        cls=PatchEncoder, block=ar.PatchEmbedding(patch=2, channels=3, width=WIDTH), draw=draw_images,
        call=alone("image"), run=run, make=built((2, 4, 6, 3)), copy=patch_copy,
        faults={
            "scaled to one": F("projected|tokens", "pixels are divided by 255",
                               alias=by("project.kernel", lambda y: y / 255)),
            "cut without transposing": F("projected|tokens", "strips of pixels are patches"),
            "columns before rows": F("tokens", "patches come column by column"),
            "pixels transposed": F("projected|tokens", "a patch's pixels come column by column",
                                   alias=PIXELS_TRANSPOSED),
            "channels first": F("projected|tokens", "a patch's channels come before its pixels", alias=CHANNELS_FIRST),
            "patches normed": F("projected|tokens", "a patch's mean is taken away",
                                alias=by("project.kernel", lambda y: y - y.mean((0, 1, 2)))),
            "no bias": F("projected|tokens", "there is no bias", alias=zeroed("project.bias")),
            "last patch first": F("tokens", "patches come from last to first"),
            "rectified": F("projected|tokens", "tokens are rectified"),
        },
        pairs=("pixels transposed+rectified",),
    ),
)  # fmt: skip
