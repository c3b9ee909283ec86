"""PyTorch programs to ONNX and to Core ML, each in a child process and read back.

Exporters name tensors after inner nodes, write down where in which file a line of the model stands,
and Core ML computes in half floats unless told otherwise: names, what is left out and precision are
set here, and what is in the file is read again.
"""

from __future__ import annotations

import json
import tempfile
import uuid
import zipfile
from pathlib import Path

from helpers import child
from helpers.convert import onnx
from helpers.errors import ConversionFailed, WorkbenchError
from helpers.runtimes import pytorch
from helpers.schema import Schema

PACKAGE = ".mlpackage.zip"
"""Suffix of a Core ML package, a folder, as one file."""
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_IDENTIFIERS = uuid.UUID(int=0)
"""What the identifiers in a package are derived in, where its writer draws them."""


def to_onnx(source: Path, schema: Schema, path: Path) -> None:
    """Write a program as ``.onnx`` with the schema's names and batch, weights inside.

    Raises
    ------
    BadInput : PyTorch is not installed.
    ConversionFailed : the exporter failed, or lost an input or an output.
    """
    raw = path.with_name(f"{path.stem}-raw{path.suffix}")
    try:
        _made("ONNX", "_onnx_here", source=str(source), target=str(raw))
        onnx.rename(raw, schema, path)
    finally:
        raw.unlink(missing_ok=True)


def to_coreml(
    source: Path, schema: Schema, path: Path, *, half: bool = False, process=None
) -> list[dict]:
    """Write a program as a Core ML package (an ML program, from iOS 16 on), zipped.

    Parameters
    ----------
    half : compute in float16, which the Neural Engine needs.
    process : a `helpers.child.Child` to use, which saves its imports; default a new one.

    Returns
    -------
    Its inputs and outputs as they are read back: name, kind, shape (-1 for what is free), dtype.

    Raises
    ------
    BadInput : PyTorch is not installed.
    ConversionFailed : the converter failed, or the file has another interface than the schema.
    """
    described = _made(
        "Core ML",
        "_coreml_here",
        source=str(source),
        target=str(path),
        schema=schema.to_json(),
        half=half,
        process=process,
    )
    batch = -1 if schema.batch is None else schema.batch
    wanted = [
        {"name": t.name, "kind": kind, "shape": [batch, *t.shape], "dtype": t.dtype}
        for kind, tensors in (("input", schema.inputs), ("output", schema.outputs))
        for t in tensors
    ]
    for there, tensor in zip(described, wanted, strict=False):
        if there["kind"] == "output" and not there["shape"]:  # it need not say
            there["shape"] = tensor["shape"]
    if described != wanted:
        raise ConversionFailed(f"the Core ML package has {described}, the model has {wanted}")
    return described


def _made(form: str, function: str, process=None, **arguments):
    pytorch.require()
    called = f"{__name__}:{function}"
    try:
        if process is not None:
            return process.call(called, **arguments)
        return child.run(f"export PyTorch to {form}", called, **arguments)
    except WorkbenchError as error:
        raise ConversionFailed(f"PyTorch to {form} failed: {error}") from error


def _onnx_here(source: str, target: str) -> None:
    """The export itself; runs in a child process."""
    import torch

    program = pytorch.Program(Path(source))
    # external_data=False: MNN converts a file whose weights lie in another without an error
    exported = torch.onnx.export(program.exported, dynamo=True, external_data=False)
    model = exported.model_proto
    ends = ((model.graph.input, program.inputs), (model.graph.output, program.outputs))
    renamed = {
        v.name: name for values, names in ends for v, name in zip(values, names, strict=True)
    }
    onnx.tidy(model, renamed)
    Path(target).write_bytes(model.SerializeToString())


def _coreml_here(source: str, target: str, schema: dict, half: bool) -> list[dict]:
    """The conversion itself; runs in a child process."""
    import coremltools
    import numpy as np

    declared, program = Schema.from_json(schema), pytorch.Program(Path(source))
    names = declared.as_given().by_name(
        {name: name for name in (*program.inputs, *program.outputs)}
    )
    ours = {theirs: name for name, theirs in names.items()}
    dtypes = {tensor.name: np.dtype(tensor.dtype).type for tensor in declared.outputs}
    if renamed := [name for name in program.inputs if ours[name] != name]:
        raise ConversionFailed(f"inputs of a program keep their names: {', '.join(renamed)}")
    if unknown := [name for name in program.outputs if ours[name] not in dtypes]:
        raise ConversionFailed(f"the schema has no output {', '.join(unknown)}")
    model = coremltools.convert(
        program.exported.run_decompositions({}),
        outputs=[
            coremltools.TensorType(name=ours[name], dtype=dtypes[ours[name]])
            for name in program.outputs
        ],
        compute_precision=getattr(coremltools.precision, "FLOAT16" if half else "FLOAT32"),
        minimum_deployment_target=coremltools.target.iOS16,
        skip_model_load=True,
    )
    model.user_defined_metadata.pop("com.github.apple.coremltools.conversion_date", None)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / f"{declared.model_name}.mlpackage"
        model.save(str(package))
        _pack(package, Path(target))
    return interface(Path(target))


def interface(path: Path) -> list[dict]:
    """Inputs and outputs of a zipped Core ML package as it calls them: name, kind, shape (-1 for
    what is free; empty where it does not say), dtype.
    """
    import coremltools

    kinds = coremltools.proto.FeatureTypes_pb2.ArrayFeatureType.ArrayDataType
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        (package,) = Path(folder).iterdir()
        described = coremltools.utils.load_spec(str(package)).description

    def entry(kind: str, feature) -> dict:
        array = feature.type.multiArrayType
        shape = [int(n) for n in array.shape]
        for place, size in enumerate(array.shapeRange.sizeRanges):
            if size.upperBound != size.lowerBound:
                shape[place] = -1
        dtype = kinds.Name(array.dataType).lower()
        return {"name": feature.name, "kind": kind, "shape": shape, "dtype": dtype}

    inputs = [entry("input", feature) for feature in described.input]
    return inputs + [entry("output", feature) for feature in described.output]


def _pack(package: Path, path: Path) -> None:
    """Zip a package so that the same model is the same bytes: without the time of day and what is
    for debugging, and with identifiers that follow from what they name.
    """
    import coremltools

    manifest = json.loads((package / "Manifest.json").read_text(encoding="utf-8"))
    entries = manifest["itemInfoEntries"]
    new = {old: str(uuid.uuid5(_IDENTIFIERS, entry["path"])) for old, entry in entries.items()}
    manifest["itemInfoEntries"] = {new[old]: entry for old, entry in sorted(entries.items())}
    manifest["rootModelIdentifier"] = new[manifest["rootModelIdentifier"]]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(f for f in package.rglob("*") if f.is_file()):
            place = file.relative_to(package)
            if place.parts[0] not in ("Data", "Manifest.json"):
                continue
            content = file.read_bytes()
            if place.name == "Manifest.json":
                content = json.dumps(manifest, sort_keys=True, indent=1).encode()
            elif place.suffix == ".mlmodel":
                spec = coremltools.proto.Model_pb2.Model.FromString(content)
                content = spec.SerializeToString(deterministic=True)
            info = zipfile.ZipInfo(f"{package.name}/{place.as_posix()}", _ZIP_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
