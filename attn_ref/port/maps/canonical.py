"""The canonical names and layout themselves: what ``block.params()`` says."""

from attn_ref.foreign.map import Map
from attn_ref.foreign.rules import Rule

MAP = Map(
    name="canonical",
    summary="the names and layouts of block.params(), of any block",
    formats=("safetensors", "npz"),
    end="attn_ref.port.ends:canonical",
    derive=lambda block: [Rule(name, name) for name in block.params()],
)
