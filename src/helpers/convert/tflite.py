"""TFLite files: names and order of their tensors, what is in them, and smaller ones made of float32
ones.

Names and order are set through the flatbuffer's object API. Quantisation is ai-edge-quantizer's, in
a child process.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from helpers import child
from helpers.errors import ConversionFailed
from helpers.schema import Schema

SIGNATURE = "serving_default"
_FILE_IDENTIFIER = b"TFL3"


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


def named(content: bytes, schema: Schema, *, restore_batch: bool = False) -> bytes:
    """The same TFLite model with tensors named and inputs ordered as the schema declares; signature
    kept.

    `restore_batch` declares the outputs' batch free again, where the schema's is: ai-edge-quantizer
    forgets it on the tensors that it adds. Whether the file then answers every row, opening it
    shows.
    """

    model = _read(content)
    graph = model.subgraphs[0]
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


def operators(path: Path):
    """Operators of a ``.tflite`` file in order: DataFrame of operator, output shape, weights and
    their bytes.
    """
    import pandas as pd
    from ai_edge_litert import schema_py_generated as flat

    graph, types, model = _graph(path)
    codes = {
        value: name for name, value in vars(flat.BuiltinOperator).items() if isinstance(value, int)
    }
    rows = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        constants = [
            t for t in (graph.tensors[i] for i in operator.inputs if i >= 0) if _bytes(model, t)
        ]
        shapes = [f"{types[t.type]}{[int(n) for n in t.shape]}" for t in constants]
        output = graph.tensors[operator.outputs[0]]
        rows.append(
            {
                "operator": codes[max(code.builtinCode, code.deprecatedBuiltinCode)],
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
