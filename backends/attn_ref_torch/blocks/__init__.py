"""Mirrors of ``attn_ref.blocks``, file for file."""
