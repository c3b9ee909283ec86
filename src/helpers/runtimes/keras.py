"""Keras: the trained model itself, as the reference. Opening it imports TensorFlow."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from helpers.errors import BadInput, DamagedFile
from helpers.quiet import tensorflow
from helpers.runtimes.runtime import (
    Runtime,
    Steps,
    check_interface,
    check_outputs,
    steps_of,
)
from helpers.schema import Schema


def named_outputs(model, result) -> dict[str, object]:
    """What calling a Keras model gave, by the names of its outputs."""
    if isinstance(result, Mapping):
        return dict(result)
    results = result if isinstance(result, (list, tuple)) else [result]
    return dict(zip(model.output_names, results, strict=True))


def call(model, inputs: Mapping[str, object], schema: Schema) -> dict[str, object]:
    """Call a Keras model, as it is outside training, with inputs by name; its outputs by the
    schema's names.

    Raises
    ------
    BadInput : the model gives other outputs.
    """
    return schema_outputs(model, schema, model(structured(model, inputs), training=False))


def structured(model, inputs: Mapping[str, object]):
    """Named inputs in the form that a Keras model was built with: it warns of a single input in a
    dict.
    """
    return (
        inputs if isinstance(model.input, (Mapping, list, tuple)) else next(iter(inputs.values()))
    )


def schema_outputs(model, schema: Schema, result) -> dict[str, object]:
    """What calling a Keras model gave, by the schema's names and in its order; one output may be
    called otherwise.

    Raises
    ------
    BadInput : the model gives other outputs.
    """
    outputs = named_outputs(model, result)
    if len(outputs) == len(schema.outputs) == 1:
        return {schema.output.name: next(iter(outputs.values()))}
    if sorted(outputs) != sorted(schema.output_names):
        raise BadInput(f"the model gives {sorted(outputs)}, the schema says {schema.output_names}")
    return {name: outputs[name] for name in schema.output_names}


def load(path: Path, schema: Schema | None = None):
    """Load a ``.keras`` file; nothing in it is executed.

    Parameters
    ----------
    schema : its tensors' names, where the file has others: the model then has the schema's.

    Raises
    ------
    DamagedFile : it is not a Keras model, or one with code of its own.
    """
    tensorflow()
    import keras

    import helpers.layers  # noqa: F401 (registers what studies' models are made of)

    if not zipfile.is_zipfile(path):
        raise DamagedFile(f"{path.name} is not a usable Keras file: it is no whole zip archive")
    _refuse_code(path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its zip, JSON and HDF5 readers do
        raise DamagedFile(f"{path.name} is not a usable Keras file: {error}") from error
    return model if schema is None else _with_names(model, schema)


def _with_names(model, schema: Schema):
    """The same model, weights and all, with the schema's names on its inputs and outputs; outputs
    that the schema leaves out are gone.
    """
    import keras

    renamed = any(tensor.in_file for tensor in (*schema.inputs, *schema.outputs))
    if not renamed and len(model.outputs or ()) <= len(schema.outputs):
        return model
    inputs = {t.name: keras.Input(t.shape, dtype=t.dtype, name=t.name) for t in schema.inputs}
    fed = {(t.in_file or t.name): inputs[t.name] for t in schema.inputs}
    outputs = named_outputs(model, model(structured(model, fed)))
    named = {t.name: outputs[t.in_file or t.name] for t in schema.outputs}
    return keras.Model(inputs, named, name=model.name)


def _refuse_code(path: Path) -> None:
    """Refuse a file that needs code of its maker's.

    Raises
    ------
    DamagedFile : names the layers, and the way to bring them.
    """
    from keras.saving import get_custom_objects

    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return  # Keras says what is wrong with it
    found = list(_classes(config))
    lambdas = [name for kind, name, *_ in found if kind == "Lambda"]
    known = get_custom_objects()
    custom = [
        kind
        for kind, _, module, registered in found
        if not module.startswith("keras") and registered not in known
    ]
    if lambdas or custom:
        what = (
            f"a Lambda layer ({', '.join(lambdas)})"
            if lambdas
            else f"classes of its own ({', '.join(dict.fromkeys(custom))})"
        )
        raise DamagedFile(
            f"{path.name} has {what}, which is code, and none is executed here: in the program "
            f"that knows it, call model.export('{path.stem}') and bring that folder, a SavedModel"
        )


def _classes(config: object) -> Iterator[tuple[str, str, str, str]]:
    """Class, name, module and registered name of every object in a Keras configuration."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str) and "config" in config:
            inner = config["config"] if isinstance(config["config"], dict) else {}
            name = str(inner.get("name", config["class_name"]))
            module = str(config.get("module") or "keras")
            if config.get("registered_name") and config.get("module") is None:
                module = "custom"
            yield config["class_name"], name, module, str(config.get("registered_name"))
        for value in config.values():
            yield from _classes(value)
    elif isinstance(config, list):
        for value in config:
            yield from _classes(value)


def interface(path: str) -> list[dict]:
    """Inputs and outputs of a file as it calls them; runs in a child process."""
    model = load(Path(path))
    if not model.inputs:
        raise DamagedFile(f"{Path(path).name} does not say what it takes: call it once and save it")
    outputs = named_outputs(model, model.output)
    return [
        {name: ([-1 if n is None else n for n in t.shape], t.dtype) for name, t in tensors.items()}
        for tensors in ({t.name: t for t in model.inputs}, outputs)
    ]


class Model(Runtime):
    """An open ``.keras`` file. Calls go through one traced ``tf.function``."""

    def __init__(self, path: Path, schema: Schema, threads: int):
        tf = tensorflow()
        self.path, self.schema, self.model = path, schema, load(path, schema)
        schema = replace(schema, given=False)  # its names are the schema's now
        inputs = {t.name: ([-1, *t.shape[1:]], t.dtype) for t in self.model.inputs}
        outputs = named_outputs(self.model, self.model.output)
        described = {name: ([-1, *t.shape[1:]], t.dtype) for name, t in outputs.items()}
        check_interface(path, schema, inputs, described)
        signature = {
            t.name: tf.TensorSpec((schema.batch, *t.shape), t.dtype) for t in schema.inputs
        }

        self._call = tf.function(
            lambda inputs: call(self.model, inputs, schema), input_signature=[signature]
        )

    def _predict(self, inputs, rows):
        outputs = {name: np.asarray(value) for name, value in self._call(dict(inputs)).items()}
        shapes = {name: array.shape for name, array in outputs.items()}
        check_outputs(self.path, self.schema, rows, shapes)
        return {name: outputs[name] for name in self.schema.output_names}

    def steps(self, inputs) -> Steps:
        self.schema.check(inputs)
        tf = tensorflow()
        names = {
            "call": self._call,
            "asarray": np.asarray,
            "arrays": dict(inputs),
            "tensors": {name: tf.constant(array) for name, array in inputs.items()},
        }
        results = {name: f"asarray(outputs[{name!r}])" for name in self.schema.output_names}
        return steps_of(["outputs = call(arrays)"], results, "call(tensors)", names)
