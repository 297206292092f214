"""Keras 3 mirrors of the blocks: ``attn_ref_keras.MultiHeadAttention`` is a ``keras.Layer`` that one would ship.

Importing this package imports no framework; the first mirror that is asked for does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from attn_ref.backend import Backend as BaseBackend
from attn_ref.backend import Request, Run, Slot
from attn_ref.block import Block
from attn_ref.discovery import find

__all__ = ["Backend"]


def __getattr__(name: str) -> Any:
    if name[:1].isupper() and (found := find(name, __name__)):
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what TensorFlow's libraries write to stderr while they load; it is shown if loading fails."""
    with TemporaryFile() as held:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


class Backend(BaseBackend):
    """Keras on TensorFlow (eager, ``tf.function``, XLA) or JAX; one of the two in a process, chosen before import."""

    name = "keras"
    engines = {name: name.partition("-")[0] for name in ("tensorflow", "tensorflow-graph", "tensorflow-xla", "jax")}
    on_request = frozenset({"tensorflow-graph", "tensorflow-xla"})
    shapes = {"tensorflow-graph": 8, "tensorflow-xla": 4, "jax": 8}
    workers = dict.fromkeys(engines, 2)
    op_by_op = frozenset({"jax"})
    extra = "keras"

    def __init__(self, engine: str) -> None:
        super().__init__(engine)
        wanted = self.peer.engine if self.peer else engine.split("-")[0]
        if "keras" not in sys.modules:
            os.environ["KERAS_BACKEND"] = wanted
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with quiet():
            import keras

        if (running := keras.backend.backend()) != wanted:
            raise RuntimeError(
                f"engine {engine!r} needs Keras on {wanted}, and this process has imported Keras on {running}; "
                f"start another process with KERAS_BACKEND={wanted} (attn-ref check does so by itself)"
            )
        if wanted == "jax":  # float64 would become float32 without a word
            import jax

            jax.config.update("jax_enable_x64", True)

    def build(self, block: Block, dtype: str = "float64") -> Any:
        from attn_ref_keras.program import blank

        if self.peer:
            from attn_ref_keras.foreign import Foreign

            return Foreign(self.peer, block, self.peer.make(block, dtype))
        layer = self.mirror(block, dtype)(**block.fields(), dtype=dtype)
        with blank():
            layer.build(None)  # every width is a field, so no input is needed to make the variables
        return layer

    def keep_compiled(self, folder: str) -> None:
        if not self.engine.startswith("jax"):
            return
        import jax

        if jax.config.values["jax_compilation_cache_dir"] is None:  # what is set already is somebody's choice
            jax.config.update("jax_compilation_cache_dir", folder)
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
            jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

    def begin_anew(self) -> None:
        from attn_ref_keras.program import begin_names_anew

        begin_names_anew()

    def fingerprint(self) -> dict[str, Any]:
        if self.engine.startswith("jax"):
            import jax

            names = ("jax_enable_x64", "jax_default_matmul_precision", "jax_threefry_partitionable")
            return {"device": str(jax.devices()[0]), **{name: getattr(jax.config, name) for name in names}}
        import tensorflow as tf
        from tensorflow.python.framework.config import is_op_determinism_enabled

        return {
            "device": ", ".join(device.name for device in tf.config.get_visible_devices()),
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "oneDNN": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
            "TF32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "deterministic": is_op_determinism_enabled(),
        }

    def promises(self, block: Block, dtype: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
        from attn_ref_keras.promises import promises

        return promises(self, block, dtype, inputs)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        import random

        before = random.getstate()
        random.seed(seed)  # from which every layer of Keras that draws takes a seed when it is made
        try:
            yield
        finally:
            random.setstate(before)

    def slots(self, layer: Any) -> dict[str, Slot]:
        from attn_ref_keras.codec import slots

        return slots(layer)

    def listening(self, layer: Any) -> AbstractContextManager[None]:
        from attn_ref_keras.program import listening

        return listening(layer)

    def execute(self, layer: Any, inputs: dict[str, np.ndarray], request: Request) -> Run:
        from attn_ref_keras.run import execute

        return execute(self.peer.engine if self.peer else self.engine, layer, inputs, request)
