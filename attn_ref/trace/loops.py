"""What a loop gives one by one, as one value: over heads, over the batch, over both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from attn_ref.trace.record import Record
from attn_ref.trace.store import MOST

#: times that a line may have run, and values that it may give each time, as queries, keys and values
TIMES, KINDS = 4096, 4


def stacked(records: Sequence[Record]) -> Iterator[Record]:
    """Of every line that gave values of one shape several times, one value that has them all, right behind the last.

    Where it gave several each time, they come in turn: then there is one for each kind as well.
    """
    groups: dict[Any, list[Record]] = {}
    for record in records:
        if record.line is not None:
            groups.setdefault((record.line, record.operation, record.value.shape), []).append(record)
    for every in groups.values():
        for kinds in range(1, KINDS + 1):
            times, rest = divmod(len(every), kinds)
            if rest or not 1 < times <= TIMES or times * every[0].value.size > MOST:
                continue
            for kind in range(kinds):
                group = every[kind::kinds]
                last = group[-1]
                yield Record(last.number + 0.5 / kinds, last.operation, np.stack([x.value for x in group]), last.line)
