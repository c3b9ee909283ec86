"""A trained model that somebody brings: its schema is inferred, its tensors are matched by name.

The file goes through the stages as it is: it is copied byte for byte, and nothing trains it.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers import files, frameworks, log_files, registry, runtimes
from helpers.errors import BadInput, meant
from helpers.runtimes import savedmodel
from helpers.schema import DTYPES, Dimension, Schema, Tensor
from helpers.studies import Study
from helpers.tasks import ACTIVATIONS, Task

_NOISE = re.compile(r"^serving_default_|:\d+$")


NO_DATA = (
    "NO DATA: rows are drawn evenly within the ranges of the schema, which no user's are. What is "
    "said of these says little of yours: bring a table with --data"
)


@dataclass(frozen=True)
class Brought:
    """A model that is a study now: its name, where its schema is, whether that was inferred now,
    and what there is to say. `warning` is what a verdict must not be read without, or empty.
    """

    study: str
    schema: Path
    inferred: bool
    said: tuple[str, ...]
    warning: str = ""


def bring(
    model: Path | str,
    data: Path | str | Sequence[Path | str] = (),
    *,
    name: str | None = None,
    schema_file: Path | str | None = None,
    label: str | None = None,
    group: str | None = None,
    task: str | None = None,
    output: str | None = None,
    activation: str | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    in_order: bool = False,
) -> Brought:
    """Make a study of a trained file, for `helpers.pipeline.run`.

    Parameters
    ----------
    model : a ``.keras``, ``.pt2``, ``.tflite`` or ``.onnx`` file, or the folder of a SavedModel.
    data : tables, ``.csv`` or ``.parquet``; without one, rows are drawn within the schema's ranges.
    name : of the study; default the file's.
    schema_file : JSON of the schema. Default ``artifacts/<study>/schema.json``, which is inferred
        each time until somebody corrects it.
    label, group : columns; without a label the model is judged as tensors.
    task : ranking, classification or tensors; default by the label and the output's width.
    output : which of several outputs decides; default the only one of floats.
    activation : sigmoid or softmax, where the output that decides is of logits.
    shapes : by input, what its shape is without the batch, where the file leaves it open.
    in_order : take the columns of the table, in their order, for the values of the one input that
        has no names for them. It, `output` and `shapes` are for a schema to be inferred.

    Raises
    ------
    BadInput, DamagedFile : what is wrong with the file, the table or the schema, and the way out.
    """
    path = Path(model).expanduser().resolve()
    framework = frameworks.of(path)
    way = "give yours another with --name"
    study = registry.check_new_name(name or _clean(path.stem), way)
    before = registry.record(study) or {}
    if "source" in before:
        raise BadInput(f"there is a study {study!r} already, of {before['source']}: {way}")
    tables = [
        Path(p).expanduser().resolve() for p in ([data] if isinstance(data, (str, Path)) else data)
    ]
    there = log_files.header(tables[0]) if tables else []
    if (group or in_order) and not tables:
        said = "--in-order" if in_order else "--group"
        raise BadInput(f"{said} is of a table: bring one with --data")
    for column in filter(None, (label, group)):
        if column not in there:
            raise BadInput(
                f"there is no column {column}{meant(column, there)}; there is:"
                f" {', '.join(there) or 'no table'}"
            )
    if activation and activation not in ACTIVATIONS:
        raise BadInput(f"activation is {' or '.join(ACTIVATIONS)}, not {activation!r}")
    said: list[str] = []
    inputs, outputs = interface(path, framework)
    kept = registry.folder(study) / "schema.json"
    edited = kept.is_file() and files.sha256(kept) != before.get("inferred")
    inferred = schema_file is None and not edited
    place = kept if schema_file is None else Path(schema_file).expanduser().resolve()
    if not inferred:
        options = {"--shape": shapes, "--output": output, "--in-order": in_order}
        if unused := [option for option, value in options.items() if value]:
            cure = "remove it" if schema_file is None else "leave out --schema"
            raise BadInput(
                f"{', '.join(unused)} is for a schema to be inferred, the one in {place} says it: "
                f"correct it there, or {cure}"
            )
        found = match(registry.read_schema(place), inputs, outputs, path.name)
    else:
        free = [column for column in there if column not in (label, group)]
        found = infer(study, inputs, outputs, free, shapes or {}, in_order, output, said)
        if tables:
            found = _with_ranges(found, tables)
    chosen = task or _task(found, label)
    if chosen != "tensors" and label is None:
        raise BadInput(f"{chosen} needs a label: --label NAME, of {', '.join(there) or 'a table'}")
    if chosen == "tensors" and activation:
        raise BadInput(f"--activation {activation} is of scores: tensors are judged as they are")
    if inferred:
        files.make_folder(place.parent)
        files.write_json(place, found.to_json())
    record = {
        "model": str(path),
        "schema": str(place),
        "data": [str(table) for table in tables],
        "label": label if chosen != "tensors" else None,
        "group": group,
        "task": chosen,
        "settings": {"activation": activation} if activation else {},
        "inferred": files.sha256(place) if inferred else None,
    }
    if before and before != record:
        names = {"inferred": "schema"}
        others = dict.fromkeys(names.get(k, k) for k in record if before.get(k) != record[k])
        said.append(
            f"changed  {', '.join(others)} of {study!r}: what was judged before is judged again "
            "(--name keeps both)"
        )
    registry.keep(study, record)
    said.append(f"task     {chosen}{f', by {label}' if label and chosen != 'tensors' else ''}")
    return Brought(study, place, inferred, tuple(said), "" if tables else NO_DATA)


def interface(path: Path, framework: str) -> list[dict]:
    """Inputs and outputs of a model that somebody brings, see `runtimes.interface`."""
    if framework != "savedmodel":
        return runtimes.interface(path)
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / f"{path.name}.zip"
        savedmodel.pack(path, packed)
        return runtimes.interface(packed)


def match(declared: Schema, inputs: Mapping, outputs: Mapping, file: str) -> Schema:
    """A schema with what the file calls each tensor, found by name.

    Names count as equal when they are but for what exporters add (``serving_default_x:0``). One
    input, or one output, needs no name.

    Raises
    ------
    BadInput : a tensor that nothing in the file is like, or another dtype, shape or batch.
    """
    ends = []
    for kind, tensors, there in (
        ("input", declared.inputs, inputs),
        ("output", declared.outputs, outputs),
    ):
        found = []
        for tensor in tensors:
            names = [name for name in there if tensor.name in (name, _clean(name))]
            if tensor.in_file in there:
                names = [tensor.in_file]
            elif len(tensors) == len(there) == 1:
                names = list(there)
            if len(names) != 1:
                raise BadInput(
                    f"{file} has no {kind} {tensor.in_file or tensor.name}; it has:"
                    f" {', '.join(there)}"
                )
            _check_same(file, declared, tensor, *there[names[0]])
            found.append(replace(tensor, in_file="" if names[0] == tensor.name else names[0]))
        if kind == "input" and (rest := set(there) - {t.in_file or t.name for t in found}):
            raise BadInput(f"{file} takes {', '.join(sorted(rest))} too: the schema lacks it")
        ends.append(tuple(found))
    return replace(declared, inputs=ends[0], outputs=ends[1])


def _check_same(
    file: str, declared: Schema, tensor: Tensor, shape: Sequence[int], dtype: str
) -> None:
    if dtype != tensor.dtype:
        raise BadInput(f"{file}: {tensor.name} is {dtype}, the schema says {tensor.dtype}")
    batch = -1 if declared.batch is None else declared.batch
    wanted = [batch, *tensor.shape]
    if not runtimes.fits(shape, tensor.shape) or shape[0] not in (-1, batch):
        raise BadInput(
            f"{file}: {tensor.name} has the shape {list(shape)}, the schema says {wanted}"
        )


def infer(
    name: str,
    inputs: Mapping,
    outputs: Mapping,
    columns: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    in_order: bool,
    decides: str | None,
    said: list[str],
) -> Schema:
    """The schema of a file, and columns of a table for its inputs, by name.

    Raises
    ------
    BadInput : what the file does not say, or which column is for which value.
    """
    taken: set[str] = set()
    for key, (shape, _) in inputs.items():
        if len(shape) < 2:
            raise BadInput(
                f"{key} has the shape {list(shape)}, an input has the rows first and then the "
                "values of a row, as [-1, 1]: export the model so"
            )
    known = {_clean(key) for key in inputs}
    if unknown := sorted(set(shapes) - known - set(inputs)):
        raise BadInput(
            f"--shape {unknown[0]}: there is no such input{meant(unknown[0], known)}; there is: "
            f"{', '.join(sorted(known))}"
        )
    batches = {shape[0] for shape, _ in inputs.values()}
    if len(batches) != 1:
        raise BadInput(f"the inputs do not take the same number of rows: {dict(inputs)}")
    batch = None if (first := batches.pop()) == -1 else first
    made = []
    for key, (shape, dtype) in inputs.items():
        if dtype not in DTYPES:
            raise BadInput(f"{key} is {dtype}, a device takes {', '.join(DTYPES)}")
        row = shapes.get(_clean(key)) or shapes.get(key) or tuple(shape[1:])
        free = ",".join("?" if n == -1 else str(n) for n in shape[1:])
        if -1 in row:
            raise BadInput(
                f"{key} takes [{free}] values a row: say how many with --shape {_clean(key)}=..., "
                "as 3,48,192"
            )
        if not runtimes.fits(shape, row):
            raise BadInput(
                f"{key} takes [{free}] values a row, and not "
                f"--shape {_clean(key)}={','.join(map(str, row))}"
            )
        ends = (0.0, 255.0) if dtype == "uint8" else (0.0, 1.0)
        tensor = Tensor(_free(_clean(key), taken), "", (), dtype, tuple(row), *ends)
        made.append(_of_file(tensor, key))
    if columns:
        made = _with_columns(made, columns, in_order)
    results, left_out = [], []
    for key, (shape, dtype) in outputs.items():
        row = tuple(shape[1:])
        if dtype not in DTYPES:
            why = f"it is {dtype}, a device gives {', '.join(DTYPES)}"
        elif not row or -1 in row or shape[0] not in (-1, batch):
            why = (
                f"its shape is {list(shape)}, one that is judged has the rows of the inputs first "
                f"and then a fixed number of values, as {[first, 1]}"
            )
        else:
            results.append(_of_file(Tensor(_free(_clean(key), taken), "", (), dtype, row), key))
            continue
        if decides in (key, _clean(key)):
            raise BadInput(f"output {key} cannot decide: {why}")
        left_out.append(f"{key}: {why}")
    if not results:
        raise BadInput(f"no output can be judged: {'; '.join(left_out)}")
    said += [f"left out output {line}" for line in left_out]
    results = _deciding_first(results, decides, said)
    return Schema(name, tuple(made), tuple(results), batch)


def _of_file(tensor: Tensor, key: str) -> Tensor:
    return tensor if tensor.name == key else replace(tensor, in_file=key)


def _deciding_first(outputs: list[Tensor], decides: str | None, said: list[str]) -> list[Tensor]:
    names = [tensor.name for tensor in outputs]
    if decides is not None:
        chosen = [t for t in outputs if decides in (t.name, t.in_file)]
        if not chosen:
            raise BadInput(
                f"there is no output {decides}{meant(decides, names)}; there is: {', '.join(names)}"
            )
    else:
        floats = [tensor for tensor in outputs if tensor.dtype == "float32"]
        chosen = (floats or outputs)[:1]
        if len(outputs) > 1:
            said.append(
                f"output   {chosen[0].name} decides, of {', '.join(names)} (--output says another)"
            )
    return [chosen[0], *(tensor for tensor in outputs if tensor is not chosen[0])]


def _with_columns(tensors: list[Tensor], columns: Sequence[str], in_order: bool) -> list[Tensor]:
    """Tensors with a dimension for every column that is found for their values."""
    left, found, open_ = list(columns), {}, []
    for tensor in tensors:
        flat = len(tensor.shape) == 1  # of another shape are lists only: values have no names
        same = next((c for c in columns if c in (tensor.name, tensor.in_file)), None)
        numbered = [f"{tensor.name}_{i}" for i in range(tensor.size)]
        if same is not None and flat and tensor.size == 1:
            found[tensor.name] = [same]
        elif tensor.name in columns:
            found[tensor.name] = []
            left.remove(tensor.name)
        elif flat and set(numbered) <= set(columns):
            found[tensor.name] = numbered
        else:
            open_.append(tensor)
        for column in found.get(tensor.name, ()):
            left.remove(column)
    if open_:
        name, size, flat = open_[0].name, open_[0].size, len(open_[0].shape) == 1
        fits = len(open_) == 1 and flat and size == len(left)
        if fits and not in_order:
            raise BadInput(
                f"{name} takes {size} values a row and does not name them: if they are the columns "
                f"{', '.join(left)}, in this order, say so with --in-order"
            )
        if not fits:
            wanted = name if size == 1 else f"{name}, as lists of {size} values"
            numbered = f"{name}_0 to {name}_{size - 1}, or " if flat and size > 1 else ""
            raise BadInput(
                f"no column of the table is for the input {name}: name it {numbered}{wanted}; "
                f"there is: {', '.join(columns)}"
            )
        found[name] = left
    return [_with_dimensions(tensor, found[tensor.name]) for tensor in tensors]


def _with_dimensions(tensor: Tensor, names: Sequence[str]) -> Tensor:
    dimensions = tuple(Dimension(name, "", tensor.low, tensor.high) for name in names)
    return replace(tensor, dimensions=dimensions)


def _with_ranges(found: Schema, tables: Sequence[Path]) -> Schema:
    """A schema whose ranges are those of the values in tables."""
    ends = log_files.ranges(tables, found)

    def ranged(tensor: Tensor) -> Tensor:
        if not tensor.dimensions:
            low, high = ends[tensor.name]
            return replace(tensor, low=low, high=high)
        dimensions = tuple(
            replace(d, low=ends[d.name][0], high=ends[d.name][1]) for d in tensor.dimensions
        )
        return replace(tensor, dimensions=dimensions)

    return replace(found, inputs=tuple(map(ranged, found.inputs)))


def _task(found: Schema, label: str | None) -> str:
    if label is None:
        return "tensors"
    return "ranking" if found.output.size == 1 else "classification"


def _clean(name: str) -> str:
    """A name that all platforms take, without what exporters add."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", _NOISE.sub("", name)).strip("_")
    return (name if name[:1].isalpha() else f"x{name}")[:64]


def _free(name: str, taken: set[str]) -> str:
    result, number = name, 2
    while result in taken:
        result, number = f"{name}_{number}", number + 1
    taken.add(result)
    return result


def file_of(study: Study, model: str) -> Path:
    """Where the trained file of a model is: absolute, or beside the study's file.

    Raises
    ------
    BadInput : the model has none, or it is not there.
    """
    chosen = study.models[model]
    if not chosen.file:
        raise BadInput(f"model {model!r} of {study.name} is trained here: it has no file")
    path = Path(study.folder) / chosen.file
    if not path.exists():
        raise BadInput(f"there is no model {path}")
    return path


def copy(path: Path, target: Path) -> None:
    """Copy a trained file byte for byte; a SavedModel's folder is packed."""
    if path.is_dir():
        savedmodel.pack(path, target)
    else:
        shutil.copyfile(path, target)


def contents(path: Path) -> list[Path]:
    """The files of a model."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def names_table(found: Schema):
    """Which tensor of the file is which of the schema: DataFrame of tensor, kind, what the file
    calls it, shape and dtype.
    """
    import pandas as pd

    given = found.as_given()
    batch = -1 if found.batch is None else found.batch
    rows = [
        (t.name, kind, given.name_in(t), str([batch, *t.shape]), t.dtype)
        for kind, tensors in (("input", found.inputs), ("output", found.outputs))
        for t in tensors
    ]
    return pd.DataFrame(rows, columns=["tensor", "kind", "in the file", "shape", "dtype"])


def check_decision(task: Task, output: Tensor, values: np.ndarray) -> None:
    """Refuse an output that is taken for probabilities and holds none, as logits.

    Raises
    ------
    BadInput : what it holds, and what to say.
    """
    if task.name == "tensors":
        return
    word = "softmax" if output.size > 1 else "sigmoid"
    cure = (
        f"if they are logits say --activation {word} (in Python limits={{'activation': '{word}'}}),"
        " which the judging alone applies, or judge them as they are with --task tensors"
    )
    if task.activation == "softmax" and output.size == 1:
        raise BadInput(f"{output.name} is one value a row, whose softmax is always 1: {cure}")
    values = task.decided(values)
    low, high = float(values.min()), float(values.max())
    sums = values.reshape(len(values), -1).sum(axis=1)
    after = f" after its {task.activation}" if task.activation else ""
    if low < 0 or high > 1:
        said = f"goes from {low:.3g} to {high:.3g}"
    elif output.size > 1 and np.abs(sums - 1).max() > 1e-3:
        said = f"has rows that add up to {sums.min():.3g} to {sums.max():.3g}"
    else:
        return
    raise BadInput(f"{output.name}{after} {said}, which are no probabilities: {cure}")
