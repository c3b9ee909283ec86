"""PyTorch: ``.pt2`` files, exported programs as `torch.export.save` writes them.

Such a file is the whole model: its operators and its weights, and no code. It is the reference of a
model that was trained in PyTorch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.errors import BadInput, DamagedFile
from helpers.quiet import native_output
from helpers.runtimes import pt2
from helpers.runtimes.runtime import (
    Computed,
    Runtime,
    Steps,
    check_interface,
    check_outputs,
    steps_of,
)
from helpers.schema import Schema

_OPERATORS = {"_native_batch_norm_legit_no_training": "batch_norm", "_softmax": "softmax"}
"""Those that PyTorch calls otherwise than its users do."""
NEEDED = "this needs PyTorch, which is an extra: make pytorch"


def require() -> None:
    """Refuse what cannot be done here.

    Raises
    ------
    BadInput : PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise BadInput(NEEDED)


def torch():
    """The package, see `require`."""
    require()
    import torch

    return torch


def load(path: Path):
    """Read an exported program; nothing in it is executed, see `pt2.contents`.

    Raises
    ------
    DamagedFile : it is none, or has more in it than operators and weights.
    """
    package, content = torch(), pt2.contents(path)
    with native_output(), _told(f"{path.name} is not a usable PyTorch program"):
        return package.export.load(content)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever its readers and kernels raise is an error with the file's name."""
    try:
        yield
    except DamagedFile:
        raise
    except Exception as error:
        raise DamagedFile(f"{what}: {' '.join(str(error).split())[:400]}") from error


class Program:
    """A program that is called with arrays by name, and gives them by name.

    Inputs have the names of what was exported; outputs those of a returned dictionary, or
    ``output_0`` and so on.
    """

    def __init__(self, path: Path):
        self.exported = program = load(path)
        with _told(f"{path.name} is not a usable PyTorch program"):
            self.inputs, self.outputs = _described(program)
            self.module = program.module()
            self._arguments = _arguments(program)
            self._results = _results(program)
            self._shape_of_call = program.call_spec.in_spec

    def __call__(self, given: dict) -> dict:
        """Tensors of all outputs, of tensors of all inputs."""
        from torch.utils import _pytree as tree

        ordered = [given.get(a.name, getattr(a, "value", None)) for a in self._arguments]
        arguments, named = tree.tree_unflatten(ordered, self._shape_of_call)
        found = tree.tree_leaves(self.module(*arguments, **named))
        named = zip(self._results, found, strict=True)
        return {name: value.detach() for name, value in named if name is not None}


class Model(Runtime):
    """An open ``.pt2`` file."""

    def __init__(self, path: Path, schema: Schema, threads: int):
        self.path, self.schema = path, schema
        self._torch = torch()
        self._torch.set_num_threads(threads)
        self._program = Program(path)
        check_interface(path, schema, self._program.inputs, self._program.outputs)
        self._inputs = {schema.name_in(tensor): tensor.name for tensor in schema.inputs}

    def _predict(self, inputs, rows):
        fed = {theirs: _tensor(inputs[ours]) for theirs, ours in self._inputs.items()}
        with _told(f"{self.path.name} cannot be scored"), self._torch.inference_mode():
            found = self.schema.by_name(self._program(fed))
            outputs = {name: found[name].numpy() for name in self.schema.output_names}
        shapes = {name: array.shape for name, array in outputs.items()}
        check_outputs(self.path, self.schema, rows, shapes)
        return outputs

    def steps(self, inputs) -> Steps:
        self._predict(inputs, self.schema.check(inputs))
        names = {
            "call": self._torch.inference_mode()(self._program),
            "tensor": _tensor,
            "arrays": {theirs: inputs[ours] for theirs, ours in self._inputs.items()},
            "tensors": {theirs: _tensor(inputs[ours]) for theirs, ours in self._inputs.items()},
        }
        copy = "outputs = call({name: tensor(array) for name, array in arrays.items()})"
        results = {
            tensor.name: f"outputs[{self.schema.name_in(tensor)!r}].numpy()"
            for tensor in self.schema.outputs
        }
        return steps_of([copy], results, "call(tensors)", names)


def _tensor(array: np.ndarray):
    import torch

    return torch.from_numpy(np.require(array, requirements="CW"))


class Graph:
    """The operators of a program, none of which changes what it takes; an operator with weights is
    called as their module is.

    Attributes
    ----------
    outputs : by the schema's names, the places of the operators that give the program's outputs;
        known when it has been run.
    """

    def __init__(self, path: Path, schema: Schema):
        self._path, self._schema, self._torch = path, schema, torch()
        self._torch.set_num_threads(1)
        program = load(path)
        with _told(f"{path.name} is not a usable PyTorch program"):
            self._arguments, self._results = _arguments(program), _results(program)
            with native_output():
                self._module = program.run_decompositions({}).module()
        self.outputs: dict[str, int] = {}

    def run(
        self, inputs: Mapping[str, np.ndarray], held: Mapping[int, np.ndarray]
    ) -> list[Computed]:
        """What every operator computes, in order.

        Parameters
        ----------
        held : by the place of an operator, the values that go on from it in place of its own.

        Raises
        ------
        DamagedFile : it cannot be run.
        """
        from torch.utils import _pytree as tree

        torch, computed = self._torch, []
        places: dict = {}  # of the operators, by their nodes; None of what is given

        class Interpreter(torch.fx.Interpreter):
            def run_node(self, node):
                value = super().run_node(node)
                taken = [places[before] for before in node.all_input_nodes if before in places]
                if node.op == "placeholder":
                    places[node] = None
                if node.op != "call_function" or not taken:
                    return value
                places[node] = place = len(computed)
                takes = tuple(sorted({i for i in taken if i is not None}))
                several = isinstance(value, (tuple, list))
                first = value[0] if several else value
                floats = torch.is_tensor(first) and first.is_floating_point()
                values = first.detach().float().numpy() if floats else None
                computed.append(Computed(*_called(node), values, takes))
                if place not in held:
                    return value
                first = _tensor(held[place]).to(first.dtype)
                return (first, *value[1:]) if several else first

        names = {self._schema.name_in(tensor): tensor.name for tensor in self._schema.inputs}
        given = {theirs: _tensor(inputs[ours]) for theirs, ours in names.items()}
        ordered = [given.get(a.name, getattr(a, "value", None)) for a in self._arguments]
        with _told(f"{self._path.name} cannot be run by operators"), torch.inference_mode():
            Interpreter(self._module).run(*ordered, enable_io_processing=False)
        (last,) = (node for node in self._module.graph.nodes if node.op == "output")
        outputs = zip(self._results, tree.tree_leaves(last.args), strict=True)
        found = self._schema.by_name({n: places.get(node) for n, node in outputs if n is not None})
        self.outputs = {name: place for name, place in found.items() if place is not None}
        return computed


def _called(node) -> tuple[str, str]:
    """What an operator is called, and what it does."""
    weights = [taken.target for taken in node.all_input_nodes if taken.op == "get_attr"]
    module = next((w.rpartition(".")[0] for w in weights if "." in w), "")
    operator = getattr(node.target, "_opname", None) or getattr(node.target, "__name__", "")
    return module or node.name, _OPERATORS.get(operator, operator)


def interface(path: str) -> list[dict]:
    """Inputs and outputs of a file as it calls them; runs in a child process."""
    program = load(Path(path))
    with _told(f"{Path(path).name} is not a usable PyTorch program"):
        return list(_described(program))


def _described(program) -> tuple[dict, dict]:
    """Inputs and outputs by name, see `helpers.runtimes.interface`.

    Raises
    ------
    DamagedFile : it takes what is neither a tensor nor a constant, or gives no tensor.
    """
    nodes = {node.name: node for node in program.graph.nodes}

    def described(name: str) -> tuple[list[int], str]:
        value = nodes[name].meta["val"]
        shape = [n if isinstance(n, int) else -1 for n in value.shape]
        return shape, str(value.dtype).removeprefix("torch.")

    given = [argument.name for argument in _arguments(program) if not hasattr(argument, "value")]
    found = zip(_results(program), program.graph_signature.user_outputs, strict=True)
    return (
        {name: described(name) for name in given},
        {name: described(node) for name, node in found if name is not None},
    )


def _arguments(program) -> list:
    """What it takes, in order: tensors, and constants with their ``value``."""
    from torch.export.graph_signature import ConstantArgument, InputKind, TensorArgument

    specs = program.graph_signature.input_specs
    given = [spec.arg for spec in specs if spec.kind is InputKind.USER_INPUT]
    for argument in given:
        if not isinstance(argument, (TensorArgument, ConstantArgument)):
            raise DamagedFile(
                f"the program takes {argument.name}, a number that is free: make it a tensor, or "
                "export the model with the number fixed"
            )
    return given


def _results(program) -> list[str | None]:
    """Names of what it gives, in order: keys of a returned dictionary of tensors, or numbers; None
    for what is no tensor.
    """
    from torch.export.graph_signature import OutputKind, TensorArgument

    specs = program.graph_signature.output_specs
    given = [spec.arg for spec in specs if spec.kind is OutputKind.USER_OUTPUT]
    spec = program.call_spec.out_spec
    flat = spec.type is dict and all(child.is_leaf() for child in spec.children())
    if flat and all(isinstance(key, str) for key in spec.context):
        names = list(spec.context)
    else:
        names = [f"output_{i}" for i in range(len(given))]
    return [
        name if isinstance(argument, TensorArgument) else None
        for name, argument in zip(names, given, strict=True)
    ]
