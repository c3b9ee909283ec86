"""What each layer of a model file computes, and files of which one layer is reduced or spared.

Layers are the operators of the float32 ``.tflite`` file in order; each is called by the tensor that
it makes. Other files of the model have the same names: MNN's converter copies them, and
ai-edge-quantizer keeps the operators.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import child
from helpers.convert.recipes import Recipe
from helpers.errors import BadInput, DamagedFile

_ENDS = {"QUANTIZE", "DEQUANTIZE", "DELEGATE"}
"""Operators that change how numbers are stored, and nothing else."""
_HEAVY = ("CONV", "FULLY_CONNECTED", "MATMUL", "MATRIX")
"""What operators with weights are called, in part: a runtime that joins another operator with one
of them calls both by a name of its own."""
_JOINED = ("RELU", "RELU6", "RELU_N1_TO_1")
"""Operators that a runtime may join with the one before, under whose name they then are."""
_OF_MNN = re.compile(r"(__matmul_converted)?(_raster_\d+)?$")
"""What MNN adds to a name."""


@dataclass(frozen=True)
class Layer:
    """An operator of a file.

    Attributes
    ----------
    names : of the tensors that it makes; the first is what it is called by.
    values : of the first of them, ``(n_rows, ...) float32``.
    takes : places of the layers whose tensors it takes.
    """

    names: tuple[str, ...]
    operator: str
    values: np.ndarray
    takes: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.names[0]


def values(path: Path, inputs: Mapping[str, np.ndarray]) -> list[Layer]:
    """What every layer of a ``.tflite`` or ``.mnn`` file gives for some rows, in order; integers
    are widened by their scale. The file is opened in a process of its own.

    Raises
    ------
    DamagedFile : it cannot be run.
    """
    reader = {".tflite": "_litert_here", ".mnn": "_mnn_here"}.get(path.suffix)
    if reader is None:
        raise BadInput(f"{path.name}: layers are read of .tflite and .mnn files")
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "inputs.npz", Path(folder) / "layers.npz"
        np.savez(given, *inputs.values())
        described = child.run(
            f"run {path.name}",
            f"{__name__}:{reader}",
            path=str(path),
            names=list(inputs),
            inputs=str(given),
            target=str(found),
        )
        with np.load(found, allow_pickle=False) as arrays:
            return [
                Layer(tuple(names), operator, arrays[str(i)], tuple(takes))
                for i, (names, operator, takes) in enumerate(described)
            ]


def _rows(names: list[str], inputs: str) -> dict[str, np.ndarray]:
    """Named inputs as they were written for a child."""
    with np.load(inputs, allow_pickle=False) as arrays:
        return {name: arrays[f"arr_{i}"] for i, name in enumerate(names)}


def _litert_here(path: str, names: list[str], inputs: str, target: str) -> list:
    """Run a file with all its tensors kept; runs in a child process."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(
            path, experimental_preserve_all_tensors=True, experimental_op_resolver_type=plain
        )
        rows = _rows(names, inputs)
        places = {d["name"]: d["index"] for d in interpreter.get_input_details()}
        for name, array in rows.items():
            interpreter.resize_tensor_input(places[name], array.shape)
        interpreter.allocate_tensors()
        for name, array in rows.items():
            interpreter.set_tensor(places[name], array)
        interpreter.invoke()
    except (ValueError, RuntimeError, KeyError) as error:
        raise DamagedFile(f"{Path(path).name} cannot be run: {error}") from error
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    maker: dict[int, int] = {}  # of each tensor, the place of the layer
    described, arrays = [], {}
    for operator in interpreter._get_ops_details():
        made, taken = ([int(i) for i in operator[end]] for end in ("outputs", "inputs"))
        if operator["op_name"] in _ENDS:  # the same tensor, stored in another way
            if taken[0] in maker:
                maker[made[0]] = maker[taken[0]]
            continue
        takes = sorted({maker[i] for i in taken if i in maker})
        arrays[str(len(described))] = _widened(interpreter.get_tensor(made[0]), details[made[0]])
        maker |= dict.fromkeys(made, len(described))
        described.append(([details[i]["name"] for i in made], operator["op_name"], takes))
    np.savez(target, **arrays)
    return described


def _widened(array: np.ndarray, details: dict) -> np.ndarray:
    """A tensor as float32, by its scale and zero where it is of integers."""
    scales = details["quantization_parameters"]
    if array.dtype.kind != "i" or not len(scales["scales"]):
        return array.astype(np.float32)
    axis = scales["quantized_dimension"]
    shape = [-1 if i == axis and len(scales["scales"]) > 1 else 1 for i in range(array.ndim)]
    zero, scale = (scales[name].reshape(shape) for name in ("zero_points", "scales"))
    return ((array.astype(np.float64) - zero) * scale).astype(np.float32)


def _mnn_here(path: str, names: list[str], inputs: str, target: str) -> list:
    """Run a file with a call after every operator; runs in a child process."""
    import MNN

    interpreter = MNN.Interpreter(path)
    session = interpreter.createSession({"backend": "CPU", "numThread": 1})
    rows = _rows(names, inputs)
    for name, array in rows.items():
        interpreter.resizeTensor(interpreter.getSessionInput(session, name), array.shape)
    interpreter.resizeSession(session)
    kinds = {"f": MNN.Halide_Type_Float, "i": MNN.Halide_Type_Int}
    for name, array in rows.items():
        narrow = np.ascontiguousarray(array, "float32" if array.dtype.kind == "f" else "int32")
        host = MNN.Tensor(
            array.shape, kinds[narrow.dtype.kind], narrow, MNN.Tensor_DimensionType_Tensorflow
        )
        interpreter.getSessionInput(session, name).copyFrom(host)
    found: dict[str, tuple[str, np.ndarray]] = {}

    def after(tensors, operator) -> bool:
        if tensors and tensors[0].getDataType() == MNN.Halide_Type_Float:
            shape = tensors[0].getShape()
            empty = np.zeros(shape, np.float32)
            layout = MNN.Tensor_DimensionType_Tensorflow
            host = MNN.Tensor(shape, MNN.Halide_Type_Float, empty, layout)
            tensors[0].copyToHostTensor(host)
            name = _OF_MNN.sub("", operator.getName())
            kept = np.array(host.getNumpyData(), np.float32).reshape(shape)
            found[name] = (operator.getType(), kept)  # the last of a name is the layer's own
        return True

    interpreter.runSessionWithCallBackInfo(session, lambda tensors, operator: True, after)
    np.savez(target, **{str(i): array for i, (_, array) in enumerate(found.values())})
    return [([name], kind, []) for name, (kind, _) in found.items()]


def matched(reference: Sequence[Layer], found: Sequence[Layer]) -> list[Layer | None]:
    """The layer of another file that is each of a reference's; None where it has none.

    Where the operators are the same, by place; else by name, and those with weights that are left
    by their order.
    """
    if [layer.operator for layer in found] == [layer.operator for layer in reference]:
        return list(found)
    by_name = {layer.name: layer for layer in found}
    same = [by_name.get(layer.name) for layer in reference]
    heavy = [
        [i for i, layer in enumerate(each) if any(k in layer.operator.upper() for k in _HEAVY)]
        for each in (reference, found)
    ]
    if len(heavy[0]) == len(heavy[1]):
        for i, j in zip(*heavy, strict=True):
            same[i] = same[i] or found[j]
    for i, layer in enumerate(reference[1:], start=1):
        # joined with what it takes, which then has its values
        if same[i] is None and layer.takes == (i - 1,) and layer.operator in _JOINED:
            same[i - 1], same[i] = None, same[i - 1]
    return [
        layer if layer is not None and layer.values.size == wanted.values.size else None
        for layer, wanted in zip(same, reference, strict=True)
    ]


def only(recipe: Recipe, layer: Layer) -> tuple[dict, ...]:
    """What a LiteRT recipe tells the quantizer, of one layer alone."""
    return tuple(
        entry | {"regex": _of(layer)} if entry["operation"] == "*" else entry
        for entry in recipe.options
    )


def without(recipe: Recipe, layer: Layer) -> tuple[dict, ...]:
    """The same of all layers but one, which stays float32."""
    spared = {"regex": _of(layer), "operation": "*", "algorithm_key": "no_quantize"}
    return (*recipe.options, spared)


def _of(layer: Layer) -> str:
    """What the quantizer knows an operator by: all tensors that it makes."""
    return f"^{';'.join(map(re.escape, layer.names))};?$"
