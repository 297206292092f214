"""What all tests share: hypothesis profiles, and one OpenMP thread.

Hypothesis: the same examples every time under CI, fresh ones elsewhere; never a deadline. Threads: the arrays are tiny,
and torch's OpenMP threads spin while they wait for each other; on a shared machine one thread is eight times as fast.
Signals: a shell starts what it runs in the background with Ctrl-C ignored, and all that this starts would inherit it.
Memory: two frameworks are millions of objects, and walking them again and again was a tenth of the time.
JAX: what it compiles is kept from one run of the tests to the next, as a check keeps it.
"""

import gc
import os
import signal
import threading

from hypothesis import settings

from attn_ref.check.kept import folder

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, which is later

gc.set_threshold(50_000, 20, 100)

if kept := folder("tests"):
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(kept))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
            signal.signal(getattr(signal, name), signal.SIG_DFL)

settings.register_profile("dev", deadline=None, max_examples=5)
settings.register_profile("ci", deadline=None, max_examples=5, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_report_header() -> str:
    """What is tested against."""
    from attn_ref.check.report import environment

    found = environment()
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    return f"tested against: {versions}; {found['processor']}, {found['cores']} cores"
