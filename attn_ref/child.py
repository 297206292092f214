"""A new Python that finds the modules which this one finds, however it was started."""

from __future__ import annotations

import json
import sys


def command(code: str, *arguments: str) -> list[str]:
    """What runs ``code`` in a new process, with ``arguments`` as ``sys.argv[1:]``. The caller's main module is not run.

    >>> import subprocess
    >>> subprocess.run(command("print(sys.argv[1])", "here"), capture_output=True, text=True).stdout
    'here\\n'
    """
    boot = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    return [sys.executable, "-c", boot + code, json.dumps(sys.path), *arguments]
