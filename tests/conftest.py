"""What all tests share: hypothesis profiles, and one OpenMP thread.

Hypothesis: the same examples every time under CI, fresh ones elsewhere; never a deadline. Threads: the arrays are tiny,
and torch's OpenMP threads spin while they wait for each other; on a shared machine one thread is eight times as fast.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, which is later

settings.register_profile("dev", deadline=None, max_examples=5)
settings.register_profile("ci", deadline=None, max_examples=5, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_report_header() -> str:
    """What is tested against."""
    from attn_ref.check.report import environment

    found = environment()
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    return f"tested against: {versions}; {found['processor']}, {found['cores']} cores"
