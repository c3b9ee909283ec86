"""MNN: ``.mnn`` files through the session API, the one that phone apps use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.errors import BadInput, DamagedFile
from helpers.quiet import mnn, native_output
from helpers.runtimes.runtime import (
    Runtime,
    Steps,
    check_interface,
    check_outputs,
    steps_of,
)
from helpers.schema import Schema, Tensor

_DTYPES = {
    "float32": ("Halide_Type_Float", "float32"),
    "int32": ("Halide_Type_Int", "int32"),
    "uint8": ("Halide_Type_Uint8", "uint8"),
}
_DTYPES["int64"] = _DTYPES["int32"]
"""By dtype of the schema, MNN's type and the dtype it is fed: MNN computes on 32-bit integers."""
_INT32 = np.iinfo(np.int32)


class Model(Runtime):
    """An open ``.mnn`` file.

    Values travel through host tensors that this object owns and that ``copyFrom`` and
    ``copyToHostTensor`` translate to the session's own layout, as an app does.
    """

    def __init__(self, path: Path, schema: Schema, threads: int):
        self._mnn = mnn()
        self.path, self.schema = path, schema
        with native_output() as log:
            self._interpreter = self._mnn.Interpreter(str(path))
            self._session = self._interpreter.createSession(
                {"backend": "CPU", "numThread": threads}
            )
            inputs = self._interpreter.getSessionInputAll(self._session)
            outputs = self._interpreter.getSessionOutputAll(self._session)
            if not inputs or not outputs:
                raise DamagedFile(
                    f"{path.name} is not a usable MNN file: {log().strip()[-200:] or 'no inputs'}"
                )
        described = [
            {name: ([int(n) for n in tensor.getShape()], None) for name, tensor in tensors.items()}
            for tensors in (inputs, outputs)
        ]
        check_interface(path, schema, *described)
        self._inputs = {name: inputs[name] for name in schema.input_names}
        self._check_types(schema.inputs, inputs)
        self._wide = {
            t.name for t in schema.inputs if t.dtype == "int64" and not _fits(np.array(t.bounds))
        }
        self._rows = None

    def _predict(self, inputs, rows):
        if rows != self._rows:
            self._resize(rows)
        for tensor, host, view, name in self._feeds:
            view[...] = _narrow(name, inputs[name]) if name in self._wide else inputs[name]
            tensor.copyFrom(host)
        self._run()
        outputs = {}
        for name, (tensor, host, view, dtype) in self._results.items():
            tensor.copyToHostTensor(host)
            outputs[name] = view.astype(dtype)  # a copy: the view is the runtime's memory
        return outputs

    def steps(self, inputs) -> Steps:
        self._resize(self.schema.check(inputs))
        names = {"run_session": self._interpreter.runSession, "session": self._session}
        copies, after, results = [], [], {}
        for i, (tensor, host, view, name) in enumerate(self._feeds):
            names |= {
                f"view{i}": view,
                f"array{i}": inputs[name],
                f"copy_in{i}": tensor.copyFrom,
                f"host{i}": host,
            }
            copies += [f"view{i}[...] = array{i}", f"copy_in{i}(host{i})"]
        for i, (name, (tensor, host, view, _)) in enumerate(self._results.items()):
            names |= {
                f"copy_out{i}": tensor.copyToHostTensor,
                f"result{i}": host,
                f"copy{i}": view.copy,
            }
            after.append(f"copy_out{i}(result{i})")
            results[name] = f"copy{i}()"
        run = "run_session(session)"
        return steps_of([*copies, run, *after], results, run, names)

    def _run(self) -> None:
        code = self._interpreter.runSession(self._session)
        if code != 0:  # a shape error is 3; the output then holds garbage
            raise DamagedFile(f"{self.path.name}: runSession failed with code {code}")

    def _resize(self, rows: int) -> None:
        """Another batch size needs resizeTensor and resizeSession, or the session answers old rows
        or crashes.
        """
        self._rows = None
        if self.schema.batch is None:
            for tensor in self.schema.inputs:
                self._interpreter.resizeTensor(self._inputs[tensor.name], (rows, *tensor.shape))
            self._interpreter.resizeSession(self._session)
        self._feeds, self._results = [], {}
        for tensor in self.schema.inputs:
            there = self._inputs[tensor.name]
            host, view = self._host(there, (rows, *tensor.shape), tensor.dtype)
            self._feeds.append((self._inputs[tensor.name], host, view, tensor.name))
            self._inputs[tensor.name].copyFrom(
                host
            )  # zeros: what is there before may be no id of a table
        self._run()
        outputs = {
            name: self._interpreter.getSessionOutput(self._session, name)
            for name in self.schema.output_names
        }
        check_outputs(
            self.path, self.schema, rows, {name: t.getShape() for name, t in outputs.items()}
        )
        self._check_types(self.schema.outputs, outputs)
        for tensor in self.schema.outputs:
            host, view = self._host(outputs[tensor.name], (rows, *tensor.shape), tensor.dtype)
            self._results[tensor.name] = (outputs[tensor.name], host, view, tensor.dtype)
        self._rows = rows

    def _check_types(self, tensors: Sequence[Tensor], found: Mapping[str, object]) -> None:
        """Refuse another type of element than the schema's: MNN leaves out operators, and a copy
        then does nothing.
        """
        for tensor in tensors:
            dtype = found[tensor.name].getDataType()
            if dtype != getattr(self._mnn, _DTYPES[tensor.dtype][0]):
                kinds = (fed for kind, fed in _DTYPES.values() if dtype == getattr(self._mnn, kind))
                raise DamagedFile(
                    f"{self.path.name}: {tensor.name} is {next(kinds, 'of another type')} in MNN, "
                    f"the model says {tensor.dtype}: MNN has no such conversion, declare it "
                    "float32 or ship the .tflite file alone"
                )

    def _host(self, tensor, shape: tuple[int, ...], dtype: str):
        """A tensor of the host in the layout of the session's, which TFLite and ONNX have other
        ones of: one in another is copied without a word, and in another order.
        """
        kind, fed = _DTYPES[dtype]
        host = self._mnn.Tensor(
            shape, getattr(self._mnn, kind), np.zeros(shape, fed), tensor.getDimensionType()
        )
        return host, host.getNumpyData().reshape(shape)


def _fits(values: np.ndarray) -> bool:
    return values.min() >= _INT32.min and values.max() <= _INT32.max


def _narrow(name: str, values: np.ndarray) -> np.ndarray:
    """`values`, refused where 32 bits do not hold them: MNN would score another id."""
    if not _fits(values):
        worst = values.max() if values.max() > _INT32.max else values.min()
        raise BadInput(
            f"{name} holds {worst}, MNN takes integers from {_INT32.min} to {_INT32.max}: encode it"
            " in fewer values, or score with the .tflite file"
        )
    return values
