"""One end of a conversion: a file run by Keras' own loader."""

from __future__ import annotations

from importlib.metadata import version

from attn_ref.engines import backend
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Peer


def run_file(job: Job) -> Outcome:
    """The functional Keras model on TensorFlow, by ``load_weights``, which casts to float64 exactly."""
    engine = backend("tensorflow")  # before Keras is imported, so that it runs on TensorFlow
    import keras

    from attn_ref_keras.functional import functional

    model = functional(job.block, "float64", inputs=tuple(job.inputs))
    layer = model.layers[-1]
    keras.saving.load_weights(model if job.prefix else layer, job.path)
    fused = keras.ops.convert_to_numpy(model({name: keras.ops.convert_to_tensor(x) for name, x in job.inputs.items()}))
    taps = engine.run(layer, job.inputs).taps
    return Outcome(fused, taps, f"Keras {keras.__version__} on TensorFlow {version('tensorflow')}, float64")


def run_peer(peer: Peer, job: Job, *, exact: tuple[str, ...] = ()) -> Outcome:
    """A layer of Keras' own, by ``load_weights``, alone or as the layer of a model.

    ``exact`` are attributes with Python's numbers, which Keras takes to float32 on TensorFlow; NumPy's it leaves.
    """
    backend(peer.engine)
    import keras
    import numpy as np

    from attn_ref_keras.foreign import Foreign, run

    layer = peer.make(job.block, "float64")
    for name in exact:
        setattr(layer, name, np.float64(getattr(layer, name)))
    model = layer
    if job.prefix:
        given = {
            name: keras.Input((None, job.inputs[name].shape[-1]), dtype="float64", name=name)
            for name in ("query", "key", "value")
        }
        model = keras.Model(given, layer(given["query"], given["value"], key=given["key"]))
    keras.saving.load_weights(model, job.path)
    output = run(Foreign(peer, job.block, layer), job.inputs)
    by = f"{type(layer).__name__} of Keras {keras.__version__} on TensorFlow {version('tensorflow')}, float64"
    return Outcome(output, {}, by)
