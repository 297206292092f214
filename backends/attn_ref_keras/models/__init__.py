"""Mirrors of ``attn_ref.models``, file for file. Importing one without its framework says what to install."""

from attn_ref.engines import needing

with needing("attn_ref_keras", "keras"):
    import keras  # noqa: F401
