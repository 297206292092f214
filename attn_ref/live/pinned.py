"""What a user says of parameters, as rules."""

from __future__ import annotations

from itertools import islice

from attn_ref.live.guess import pieces
from attn_ref.live.plan import Plan
from attn_ref.live.rule import Rule
from attn_ref.live.search import Rules, Search
from attn_ref.names import hint


def pinned(plan: Plan, search: Search) -> Rules:
    """Target -> its rule. ValueError that lists all of what does not fit."""
    found: Rules = {}
    wrong = []
    shapes = {name: use.shape for name, use in search.sources.items()}
    for entry in plan:
        if entry.target not in search.targets:
            wrong.append(f"the target has no {entry.target}; {hint(entry.target, list(search.targets))}".rstrip("; "))
            continue
        use = search.targets[entry.target]
        if entry.rule is None:
            found[entry.target] = Rule((), use.shape, join="keep")
            continue
        if entry.shape and tuple(entry.shape) != use.shape:
            wrong.append(f"{entry.target} is {use.shape}, and {entry.shape} in the plan")
            continue
        if missing := [name for name in entry.rule.sources if name not in shapes]:
            wrong += [f"the source has no {name}; {hint(name, list(shapes))}".rstrip("; ") for name in missing]
            continue
        bare = not entry.rule.split and entry.rule.take is None and entry.rule.join == "stack"
        rule = entry.rule
        if bare and (not entry.shape or len(rule.sources) > 1):  # only its sources are said: how it lies is found
            ours = [search.sources[name] for name in rule.sources]
            options = [*pieces(ours, [use], search.hints, search.sources).values(), *islice(search.of(use, ours), 1)]
            rule = next(iter(options), rule)
        rule = Rule(rule.sources, use.shape, rule.split, rule.order, rule.take, rule.join)
        if why := rule.fits(shapes):
            wrong.append(f"{entry.target}: {why}")
        else:
            found[entry.target] = rule
    if wrong:
        raise ValueError("\n".join(["the plan does not fit:", *(f"  {line}" for line in wrong)]))
    return found
