"""TFLite to MNN in a child process, with nothing taken on trust.

MNN's converter exits with status 0 on a missing input, an unsupported operator or an output folder that does
not exist, leaves an older output file in place, and ends the process on a truncated input; its Python entry
point also installs a package and reports usage to a server. So: the native module is called directly, in a
child process that never imports TensorFlow (the two cannot share a process), the target is removed first,
and afterwards the file must be there, open, and take and give the schema's tensors.
"""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

from helpers import child
from helpers.errors import ConversionFailed, DamagedFile
from helpers.runtimes import open_model
from helpers.schema import Schema

FORMS: dict[str, list[str]] = {
    "default": [],
    "matmul kept": ["--convertMatmulToConv", "0"],
}
"""Ways to lay the same float32 model out: by default MNN turns each matrix product into a 1x1 convolution."""


def convert(source: Path, schema: Schema, path: Path, *, options: list[str] = FORMS["matmul kept"]) -> str:
    """Write the ``.mnn`` form of a float32 ``.tflite`` file.

    Quantised TFLite files convert "successfully" to files that score a constant: give the float32 one.

    Parameters
    ----------
    options : further arguments for the converter, see `FORMS`.

    Returns
    -------
    What the converter printed.

    Raises
    ------
    ConversionFailed : no file, a file that does not open, or one whose inputs or output are not the schema's.
    DamagedFile : the source is not a TFLite file that LiteRT can score (MNN would recurse until it crashes).
    """
    path.unlink(missing_ok=True)
    open_model(source, schema)
    arguments = ["-f", "TFLITE", "--modelFile", str(source), "--MNNModel", str(path), "--bizCode", schema.model_name]
    with child.Child(f"convert {source.name} to MNN") as process:
        try:
            process.call(f"{__name__}:_convert_here", arguments=[*arguments, *options])
        except child.ChildDied as error:
            path.unlink(missing_ok=True)
            raise ConversionFailed(str(error)) from error
        if not path.exists() or path.stat().st_size == 0:
            raise ConversionFailed(f"MNN's converter ended without an error and wrote no file{process.log_tail()}")
        _set_uuid(
            path,
            process.call(f"{__name__}:_uuid_here", path=str(path)),
            seed=source.read_bytes() + " ".join(options).encode(),
        )
        try:
            open_model(path, schema)
        except DamagedFile as error:
            path.unlink(missing_ok=True)
            raise ConversionFailed(
                f"MNN's converter wrote a file that cannot be used: {error}{process.log_tail()}"
            ) from error
        return process.log_tail()


def convert_forms(source: Path, schema: Schema, folder: Path) -> dict[str, Path]:
    """Write every form of `FORMS` into `folder`; returns the files by form."""
    files = {form: folder / f"{form.replace(' ', '_')}.mnn" for form in FORMS}
    for form, path in files.items():
        convert(source, schema, path, options=FORMS[form])
    return files


def _convert_here(arguments: list[str]) -> None:
    """The conversion itself; runs in a child process."""
    import _tools

    _tools.mnnconvert(["mnnconvert", *arguments])


def _uuid_here(path: str) -> str:
    """The identifier inside an ``.mnn`` file; runs in a child process."""
    import MNN

    return MNN.get_model_uuid(path)


def _set_uuid(path: Path, old: str, seed: bytes) -> None:
    """Replace the random identifier by one that follows from the source, so that the bytes repeat."""
    content = path.read_bytes()
    new = uuid.UUID(bytes=hashlib.sha256(seed).digest()[:16], version=4)
    if len(old) == len(str(new)) and content.count(old.encode()) == 1:
        path.write_bytes(content.replace(old.encode(), str(new).encode()))
