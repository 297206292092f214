"""Checking that mirrors compute what the definitions say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attn_ref.check.report import Report


def check(*blocks: Any, **options: Any) -> Report:
    """Hold engines to the definitions; see ``attn_ref.check.runner.check``, which this calls."""
    from attn_ref.check.runner import check as run

    return run(*blocks, **options)
