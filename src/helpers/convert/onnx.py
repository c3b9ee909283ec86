"""ONNX files: the schema's names on their inputs and outputs, and reduced forms of them.

Reduced forms are made by ONNX Runtime's own tools, in a child process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from helpers import child
from helpers.errors import ConversionFailed
from helpers.schema import Schema


def rename(source: Path, schema: Schema, path: Path) -> None:
    """Write an ``.onnx`` file with the schema's names; operators and weights are the same.

    Raises
    ------
    ConversionFailed : the file has other inputs or outputs.
    """
    import onnx

    model = onnx.load(source, load_external_data=False)
    given = schema.as_given()
    names = {given.name_in(t): t.name for t in (*schema.inputs, *schema.outputs)}
    there = {value.name for value in (*model.graph.input, *model.graph.output)}
    if missing := sorted(set(names) - there):
        raise ConversionFailed(f"{source.name} has {sorted(there)}, and not {', '.join(missing)}")
    taken = set(names.values()) - set(names)

    def renamed(name: str) -> str:
        return names.get(name) or (f"{name}_inner" if name in taken else name)

    _rename_graph(model.graph, renamed)
    for output in [o for o in model.graph.output if o.name not in names.values()]:
        model.graph.output.remove(output)
    onnx.save(model, path)


def _rename_graph(graph, renamed: Callable[[str], str]) -> None:
    """Rename the values of a graph, and of those inside its nodes."""
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            value.name = renamed(value.name)
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [renamed(name) if name else name for name in ends]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.ByteSize():
                    _rename_graph(inner, renamed)


def tidy(model, names: Mapping[str, str]) -> None:
    """Rename inputs and outputs of a model in place, and drop what no runtime reads: what the
    exporter noted of each operator, and shapes between them, which need not be true.
    """
    _rename_graph(model.graph, lambda name: names.get(name, name))
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    model.doc_string = model.graph.doc_string = ""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""


def reduce(
    source: Path,
    path: Path,
    form: str,
    calibration: Path | None = None,
    *,
    only: Collection[str] = (),
    without: Collection[str] = (),
    process=None,
) -> None:
    """Write a reduced form of a float32 ``.onnx`` file.

    Parameters
    ----------
    form : ``fp16``, ``dynamic_int8`` or ``int8``, see `helpers.convert.recipes`.
    calibration : ``.npz`` of inputs by name, for ``int8``.
    only, without : of forms of integers, tensors whose nodes alone are reduced, or are left in
        float; default all are reduced.
    process : a `helpers.child.Child` to use, which saves its start; default a new one.

    Raises
    ------
    ConversionFailed : what the tool refused, in its words, or one of these nodes is of a kind that
        it does not reduce.
    """
    path.unlink(missing_ok=True)
    request = {
        "source": str(source),
        "target": str(path),
        "form": form,
        "calibration": None if calibration is None else str(calibration),
        "only": list(only),
        "without": list(without),
    }
    try:
        if process is None:
            child.run(f"reduce {source.name}", f"{__name__}:_reduce_here", **request)
        else:
            process.call(f"{__name__}:_reduce_here", **request)
    except child.ChildDied as error:
        raise ConversionFailed(str(error)) from error


def _reduce_here(
    source: str,
    target: str,
    form: str,
    calibration: str | None,
    only: list[str],
    without: list[str],
) -> None:
    """The reduction itself; runs in a child process."""
    import numpy as np
    import onnx
    from onnxruntime import quantization
    from onnxruntime.transformers import float16

    class Rows(quantization.CalibrationDataReader):
        """Calibration rows, one a call: ranges are those of all."""

        def __init__(self, arrays: Mapping[str, np.ndarray]):
            count = len(next(iter(arrays.values())))
            self._parts = iter(
                {name: a[i : i + 1] for name, a in arrays.items()} for i in range(count)
            )

        def get_next(self):
            return next(self._parts, None)

    try:
        if (only or without) and form == "fp16":
            raise ConversionFailed(
                "fp16 is made of all nodes; forms of integers leave some in float"
            )
        model = onnx.load(source)
        chosen = {
            "nodes_to_quantize": _nodes(model, only),
            "nodes_to_exclude": _nodes(model, without),
        }
        if form == "fp16":
            onnx.save(float16.convert_float_to_float16(model, keep_io_types=True), target)
        elif form == "dynamic_int8":  # ONNX Runtime has no convolution of signed weights
            weights = {"weight_type": quantization.QuantType.QUInt8, "per_channel": True}
            quantization.quantize_dynamic(model, target, **weights, **chosen)
        elif form == "int8":
            with np.load(calibration, allow_pickle=False) as file:
                rows = Rows(dict(file))
            quantization.quantize_static(
                model,
                target,
                rows,
                quant_format=quantization.QuantFormat.QDQ,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                **chosen,
            )
        else:
            raise ConversionFailed(f"ONNX Runtime makes no form {form!r}")
        stored = {node.op_type for node in onnx.load(target).graph.node}
        if only and not stored & {"QuantizeLinear", "DynamicQuantizeLinear"}:
            raise ConversionFailed(f"ONNX Runtime reduces {', '.join(only)} with others only")
    except ConversionFailed:
        raise
    except Exception as error:  # whatever its tools raise is their reason
        raise ConversionFailed(f"ONNX Runtime: {' '.join(str(error).split())}") from error


def _nodes(model, tensors: list[str]) -> list[str]:
    """Names of the nodes that make some tensors; a node that has no name is given one.

    Raises
    ------
    ConversionFailed : ONNX Runtime has no integer form of such a node.
    """
    from onnxruntime.quantization import registry

    kinds = {*registry.QDQRegistry, *registry.QLinearOpsRegistry}
    names = []
    for i, node in enumerate(model.graph.node):
        if set(tensors) & set(node.output):
            if node.op_type not in kinds:
                raise ConversionFailed(f"ONNX Runtime reduces no {node.op_type}")
            node.name = node.name or f"node_{i}_of_{node.output[0]}"
            names += [node.name, f"{node.name}_MatMul"]  # what its tool for ranges of rows makes
    return names
