"""Moving weights between frameworks: read → map → canonical → map backwards → write.

>>> import attn_ref as ar, pathlib, tempfile
>>> block, folder = ar.MultiHeadAttention(width=6, num_heads=2), pathlib.Path(tempfile.mkdtemp())
>>> told = {"map": "canonical", "block": "MultiHeadAttention", "fields": block.fields()}
>>> ar.port.write(folder / "w.npz", block.init(), told)
>>> ar.port.convert(folder / "w.npz", folder / "w.weights.h5").ok
True
>>> sorted(ar.port.read(folder / "w.weights.h5"))[0]
'layers/multi_head_attention/key/vars/0'

Importing this imports no framework; only ``verify`` runs them, in processes of their own.
"""

from attn_ref.port.checkpoint import Checkpoint, CheckpointError, Spec
from attn_ref.port.convert import Report, convert, load, plan
from attn_ref.port.files import read, write
from attn_ref.port.maps import maps
from attn_ref.port.recheck import Recheck, recheck

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Recheck",
    "Report",
    "Spec",
    "convert",
    "load",
    "maps",
    "plan",
    "read",
    "recheck",
    "write",
]
