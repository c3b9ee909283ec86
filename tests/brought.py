"""Trained files as somebody else makes them, with no code of this package."""

import numpy as np
from support import PROJECT

TABLE = PROJECT / "docs/clicks.csv"
NUMBERS = ("age", "hour", "price", "rating")


def logistic(path, *, width=5, sigmoid=True, batch=None, output="y"):
    """A logistic regression as an exporter writes it: one input X, no names for its columns."""
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(1)
    weights = [rng.normal(0, 0.05, (width, 1)), rng.normal(0, 0.05, 1)]
    nodes = [helper.make_node("MatMul", ["X", "W"], ["product"])]
    nodes.append(helper.make_node("Add", ["product", "b"], ["sum" if sigmoid else output]))
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["sum"], [output]))
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, size])]
        for name, size in (("X", width), (output, 1))
    ]
    held = [
        numpy_helper.from_array(array.astype(np.float32), name)
        for array, name in zip(weights, "Wb", strict=True)
    ]
    graph = helper.make_graph(nodes, "logistic", *ends, held)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path, weights
