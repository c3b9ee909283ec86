"""Keras: train, score, save, and export to TFLite.

TFLiteConverter's plain ways all lose something: ``from_keras_model`` reorders the inputs and calls
them ``serving_default_user_features:0``; ``from_concrete_functions`` leaves variables unfrozen, and
LiteRT then scores NaN without an error. The way taken here: a SavedModel with one named endpoint,
converted, and then names and order set in the file.
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.convert import tflite
from helpers.errors import BadInput, ConversionFailed
from helpers.quiet import native_output, tensorflow
from helpers.runtimes import scale_of
from helpers.runtimes.keras import call, load, named_outputs, schema_outputs, structured
from helpers.schema import Schema
from helpers.studies import Inputs
from helpers.tasks import Task
from helpers.tasks.judgement import SAME_ERROR

__all__ = ["SUFFIX", "describe", "export", "load", "plain", "predict", "save", "train"]

SUFFIX = ".keras"
HISTORY = ["accuracy", "loss", "val_accuracy", "val_loss"]
_SCORE_ROWS, _SCORE_VALUES = 65_536, 8 << 20
"""Most rows and most values that the model is called with."""
_CHECKED_ROWS = 4096
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_UNKNOWN_OPERATORS = re.compile(r"^\s*tf\.(\w+)\(.*\) -> ", re.MULTILINE)
"""The converter ends with a list of them: name, types of what they take, types of what they give.
"""


def train(
    build: Callable,
    schema: Schema,
    task: Task,
    training: tuple[Inputs, np.ndarray],
    validation: tuple[Inputs, np.ndarray],
    *,
    seed: int = 42,
    hidden_units: int = 16,
    epochs: int = 5,
    batch_size: int = 64,
    learning_rate: float = 0.001,
    progress: bool = True,
):
    """Train a model with Adam on the task's loss; the same arguments give the same weights.

    XLA is off, because the code it generates depends on the processor.

    Parameters
    ----------
    build : of a `helpers.studies.Model`; `schema` is that model's.
    training, validation : named inputs and labels ``(n_rows,)``.
    seed : initial weights and shuffling.
    progress : show a bar when it takes longer than two seconds.

    Returns
    -------
    model : the trained Keras model.
    history : DataFrame by epoch (from 1): accuracy, loss, val_accuracy, val_loss. It has no rows
        where the task has nothing to train on; the model then keeps its first weights.

    Raises
    ------
    BadInput : the model gives other outputs than the schema says, or no outputs of its own, see
        `predict`.
    """
    tensorflow()
    import keras
    import pandas as pd
    from tqdm import tqdm

    keras.utils.set_random_seed(seed)
    model = build(hidden_units=hidden_units)
    predict(model, schema, {name: array[:_CHECKED_ROWS] for name, array in training[0].items()})
    if task.training_loss is None:
        return model, pd.DataFrame(
            columns=HISTORY, index=pd.RangeIndex(0, name="epoch"), dtype=float
        )
    decided = schema_outputs(model, schema, model.output)[schema.output.name]
    learner = model if len(model.outputs) == 1 else keras.Model(model.inputs, decided)
    learner.compile(
        keras.optimizers.Adam(learning_rate),
        loss=task.training_loss,
        metrics=["accuracy"],
        jit_compile=False,
        steps_per_execution=16,
    )
    with tqdm(
        total=epochs,
        desc="training",
        unit=" epochs",
        delay=2,
        leave=False,
        disable=not progress or None,
    ) as bar:
        fitted = learner.fit(
            structured(model, training[0]),
            training[1].astype(np.float32),
            validation_data=(structured(model, validation[0]), validation[1].astype(np.float32)),
            epochs=epochs,
            batch_size=batch_size,
            validation_batch_size=4096,
            callbacks=[
                keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: bar.update())
            ],
            verbose=0,
        )
    history = pd.DataFrame(fitted.history).sort_index(axis=1)
    history.index = pd.RangeIndex(1, epochs + 1, name="epoch")
    return model, history


def describe(model) -> dict:
    """What the published pipeline keeps beside a model: name, shapes, parameters, layers."""
    return {
        "model_name": model.name,
        "input_shapes": {tensor.name: list(tensor.shape) for tensor in model.inputs},
        "output_shapes": {
            name: list(value.shape) for name, value in named_outputs(model, model.output).items()
        },
        "total_parameters": model.count_params(),
        "architecture": [
            {"layer": layer.name, "type": type(layer).__name__} for layer in model.layers
        ],
    }


def predict(model, schema: Schema, inputs: Inputs) -> dict[str, np.ndarray]:
    """All outputs of the model by the schema's names, ``(n_rows, *shape)``: the reference for every
    converted file.

    Raises
    ------
    BadInput : rows score differently the second time, among fewer others: nothing could be held
        against such scores.
    """
    rows = len(next(iter(inputs.values())))
    step = max(
        1, min(_SCORE_ROWS, _SCORE_VALUES * rows // sum(array.size for array in inputs.values()))
    )
    again = np.arange(max(1, min(rows, step, _CHECKED_ROWS) // 2))
    if schema.batch is not None:
        step, again = schema.batch, (np.arange(schema.batch) + 1) % rows

    def part(places: np.ndarray) -> dict[str, np.ndarray]:
        result = call(model, {name: array[places] for name, array in inputs.items()}, schema)
        return {name: np.asarray(value) for name, value in result.items()}

    ends = [rows if schema.batch is None else first + step for first in range(0, rows, step)]
    parts = [
        part(np.arange(i * step, min((i + 1) * step, end)) % rows) for i, end in enumerate(ends)
    ]
    outputs = {name: np.concatenate([each[name] for each in parts])[:rows] for name in parts[0]}
    for name, values in part(again).items():
        first = outputs[name][again]
        if (difference := np.abs(values - first).max()) > SAME_ERROR * scale_of(first):
            raise BadInput(
                f"the model gives two different scores for the same rows (up to {difference:.2g} "
                "apart): a layer such as dropout or batch normalisation is active outside "
                "training: build it without training=True"
            )
    return outputs


def save(model, path: Path) -> None:
    """Save as ``.keras`` so that the same weights are the same bytes.

    Keras writes the time of day and memory addresses (as ids of shared objects) into the archive;
    the first is dropped, the second are numbered in order of appearance.
    """
    raw = path.with_name(f"{path.stem}-raw{path.suffix}")
    try:
        model.save(raw)
        with zipfile.ZipFile(raw) as source, zipfile.ZipFile(path, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":
                    content = json.dumps(
                        {"keras_version": json.loads(content)["keras_version"]}
                    ).encode()
                elif name == "config.json":
                    content = _numbered_ids(content)
                target.writestr(zipfile.ZipInfo(name, _ZIP_DATE), content)
    finally:
        raw.unlink(missing_ok=True)


def _numbered_ids(config: bytes) -> bytes:
    numbers: dict[bytes, int] = {}
    pattern = rb'("shared_object_id": )(\d+)'
    return re.sub(
        pattern, lambda m: m[1] + str(numbers.setdefault(m[2], len(numbers))).encode(), config
    )


def export(model, schema: Schema, path: Path) -> None:
    """Write a Keras model to `path` as a float32 ``.tflite``.

    Parameters
    ----------
    model : Keras model whose inputs carry the schema's names.
    path : where to write; give the temporary path of ``Stage.output`` and check the scores before
        it counts.

    Raises
    ------
    ConversionFailed : the converter failed, or lost an input, the output or the dynamic batch.
    """
    tf = tensorflow()
    import keras

    def endpoint(inputs):
        return call(model, inputs, schema)

    try:
        schema_outputs(model, schema, model.output)
    except BadInput as error:
        raise ConversionFailed(str(error)) from error
    signature = {
        t.name: tf.TensorSpec((schema.batch, *t.shape), t.dtype, name=t.name) for t in schema.inputs
    }
    with tempfile.TemporaryDirectory() as folder, native_output() as log:
        try:
            archive = keras.export.ExportArchive()
            archive.track(model)
            archive.add_endpoint(tflite.SIGNATURE, endpoint, input_signature=[signature])
            archive.write_out(folder, verbose=False)
            content = tf.lite.TFLiteConverter.from_saved_model(
                folder, signature_keys=[tflite.SIGNATURE]
            ).convert()
        except Exception as error:
            raise ConversionFailed(_reason(str(error), log())) from error
    path.write_bytes(tflite.named(content, schema))


def _reason(error: str, log: str) -> str:
    """What the converter's error says, without the program that it prints."""
    unknown = sorted(set(_UNKNOWN_OPERATORS.findall(error)))
    if not unknown:
        last = [line for line in log.splitlines() if line.strip()][-3:]
        return "\n  | ".join([f"Keras to TFLite failed: {error}", *last])
    cure = "say it with others in a layer of your own"
    if any("Random" in operator for operator in unknown):
        cure = (
            "a layer that draws at random, such as dropout, is active outside training; it should "
            "not be"
        )
    return f"Keras to TFLite failed: TensorFlow Lite does not have {', '.join(unknown)} ({cure})"


@contextmanager
def plain(model, *, optimise: bool = False) -> Iterator[Path]:
    """What ``TFLiteConverter.from_keras_model`` makes of the model, as a file that is gone
    afterwards: to look at.

    `optimise` asks it for its default optimisations (dynamic range quantisation).
    """
    tf = tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        with native_output():
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            converter.optimizations = [tf.lite.Optimize.DEFAULT] if optimise else []
            content = converter.convert()
        path = Path(folder) / "plain.tflite"
        path.write_bytes(content)
        yield path
