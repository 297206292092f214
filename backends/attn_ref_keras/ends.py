"""One end of a conversion: a file run by Keras' own loader."""

from __future__ import annotations

from importlib.metadata import version

from attn_ref.engines import backend
from attn_ref.foreign.job import Job, Outcome


def run_file(job: Job) -> Outcome:
    """The functional Keras model on TensorFlow, by ``load_weights``, which casts to float64 exactly."""
    engine = backend("tensorflow")  # before Keras is imported, so that it runs on TensorFlow
    import keras

    from attn_ref_keras.functional import functional

    model = functional(job.block, "float64")
    layer = model.layers[-1]
    keras.saving.load_weights(model if job.prefix else layer, job.path)
    fused = keras.ops.convert_to_numpy(model({name: keras.ops.convert_to_tensor(x) for name, x in job.inputs.items()}))
    taps = engine.run(layer, job.inputs).taps
    return Outcome(fused, taps, f"Keras {keras.__version__} on TensorFlow {version('tensorflow')}, float64")
