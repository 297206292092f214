"""The torch mirror's own ``state_dict``, of any block: made from the block's parameters by the name of the leaf."""

from __future__ import annotations

from collections.abc import Iterator

from attn_ref.block import Block
from attn_ref.port.mapping import Map, Rule

#: canonical leaf -> torch's name; another leaf is a mirror's own parameter, which keeps its name and its layout
LEAVES = {"kernel": "weight", "scale": "weight", "offset": "bias", "embedding": "weight"}


def derive(block: Block) -> Iterator[Rule]:
    """``layers.0.attention.query.kernel`` ↔ ``layers.0.attention.query.weight``, transposed: torch keeps (out, in)."""
    for name, param in block.params().items():
        path, dot, leaf = name.rpartition(".")
        if leaf == "kernel" and len(param.shape) != 2:
            raise ValueError(f"map torch has no rule for {name} {param.shape}: kernels of rank 2 are known")
        layout = "transpose" if leaf == "kernel" else "none"
        yield Rule(f"{path}{dot}{LEAVES.get(leaf, leaf)}", name, layout)


MAP = Map(
    name="torch",
    summary="state_dict of the torch mirror of any block",
    formats=("safetensors", "torch_pt"),
    end="attn_ref_torch.ends:run_file",
    needs=("torch",),
    extra="torch",
    derive=derive,
)
