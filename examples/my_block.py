"""One network in torch and in NumPy, with the same weights and one difference, which ``attn-ref compare`` names."""

import numpy as np
import torch
from torch import nn


class Mine(nn.Module):
    """A feed-forward network with a residual."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(8, 20), nn.Linear(20, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = nn.functional.gelu(self.up(x))
        return x + self.down(h)


weights = {name: x.detach().numpy() for name, x in Mine().named_parameters()}


def theirs(x: np.ndarray) -> np.ndarray:
    """The same, with the approximation of GELU."""
    h = x @ weights["up.weight"].T + weights["up.bias"]
    h = 0.5 * h * (1 + np.tanh((2 / np.pi) ** 0.5 * (h + 0.044715 * h**3)))
    return x + h @ weights["down.weight"].T + weights["down.bias"]
