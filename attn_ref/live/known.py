"""How it is known what a parameter is made of: by the values that come of it, or by its name alone."""

from __future__ import annotations

from attn_ref.live.guess import is_kernel, likeness
from attn_ref.live.layouts import rules
from attn_ref.live.search import Rules, Search
from attn_ref.live.seen import Seen
from attn_ref.live.uses import split
from attn_ref.trace.flow import KNOWN

#: what is known of a parameter whose values do not come through, such as those behind a ReLU that gives zeros
LOST = "its size and place alone: all that comes of it is lost on the way"
#: how alike names must be for a parameter that nothing of the example takes
ALIKE = 0.5


def known_by(search: Search, chosen: Rules, seen: Seen, name: str) -> str:
    """How it is known, in words; empty where nothing says it."""
    rule = chosen.get(name)
    if name in search.pinned:
        used = search.targets[name].first is not None
        return "you say so, and it was run" if used and rule and rule.join != "keep" else "you say so"
    if rule is None:
        return ""
    if search.targets[name].first is None:
        return "its name alone: nothing of the example takes it"
    number = KNOWN - seen.target.names.index(name)
    has, records = seen.has[1], {record.number: record for record in seen.target.trace.records}
    says = {one.record.number for one in seen.target.side.values}
    queue: list[float] = [number]
    done: set[float] = {number}
    while queue:
        for child in seen.target.children.get(queue.pop(0), ()):
            if child in has:
                record = records.get(int(child))
                if record and record.line and "site-packages" not in record.line.file:
                    return f"its values at {record.line.short}"
                layer = seen.target.layer(child)
                return f"its values in {layer}" if layer else "its values"
            if child not in done and (
                child in says or child not in seen.target.side.of_input
            ):  # what is one number all over tells nothing of it
                done.add(child)
                queue.append(child)
    return LOST


def settled(search: Search, chosen: Rules) -> Rules:
    """Rules for parameters of which the output does not come: of one whose name and shape alone are right."""
    taken = {source for rule in chosen.values() for source in rule.sources}
    free = [use for use in search.sources.values() if use.first is None and use.name not in taken]
    found: Rules = {}
    for use in search.targets.values():
        if use.first is not None or use.name in chosen:
            continue
        same = [one for one in free if one.size == use.size and one.role == use.role]
        same = [one for one in same if len(same) == 1 or likeness(one.name, use.name) > ALIKE]
        if len(same) != 1 or split(same[0].name)[0] == "" != split(use.name)[0]:
            continue
        ways = list(rules(use.shape, [same[0].name], [same[0].shape], search.hints, is_kernel(same[0], use)))
        if ways:
            found[use.name] = ways[0]
            free.remove(same[0])
    return found
