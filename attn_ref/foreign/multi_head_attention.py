"""What the shapes of a ``MultiHeadAttention``'s weights tell, for the maps of every library's layer of that kind."""

from __future__ import annotations

from attn_ref.foreign.fields import FieldRules

FIELDS = FieldRules(
    sizes={
        "width": ("query.kernel", 0),
        "key_width": ("key.kernel", 0),
        "value_width": ("value.kernel", 0),
        "output_width": ("project.kernel", 1),
    },
    present={"use_bias": "query.bias", "output_bias": "project.bias"},
)
