"""What engines compile, kept from one check to the next in the user's cache folder.

JAX compiles every operation anew for every shape, which is nine tenths of the time of its first check.
``ATTN_REF_CACHE=off`` keeps nothing; ``ATTN_REF_CACHE=FOLDER`` keeps it there. The folder may be deleted at any time.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: names the folder, or is "off"
SWITCH = "ATTN_REF_CACHE"
#: bytes that may be kept; where there are more, those that were not used for the longest time go until half are left
MOST = 512 * 2**20


def folder(engine: str) -> Path | None:
    """Where what ``engine`` compiles is kept, made if need be; None where it is switched off or cannot be."""
    given = os.environ.get(SWITCH, "")
    if given.lower() in ("off", "0", "no", "false"):
        return None
    from platformdirs import user_cache_path

    try:
        path = (Path(given).expanduser() if given else user_cache_path("attn_ref")) / engine
        path.mkdir(parents=True, exist_ok=True)
        prune(path)
    except OSError:  # no home, or nothing may be written there: then nothing is kept
        return None
    return path if os.access(path, os.W_OK) else None


def prune(path: Path, most: int = MOST) -> None:
    """Delete files of ``path``, the oldest first, where they are more than ``most`` bytes."""
    found = []
    for file in path.iterdir():
        with suppress(OSError):  # another check may have deleted it
            state = file.stat()
            found.append((max(state.st_atime, state.st_mtime), state.st_size, file))
    left = sum(size for _, size, _ in found)
    if left <= most:
        return
    for _, size, file in sorted(found):
        with suppress(OSError):
            file.unlink()
        left -= size
        if left <= most // 2:
            return
