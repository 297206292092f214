"""Layers and models of other libraries on torch, a file each: see ``attn_ref.foreign``."""
