"""PyTorch: train, score, save as a program that is exported with `torch.export`, and export that to
TFLite.

A trained model is a ``.pt2`` file, which is the whole model without code of ours; its weights stand
beside it as safetensors. litert-torch names tensors after a signature that it makes, and fixes the
batch of its sample: here a program is wrapped so that its inputs and outputs have the schema's
names. The sample has as many rows as a prime that is in no shape of the program, so that it is
found again wherever the file has it written down, and freed; of one row, the converter would make
use.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers import child, runtimes
from helpers.convert import tflite
from helpers.datasets import Stream
from helpers.errors import BadInput, ConversionFailed, DamagedFile, WorkbenchError
from helpers.frameworks import CHECKED_ROWS, scored
from helpers.quiet import native_output
from helpers.runtimes import pt2, pytorch
from helpers.schema import Schema
from helpers.studies import Inputs
from helpers.tasks import Task

SUFFIX = ".pt2"
_PRIMES = (31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)
_MOST_DIFFERENCE = 1e-3
"""Of a row that is scored with more and with fewer others, as a part of the output's scale."""
HISTORY = ["accuracy", "loss", "val_accuracy", "val_loss"]
_LOSSES = {"sparse_categorical_crossentropy": "_of_class", "binary_crossentropy": "_of_label"}
"""By what a task names its loss, the function here."""
_LEAST_PROBABILITY = 1e-7
_VALIDATION_VALUES = 4 << 20
"""Input values that are validated at a time."""
_SAMPLE_ROWS = 3
"""Rows that a module is exported with: 1 would be taken for a constant."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "model.", "net.", "_orig_mod.")
"""What checkpoints hold their weights under, and what wrappers put before names."""


def train(
    build: Callable,
    schema: Schema,
    task: Task,
    training: tuple[Inputs, np.ndarray] | Stream,
    validation: tuple[Inputs, np.ndarray],
    *,
    seed: int = 42,
    hidden_units: int = 16,
    epochs: int = 5,
    batch_size: int = 64,
    learning_rate: float = 0.001,
    patience: int = 0,
    weights: Path | None = None,
    threads: int = 1,
    progress: bool = True,
):
    """Train a module with Adam on the task's loss; the same arguments give the same weights on one
    machine.

    Parameters
    ----------
    build : of a `helpers.studies.Model`; its module takes tensors by the names of `schema`, with
        the batch in front, and gives a dictionary of the outputs, or the one output.
    training, validation : named inputs and labels ``(n_rows,)``; training rows may come a part at a
        time.
    seed : initial weights and shuffling.
    epochs : 0 keeps the weights as they are.
    patience : epochs without a lower validation loss after which training ends; the model then has
        the weights of the lowest. 0 is never.
    weights : a checkpoint to begin with, see `load_weights`.
    threads : that PyTorch computes with; another number sums in another order and gives other
        weights, and on busy processors they wait for each other.
    progress : show a bar when it takes longer than two seconds.

    Returns
    -------
    model : the trained module.
    history : DataFrame by epoch (from 1): accuracy, loss, val_accuracy, val_loss; no rows where
        nothing was trained.

    Raises
    ------
    BadInput : PyTorch is not installed; the module cannot be built, takes or gives others than the
        schema says, or gives no outputs of its own, see `helpers.frameworks.scored`.
    """
    import pandas as pd
    from tqdm import tqdm

    torch = pytorch.torch()
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    model = _built(build, hidden_units)
    if weights is not None:
        load_weights(model, weights)
    predict(model, schema, {name: array[:CHECKED_ROWS] for name, array in validation[0].items()})
    torch.set_num_threads(threads)
    passes = epochs if task.training_loss is not None else 0
    loss_of = globals()[_LOSSES[task.training_loss]] if passes else None
    optimiser = torch.optim.Adam(model.parameters(), learning_rate)
    rows, lowest, since, best = [], np.inf, 0, None
    with tqdm(
        total=passes,
        desc="training",
        unit=" epochs",
        delay=2,
        leave=False,
        disable=not progress or None,
    ) as bar:
        for epoch in range(passes):
            model.train()
            said = _Mean()
            for inputs, labels in _batches(training, seed, epoch, batch_size):
                optimiser.zero_grad(set_to_none=True)
                loss, right = loss_of(_decided(model, schema, inputs), labels)
                loss.backward()
                optimiser.step()
                said.add(len(labels), loss.detach(), right)
            checked = _validated(model, schema, validation, loss_of)
            rows.append([*said.mean(), *checked.mean()])
            bar.update()
            if not patience:
                continue
            since = 0 if rows[-1][3] < lowest else since + 1
            if since == 0:
                lowest = rows[-1][3]
                best = {name: value.clone() for name, value in model.state_dict().items()}
            if since == patience:
                break
    if best is not None:
        model.load_state_dict(best)
    history = pd.DataFrame(rows, columns=HISTORY, dtype=float)
    history.index = pd.RangeIndex(1, len(history) + 1, name="epoch")
    return model.eval(), history


def _built(build: Callable, hidden_units: int):
    torch = pytorch.torch()
    try:
        model = build(hidden_units=hidden_units)
    except Exception as error:  # whatever somebody's own code raises
        said = " ".join(str(error).split())
        raise BadInput(
            f"the model cannot be built: its function raised at hidden_units={hidden_units} "
            f"{type(error).__name__}: {said}"
        ) from error
    if not isinstance(model, torch.nn.Module):
        raise BadInput(f"the model's function gives a {type(model).__name__}, no torch.nn.Module")
    return model


class _Mean:
    """Accuracy and loss over the rows of an epoch."""

    def __init__(self):
        self._rows, self._right, self._loss = 0, 0, 0.0

    def add(self, rows: int, loss, right) -> None:
        self._rows += rows
        self._right += int(right)
        self._loss += float(loss) * rows

    def mean(self) -> tuple[float, float]:
        return self._right / self._rows, self._loss / self._rows


def _of_class(found, labels):
    """Mean cross-entropy of probabilities ``(n, classes)``; how many first classes are right."""

    chosen = found.gather(1, labels.long()[:, None])
    loss = -chosen.clamp_min(_LEAST_PROBABILITY).log().mean()
    return loss, (found.argmax(1) == labels).sum()


def _of_label(found, labels):
    """Mean cross-entropy of a probability ``(n, 1)`` each, and how many are right."""
    import torch

    found = found[:, 0].clamp(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    loss = torch.nn.functional.binary_cross_entropy(found, labels.float())
    return loss, ((found > 0.5) == (labels > 0.5)).sum()


def _batches(training, seed: int, epoch: int, batch_size: int) -> Iterator[tuple]:
    """Tensors by name and labels of an epoch, in an order of chance. A last batch of one row is
    left out: batch normalisation cannot learn of it.
    """
    if isinstance(training, Stream):
        chunks = training.epoch(epoch, batch_size)
    else:
        order = np.random.default_rng([seed, epoch]).permutation(len(training[1]))
        starts = range(0, len(order), batch_size)
        places = (order[start : start + batch_size] for start in starts)
        chunks = (({n: a[i] for n, a in training[0].items()}, training[1][i]) for i in places)
    for inputs, labels in chunks:
        for first in range(0, len(labels), batch_size):
            part = slice(first, first + batch_size)
            if len(labels[part]) > 1:
                yield _tensors({n: a[part] for n, a in inputs.items()}), _tensor(labels[part])


def _tensor(array: np.ndarray):
    import torch

    return torch.from_numpy(np.require(array, requirements="CW"))


def _tensors(inputs: Inputs) -> dict:
    return {name: _tensor(array) for name, array in inputs.items()}


def _outputs(model, schema: Schema, inputs: Mapping) -> dict:
    """Tensors by the schema's names of what a module gives."""
    try:
        found = model(**inputs)
    except TypeError as error:
        raise BadInput(
            f"the model takes other inputs than {', '.join(inputs)}: name the arguments of its "
            f"forward as the schema does ({error})"
        ) from error
    if not isinstance(found, Mapping):
        found = {schema.output.name: found}
    if set(found) != set(schema.output_names):
        raise BadInput(
            f"the model gives {', '.join(map(str, found))}, the schema says "
            f"{', '.join(schema.output_names)}: return a dictionary with these names"
        )
    for tensor in schema.outputs:
        if tuple(found[tensor.name].shape[1:]) != tensor.shape:
            raise BadInput(
                f"the model gives {tensor.name} of shape {list(found[tensor.name].shape[1:])} a "
                f"row, the schema says {list(tensor.shape)}"
            )
    return dict(found)


def _decided(model, schema: Schema, inputs: Mapping):
    return _outputs(model, schema, inputs)[schema.output.name]


def _validated(model, schema: Schema, validation: tuple, loss_of: Callable) -> _Mean:
    import torch

    model.eval()
    inputs, labels = validation
    step = max(1, _VALIDATION_VALUES // sum(tensor.size for tensor in schema.inputs))
    said = _Mean()
    with torch.inference_mode():
        for first in range(0, len(labels), step):
            part = slice(first, first + step)
            found = _decided(model, schema, _tensors({n: a[part] for n, a in inputs.items()}))
            loss, right = loss_of(found, _tensor(labels[part]))
            said.add(len(labels[part]), loss, right)
    return said


def predict(model, schema: Schema, inputs: Inputs) -> dict[str, np.ndarray]:
    """All outputs of the model, see `helpers.frameworks.scored`; on one thread."""
    import torch

    torch.set_num_threads(1)
    model.eval()

    def outputs(part: Inputs) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            found = _outputs(model, schema, _tensors(part))
        return {name: found[name].numpy() for name in schema.output_names}

    return scored(outputs, schema, inputs)


def weights(model) -> list[np.ndarray]:
    """All weights, trained or not, in the order of the ``state_dict``."""
    return [value.numpy() for value in model.state_dict().values()]


def save(model, schema: Schema, path: Path) -> None:
    """Save as a program; the same weights are the same bytes.

    The batch is free, where the schema's is. What the exporter notes beside operators and weights
    (where in which file a line stands, examples of inputs, the time) is left out, see
    `helpers.runtimes.pt2`.

    Raises
    ------
    BadInput : the module cannot be exported, as one that branches on values.
    """
    import torch

    rows = schema.batch or _SAMPLE_ROWS
    sample = {t.name: _tensor(t.zeros(rows)) for t in schema.inputs}
    free = None
    if schema.batch is None:
        batch = torch.export.Dim("batch", min=1)
        free = {name: {0: batch} for name in sample}
    raw = path.with_name(f"{path.stem}-raw{path.suffix}")
    try:
        with native_output(), torch.no_grad():
            program = torch.export.export(model.eval(), (), sample, dynamic_shapes=free)
            torch.export.save(program, raw)
        path.write_bytes(pt2.contents(raw).getvalue())
    except (DamagedFile, ConversionFailed):
        raise
    except Exception as error:  # whatever the exporter raises of somebody's module
        said = " ".join(str(error).split())[:400]
        raise BadInput(f"torch.export cannot export the model: {said}") from error
    finally:
        raw.unlink(missing_ok=True)


def save_weights(model, path: Path) -> None:
    """Save a module's weights as safetensors, by the names that its checkpoints have."""
    from safetensors.torch import save_file

    weights = {name: value.contiguous() for name, value in _inner(model).state_dict().items()}
    save_file(weights, path)


def load_weights(model, path: Path) -> None:
    """Fill a module with the weights of a checkpoint: safetensors, or what torch.save wrote of a
    state_dict. Nothing in the file is executed.

    A wrapper in the file (``state_dict``) or before all names (``module.``) is taken off.

    Raises
    ------
    BadInput : there is no such file, it holds more than tensors, or they are not this model's.
    """
    there = _read_weights(path)
    wanted = _inner(model).state_dict()
    if prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in there)), ""):
        there = {name.removeprefix(prefix): value for name, value in there.items()}
    missing, unknown = sorted(set(wanted) - set(there)), sorted(set(there) - set(wanted))
    if missing or unknown:
        parts = [f"it lacks {_few(missing)}"] * bool(missing)
        parts += [f"has {_few(unknown)} besides"] * bool(unknown)
        raise BadInput(f"{path.name} is of another model: {' and '.join(parts)}")
    for name, value in wanted.items():
        if there[name].shape != value.shape:
            raise BadInput(
                f"{path.name} is of another model: {name} has the shape "
                f"{list(there[name].shape)} in it, and {list(value.shape)} here"
            )
    _inner(model).load_state_dict(there)


def _read_weights(path: Path) -> dict:
    import safetensors.torch
    import torch

    if not path.is_file():
        raise BadInput(f"there is no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            found = safetensors.torch.load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever their readers raise
        said = str(error).strip().splitlines()[0][:300]
        raise BadInput(
            f"{path.name} cannot be read as weights ({said}): save model.state_dict(), which is "
            "tensors alone; nothing else is opened, because it could execute anything"
        ) from error
    for key in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(torch.is_tensor(v) for v in found.values()):
        raise BadInput(f"{path.name} holds no state_dict: save model.state_dict()")
    return found


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _inner(model):
    """The module whose names checkpoints have: that in ``net``, where a model wraps one."""
    return getattr(model, "net", model)


def describe(model) -> dict:
    """What is kept beside a model: name, parameters, layers."""
    inner = _inner(model)
    return {
        "model_name": type(inner).__name__,
        "total_parameters": sum(p.numel() for p in model.parameters()),
        "architecture": [
            {"layer": name, "type": type(layer).__name__}
            for name, layer in inner.named_modules()
            if not any(True for _ in layer.children())
        ],
    }


def layers(model, schema: Schema):
    """DataFrame by layer, and by operation between layers, in order, as that of
    `helpers.frameworks.keras.layers`; None of a module whose way depends on its values.
    """
    import pandas as pd

    torch = pytorch.torch()
    from torch.fx.passes.shape_prop import ShapeProp

    try:
        traced = torch.fx.symbolic_trace(model)
        inputs = _tensors({t.name: t.zeros(2) for t in schema.inputs})
        taken = [inputs[node.target] for node in traced.graph.nodes if node.op == "placeholder"]
        with torch.no_grad():
            ShapeProp(traced).propagate(*taken)
    except Exception:  # whatever a module does that cannot be traced
        return None
    modules, rows = dict(traced.named_modules()), {}
    kept = ("placeholder", "call_module", "call_function", "call_method")
    for node in (node for node in traced.graph.nodes if node.op in kept):
        layer = modules.get(node.target) if node.op == "call_module" else None
        names = {
            "placeholder": "input",
            "call_module": type(layer).__name__,
            "call_function": getattr(node.target, "__name__", ""),
            "call_method": node.target,
        }
        given = node.meta.get("tensor_meta")
        shape = getattr(given, "shape", (0,))[1:]
        rows[node.target if layer else node.name] = {
            "type": names[node.op],
            "gives": "x".join(map(str, shape)) or "1",
            "parameters": sum(p.numel() for p in layer.parameters()) if layer else 0,
            "takes": [n.target if n.op == "call_module" else n.name for n in node.all_input_nodes],
        }
    for row in rows.values():
        row["takes"] = [name for name in row["takes"] if name in rows]
    return pd.DataFrame.from_dict(rows, orient="index")


def export(model: Path, schema: Schema, path: Path) -> list[str]:
    """Write a program as a float32 ``.tflite``, with the schema's names.

    Raises
    ------
    BadInput : PyTorch is not installed.
    ConversionFailed : the converter failed, or lost an input, an output or the batch.
    """
    pytorch.torch()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.tflite"
        rows = _convert(model, made, schema.to_json())
        content = made.read_bytes()
    path.write_bytes(tflite.named(content, schema, made_for=rows))
    if rows is not None:
        _require_any_batch(path, schema)
    return []


def _require_any_batch(path: Path, schema: Schema) -> None:
    """Refuse a file whose rows depend on how many are scored together."""
    rng = np.random.default_rng(0)
    inputs = {
        tensor.name: rng.uniform(*tensor.bounds, (16, *tensor.shape)).astype(tensor.dtype)
        for tensor in schema.inputs
    }
    try:
        with runtimes.open_model(path, schema) as opened:
            worst = max(runtimes.batch_differences(opened, inputs, (1, 3, 16)))
        said = "" if worst < _MOST_DIFFERENCE else f"rows differ by {worst:.2g} between batches"
    except DamagedFile as error:
        said = str(error)
    if said:
        path.unlink()
        raise ConversionFailed(f"the converter's file is wrong, {tflite.FIX}: {said}")


@contextmanager
def plain(model: Path, *, optimise: bool = False) -> Iterator[Path | None]:
    """What litert-torch makes of it as it is, as a file that is gone afterwards: to look at."""
    with tempfile.TemporaryDirectory() as folder:
        path = None if optimise else Path(folder) / "plain.tflite"
        if path is not None:
            _convert(model, path)
        yield path


def _convert(model: Path, path: Path, schema: Mapping | None = None) -> int | None:
    """The number of rows that the file is made for, where it is to be freed in it."""
    try:
        return child.run(
            "export PyTorch to TFLite",
            f"{__name__}:_convert_here",
            source=str(model),
            target=str(path),
            schema=schema,
        )
    except child.ChildDied:
        raise
    except WorkbenchError as error:
        raise ConversionFailed(f"PyTorch to TFLite failed: {error}") from error


def _convert_here(source: str, target: str, schema: dict | None) -> int | None:
    """The conversion itself; runs in a child process, because it prints and imports much."""
    import litert_torch
    import torch

    program = pytorch.Program(Path(source))
    names = {name: name for name in (*program.inputs, *program.outputs)}
    batch, freed = 1, None
    if schema is not None:
        given = Schema.from_json(schema).as_given()
        names = {given.name_in(t): t.name for t in (*given.inputs, *given.outputs)}
        freed = _prime(program) if given.batch is None else None
        batch = given.batch or freed

    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = program.module

        def forward(self, **tensors):
            found = program({name: tensors[names[name]] for name in program.inputs})
            return {names[name]: value for name, value in found.items() if name in names}

    sample = {
        names[name]: torch.zeros(
            [batch if n == -1 else n for n in shape], dtype=getattr(torch, dtype)
        )
        for name, (shape, dtype) in program.inputs.items()
    }
    litert_torch.convert(Named(), sample_kwargs=sample).export(target)
    return freed


def _prime(program: pytorch.Program) -> int:
    """A number of rows that is found again: it divides no length in the program, nor one near it,
    as padding makes them.
    """
    values = [node.meta.get("val") for node in program.module.graph.nodes]
    values += program.module.state_dict().values()
    lengths = {n for value in values for n in getattr(value, "shape", ()) if isinstance(n, int)}
    near = {n + off for n in lengths for off in range(-2, 3) if n + off > 0}
    return next((p for p in _PRIMES if all(n % p for n in near)), _PRIMES[0])
