"""Planting faults: a mirror's own source with one piece exchanged, in place of the mirror while a test runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from pathlib import Path


@contextmanager
def planted(module: str, old: str, new: str) -> Iterator[None]:
    """While it lasts, ``module`` is its source with ``old``, which must stand there once, replaced by ``new``.

    Everything in the same package is imported anew, so that whatever is built of the module has the fault too.
    """
    package = module.split(".")[0]
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text("utf-8")
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {module}: the fault needs a new text"
    before = {name: m for name, m in sys.modules.items() if name.startswith(f"{package}.")}
    for name in before:
        del sys.modules[name]
    registered = custom_objects()  # where Keras finds the classes of a .keras file
    names = dict(registered)
    faulty = module_from_spec(spec)
    sys.modules[module] = faulty
    try:
        exec(compile(source.replace(old, new), spec.origin, "exec"), faulty.__dict__)
        yield
    finally:
        for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
            del sys.modules[name]
        sys.modules.update(before)
        registered.clear()
        registered.update(names)


def custom_objects() -> dict[str, object]:
    """Keras' own table of registered classes; an empty one if Keras was not imported."""
    keras = sys.modules.get("keras")
    return keras.saving.get_custom_objects() if keras else {}
