"""ONNX: ``.onnx`` files through ONNX Runtime, the reference of a model that was brought as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.errors import BadInput, DamagedFile
from helpers.quiet import native_output
from helpers.runtimes.runtime import Runtime, Steps, check_interface, check_outputs, steps_of
from helpers.schema import Schema

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
}


class Model(Runtime):
    """An open ``.onnx`` file."""

    def __init__(self, path: Path, schema: Schema, threads: int):
        self.path, self.schema = path, schema
        self._session = _session(path, threads)
        inputs, outputs = _interface(self._session)
        check_interface(path, schema, inputs, outputs)
        self._inputs = {schema.name_in(tensor): tensor.name for tensor in schema.inputs}
        self._outputs = [schema.name_in(tensor) for tensor in schema.outputs]

    def _predict(self, inputs, rows):
        feeds = {theirs: inputs[ours] for theirs, ours in self._inputs.items()}
        found = _run(self.path, self._session, self._outputs, feeds)
        outputs = dict(zip(self.schema.output_names, found, strict=True))
        shapes = {name: array.shape for name, array in outputs.items()}
        check_outputs(self.path, self.schema, rows, shapes)
        return outputs

    def steps(self, inputs) -> Steps:
        self._predict(inputs, self.schema.check(inputs))
        names = {
            "run": self._session.run,
            "wanted": self._outputs,
            "arrays": {theirs: inputs[ours] for theirs, ours in self._inputs.items()},
        }
        results = {name: f"found[{i}]" for i, name in enumerate(self.schema.output_names)}
        return steps_of(["found = run(wanted, arrays)"], results, "run(wanted, arrays)", names)


def interface(path: str) -> list[dict]:
    """Inputs and outputs of a file as it calls them; runs in a child process.

    Outputs that are no tensors, as scikit-learn's dictionaries of probabilities, are left out.

    Raises
    ------
    BadInput : it keeps its weights in another file.
    """
    _refuse_external(Path(path))
    return list(_interface(_session(Path(path), 1)))


def _refuse_external(path: Path) -> None:
    """Refuse a file that is not the whole model: a copy of it, or a bundle, would lack the rest."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # whatever protobuf's readers raise
        raise DamagedFile(f"{path.name} is not a usable ONNX file: {error}") from error
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise BadInput(
            f"{path.name} keeps its weights in another file: save it as one "
            "(onnx.save with save_as_external_data=False)"
        )


def _session(path: Path, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with native_output():
        try:
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no base class of their own
            said = " ".join(str(error).split())
            raise DamagedFile(f"{path.name} is not a usable ONNX file: {said}") from error


def _run(path: Path, session, names: list[str], feeds: dict) -> list[np.ndarray]:
    try:
        return session.run(names, feeds)
    except Exception as error:
        said = " ".join(str(error).split())
        raise DamagedFile(f"{path.name} cannot be scored: {said}") from error


def _interface(session) -> tuple[dict, dict]:
    def described(nodes) -> dict:
        return {
            node.name: (
                [n if isinstance(n, int) else -1 for n in node.shape],
                _DTYPES.get(node.type, node.type),
            )
            for node in nodes
            if node.type.startswith("tensor(")
        }

    return described(session.get_inputs()), described(session.get_outputs())
