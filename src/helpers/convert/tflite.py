"""TFLite files: names and order of their tensors, what is in them, and smaller ones made of float32
ones.

Names and order are set through the flatbuffer's object API. Quantisation is ai-edge-quantizer's, in
a child process.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers import child
from helpers.errors import ConversionFailed
from helpers.schema import Schema

SIGNATURE = "serving_default"
_FILE_IDENTIFIER = b"TFL3"
_LONG = 256
"""Bytes of zeros from which on an operator that makes them is smaller."""


def quantise(
    source: Path,
    schema: Schema,
    path: Path,
    entries: Sequence[dict],
    *,
    calibration: Path | None = None,
    process=None,
) -> None:
    """Write a reduced form of a float32 ``.tflite`` file.

    Parameters
    ----------
    entries : ai-edge-quantizer recipe entries, see `helpers.convert.recipes`.
    calibration : ``.npz`` of inputs by name, for recipes that fix the range of activations: the
        smallest and largest value over all its rows.
    process : a `helpers.child.Child` to use, which saves its start; default a new one.

    Raises
    ------
    ConversionFailed : what the quantizer refused, in its words, or a file that lost an input, the
        output or the dynamic batch.
    """
    path.unlink(missing_ok=True)
    raw = path.with_name(f"{path.stem}-raw{path.suffix}")
    request = {
        "source": str(source),
        "target": str(raw),
        "entries": list(entries),
        "calibration": None if calibration is None else str(calibration),
        "batch": schema.batch,
    }
    try:
        if process is None:
            child.run(f"quantise {source.name}", f"{__name__}:_quantise_here", **request)
        else:
            process.call(f"{__name__}:_quantise_here", **request)
        path.write_bytes(named(raw.read_bytes(), schema, restore_batch=True))
    except child.ChildDied as error:
        raise ConversionFailed(str(error)) from error
    except (struct.error, IndexError, ValueError) as error:  # what the flatbuffer reader raises
        raise ConversionFailed(
            f"ai-edge-quantizer wrote a file that cannot be read: {error}"
        ) from error
    finally:
        raw.unlink(missing_ok=True)


def _quantise_here(
    source: str, target: str, entries: list[dict], calibration: str | None, batch: int | None
) -> None:
    """The quantisation itself; runs in a child process."""
    import numpy as np
    from ai_edge_quantizer import quantizer

    try:
        tool = quantizer.Quantizer(source)
        tool.load_quantization_recipe(entries)
        ranges = None
        if tool.need_calibration and calibration is not None:
            with np.load(calibration, allow_pickle=False) as rows:
                ranges = _ranges(tool, dict(rows), batch)
        content = tool.quantize(ranges).quantized_model
    except Exception as error:  # whatever the quantizer raises is its reason
        raise ConversionFailed(f"ai-edge-quantizer: {' '.join(str(error).split())}") from error
    Path(target).write_bytes(content)


def _ranges(tool, rows: dict, batch: int | None) -> dict:
    """Smallest and largest value of each tensor over all rows, in the quantizer's form.

    Of several batches in one call it would take a moving average, so that it gets all rows as one;
    where the batch is fixed, one call a batch, of which the ends are kept here.
    """
    import numpy as np

    count = len(next(iter(rows.values())))
    ranges: dict = {}
    for first in range(0, count, batch or count):
        places = np.arange(first, first + (batch or count)) % count
        found = tool.calibrate(
            {SIGNATURE: [{name: a[places] for name, a in rows.items()}]}, num_threads=1
        )
        for name, values in found.items():
            known = ranges.setdefault(name, values)
            known["min"] = np.minimum(known["min"], values["min"])
            known["max"] = np.maximum(known["max"], values["max"])
    return ranges


def renamed(content: bytes, schema: Schema) -> bytes:
    """A TFLite model that somebody brought, with the schema's names and order.

    Only names are set, the order of inputs and outputs, and a signature, if it has none; operators
    and weights are the same.

    Raises
    ------
    ConversionFailed : it has other inputs or outputs.
    """

    model = _read(content)
    graph, given = model.subgraphs[0], schema.as_given()
    for code in model.operatorCodes:  # of files from before 2.4, which other tools read as none
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    ends, changed = [], False
    for tensors, places in ((schema.inputs, graph.inputs), (schema.outputs, graph.outputs)):
        there = {graph.tensors[place].name.decode(): int(place) for place in places}
        wanted = [given.name_in(tensor) for tensor in tensors]
        if missing := [name for name in wanted if name not in there]:
            raise ConversionFailed(f"the file has {sorted(there)}, and not {', '.join(missing)}")
        ends.append([there[name] for name in wanted])
        changed |= ends[-1] != [int(place) for place in places]
    for tensor, place in zip((*schema.inputs, *schema.outputs), sum(ends, []), strict=True):
        changed |= graph.tensors[place].name.decode() != tensor.name
        for other in graph.tensors:  # inner tensors may have the name that it gets
            if other.name is not None and other.name.decode() == tensor.name:
                other.name = f"{tensor.name}_inner".encode()
        graph.tensors[place].name = tensor.name.encode()
    if not changed and model.signatureDefs:
        return content
    graph.inputs, graph.outputs = ends
    model.signatureDefs = [_signature(schema, *ends)]
    return _packed(model)


def signed(content: bytes, orders: Mapping[str, Sequence[str]]) -> bytes:
    """A TFLite model of several signatures, whose tensors have the names that their signature gives
    them, and whose inputs are in the order given by signature.

    Variables that begin with zeros are filled with them when the model is opened, not stored.
    """
    model = _read(content)
    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        inputs = {entry.name.decode(): entry for entry in signature.inputs}
        signature.inputs = [inputs[name] for name in orders[signature.signatureKey.decode()]]
        ends = [*signature.inputs, *signature.outputs]
        places = {entry.tensorIndex for entry in ends}
        for place, tensor in enumerate(graph.tensors):
            if place not in places:
                tensor.name = f"t{place}".encode()
        for entry in ends:
            graph.tensors[entry.tensorIndex].name = entry.name
        graph.inputs = [entry.tensorIndex for entry in signature.inputs]
        graph.outputs = [entry.tensorIndex for entry in signature.outputs]
    _fill_zeros(model)
    _drop_unread(model)
    return _packed(model)


def _fill_zeros(model) -> None:
    """Where a variable begins as a constant of zeros, let FILL make them."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as flat

    codes = flat.BuiltinOperator
    for graph in model.subgraphs:
        for operator in list(graph.operators):
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            if code != codes.ASSIGN_VARIABLE:
                continue
            tensor = graph.tensors[operator.inputs[1]]
            data = model.buffers[tensor.buffer].data
            if data is None or len(data) < _LONG or np.any(data):
                continue
            fill = flat.OperatorT()
            fill.opcodeIndex = _add_code(model, codes.FILL)
            fill.inputs = [
                _add_constant(model, graph, np.array(tensor.shape, "<i4"), flat.TensorType.INT32),
                _add_constant(model, graph, np.zeros((), "<f4"), flat.TensorType.FLOAT32),
            ]
            fill.outputs = [int(operator.inputs[1])]
            fill.builtinOptionsType = flat.BuiltinOptions.FillOptions
            fill.builtinOptions = flat.FillOptionsT()
            tensor.buffer = 0
            where = next(i for i, other in enumerate(graph.operators) if other is operator)
            graph.operators.insert(where, fill)


def _add_code(model, code: int) -> int:
    """Number of an operator's kind that is added to a model."""
    from ai_edge_litert import schema_py_generated as flat

    kind = flat.OperatorCodeT()
    kind.builtinCode = kind.deprecatedBuiltinCode = code
    kind.version = 1
    model.operatorCodes.append(kind)
    return len(model.operatorCodes) - 1


def _add_constant(model, graph, values, kind: int) -> int:
    """Number of a constant that is added to a graph."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as flat

    tensor = flat.TensorT()
    tensor.name, tensor.type = f"constant_{len(graph.tensors)}".encode(), kind
    tensor.shape = np.array(values.shape, np.int32)
    model.buffers.append(flat.BufferT())
    model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
    tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _signature(schema: Schema, inputs: Sequence[int], outputs: Sequence[int]):
    from ai_edge_litert import schema_py_generated as flat

    def entry(name: str, place: int):
        mapped = flat.TensorMapT()
        mapped.name, mapped.tensorIndex = name.encode(), place
        return mapped

    signature = flat.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs = [entry(*e) for e in zip(schema.input_names, inputs, strict=True)]
    signature.outputs = [entry(*e) for e in zip(schema.output_names, outputs, strict=True)]
    return signature


def named(
    content: bytes, schema: Schema, *, restore_batch: bool = False, made_for: int | None = None
) -> bytes:
    """The same TFLite model with tensors named and inputs ordered as the schema declares; signature
    kept.

    `restore_batch` declares the outputs' batch free again, where the schema's is: ai-edge-quantizer
    forgets it on the tensors that it adds. `made_for` is the number of rows that a file was made
    for, which is freed in it, see `_free_batch`.
    """

    model = _read(content)
    graph = model.subgraphs[0]
    if made_for is not None:
        _free_batch(model, made_for)
    signature = next(
        (s for s in model.signatureDefs or [] if s.signatureKey == SIGNATURE.encode()), None
    )
    if signature is None:
        raise ConversionFailed(f"the converted file has no signature {SIGNATURE!r}")
    inputs = {entry.name.decode(): entry for entry in signature.inputs}
    outputs = {entry.name.decode(): entry for entry in signature.outputs}
    if set(inputs) != set(schema.input_names) or set(outputs) != set(schema.output_names):
        raise ConversionFailed(
            f"the converted file takes {sorted(inputs)} and gives {sorted(outputs)}, "
            f"the model takes {schema.input_names} and gives {schema.output_names}"
        )
    ends = {**inputs, **outputs}
    for index, tensor in enumerate(
        graph.tensors
    ):  # the integer twin of a quantised input or output keeps another name
        if (
            tensor.name
            and tensor.name.decode() in ends
            and ends[tensor.name.decode()].tensorIndex != index
        ):
            tensor.name += b"_quantised"
    for name, entry in ends.items():
        tensor = graph.tensors[entry.tensorIndex]
        tensor.name = name.encode()
        shape = list(tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature)
        if schema.batch is not None:
            if shape[0] != schema.batch:
                found = [int(n) for n in shape]
                raise ConversionFailed(f"{name} has the shape {found}, the batch is {schema.batch}")
        elif name in outputs and restore_batch:
            tensor.shapeSignature = [-1, *shape[1:]]
        elif shape[0] != -1:
            raise ConversionFailed(
                f"{name} has the fixed shape {[int(n) for n in shape]}: the batch is no longer "
                "dynamic"
            )
    signature.inputs = [inputs[name] for name in schema.input_names]
    graph.inputs = [entry.tensorIndex for entry in signature.inputs]
    signature.outputs = [outputs[name] for name in schema.output_names]
    graph.outputs = [entry.tensorIndex for entry in signature.outputs]
    _drop_unread(model)
    return _packed(model)


def _free_batch(model, rows: int) -> None:
    """Declare any number of rows where the file was made for so many: in shapes, where RESHAPE,
    SLICE and their like have it written down, and in constants that are the same for every row.

    A prime that divides no other length of the model cannot be mistaken for one.

    Raises
    ------
    ConversionFailed : an operator takes the number in a way that cannot be freed.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as flat

    graph, codes = model.subgraphs[0], flat.BuiltinOperator
    says_shape = {getattr(codes, name): at for name, at in _SAYS_SHAPE.items()}
    slices = (codes.SLICE, codes.STRIDED_SLICE)
    if len(model.subgraphs) > 1:
        raise ConversionFailed(f"it has {len(model.subgraphs)} graphs, {FIX}")
    uses = Counter(int(place) for operator in graph.operators for place in operator.inputs)
    computed = _Computed(model, rows)
    for operator in list(graph.operators):
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code not in says_shape:
            continue
        at = says_shape[code]
        operator.inputs = [int(place) for place in operator.inputs]
        place = int(operator.inputs[at]) if at < len(operator.inputs) else -1
        said = None if place < 0 else _numbers(model, place)
        if said is None or not (found := np.flatnonzero((said > 0) & (said % rows == 0))).size:
            continue
        starts = _numbers(model, int(operator.inputs[1])) if code in slices else 0 * said
        if code in (codes.RESHAPE, *slices):
            one = len(found) == 1 and -1 not in said
            if starts is None or starts[found].any() or (code == codes.RESHAPE and not one):
                raise ConversionFailed(f"an operator makes the shape {said.tolist()}, {FIX}")
        if code == codes.STRIDED_SLICE:
            operator.builtinOptions.endMask |= sum(1 << int(i) for i in found)
        elif code in (codes.RESHAPE, codes.SLICE):
            said[found] = -1
            if uses[place] > 1:  # others may want it as it is
                uses[place] -= 1
                operator.inputs[at] = _add_numbers(model, said)
            else:
                _set(model, place, said)
            if code == codes.RESHAPE:
                operator.builtinOptions = None
                operator.builtinOptionsType = flat.BuiltinOptions.NONE
        elif found.tolist() == [0] and said[0] == rows:
            operator.inputs[at] = computed.shape(operator, said)
        else:
            raise ConversionFailed(f"an operator makes the shape {said.tolist()}, {FIX}")
    for place, tensor in enumerate(graph.tensors):
        shape = np.array([] if tensor.shape is None else tensor.shape, np.int32)
        free = (shape > 0) & (shape % rows == 0)
        if not free.any():
            continue
        if model.buffers[tensor.buffer].data is None:
            tensor.shapeSignature = np.where(free, -1, shape)
            tensor.shape = np.where(free, shape // rows, shape)
        elif tensor.type == flat.TensorType.FLOAT32:
            values = np.frombuffer(bytes(bytearray(model.buffers[tensor.buffer].data)), "<f4")
            axis = int(np.flatnonzero(free)[0])
            one = values.reshape(shape).take([0], axis)
            if shape[axis] == rows and (values.reshape(shape) == one).all():
                tensor.shape = np.array(one.shape, np.int32)
                _set(model, place, one)


FIX = (
    "so that its batch cannot be made free: fix it in the schema (the first number of each shape, "
    "as in [1, 3, 224, 224])"
)
_SAYS_SHAPE = {
    **{"RESHAPE": 1, "SLICE": 2, "STRIDED_SLICE": 2, "BROADCAST_TO": 1, "TILE": 1},
    **{"FILL": 0, "TRANSPOSE_CONV": 0},
}
"""By operator, which of its inputs says a shape."""


class _Computed:
    """Shapes that are computed from the first input's, in front of the operators that take them."""

    def __init__(self, model, rows: int):
        self._model, self._rows = model, rows
        self._batch: int | None = None

    def shape(self, operator, said) -> int:
        """Number of a tensor that holds a shape with the batch in front."""
        from ai_edge_litert import schema_py_generated as flat

        graph = self._model.subgraphs[0]
        if self._batch is None:
            rank = len(graph.tensors[graph.inputs[0]].shape)
            whole = self._add(0, flat.BuiltinOperator.SHAPE, [graph.inputs[0]], rank)
            ends = [_add_numbers(self._model, [0]), _add_numbers(self._model, [1])]
            self._batch = self._add(1, flat.BuiltinOperator.SLICE, [whole, *ends], 1)
        if len(said) == 1:
            return self._batch
        parts = [self._batch, _add_numbers(self._model, said[1:])]
        where = next(i for i, other in enumerate(graph.operators) if other is operator)
        return self._add(where, flat.BuiltinOperator.CONCATENATION, parts, len(said))

    def _add(self, where: int, code: int, inputs: list[int], length: int) -> int:
        from ai_edge_litert import schema_py_generated as flat

        graph, operator = self._model.subgraphs[0], flat.OperatorT()
        operator.opcodeIndex = _add_code(self._model, code)
        operator.inputs = [int(place) for place in inputs]
        operator.outputs = [_add_numbers(self._model, None, length)]
        if code == flat.BuiltinOperator.SHAPE:
            operator.builtinOptionsType = flat.BuiltinOptions.ShapeOptions
            operator.builtinOptions = flat.ShapeOptionsT()
            operator.builtinOptions.outType = flat.TensorType.INT32
        elif code == flat.BuiltinOperator.CONCATENATION:
            operator.builtinOptionsType = flat.BuiltinOptions.ConcatenationOptions
            operator.builtinOptions = flat.ConcatenationOptionsT()
        graph.operators.insert(where, operator)
        return operator.outputs[0]


def _numbers(model, place: int):
    """What a constant of whole numbers holds; None if it is another tensor."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as flat

    tensor = model.subgraphs[0].tensors[place]
    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type != flat.TensorType.INT32:
        return None
    return np.frombuffer(bytes(bytearray(data)), "<i4").copy()


def _set(model, place: int, values) -> None:
    """Give a constant other values, in a buffer of its own."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as flat

    model.buffers.append(flat.BufferT())  # others may share the one that it had
    model.buffers[-1].data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.subgraphs[0].tensors[place].buffer = len(model.buffers) - 1


def _add_numbers(model, values, length: int | None = None) -> int:
    """Add a tensor of whole numbers, a constant unless `values` is None; its number."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as flat

    graph, tensor = model.subgraphs[0], flat.TensorT()
    tensor.name, tensor.type = f"shape_{len(graph.tensors)}".encode(), flat.TensorType.INT32
    tensor.shape = np.array([len(values) if length is None else length], np.int32)
    tensor.buffer = 0
    graph.tensors.append(tensor)
    if values is not None:
        _set(model, len(graph.tensors) - 1, np.array(values, "<i4"))
    return len(graph.tensors) - 1


def _drop_unread(model) -> None:
    """Drop what no runtime reads: what the converter says of itself, empty buffers and tables, and
    the long names of inner tensors, which MNN copies twice; an operator and a number are left.
    """
    model.description = model.metadata = None
    kept = {0: 0}  # by number of a buffer that is not empty, its new one; the first is always empty
    for graph in model.subgraphs:
        graph.name = None
        for tensor in graph.tensors:
            if tensor.quantization is not None and tensor.quantization.scale is None:
                tensor.quantization = None
            if model.buffers[tensor.buffer].data is None:
                tensor.buffer = 0
            tensor.buffer = kept.setdefault(tensor.buffer, len(kept))
    model.buffers = [model.buffers[number] for number in kept]
    main = model.subgraphs[0]
    ends = {int(place) for place in (*main.inputs, *main.outputs)}
    for place, tensor in enumerate(main.tensors):
        if place not in ends and tensor.name:
            operator = tensor.name.decode().split(";")[-1].split("/")[-1]
            tensor.name = f"{operator}_{place}".encode()


def _read(content: bytes):
    """A model with all its weights: larger ones may lie behind the flatbuffer, found by their
    offset.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as flat

    model = flat.ModelT.InitFromObj(flat.Model.GetRootAs(content))
    for buffer in model.buffers:
        if buffer.data is None and buffer.offset > 1:  # 1 is how a writer marks what it fills later
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return model


def _packed(model) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


def interface(path: Path):
    """Inputs and output of a ``.tflite`` file as it stands: DataFrame of tensor, kind, shape,
    dtype, in file order.
    """
    import pandas as pd

    graph, types, _ = _graph(path)
    rows = [
        {
            "tensor": tensor.name.decode(),
            "kind": kind,
            "shape": str(
                [
                    int(n)
                    for n in (
                        tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
                    )
                ]
            ),
            "dtype": types[tensor.type],
        }
        for kind, indices in (("input", graph.inputs), ("output", graph.outputs))
        for tensor in (graph.tensors[i] for i in indices)
    ]
    return pd.DataFrame(rows)


def operators(path: Path, graph: int = 0):
    """Operators of a graph of a ``.tflite`` file in order: DataFrame of operator, output shape,
    weights and their bytes.
    """
    import pandas as pd
    from ai_edge_litert import schema_py_generated as flat

    _, types, model = _graph(path)
    graph = model.subgraphs[graph]
    codes = {
        value: name for name, value in vars(flat.BuiltinOperator).items() if isinstance(value, int)
    }
    rows = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        name = codes[max(code.builtinCode, code.deprecatedBuiltinCode)]
        constants = [
            t for t in (graph.tensors[i] for i in operator.inputs if i >= 0) if _bytes(model, t)
        ]
        shapes = [f"{types[t.type]}{[int(n) for n in t.shape]}" for t in constants]
        if not len(operator.outputs):  # it changes a variable
            rows.append({"operator": name, "output": "", "weights": "", "weight_bytes": 0})
            continue
        output = graph.tensors[operator.outputs[0]]
        rows.append(
            {
                "operator": name,
                "output": str(
                    [
                        int(n)
                        for n in (
                            output.shape if output.shapeSignature is None else output.shapeSignature
                        )
                    ]
                ),
                "weights": ", ".join(shapes),
                "weight_bytes": sum(_bytes(model, t) for t in constants),
            }
        )
    return pd.DataFrame(rows)


def require_float32(path: Path) -> None:
    """Refuse a quantised ``.tflite`` file.

    Raises
    ------
    ConversionFailed : tensors hold float16 or quantised integers; says which kinds.
    """
    graph, types, _ = _graph(path)
    kinds = set()
    for tensor in graph.tensors:
        scaled = tensor.quantization is not None and tensor.quantization.scale is not None
        if types[tensor.type] == "float16" or (scaled and len(tensor.quantization.scale)):
            kinds.add(types[tensor.type])
    if kinds:
        raise ConversionFailed(
            f"{path.name} is quantised (it holds {', '.join(sorted(kinds))}): MNN makes a file of "
            "it that opens and ranks at random; give it the float32 file and reduce with MNN's "
            "own options"
        )


def _graph(path: Path):
    from ai_edge_litert import schema_py_generated as flat

    model = _read(path.read_bytes())
    types = {
        value: name.lower()
        for name, value in vars(flat.TensorType).items()
        if isinstance(value, int)
    }
    return model.subgraphs[0], types, model


def _bytes(model, tensor) -> int:
    data = model.buffers[tensor.buffer].data
    return 0 if data is None else len(data)
