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
    Computed,
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
    dict, and in one works out the shapes of several by the order of their names.
    """
    if isinstance(model.input, Mapping):
        return inputs
    if isinstance(model.input, (list, tuple)):
        return tuple(inputs[tensor.name] for tensor in model.inputs)
    return next(iter(inputs.values()))


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


class Graph:
    """The layers of a trained model, those of models inside it among them.

    Attributes
    ----------
    outputs : by the schema's names, the places of the layers that give the model's outputs; known
        when it has been run.

    Raises
    ------
    DamagedFile : it is no graph of layers.
    """

    def __init__(self, path: Path, schema: Schema):
        self._path, self._schema, self._model = path, schema, load(path, schema)
        self._layers = _inner(self._model)
        self.outputs: dict[str, int] = {}
        if self._layers is None:
            raise DamagedFile(f"{path.name} is a model of code of its own, not a graph of layers")

    def run(
        self, inputs: Mapping[str, np.ndarray], held: Mapping[int, np.ndarray]
    ) -> list[Computed]:
        """What every layer computes, in the order in which they are called.

        Parameters
        ----------
        held : by the place of a layer, the values that go on from it in place of its own.

        Raises
        ------
        DamagedFile : it cannot be run.
        """
        import keras
        import tensorflow as tf

        computed: list[Computed] = []
        places: dict[int, int] = {}  # of the layer that made a tensor, by its id
        alive = []  # so that no id is given twice

        def called(layer):
            def call(*args, **kwargs):
                if (inside := _inner(layer)) is not None:
                    given = args[0] if args else kwargs["inputs"]
                    return _called(inside, given, called)
                taken = keras.tree.flatten((args, kwargs))
                takes = sorted({places[id(x)] for x in taken if id(x) in places})
                result = layer(*args, **kwargs)
                tensors, place = keras.tree.flatten(result), len(computed)
                first = tensors[0]
                floats = first.dtype.is_floating
                values = np.asarray(first).astype(np.float32) if floats else None
                computed.append(Computed(layer.name, type(layer).__name__, values, tuple(takes)))
                if place in held:
                    tensors[0] = tf.constant(held[place], first.dtype)
                    if (mask := getattr(first, "_keras_mask", None)) is not None:
                        tensors[0]._keras_mask = mask
                places.update((id(tensor), place) for tensor in tensors)
                alive.append((taken, tensors))
                return keras.tree.pack_sequence_as(result, tensors)

            return call

        try:
            found = _called(self._layers, structured(self._model, dict(inputs)), called)
        except Exception as error:  # whatever its layers raise
            said = " ".join(str(error).split())[:400]
            raise DamagedFile(f"{self._path.name} cannot be run by layers: {said}") from error
        outputs = schema_outputs(self._model, self._schema, found)
        self.outputs = {n: places[id(x)] for n, x in outputs.items() if id(x) in places}
        return computed


def _inner(layer):
    """The graph of layers that a model is; None if it is a layer, or has code of its own."""
    graph = getattr(layer, "_functional", layer)  # of a Sequential
    return graph if hasattr(graph, "_run_through_graph") else None


def _called(graph, given, called):
    """Run a graph as it runs itself, each layer by way of ``called(layer)``."""
    return graph._run_through_graph(graph._standardize_inputs(given), operation_fn=called)
