"""Mirrors of ``attn_ref.models``, file for file."""
