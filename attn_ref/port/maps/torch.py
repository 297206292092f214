"""The torch mirror's own ``state_dict``, of any block: made from the block's parameters by the name of the leaf.

A batch norm's ``num_batches_tracked`` is neither read nor written; ``load_state_dict(strict=True)`` does without it.
"""

from __future__ import annotations

from collections.abc import Iterator

from attn_ref.block import Block
from attn_ref.foreign.map import Map
from attn_ref.foreign.rules import Rule

#: canonical leaf -> torch's name; another leaf is a mirror's own parameter, which keeps its name and its layout
LEAVES = {
    "kernel": "weight", "scale": "weight", "offset": "bias", "embedding": "weight",
    "mean": "running_mean", "variance": "running_var",
}  # fmt: skip


def derive(block: Block) -> Iterator[Rule]:
    """``layers.0.attention.query.kernel`` ↔ ``layers.0.attention.query.weight``; torch keeps (out, in, spatial…)."""
    for name, param in block.params().items():
        path, dot, leaf = name.rpartition(".")
        layout = "none"
        if leaf == "kernel":
            layout = "transpose" if len(param.shape) == 2 else "conv"
        yield Rule(f"{path}{dot}{LEAVES.get(leaf, leaf)}", name, layout)


MAP = Map(
    name="torch",
    summary="state_dict of the torch mirror of any block",
    formats=("safetensors", "torch_pt"),
    end="attn_ref_torch.ends:run_file",
    needs=("torch",),
    extra="torch",
    derive=derive,
    unused={"*.num_batches_tracked": "a count of steps, which a batch norm with a momentum never looks at"},
)
