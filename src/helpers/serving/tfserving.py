"""The form of TensorFlow Serving's REST API: requests to arrays, and what it answers.

After its documentation, https://www.tensorflow.org/tfx/serving/api_rest: a predict request has
``instances`` (a list of rows, answered by ``predictions``) or ``inputs`` (a list a tensor, answered
by ``outputs``), errors are ``{"error": "..."}``. A value of an input of one dimension may be a
plain number instead of a list of one, as clients of models with scalar inputs send it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helpers import strict_json
from helpers.errors import BadInput
from helpers.schema import Schema, Tensor

SIGNATURE = "serving_default"
_DTYPES = {
    "float32": "DT_FLOAT",
    "int32": "DT_INT32",
    "int64": "DT_INT64",
    "uint8": "DT_UINT8",
}


@dataclass(frozen=True)
class Asked:
    """A predict request.

    Attributes
    ----------
    values : by input, a value a row, as JSON gave them.
    rows : how many.
    by_row : in the form of ``instances``.
    signature : the name that the request says; empty without one.
    """

    values: Mapping[str, Sequence]
    rows: int
    by_row: bool
    signature: str = ""


def read(body: bytes) -> Asked:
    """Read the body of a predict request.

    Raises
    ------
    BadInput : it is none.
    """
    try:
        content = strict_json.read(body)
    except ValueError as error:
        raise BadInput(f"JSON Parse error: {error}") from error
    if not isinstance(content, dict):
        raise BadInput("JSON Value is not an object")
    signature = content.get("signature_name", "")
    if signature not in ("", SIGNATURE):
        raise BadInput(f'Serving signature name: "{signature}" not found in signature def')
    if ("instances" in content) == ("inputs" in content):
        raise BadInput("JSON object must have either 'instances' or 'inputs' key")
    if "instances" in content:
        return Asked(*_by_row(content["instances"]), True, signature)
    return Asked(*_by_column(content["inputs"]), False, signature)


def _by_row(instances: object) -> tuple[dict, int]:
    if not isinstance(instances, list) or not instances:
        raise BadInput("Encountered list at unexpected place: 'instances' is a list of rows")
    first = instances[0]
    for number, row in enumerate(instances):
        if not isinstance(row, dict) or not row:
            raise BadInput(
                f"Failed to process element: {number} of 'instances' list: not a JSON object of "
                "named inputs"
            )
        if row.keys() != first.keys():
            raise BadInput(
                f"Failed to process element: {number} of 'instances' list: its inputs are "
                f"{', '.join(row)}, those of element 0 {', '.join(first)}"
            )
    return {name: [row[name] for row in instances] for name in first}, len(instances)


def _by_column(inputs: object) -> tuple[dict, int]:
    if not isinstance(inputs, dict) or not inputs:
        raise BadInput("'inputs' is a JSON object of named lists")
    if wrong := [name for name, values in inputs.items() if not isinstance(values, list)]:
        raise BadInput(f"'inputs': {wrong[0]} is not a list of a value a row")
    lengths = {name: len(values) for name, values in inputs.items()}
    if len(set(lengths.values())) > 1:
        raise BadInput(f"'inputs' have several numbers of rows: {lengths}")
    rows = next(iter(lengths.values()))
    if not rows:
        raise BadInput("'inputs' have no rows")
    return inputs, rows


def array(tensor: Tensor, values: Sequence) -> np.ndarray:
    """Values of an input, a row each, as ``(n_rows, *shape)`` of its dtype.

    Raises
    ------
    BadInput : they are no numbers, of another shape, or beyond what the dtype holds.
    """
    refused = f"input {tensor.name} takes {tensor.dtype} of shape {list(tensor.shape)}"
    try:
        found = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{refused}: rows of several shapes") from error
    whole = np.dtype(tensor.dtype).kind in "iu"
    if found.dtype.kind not in ("iu" if whole else "iuf"):
        raise BadInput(f"{refused}: there is a value that is none")
    if found.shape == (len(values),) and tensor.size == 1:
        found = found.reshape(-1, *tensor.shape)
    if found.shape[1:] != tensor.shape:
        raise BadInput(f"{refused}: a row has shape {list(found.shape[1:])}")
    limits = np.iinfo(tensor.dtype) if whole else np.finfo(tensor.dtype)
    if not ((found >= limits.min) & (found <= limits.max)).all():
        raise BadInput(f"{refused}: a value is beyond that")
    return np.ascontiguousarray(found, tensor.dtype)


def answer(asked: Asked, scores: np.ndarray) -> dict:
    """The answer to a predict request of a model with one output."""
    return {"predictions" if asked.by_row else "outputs": scores.tolist()}


def status(numbers: Sequence[int]) -> dict:
    """What ``GET /v1/models/NAME`` answers: versions, the newest first."""
    fine = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [
            {"version": str(number), "state": "AVAILABLE", "status": fine}
            for number in sorted(numbers, reverse=True)
        ]
    }


def metadata(schema: Schema, number: int) -> dict:
    """What ``GET /v1/models/NAME/metadata`` answers: inputs and outputs of its signature."""

    def described(tensor: Tensor, name: str) -> dict:
        sizes = (-1 if schema.batch is None else schema.batch, *tensor.shape)
        dimensions = [{"size": str(size), "name": ""} for size in sizes]
        shape = {"dim": dimensions, "unknown_rank": False}
        return {"dtype": _DTYPES[tensor.dtype], "tensor_shape": shape, "name": name}

    signature = {
        "inputs": {t.name: described(t, f"{SIGNATURE}_{t.name}:0") for t in schema.inputs},
        "outputs": {
            t.name: described(t, f"StatefulPartitionedCall:{i}")
            for i, t in enumerate(schema.outputs)
        },
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    specification = {
        "name": schema.model_name,
        "signature_name": "",
        "version": str(number),
    }
    signatures = {"signature_def": {SIGNATURE: signature}}
    return {"model_spec": specification, "metadata": {"signature_def": signatures}}
