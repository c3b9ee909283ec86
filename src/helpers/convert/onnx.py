"""ONNX files: the schema's names on their inputs and outputs, for MNN to copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
