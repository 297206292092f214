"""JSON that comes from a stranger, and JSON that we write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attn_ref.block import Block
from attn_ref.port.checkpoint import CheckpointError

#: bytes; a configuration has a few thousand, the index of a very large model a few million
LARGEST = 64 << 20


def parse_json(text: str, what: str) -> dict[str, Any]:
    """The JSON object in ``text``; CheckpointError that begins with ``what`` if it is anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} should be a JSON object {{…}}; got a {type(value).__name__}")
    return value


def load_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. CheckpointError if it is too large, not text, or anything else than an object."""
    if path.stat().st_size > LARGEST:
        raise CheckpointError(f"{path} has {path.stat().st_size} bytes; at most {LARGEST} are read as JSON")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 text: {error}") from error
    return parse_json(text, str(path))


def dump_json(value: Mapping[str, Any]) -> str:
    """One line of JSON, the same for the same value. A block among it is told as ``Block.as_data`` tells it."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=Block.as_data)
