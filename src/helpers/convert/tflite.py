"""Keras to TFLite, with the study's tensor names in declared order and a dynamic batch.

TFLiteConverter's plain ways all lose something: ``from_keras_model`` reorders the inputs and calls them
``serving_default_user_features:0``; ``from_concrete_functions`` leaves variables unfrozen, and LiteRT then
scores NaN without an error. The way taken here: a SavedModel with one named endpoint, converted, and then
names and order set through the flatbuffer's object API.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.errors import ConversionFailed
from helpers.quiet import native_output, tensorflow
from helpers.schema import Schema

SIGNATURE = "serving_default"
_FILE_IDENTIFIER = b"TFL3"


def convert(model, schema: Schema, path: Path) -> None:
    """Write a Keras model to `path` as a float32 ``.tflite``.

    Parameters
    ----------
    model : Keras model whose inputs carry the schema's names.
    path : where to write; give the temporary path of ``Stage.output`` and check the scores before it counts.

    Raises
    ------
    ConversionFailed : the converter failed, or lost an input, the output or the dynamic batch.
    """
    tf = tensorflow()
    import keras

    def endpoint(inputs):
        return {schema.output.name: model(inputs, training=False)}

    signature = {t.name: tf.TensorSpec((None, t.width), t.dtype, name=t.name) for t in schema.inputs}
    with tempfile.TemporaryDirectory() as folder, native_output() as log:
        try:
            archive = keras.export.ExportArchive()
            archive.track(model)
            archive.add_endpoint(SIGNATURE, endpoint, input_signature=[signature])
            archive.write_out(folder, verbose=False)
            content = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE]).convert()
        except Exception as error:
            last = [line for line in log().splitlines() if line.strip()][-3:]
            raise ConversionFailed("\n  | ".join([f"Keras to TFLite failed: {error}", *last])) from error
    path.write_bytes(named(content, schema))


@contextmanager
def plain(model) -> Iterator[Path]:
    """What ``TFLiteConverter.from_keras_model`` makes of the model, as a file that is gone afterwards: to look at."""
    tf = tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        with native_output():
            content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
        path = Path(folder) / "plain.tflite"
        path.write_bytes(content)
        yield path


def named(content: bytes, schema: Schema) -> bytes:
    """The same TFLite model with tensors named and inputs ordered as the schema declares; signature kept."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as flat

    model = flat.ModelT.InitFromObj(flat.Model.GetRootAs(content))
    graph = model.subgraphs[0]
    signature = next((s for s in model.signatureDefs or [] if s.signatureKey == SIGNATURE.encode()), None)
    if signature is None:
        raise ConversionFailed(f"the converted file has no signature {SIGNATURE!r}")
    inputs = {entry.name.decode(): entry for entry in signature.inputs}
    outputs = {entry.name.decode(): entry for entry in signature.outputs}
    if set(inputs) != set(schema.input_names) or set(outputs) != {schema.output.name}:
        raise ConversionFailed(
            f"the converted file takes {sorted(inputs)} and gives {sorted(outputs)}, "
            f"the model takes {schema.input_names} and gives {schema.output.name}"
        )
    for name, entry in {**inputs, **outputs}.items():
        tensor = graph.tensors[entry.tensorIndex]
        tensor.name = name.encode()
        shape = list(tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature)
        if shape[0] != -1:
            raise ConversionFailed(f"{name} has the fixed shape {shape}: the batch is no longer dynamic")
    signature.inputs = [inputs[name] for name in schema.input_names]
    graph.inputs = [entry.tensorIndex for entry in signature.inputs]
    graph.outputs = [outputs[schema.output.name].tensorIndex]
    builder = flatbuffers.Builder(len(content) + 1024)
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


def interface(path: Path):
    """Inputs and output of a ``.tflite`` file as it stands: DataFrame of tensor, kind, shape, dtype, in file order."""
    import pandas as pd

    graph, types, _ = _graph(path)
    rows = [
        {
            "tensor": tensor.name.decode(),
            "kind": kind,
            "shape": str([int(n) for n in (tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature)]),
            "dtype": types[tensor.type],
        }
        for kind, indices in (("input", graph.inputs), ("output", graph.outputs))
        for tensor in (graph.tensors[i] for i in indices)
    ]
    return pd.DataFrame(rows)


def operators(path: Path):
    """Operators of a ``.tflite`` file in order: DataFrame of operator, output shape, weights and their bytes."""
    import pandas as pd
    from ai_edge_litert import schema_py_generated as flat

    graph, types, model = _graph(path)
    codes = {value: name for name, value in vars(flat.BuiltinOperator).items() if isinstance(value, int)}
    rows = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        constants = [t for t in (graph.tensors[i] for i in operator.inputs if i >= 0) if _bytes(model, t)]
        shapes = [f"{types[t.type]}{[int(n) for n in t.shape]}" for t in constants]
        output = graph.tensors[operator.outputs[0]]
        rows.append(
            {
                "operator": codes[max(code.builtinCode, code.deprecatedBuiltinCode)],
                "output": str(
                    [int(n) for n in (output.shape if output.shapeSignature is None else output.shapeSignature)]
                ),
                "weights": ", ".join(shapes),
                "weight_bytes": sum(_bytes(model, t) for t in constants),
            }
        )
    return pd.DataFrame(rows)


def _graph(path: Path):
    from ai_edge_litert import schema_py_generated as flat

    model = flat.ModelT.InitFromObj(flat.Model.GetRootAs(path.read_bytes()))
    types = {value: name.lower() for name, value in vars(flat.TensorType).items() if isinstance(value, int)}
    return model.subgraphs[0], types, model


def _bytes(model, tensor) -> int:
    data = model.buffers[tensor.buffer].data
    return 0 if data is None else len(data)
