"""TFLite to MNN, and MNN to integer MNN, in a child process and with nothing taken on trust.

MNN's converter exits with status 0 on a missing input, an unsupported operator or an output folder
that does not exist, leaves an older output file in place, and ends the process on a truncated
input; its Python entry point also installs a package and reports usage to a server. So: the native
module is called directly, in a child process that never imports TensorFlow (the two cannot share a
process) and in a folder of its own, since it keeps a file in the working directory under a fixed
name while it is at work; the target is removed first, and afterwards the file must be there, open,
and take and give the schema's tensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers import child
from helpers.convert import onnx, recipes, tflite
from helpers.errors import ConversionFailed, DamagedFile, WorkbenchError
from helpers.runtimes import Runtime, open_model
from helpers.schema import Schema

PLAIN = recipes.get("mnn", "fp32").options
CURES = {
    "SELECT_V2": (
        "a Keras Embedding becomes one, helpers.layers.Lookup looks up the same table without it"
    )
}
"""What to do about operators that MNN does not have."""
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNKNOWN_OPERATORS = re.compile(r"NOT_SUPPORTED_OP: \[ ([^]]*?) *\]")


def convert(
    source: Path,
    schema: Schema,
    path: Path,
    *,
    options: Sequence[str] = PLAIN,
    trusted: bool = False,
    examine: Callable[[Runtime], None] | None = None,
) -> str:
    """Write the ``.mnn`` form of a float32 ``.tflite`` file, or of an ``.onnx`` file.

    Parameters
    ----------
    options : further arguments for the converter, see `helpers.convert.recipes`.
    trusted : the source came from `Stage.input`; any other file is opened in LiteRT first, in a
        child process.
    examine : called with the file that was made, open in a process of its own.

    Returns
    -------
    What the converter printed.

    Raises
    ------
    ConversionFailed : a quantised source, no file, a file that does not open, or one whose inputs
        or output are not the schema's.
    DamagedFile : the source is not a TFLite file that LiteRT can score (MNN would recurse until it
        crashes).
    """
    path.unlink(missing_ok=True)
    if not trusted:
        open_model(source, schema).close()
    if source.suffix != ".onnx":
        tflite.require_float32(source)
    called = f"convert {source.name} to MNN"
    with tempfile.TemporaryDirectory() as folder, child.Child(called) as process:
        form, given = "TFLITE", source
        if source.suffix == ".onnx":
            form, given = "ONNX", Path(folder) / source.name
            onnx.rename(source, schema, given)
        arguments = ["-f", form, "--modelFile", str(given.absolute())]
        arguments += ["--MNNModel", str(path.absolute()), "--bizCode", schema.model_name, *options]
        _make(process, path, "_convert_here", arguments=arguments, folder=folder)
        _set_uuid(path, seed=source.read_bytes() + " ".join(options).encode())
        _check(process, path, schema, examine)
        return process.log_tail()


def reduce_only(
    source: Path, schema: Schema, path: Path, options: Sequence[str], operators: Collection[str]
) -> None:
    """Write what `convert` makes with the options of integer weights, of some operators alone: the
    weights of the others stay float32.

    Parameters
    ----------
    operators : by their names in the file, see `integer_weights`.

    Raises
    ------
    ConversionFailed : see `convert`.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "weights.json"
        given = "--compressionParamsFile", str(told)
        convert(source, schema, path, options=(*options, *given), trusted=True)  # which writes them
        described = json.loads(told.read_text(encoding="utf-8"))
        for algorithm in described["algo"]:
            found = algorithm["quantParams"]["layer"]
            algorithm["quantParams"]["layer"] = [e for e in found if e["opName"] in operators]
        told.write_text(json.dumps(described), encoding="utf-8")
        bits = options.index("--weightQuantBits")
        rest = options[:bits] + options[bits + 2 :]
        convert(source, schema, path, options=(*rest, *given), trusted=True)


def quantise(
    source: Path,
    schema: Schema,
    path: Path,
    calibration: Path,
    settings: Mapping[str, str],
    *,
    examine: Callable[[Runtime], None] | None = None,
) -> None:
    """Write a file with integer activations from a float32 ``.mnn`` file (MNN's offline
    quantisation).

    Parameters
    ----------
    calibration : ``.npz`` of inputs by name. The tool reads decimal text.
    settings : what the tool is told besides, see `helpers.convert.recipes`.
    examine : see `convert`.

    Raises
    ------
    ConversionFailed : what the tool refused, or a file that cannot be used.
    """
    path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder, child.Child(f"quantise {source.name}") as process:
        sample = Path(folder) / "samples" / "0"
        sample.mkdir(parents=True)
        with np.load(calibration, allow_pickle=False) as file:
            arrays = {name: file[name] for name in schema.input_names}
        for name, array in arrays.items():
            np.savetxt(sample / f"{name}.txt", array.reshape(-1), fmt="%.9g")
        shapes = [{"name": name, "shape": list(array.shape)} for name, array in arrays.items()]
        described = {"inputs": shapes, "outputs": schema.output_names}
        (sample / "input.json").write_text(json.dumps(described, allow_nan=False), encoding="utf-8")
        config = Path(folder) / "config.json"
        config.write_text(
            json.dumps(
                {"input_type": "sequence", "path": str(sample.parent), "format": "GRAY", **settings}
            ),
            encoding="utf-8",
        )
        written = Path(folder) / path.name  # the tool leaves a second file beside what it makes
        _make(
            process,
            written,
            "_quantise_here",
            arguments=[str(source.absolute()), str(written), str(config)],
            folder=folder,
        )
        _set_uuid(written, seed=source.read_bytes() + calibration.read_bytes())
        path.write_bytes(written.read_bytes())
        _check(process, path, schema, examine)


def _make(process: child.Child, path: Path, function: str, **arguments) -> None:
    """Let a tool write `path` in the child, whatever it reports, and see that the file is there."""
    try:
        process.call(f"{__name__}:{function}", **arguments)
    except WorkbenchError as error:
        path.unlink(missing_ok=True)
        raise ConversionFailed(str(error)) from error
    if not path.exists() or path.stat().st_size == 0:
        log = process.log_tail()
        if unknown := _UNKNOWN_OPERATORS.search(log):
            operators = unknown[1].replace(",", " ").split()
            cures = "".join(f" ({CURES[operator]})" for operator in operators if operator in CURES)
            raise ConversionFailed(
                f"MNN does not have the operator {', '.join(operators)}{cures}{log}"
            )
        raise ConversionFailed(f"MNN's tool ended without an error and wrote no file{log}")


def _check(
    process: child.Child, path: Path, schema: Schema, examine: Callable[[Runtime], None] | None
) -> None:
    """Open what a tool made, in a process of its own, and let it be examined."""
    try:
        model = open_model(path, schema)
    except DamagedFile as error:
        path.unlink(missing_ok=True)
        raise ConversionFailed(
            f"MNN's tool wrote a file that cannot be used: {error}{process.log_tail()}"
        ) from error
    with model:
        if examine is not None:
            examine(model)


def integer_weights(path: Path) -> dict[str, bool]:
    """Operators of an ``.mnn`` file whose weights are integers, by name, and whether they have zero
    points.

    Raises
    ------
    DamagedFile : MNN cannot read it.
    """
    with tempfile.TemporaryDirectory() as folder, child.Child(f"read {path.name}") as process:
        target = Path(folder) / "model.json"
        arguments = ["-f", "MNN", "--modelFile", str(path.absolute()), "--JsonFile", str(target)]
        process.call(f"{__name__}:_convert_here", arguments=arguments, folder=folder)
        if not target.exists():
            raise DamagedFile(f"MNN cannot read {path.name}{process.log_tail()}")
        described = json.loads(target.read_text(encoding="utf-8", errors="replace"))
    found = {}
    for operator in described["oplists"]:
        stored = operator.get("main", {}).get("quanParameter")
        if stored and stored["buffer"]:
            found[operator["name"]] = stored["readType"] != 0
    return found


def interface(path: Path, schema: Schema):
    """Tell the shapes of an ``.mnn`` file before it is resized: DataFrame of tensor, kind and
    shape, as an app asks.

    Raises
    ------
    DamagedFile : the session has no tensor of a name; an app would crash on it.
    """
    import pandas as pd

    shapes = child.run(
        f"open {path.name}", f"{__name__}:_interface_here", path=str(path), schema=schema.to_json()
    )
    return pd.DataFrame(shapes, columns=["tensor", "kind", "shape"]).astype({"shape": str})


def _interface_here(path: str, schema: dict) -> list[tuple[str, str, list[int]]]:
    """The calls of an app; runs in a child process."""
    import MNN

    declared = Schema.from_json(schema)
    interpreter = MNN.Interpreter(path)
    session = interpreter.createSession({"backend": "CPU", "numThread": 1})
    found = [
        (name, "input", interpreter.getSessionInput(session, name)) for name in declared.input_names
    ]
    found += [
        (name, "output", interpreter.getSessionOutput(session, name))
        for name in declared.output_names
    ]
    for name, kind, tensor in found:
        if tensor is None:
            raise DamagedFile(f"{Path(path).name} has no {kind} {name}")
    return [(name, kind, [int(n) for n in tensor.getShape()]) for name, kind, tensor in found]


def _convert_here(arguments: list[str], folder: str) -> None:
    """The conversion itself; runs in a child process."""
    import _tools

    with contextlib.chdir(folder):
        _tools.mnnconvert(["mnnconvert", *arguments])


def _quantise_here(arguments: list[str], folder: str) -> None:
    """The quantisation itself; runs in a child process."""
    import _tools

    with contextlib.chdir(folder):
        _tools.mnnquant(["mnnquant", *arguments])


def _set_uuid(path: Path, seed: bytes) -> None:
    """Replace the random identifier by one that follows from the source: the bytes repeat."""
    content = path.read_bytes()
    new = str(uuid.UUID(bytes=hashlib.sha256(seed).digest()[:16], version=4)).encode()
    if len(_UUID.findall(content)) == 1:
        path.write_bytes(_UUID.sub(new, content))
