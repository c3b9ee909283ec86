"""A run's model as TensorFlow Serving takes it: a SavedModel in ``<name>/<version>/``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from helpers import files, trained
from helpers.errors import BadInput
from helpers.quiet import native_output, tensorflow
from helpers.runs import Run
from helpers.serving.tfserving import SIGNATURE


def write(study: str, runs: Mapping[str, float], folder: Path) -> list[Path]:
    """Export the models of runs as versions 1, 2 ... into a folder; returns theirs.

    Raises
    ------
    BadInput : a run's model was not trained in Keras, or there is such a version already.
    """
    return [_written(Run(study, run), number, folder) for number, run in enumerate(runs, 1)]


def _written(run: Run, number: int, folder: Path) -> Path:
    model = trained.Trained.load(run.verified("02", trained.CONFIG, any_code=True))
    if not model.file.endswith(".keras"):
        raise BadInput(f"{model.file} of run {run.name!r} is not of Keras")
    target = folder / model.schema.model_name / str(number)
    if target.exists():
        raise BadInput(f"{target} is there already: move it away, or give another folder")
    tf = tensorflow()
    import keras

    from helpers.runtimes.keras import call, load

    built = load(run.verified("02", model.file, any_code=True))
    signature = {
        tensor.name: tf.TensorSpec((None, *tensor.shape), tensor.dtype, name=tensor.name)
        for tensor in model.schema.inputs
    }

    def endpoint(inputs):
        return call(built, inputs, model.schema)

    files.make_folder(target.parent)
    partial = files.partial(target)
    try:
        with native_output():
            archive = keras.export.ExportArchive()
            archive.track(built)
            archive.add_endpoint(SIGNATURE, endpoint, input_signature=[signature])
            archive.write_out(str(partial), verbose=False)
        partial.rename(target)  # a server that watches the folder sees whole versions only
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
