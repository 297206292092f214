"""A small transformer for images of torch, and the same in Keras: ``attn-ref transfer`` moves the numbers."""

import keras
import torch
from torch import nn

WIDTH, HEADS = 12, 3


class Torch(nn.Module):
    """Channels first, queries, keys and values packed."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(6 * WIDTH, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x)
        b, c, h, w = x.shape
        y = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = (z.view(b, h * w, HEADS, -1).transpose(1, 2) for z in self.qkv(y).chunk(3, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        x = x + self.out(y).transpose(1, 2).reshape(b, c, h, w)
        return self.head(x.flatten(1))


def in_keras(eps: float) -> keras.Model:
    """Channels last, attention by Keras' own layer."""
    image = keras.Input((8, 12, 3))
    x = keras.layers.Conv2D(WIDTH, 4, strides=4)(image)
    y = keras.layers.LayerNormalization(epsilon=eps)(keras.layers.Reshape((6, WIDTH))(x))
    y = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y)
    x = keras.layers.Add()([x, keras.layers.Reshape((2, 3, WIDTH))(y)])
    return keras.Model(image, keras.layers.Dense(5)(keras.layers.Flatten()(x)))


torch.manual_seed(0)
source = Torch()
target = in_keras(1e-5)
wrong = in_keras(1e-3)  # as Keras has it where nothing is said
