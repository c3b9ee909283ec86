"""What each layer of a model file computes, and files of which one layer is reduced or spared.

Layers are the operators of the float32 ``.tflite`` or ``.onnx`` file in order; each is called by
the tensor that it makes. Other files of the model have the same names: MNN's converter copies them,
ai-edge-quantizer keeps the operators, and ONNX Runtime's tools the tensors.
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
"""Operators of LiteRT that change how numbers are stored, and nothing else."""
_STORE = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"}
"""Those of ONNX."""
_HEAVY = ("CONV", "FULLY_CONNECTED", "MATMUL", "MATRIX", "GEMM")
"""What operators with weights are called, in part: a runtime that joins another operator with one
of them calls both by a name of its own."""
_JOINED = ("RELU", "RELU6", "RELU_N1_TO_1", "CLIP")
"""Operators that a runtime may join with the one before, under whose name they then are."""
_OF_MNN = re.compile(r"(__matmul_converted)?(_raster_\d+)?$")
"""What MNN adds to a name, see `own_name`."""


@dataclass(frozen=True)
class Layer:
    """An operator of a file.

    Attributes
    ----------
    names : of the tensors that it makes, and in ONNX of what they are where they are stored in
        another way; the first is what it is called by.
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
    """What every layer of a ``.tflite``, ``.onnx`` or ``.mnn`` file gives for some rows, in order;
    integers are widened by their scale. The file is opened in a process of its own.

    Raises
    ------
    DamagedFile : it cannot be run.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise BadInput(f"{path.name}: layers are read of {', '.join(_READERS)} files")
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


_READERS = {".tflite": "_litert_here", ".onnx": "_onnx_here", ".mnn": "_mnn_here"}


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


def _onnx_here(path: str, names: list[str], inputs: str, target: str) -> list:
    """Run a copy of a file that gives every layer too; runs in a child process.

    Of a layer that is quantised the integers are taken: if what goes into QuantizeLinear were asked
    for, ONNX Runtime would compute it in float.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    try:
        graph = (model := onnx.load(path)).graph
        made = {name: node for node in graph.node for name in node.output if name}
        known = {node.output[0]: [*filter(None, node.output)] for node in _computing(graph)}
        integers = {}  # of a layer, what it is as QuantizeLinear stores it
        for node in graph.node:
            if node.op_type in _STORE and (name := _before(made, node.output[0])) in known:
                known[name].append(node.output[0])
                if node.op_type == "QuantizeLinear":
                    integers.setdefault(name, node)
        read = {name: integers[name].output[0] if name in integers else name for name in known}
        there = {output.name for output in graph.output}
        wanted = [onnx.ValueInfoProto(name=name) for name in read.values() if name not in there]
        graph.output.extend(wanted)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found = session.run(list(read.values()), _rows(names, inputs))
    except Exception as error:  # what onnx and its runtime raise has no base class of its own
        said = " ".join(str(error).split())
        raise DamagedFile(f"{Path(path).name} cannot be run: {said}") from error
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in graph.initializer}
    arrays = {}
    for name, array in zip(read, found, strict=True):
        if name in integers:
            scale, zero = (constants[end] for end in integers[name].input[1:3])
            array = (array.astype(np.float64) - zero) * scale
        if array.dtype.kind == "f":  # integers are shapes and places
            arrays[name] = array.astype(np.float32)
    places = {name: i for i, name in enumerate(arrays)}
    outputs = {other: places[name] for name in arrays for other in known[name]}
    np.savez(target, **{str(i): array for i, array in enumerate(arrays.values())})
    return [
        (
            known[name],
            made[name].op_type,
            sorted({outputs[n] for n in made[name].input if n in outputs}),
        )
        for name in arrays
    ]


def _computing(graph) -> list:
    """The nodes of an ONNX graph that compute something."""
    return [node for node in graph.node if node.op_type not in (*_STORE, "Constant")]


def _before(made: Mapping[str, object], name: str) -> str:
    """The tensor that a tensor of an ONNX graph is, before it was stored in another way."""
    while name in made and made[name].op_type in _STORE:
        name = made[name].input[0]
    return name


def own_name(operator: str) -> str:
    """The name of a layer of an ``.mnn`` file by that of an operator."""
    return _OF_MNN.sub("", operator)


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
        there = interpreter.getSessionInput(session, name)
        layout = there.getDimensionType()  # channels are last in a file made of TFLite, else second
        there.copyFrom(MNN.Tensor(array.shape, kinds[narrow.dtype.kind], narrow, layout))
    found: dict[str, tuple[str, np.ndarray]] = {}

    def after(tensors, operator) -> bool:
        if tensors and tensors[0].getDataType() == MNN.Halide_Type_Float:
            shape = tensors[0].getShape()
            empty = np.zeros(shape, np.float32)
            host = MNN.Tensor(shape, MNN.Halide_Type_Float, empty, layout)
            tensors[0].copyToHostTensor(host)
            name = own_name(operator.getName())
            kept = np.array(host.getNumpyData(), np.float32).reshape(shape)
            found[name] = (operator.getType(), kept)  # the last of a name is the layer's own
        return True

    interpreter.runSessionWithCallBackInfo(session, lambda tensors, operator: True, after)
    np.savez(target, **{str(i): array for i, (_, array) in enumerate(found.values())})
    return [([name], kind, []) for name, (kind, _) in found.items()]


def matched(reference: Sequence[Layer], found: Sequence[Layer]) -> list[Layer | None]:
    """The layer of another file that is each of a reference's; None where it has none.

    By name where all are found; else, where the operators are the same, by place; else those that
    have the name, and those with weights that are left by their order.
    """
    by_name = {name: layer for layer in found for name in reversed(layer.names)}
    same = [by_name.get(layer.name) for layer in reference]
    alike = [layer.operator for layer in found] == [layer.operator for layer in reference]
    if alike and not (all(same) and len(by_name) >= len(reference)):
        return list(found)
    heavy = [
        [i for i, layer in enumerate(each) if any(k in layer.operator.upper() for k in _HEAVY)]
        for each in (reference, found)
    ]
    if len(heavy[0]) == len(heavy[1]):
        taken = {id(layer) for layer in same}
        for i, j in zip(*heavy, strict=True):
            if same[i] is None and id(found[j]) not in taken:
                same[i] = found[j]
    for i, layer in enumerate(reference):
        # joined with what it takes, which then has its values
        joined = layer.operator.upper() in _JOINED and len(layer.takes) == 1
        if same[i] is None and joined:
            same[layer.takes[0]], same[i] = None, same[layer.takes[0]]
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
