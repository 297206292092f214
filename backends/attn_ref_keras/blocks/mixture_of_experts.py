"""Mixture of experts for Keras."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from attn_ref.blocks.mixture_of_experts import MixtureOfExperts as Reference
from attn_ref.tap import tap
from attn_ref_keras.mirror import Mirror


@keras.saving.register_keras_serializable("attn_ref")
class MixtureOfExperts(Mirror):
    """Mirror of ``attn_ref.MixtureOfExperts``, with the same arguments."""

    def __init__(
        self,
        *,
        width: int,
        hidden_width: int,
        num_experts: int,
        experts_per_token: int,
        weights_over: str = "chosen",
        activation: str = "silu",
        limit: float | None = None,
        shift: float = 0.0,
        use_bias: bool = False,
        router_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block = Reference.from_options(locals())
        self.num_experts, self.experts_per_token = num_experts, experts_per_token
        self.weights_over, self.activation = weights_over, activation
        self.limit, self.shift, self.use_bias, self.widths = limit, shift, use_bias, (width, hidden_width)
        self.gate_kernels = self.expand_kernels = self.reduce_kernels = None
        self.gate_biases = self.expand_biases = self.reduce_biases = None
        self.router = keras.layers.Dense(num_experts, use_bias=router_bias, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        (c, f), n = self.widths, self.num_experts

        def experts(name: str, *sizes: int, start: Any = "zeros") -> Any:
            return self.add_weight(name=name, shape=(n, *sizes), initializer=start)

        self.gate_kernels = experts("gate_kernels", c, f, start=uniform(c))
        self.expand_kernels = experts("expand_kernels", c, f, start=uniform(c))
        self.reduce_kernels = experts("reduce_kernels", f, c, start=uniform(f))
        if self.use_bias:
            self.gate_biases = experts("gate_biases", f)
            self.expand_biases = experts("expand_biases", f)
            self.reduce_biases = experts("reduce_biases", c)
        self.router.build((None, None, c))
        self.built = True

    def call(self, x: Any) -> Any:
        self.check(x=x)
        weights = tap("weights", self.shares(tap("logits", self.router(x), "b t n")), "b t n")
        gate = tap("gate", self.each("btc,ncf->btnf", x, self.gate_kernels, self.gate_biases), "b t n f")
        hidden = tap("hidden", self.each("btc,ncf->btnf", x, self.expand_kernels, self.expand_biases), "b t n f")
        if self.limit is not None:
            gate, hidden = ops.minimum(gate, self.limit), ops.clip(hidden, -self.limit, self.limit)
        active = tap("active", self.activate(gate), "b t n f")
        gated = tap("gated", active * (hidden + self.shift), "b t n f")
        reduced = self.each("btnf,nfc->btnc", gated, self.reduce_kernels, self.reduce_biases)
        return tap("mixed", ops.einsum("btn,btnc->btc", weights, tap("reduced", reduced, "b t n c")), "b t c")

    def shares(self, logits: Any) -> Any:
        """Zeros but for the chosen; ``one_hot`` says which they are."""
        best, chosen = ops.top_k(logits, self.experts_per_token)
        places = ops.one_hot(chosen, self.num_experts, dtype=logits.dtype)
        if self.weights_over == "chosen":
            return ops.einsum("btk,btkn->btn", ops.softmax(best, axis=-1), places)
        return ops.softmax(logits, axis=-1) * ops.sum(places, axis=2)

    @staticmethod
    def each(how: str, x: Any, kernels: Any, biases: Any) -> Any:
        y = ops.einsum(how, x, kernels)
        return y if biases is None else y + biases

    def activate(self, x: Any) -> Any:
        # not ops.gelu: on TensorFlow its constants pass through float32, which is 5e-9 off in float64
        if self.activation == "silu":
            return ops.silu(x)
        if self.activation == "quick_gelu":
            return x * ops.sigmoid(1.702 * x)
        if self.activation == "sigmoid":
            return ops.sigmoid(x)
        if self.activation == "relu":
            return ops.relu(x)
        if self.activation == "gelu_tanh":  # (1 + tanh(z)) / 2 = sigmoid(2z), which every engine has in float64
            return x * ops.sigmoid(math.sqrt(8.0 / math.pi) * (x + 0.044715 * x * x * x))
        return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


def uniform(fan_in: int) -> Any:
    """What each kernel of an expert starts as: as in ``nn.Linear``."""
    return keras.initializers.RandomUniform(-(fan_in**-0.5), fan_in**-0.5)
