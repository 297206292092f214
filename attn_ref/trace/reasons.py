"""Why a value differs: what a layer must do otherwise to have it. Each reason is proven by computing it.

A reason is an option of the block with another value, or a change of the value at the tap; it is the reason only if it
gives the layer's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np

from attn_ref.trace.match import same
from attn_ref.trace.options import other_options
from attn_ref.trace.reason import Reason
from attn_ref.trace.search import Fault, Search
from attn_ref.trace.steps import changed_values, misread


def reason(
    search: Search, fault: Fault, stand_ins: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
) -> Reason | None:
    """The first that gives the layer's value, if any does. ``weights``: those that were found, maybe not all."""
    theirs = fault.theirs
    if theirs is None:
        return misread(search, fault)
    for found, value in chain(other_options(search, fault, stand_ins, weights), changed_values(search, fault)):
        if value is not None and value.shape == theirs.shape and same(theirs, value):
            return found
    return None
