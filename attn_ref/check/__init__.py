"""Checking that mirrors compute what the definitions say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attn_ref.check.budget import TIMEOUT
from attn_ref.names import suggesting

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from attn_ref.block import Block
    from attn_ref.check.report import Report


@suggesting
def check(
    *blocks: str | type[Block],
    engines: Sequence[str] | str | None = None,
    dtypes: Sequence[str] | str | None = ("float64",),
    modes: Sequence[str] | str | None = ("forward",),
    cases: int | None = None,
    seed: int = 0,
    timeout: float = TIMEOUT,
    executor: Callable[[str], Executor] | str = "processes",
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Hold engines to the definitions: ``print(ar.check("MultiHeadAttention", cases=20))``.

    ``blocks``: names or classes, default all. ``engines``: names or "all", default every installed one that does not
    compile a block whole. ``dtypes``: "float64" decides meaning; "float32", "bfloat16" and "float16" measure numerics.
    ``modes``: "forward" compares every tap; "gradient" the gradient of every parameter, input and tap too; "training"
    both again with the same keep masks on both sides. Where both dtypes and modes are None, as on the command
    line, most cases are forward in float64 and a few are of the other modes and dtypes. ``cases`` is per block, engine,
    mode and dtype; None: forward as many as cover every pair of option values and inputs, at least 50, and 50 in
    other modes. ``executor``:
    "processes" (one for each engine, ended and started again where a mirror crashes, fills the memory, or takes more
    than ``timeout`` seconds for a case), "inline", or a function engine -> concurrent.futures executor. ``progress``
    is called with (cases done, cases in all, what is done), at least once a second where it is not inline.

    The report has ``.rows``, ``.ok`` and ``.to_json()``. Raises ValueError for an unknown name and MissingBackend for
    an engine that is asked for and not installed. Where it is interrupted, the KeyboardInterrupt has the ``.report``
    of what was found until then.
    """
    from attn_ref.check.chosen import chosen
    from attn_ref.check.runner import run

    engines = (engines,) if isinstance(engines, str) else engines
    dtypes = (dtypes,) if isinstance(dtypes, str) else dtypes
    modes = (modes,) if isinstance(modes, str) else modes
    return run(chosen(blocks), engines, dtypes, modes, cases, seed, timeout, executor, progress)
