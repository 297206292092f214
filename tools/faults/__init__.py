"""Faults to plant in the mirrors, to see whether a check finds them."""
