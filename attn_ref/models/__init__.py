"""Compositions that are blocks too."""
