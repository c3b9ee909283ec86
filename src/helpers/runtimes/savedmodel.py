"""SavedModel: TensorFlow's folders, each packed into a ``.zip``, as they were exported for serving.

Opening one imports TensorFlow, and builds its graph; a graph with operators that reach files or
Python is refused before that.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np

from helpers.errors import DamagedFile
from helpers.quiet import native_output, tensorflow
from helpers.runtimes.runtime import Runtime, Steps, check_interface, check_outputs, steps_of
from helpers.schema import Schema

SIGNATURE = "serving_default"
REFUSED = (
    "PyFunc",
    "EagerPyFunc",
    "PyFuncStateless",
    "ReadFile",
    "WriteFile",
    "MatchingFiles",
    "PrintV2",
)
"""Operators of a graph that would do more than compute."""
_DATE = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path, path: Path) -> None:
    """Write a SavedModel's folder as a zip; the same content gives the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(found for found in folder.rglob("*") if found.is_file()):
            name = file.relative_to(folder).as_posix()
            archive.writestr(zipfile.ZipInfo(name, _DATE), file.read_bytes())


def unpack(path: Path, folder: Path) -> None:
    """Unpack what `pack` wrote.

    Raises
    ------
    DamagedFile : it is no such zip, or its graph does more than compute.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        described = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    except Exception as error:  # whatever zip and protobuf readers raise
        raise DamagedFile(f"{path.name} is not a usable SavedModel: {error}") from error
    for graph in described.meta_graphs:
        nodes = [*graph.graph_def.node]
        nodes += [node for f in graph.graph_def.library.function for node in f.node_def]
        if found := sorted({node.op for node in nodes} & set(REFUSED)):
            raise DamagedFile(
                f"{path.name} has the operator {', '.join(found)}, which does more than compute: "
                "export the model without it"
            )


def load(path: Path):
    """Load a packed SavedModel; returns it and its signature, by the file's names.

    Raises
    ------
    DamagedFile : it is none, or has no signature ``serving_default``.
    """
    tf = tensorflow()
    with tempfile.TemporaryDirectory() as folder, native_output():
        unpack(path, Path(folder))
        try:
            model = tf.saved_model.load(folder)
        except Exception as error:  # TensorFlow raises whatever its readers do
            raise DamagedFile(f"{path.name} is not a usable SavedModel: {error}") from error
    if SIGNATURE not in model.signatures:
        there = ", ".join(model.signatures) or "none"
        raise DamagedFile(f"{path.name} has no signature {SIGNATURE}; it has: {there}")
    return model, model.signatures[SIGNATURE]


class Model(Runtime):
    """An open SavedModel."""

    def __init__(self, path: Path, schema: Schema, threads: int):
        self.path, self.schema = path, schema
        self._model, self._call = load(path)  # the functions live as long as the model
        check_interface(path, schema, *_interface(self._call))
        self._inputs = {schema.name_in(tensor): tensor.name for tensor in schema.inputs}

    def _predict(self, inputs, rows):
        tf = tensorflow()
        fed = {theirs: tf.constant(inputs[ours]) for theirs, ours in self._inputs.items()}
        found = self.schema.by_name(self._call(**fed))
        outputs = {name: np.asarray(found[name]) for name in self.schema.output_names}
        shapes = {name: array.shape for name, array in outputs.items()}
        check_outputs(self.path, self.schema, rows, shapes)
        return outputs

    def steps(self, inputs) -> Steps:
        self.schema.check(inputs)
        tf = tensorflow()
        tensors = {theirs: tf.constant(inputs[ours]) for theirs, ours in self._inputs.items()}
        names = {
            "call": self._call,
            "asarray": np.asarray,
            "constant": tf.constant,
            "arrays": {theirs: inputs[ours] for theirs, ours in self._inputs.items()},
            "tensors": tensors,
        }
        copy = "outputs = call(**{name: constant(array) for name, array in arrays.items()})"
        results = {
            tensor.name: f"asarray(outputs[{self.schema.name_in(tensor)!r}])"
            for tensor in self.schema.outputs
        }
        return steps_of([copy], results, "call(**tensors)", names)


def interface(path: str) -> list[dict]:
    """Inputs and outputs of a file as it calls them; runs in a child process."""
    return list(_interface(load(Path(path))[1]))


def _interface(signature) -> tuple[dict, dict]:
    def described(tensors) -> dict:
        return {
            name: ([-1 if n is None else n for n in tensor.shape], tensor.dtype.name)
            for name, tensor in tensors.items()
        }

    inputs = signature.structured_input_signature[1]
    return described(inputs), described(signature.structured_outputs)
