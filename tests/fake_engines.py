"""Engines that need no framework: the reference as a mirror of itself, which breaks in one way each.

Every one breaks in FeedForward with activation "relu", or always where its name ends in ``-always``.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCKS = ("FeedForward", "RotaryEmbedding")
PACKAGE = '''
"""Written by tests/fake_engines.py."""
import ctypes
import os
import sys
import time
from contextlib import nullcontext

import attn_ref as ar
from attn_ref.backend import Backend as Base, Run


class Bare(BaseException):
    pass


def eat():
    kept = []
    while True:
        kept.append(__import__("numpy").ones(1 << 19))
        time.sleep(0.05)


def loop():
    while True:
        pass


COPY = []


def fork():
    if COPY:  # a copy makes no other, or there were 2ⁿ after n calls
        return
    if os.fork() == 0:
        COPY.append(1)
        return  # and so there are two
    os.wait()


def begun():
    open(os.environ["FAKE_BEGUN"], "w").close()


def throw(error):
    raise error


LEAKED = []
WAYS = {
    "good": lambda: None,
    "exit0": lambda: os._exit(0),
    "exit3": lambda: os._exit(3),
    "segfault": lambda: ctypes.string_at(0),
    "abort": lambda: os.abort(),
    "loop": loop,
    "c-loop": lambda: ctypes.PyDLL(None).sleep(10**6),
    "system-exit": lambda: throw(SystemExit(0)),
    "interrupt": lambda: throw(KeyboardInterrupt()),
    "bare": lambda: throw(Bare("out of the blue")),
    "prints": lambda: (print("from Python", flush=True), os.write(1, b"from C\\n"), sys.stdin.read()),
    "eats": eat,
    "giant": lambda: __import__("numpy").ones(1 << 40),
    "closes": lambda: (os.closerange(3, 64), loop()),
    "forks": fork,
    "import-fails": lambda: exec("import attn_ref_fake_nowhere"),
    "import-exits": lambda: exec("import attn_ref_fake_exits"),
    "slow": lambda: time.sleep(0.2),
    "leaks": lambda: LEAKED.append(__import__("numpy").ones(20 << 17)),
    "marks": lambda: (begun(), ctypes.PyDLL(None).sleep(60)),
    "starts-slowly": lambda: None,
    "start-exits": lambda: None,
    "start-hangs": lambda: None,
    "start-raises": lambda: None,
    "tells-nothing": lambda: None,
}
START = {
    "start-exits": lambda: os._exit(7),
    "start-hangs": loop,
    "start-raises": lambda: throw(ImportError("no libfake")),
    "starts-slowly": lambda: (begun(), ctypes.PyDLL(None).sleep(60)),
}


class Layer:
    def __init__(self, block):
        self.block = block


class Backend(Base):
    name = "fake"
    engines = {way + end: "numpy" for way in WAYS for end in ("", "-always")}
    on_request = frozenset(engines)
    extra = "fake"

    def __init__(self, engine):
        super().__init__(engine)
        self.way, always, _ = engine.partition("-always")
        self.always = bool(always)
        START.get(self.way, lambda: None)()

    @classmethod
    def mirrors(cls, block_name):
        return True

    def fingerprint(self):
        if self.way == "tells-nothing":
            os._exit(5)
        return {"device": "paper"}

    def build(self, block, dtype="float64"):
        return Layer(block)

    def load(self, layer, weights):
        layer.weights = weights
        return layer

    def slots(self, layer):
        return {}

    def listening(self, layer):
        return nullcontext()

    def execute(self, layer, inputs, request):
        if type(layer.block).__name__ == "FeedForward" and (self.always or layer.block.activation == "relu"):
            WAYS[self.way]()
        with ar.record() as taps:
            output = layer.block(layer.weights, **inputs)
        return Run(output, dict(taps) if request.listens else {})
'''


def install(folder: Path) -> Path:
    """Write the package and its entry point to ``folder``, which then belongs on the path."""
    package, metadata = folder / "attn_ref_fake", folder / "attn_ref_fake-1.0.dist-info"
    for made in (package, metadata):
        made.mkdir(parents=True)
    (package / "__init__.py").write_text(PACKAGE)
    (folder / "attn_ref_fake_exits.py").write_text("import os\nos._exit(9)\n")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: attn_ref_fake\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[attn_ref.backends]\nfake = attn_ref_fake:Backend\n")
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a process that has the fake engines of ``folder``."""
    paths = [str(folder), str(ROOT), str(ROOT / "backends")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"} | more


def arguments(*engines: str, count: int = 4) -> list[str]:
    """The command's, to check two blocks on these engines."""
    kind = ("--mode", "forward", "--dtype", "float64")
    return ["check", *BLOCKS, *(part for e in engines for part in ("--engine", e)), "--cases", str(count), *kind]
