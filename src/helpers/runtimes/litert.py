"""LiteRT (TensorFlow Lite): ``.tflite`` files through ``ai_edge_litert``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.errors import DamagedFile
from helpers.quiet import native_output
from helpers.runtimes.runtime import (
    Runtime,
    Steps,
    check_interface,
    check_outputs,
    steps_of,
)
from helpers.schema import Schema


class Model(Runtime):
    """An open ``.tflite`` file."""

    def __init__(self, path: Path, schema: Schema, threads: int):
        self.path, self.schema = path, schema
        self._interpreter = _interpreter(path, threads)
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        described = [{d["name"]: _described(d) for d in details} for details in (inputs, outputs)]
        check_interface(path, schema, *described)
        batch = -1 if schema.batch is None else schema.batch
        if any(shape[0] != batch for shape, _ in described[0].values()):
            raise DamagedFile(f"{path.name} has another batch than {batch}: {described[0]}")
        places = schema.by_name({d["name"]: d["index"] for d in outputs})
        self._inputs = schema.by_name({d["name"]: d["index"] for d in inputs})
        self._outputs = {name: places[name] for name in schema.output_names}
        self._rows = None

    def _predict(self, inputs, rows):
        interpreter = self._interpreter
        if rows != self._rows:
            self._resize(rows)
        for name, index in self._inputs.items():
            interpreter.set_tensor(index, inputs[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def steps(self, inputs) -> Steps:
        self._resize(self.schema.check(inputs))
        interpreter = self._interpreter
        names = {
            "set_tensor": interpreter.set_tensor,
            "invoke": interpreter.invoke,
            "get_tensor": interpreter.get_tensor,
        }
        copies, results = [], {}
        for i, (name, index) in enumerate(self._inputs.items()):
            names |= {f"index{i}": index, f"array{i}": inputs[name]}
            copies.append(f"set_tensor(index{i}, array{i})")
        for i, (name, index) in enumerate(self._outputs.items()):
            names[f"output{i}"] = index
            results[name] = f"get_tensor(output{i})"
        return steps_of([*copies, "invoke()"], results, "invoke()", names)

    def _resize(self, rows: int) -> None:
        self._rows = None  # stays so if the interpreter refuses
        if self.schema.batch is None:
            for tensor in self.schema.inputs:
                shape = [rows, *tensor.shape]
                self._interpreter.resize_tensor_input(self._inputs[tensor.name], shape)
            self._interpreter.allocate_tensors()
        for tensor in self.schema.inputs:  # what is there before may be no id of a table
            self._interpreter.set_tensor(self._inputs[tensor.name], tensor.zeros(rows))
        self._interpreter.invoke()
        found = {name: self._interpreter.get_tensor(i).shape for name, i in self._outputs.items()}
        check_outputs(self.path, self.schema, rows, found)
        self._rows = rows


def interface(path: str) -> list[dict]:
    """Inputs and outputs of a file as it calls them; runs in a child process."""
    interpreter = _interpreter(Path(path))
    ends = interpreter.get_input_details(), interpreter.get_output_details()
    return [{d["name"]: _described(d) for d in details} for details in ends]


def _interpreter(path: Path, threads: int = 1):
    from ai_edge_litert.interpreter import Interpreter

    with native_output():
        try:
            interpreter = Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise DamagedFile(f"{path.name} is not a usable TFLite file: {error}") from error
    return interpreter


def _described(details: dict) -> tuple[list[int], str]:
    shape = details["shape_signature"] if len(details["shape_signature"]) else details["shape"]
    return [int(n) for n in shape], np.dtype(details["dtype"]).name
