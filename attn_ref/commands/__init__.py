"""The commands of ``attn-ref``: one file each, imported when it is called."""
