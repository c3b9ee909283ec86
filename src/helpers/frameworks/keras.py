"""Keras: train, score, save, and export to TFLite.

TFLiteConverter's plain ways all lose something: ``from_keras_model`` reorders the inputs and calls
them ``serving_default_user_features:0``; ``from_concrete_functions`` leaves variables unfrozen, and
LiteRT then scores NaN without an error. The way taken here: a SavedModel with one named endpoint,
converted, and then names and order set in the file.
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.convert import tflite
from helpers.datasets import Stream
from helpers.errors import BadInput, ConversionFailed
from helpers.frameworks import CHECKED_ROWS, scored
from helpers.quiet import native_output, tensorflow
from helpers.runtimes.keras import call, load, named_outputs, schema_outputs, structured
from helpers.schema import Schema
from helpers.studies import Inputs
from helpers.tasks import Task

__all__ = ["SUFFIX", "describe", "export", "load", "plain", "predict", "save", "train", "weights"]

SUFFIX = ".keras"
HISTORY = ["accuracy", "loss", "val_accuracy", "val_loss"]
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_UNKNOWN_OPERATORS = re.compile(r"^\s*tf\.(\w+)\(.*\) -> ", re.MULTILINE)
"""The converter ends with a list of them: name, types of what they take, types of what they give.
"""


def train(
    build: Callable,
    schema: Schema,
    task: Task,
    training: tuple[Inputs, np.ndarray] | Stream,
    validation: tuple[Inputs, np.ndarray],
    *,
    seed: int = 42,
    hidden_units: int = 16,
    epochs: int = 5,
    batch_size: int = 64,
    learning_rate: float = 0.001,
    patience: int = 0,
    progress: bool = True,
):
    """Train a model with Adam on the task's loss; the same arguments give the same weights.

    XLA is off, because the code it generates depends on the processor.

    Parameters
    ----------
    build : of a `helpers.studies.Model`; `schema` is that model's.
    training, validation : named inputs and labels ``(n_rows,)``; training rows may come a part at a
        time.
    seed : initial weights and shuffling.
    patience : epochs without a lower validation loss after which training ends; the model then has
        the weights of the lowest. 0 is never.
    progress : show a bar when it takes longer than two seconds.

    Returns
    -------
    model : the trained Keras model.
    history : DataFrame by epoch (from 1): accuracy, loss, val_accuracy, val_loss. It has no rows
        where the task has nothing to train on; the model then keeps its first weights.

    Raises
    ------
    BadInput : the model cannot be built, takes or gives others than the schema says, or gives no
        outputs of its own, see `predict`.
    """
    tensorflow()
    import keras
    import pandas as pd
    from tqdm import tqdm

    keras.utils.set_random_seed(seed)
    model = built(build, schema, hidden_units)
    predict(model, schema, {name: array[:CHECKED_ROWS] for name, array in validation[0].items()})
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
    stopping = []
    if patience:
        stopping = [keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)]
    with tqdm(
        total=epochs,
        desc="training",
        unit=" epochs",
        delay=2,
        leave=False,
        disable=not progress or None,
    ) as bar:
        if isinstance(training, Stream):
            rows = {"x": _streamed(model, schema, training, batch_size), "shuffle": False}
        else:
            labels = training[1].astype(np.float32)
            rows = {"x": structured(model, training[0]), "y": labels, "batch_size": batch_size}
        fitted = learner.fit(
            **rows,
            validation_data=(structured(model, validation[0]), validation[1].astype(np.float32)),
            epochs=epochs,
            validation_batch_size=4096,
            callbacks=[
                keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: bar.update()),
                *stopping,
            ],
            verbose=0,
        )
    history = pd.DataFrame(fitted.history).sort_index(axis=1)
    history.index = pd.RangeIndex(1, len(history) + 1, name="epoch")
    return model, history


def built(build: Callable, schema: Schema, hidden_units: int = 16):
    """The untrained model, with the schema's inputs.

    Raises
    ------
    BadInput : it cannot be built, or takes others.
    """
    import keras

    try:
        model = build(hidden_units=hidden_units)
    except Exception as error:  # whatever somebody's own code raises
        said = " ".join(str(error).split())
        raise BadInput(
            f"the model cannot be built: {build.__name__}(hidden_units={hidden_units}) raised "
            f"{type(error).__name__}: {said}"
        ) from error
    if not isinstance(model, keras.Model):
        raise BadInput(f"{build.__name__} returns a {type(model).__name__}, not a keras.Model")
    taken = {tensor.name: tuple(tensor.shape[1:]) for tensor in model.inputs or ()}
    wanted = {tensor.name: tensor.shape for tensor in schema.inputs}
    if taken != wanted:
        raise BadInput(
            f"{build.__name__} takes the inputs {taken}, the schema says {wanted}: give each "
            "keras.Input the name and the shape of its tensor"
        )
    return model


def _streamed(model, schema: Schema, training: Stream, batch_size: int):
    """A `tf.data.Dataset` of batches; each time that it is gone through is the next epoch."""
    tf, epochs = tensorflow(), itertools.count()

    def chunks():
        for inputs, labels in training.epoch(next(epochs), batch_size):
            yield structured(model, inputs), labels.astype(np.float32)

    inputs = {t.name: tf.TensorSpec((None, *t.shape), t.dtype) for t in schema.inputs}
    signature = (structured(model, inputs), tf.TensorSpec((None,), "float32"))
    rows = tf.data.Dataset.from_generator(chunks, output_signature=signature)
    batches = rows.flat_map(
        lambda *chunk: tf.data.Dataset.from_tensor_slices(chunk).batch(batch_size)
    )
    count = -(-training.rows // batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(count))


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


def layers(model):
    """DataFrame by layer, and by operation between layers, in order: ``type``, ``gives`` the shape
    of its output without the batch, ``parameters``, and ``takes``, names of those before it.
    """
    import keras
    import pandas as pd

    made, rows = {}, {}
    for layer in getattr(model, "operations", model.layers):
        is_input = isinstance(layer, keras.layers.InputLayer)
        taken = [] if is_input else keras.tree.flatten(layer.input)
        given = keras.tree.flatten(layer.output)
        rows[layer.name] = {
            "type": type(layer).__name__,
            "gives": ", ".join("x".join(map(str, each.shape[1:])) or "1" for each in given),
            "parameters": layer.count_params() if isinstance(layer, keras.Layer) else 0,
            "takes": [made[id(each)] for each in taken if id(each) in made],
        }
        made |= {id(each): layer.name for each in given}
    return pd.DataFrame.from_dict(rows, orient="index")


def predict(model, schema: Schema, inputs: Inputs) -> dict[str, np.ndarray]:
    """All outputs of the model, see `helpers.frameworks.scored`."""

    def outputs(part: Inputs) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in call(model, part, schema).items()}

    return scored(outputs, schema, inputs)


def weights(model) -> list[np.ndarray]:
    """All weights, trained or not, in the model's order."""
    return model.get_weights()


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


def export(model, schema: Schema, path: Path) -> list[str]:
    """Write a Keras model to `path` as a float32 ``.tflite``.

    An Embedding is written as a gather from the same table, bit for bit, because MNN has no
    SELECT_V2, which its check of negative ids becomes.

    Parameters
    ----------
    model : Keras model whose inputs carry the schema's names.
    path : where to write; give the temporary path of ``Stage.output`` and check the scores before
        it counts.

    Returns
    -------
    What was changed in the model, in words.

    Raises
    ------
    ConversionFailed : the converter failed, or lost an input, the output or the dynamic batch.
    """
    tf = tensorflow()
    import keras

    model, cured = _without_embeddings(model)

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
    return cured


def _without_embeddings(model):
    """The same model with each Embedding as a `layers.Table` of its weights, and what was done."""
    import keras

    from helpers import layers

    found = [layer for layer in model._flatten_layers() if type(layer) is keras.layers.Embedding]
    if not found or any(layer.mask_zero for layer in found):
        return model, []

    def cloned(layer):
        if type(layer) is not keras.layers.Embedding:
            return layer.__class__.from_config(layer.get_config())
        return layers.Table(layer.input_dim, layer.output_dim, name=layer.name)

    try:
        copy = keras.models.clone_model(model, clone_function=cloned, recursive=True)
        copy.set_weights(model.get_weights())
    except (TypeError, ValueError):  # a model that is no graph of layers
        return model, []
    names = ", ".join(layer.name for layer in found)
    return copy, [f"the Embedding {names} is written as a gather from the same table"]


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
def plain(model, *, optimise: bool = False) -> Iterator[Path | None]:
    """What ``TFLiteConverter.from_keras_model`` makes of the model, as a file that is gone
    afterwards, to look at; None where it fails, as for inputs in a dictionary.

    `optimise` asks it for its default optimisations (dynamic range quantisation).
    """
    tf = tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        with native_output():
            try:
                converter = tf.lite.TFLiteConverter.from_keras_model(model)
                converter.optimizations = [tf.lite.Optimize.DEFAULT] if optimise else []
                content = converter.convert()
            except Exception:  # whatever it raises: nothing is made of what it gives
                content = None
        path = Path(folder) / "plain.tflite"
        if content is not None:
            path.write_bytes(content)
        yield None if content is None else path
