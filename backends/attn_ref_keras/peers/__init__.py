"""Layers of other libraries on Keras, a file each: see ``attn_ref.foreign``."""
