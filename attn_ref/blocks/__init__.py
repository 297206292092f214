"""The definitions: one file per block, named by the field's term."""
