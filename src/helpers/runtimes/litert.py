"""LiteRT (TensorFlow Lite): ``.tflite`` files through ``ai_edge_litert``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.errors import DamagedFile
from helpers.quiet import native_output
from helpers.runtimes import Steps, check_interface, check_rows, steps_of
from helpers.schema import Schema


class Model:
    """An open ``.tflite`` file; see `helpers.runtimes.Runtime`."""

    def __init__(self, path: Path, schema: Schema, threads: int):
        from ai_edge_litert.interpreter import Interpreter

        self.path, self.schema = path, schema
        with native_output():
            try:
                self._interpreter = Interpreter(str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise DamagedFile(f"{path.name} is not a usable TFLite file: {error}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shapes = {d["name"]: ([int(n) for n in d["shape_signature"]], np.dtype(d["dtype"]).name) for d in inputs}
        check_interface(path, schema, shapes, ", ".join(d["name"] for d in outputs))
        if any(shape[0] != -1 for shape, _ in shapes.values()):
            raise DamagedFile(f"{path.name} has a static batch: {shapes}")
        self._inputs = {d["name"]: d["index"] for d in inputs}
        self._output = outputs[0]["index"]
        self._rows = 1

    def score(self, inputs):
        rows = self.schema.check(inputs)
        interpreter = self._interpreter
        if rows != self._rows:
            self._resize(rows)
        for name, index in self._inputs.items():
            interpreter.set_tensor(index, inputs[name])
        interpreter.invoke()
        return interpreter.get_tensor(self._output)

    def steps(self, inputs) -> Steps:
        self._resize(self.schema.check(inputs))
        interpreter = self._interpreter
        names = {
            "set_tensor": interpreter.set_tensor,
            "invoke": interpreter.invoke,
            "get_tensor": interpreter.get_tensor,
            "output": self._output,
        }
        copies = []
        for i, (name, index) in enumerate(self._inputs.items()):
            names |= {f"index{i}": index, f"array{i}": inputs[name]}
            copies.append(f"set_tensor(index{i}, array{i})")
        return steps_of([*copies, "invoke()", "get_tensor(output)"], "invoke()", names)

    def _resize(self, rows: int) -> None:
        self._rows = None  # stays so if the interpreter refuses
        for tensor in self.schema.inputs:
            self._interpreter.resize_tensor_input(self._inputs[tensor.name], [rows, tensor.width])
        self._interpreter.allocate_tensors()
        for tensor in self.schema.inputs:  # what is there before may be no id of a table
            self._interpreter.set_tensor(self._inputs[tensor.name], np.zeros((rows, tensor.width), tensor.dtype))
        self._interpreter.invoke()
        check_rows(self.path, rows, self._interpreter.get_tensor(self._output).shape)
        self._rows = rows
