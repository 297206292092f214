"""Names that others rely on stay: blocks, fields, parameters, taps, commands, keys of JSON."""

import json

from tools.public_names import FILE, lost, names


def test_no_public_name_is_lost() -> None:
    """To rename one is a breaking change, for the changelog; then comes ``python -m tools.public_names --write``."""
    assert list(lost(json.loads(FILE.read_text("utf-8")), names())) == []


def test_a_lost_name_is_told_with_its_place() -> None:
    before = {"blocks": {"FeedForward": {"taps": ["active", "hidden"]}}, "ar": ["check", "port"]}
    now = {"blocks": {"FeedForward": {"taps": ["hidden", "more"]}}, "ar": ["check"]}
    assert list(lost(before, now)) == ["blocks › FeedForward › taps › active", "ar › port"]
    assert list(lost(before, {**now, "blocks": {}})) == ["blocks › FeedForward", "ar › port"]
