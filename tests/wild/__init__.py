"""Layers as people write them, and the faults that they make."""
