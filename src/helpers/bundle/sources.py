"""Sources for the phone and the desktop: templates filled in from a model's schema, so that any
study gets its own.

The templates lie in ``templates/bundle``, laid out as the bundle is: its folder is a Swift package,
``android`` in it a module of Gradle. ``__name__`` in a path becomes the model's class name,
``__package__`` the same in lower case. What they see:

    model       name of the model, as in the schema name        the same in upper camel case, to
    name a class inputs      of each: name, dtype (float32, int32, int64 or uint8), shape and size
    of a row, meaning, dimensions
                (name, meaning, low, high; may be none), `ranges` (low, high: by dimension, or one
                for all values), and `outside`, integers that its first value does not take, to test
                with
    outputs     the same of each
    output      the first of them, by which a task decides
    single      whether it is the only one, and one float32 a row: a score
    batch       number of rows that the files take at a time; None is any
    files       names of the model files in the bundle: model.tflite, model.mnn
    minimum     least version of each runtime: of ``tflite`` or ``litert``, and of ``mnn``
    releases    of ``tflite``, ``litert`` and ``mnn``, what an app takes, see `recipes.release`
    encoding    whether the phone makes the inputs itself, of raw sessions as ``features.json`` says
    beyond      whether the model has numbers beyond the declared ranges too, see `golden.BEYOND`
    pictures    whether the phone makes the input itself, of pictures as ``features.json`` says
    halves      `files` of the two halves of the model by that of the whole, what `reader` and
                `candidate` take, and `vector`, as an input; None if there are none
    scorer      name of the class that an app scores with by default
    runtime     the runtime of that class: tflite or mnn
    sample      whether there are sample apps
    listing     twelve digits that follow from the names of the bundle's files

and the filters ``quoted`` (a string literal of C, Objective-C and Swift), ``kotlin`` (one of
Kotlin) and ``comment`` (text that cannot end the comment it stands in).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.convert import recipes
from helpers.errors import BadInput
from helpers.schema import Schema, Tensor

if TYPE_CHECKING:
    from helpers.bundle.halves import Halves

FOLDER = Path(__file__).resolve().parents[1] / "templates" / "bundle"
_INTEGERS = {"uint8": (0, 255), "int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def render(
    schema: Schema,
    files: Iterable[str],
    minimum: Mapping[str, str],
    encoding: bool = False,
    beyond: bool = True,
    pictures: bool = False,
    names: Iterable[str] = (),
    halves: Halves | None = None,
) -> dict[str, str]:
    """All sources of a bundle.

    Parameters
    ----------
    files : names of the model files in the bundle.
    minimum : least version of each runtime that opens them.
    encoding : whether ``features.json`` and ``sessions.json`` are in the bundle, and the inputs are
        int64 ``(n, 1)``.
    beyond : whether the golden cases go beyond the declared ranges.
    pictures : whether ``features.json`` and ``pictures.json`` are in the bundle, the only input is
        a picture ``(n, size, size, 3) float32``, and the first output has a number for each label.
    names : of the bundle's other files, which ``Package.swift`` finds in its folder.
    halves : the two halves of the model, if the bundle has them.

    Raises
    ------
    BadInput : ``model.mnn`` is in the bundle, and an input takes integers beyond 32 bits, which MNN
        does not have; the phone makes the inputs of any number of candidates, and the files take a
        fixed number, or do not score; it makes them of pictures, and the model takes none, or gives
        no labels.

    Returns
    -------
    Text by path in the bundle, e.g. ``c/golden.h``. A template that comes out empty, as one for a
    runtime whose file is not there, is left out.
    """
    name = class_name(schema.model_name)
    files = list(files)
    for tensor in schema.inputs:
        if "model.mnn" in files and tensor.dtype != "float32":
            _check_32_bits(tensor)
    single = (
        len(schema.outputs) == 1
        and schema.output.dtype == "float32"
        and schema.output.shape == (1,)
    )
    if encoding and (
        schema.batch is not None or schema.output.dtype != "float32" or schema.output.shape != (1,)
    ):
        raise BadInput(
            f"{schema.model_name} must give any number of candidates one float32 each to re-rank "
            "them"
        )
    if pictures and encoding:
        raise BadInput(f"{schema.model_name} takes either pictures or raw sessions, not both")
    if pictures:
        check_pictures(schema)
    inputs, outputs = (
        [_plain(tensor) for tensor in tensors] for tensors in (schema.inputs, schema.outputs)
    )
    values = {
        "model": schema.model_name,
        "name": name,
        "inputs": inputs,
        "outputs": outputs,
        "output": outputs[0],
    }
    values |= {"single": single, "batch": schema.batch}
    values |= {"files": files, "minimum": dict(minimum), "encoding": encoding}
    values |= {"releases": {of: recipes.release(of, minimum) for of in recipes.RELEASES}}
    values |= {"beyond": beyond, "pictures": pictures}
    values["halves"] = halves and {
        "files": halves.files,
        "reader": [_plain(tensor) for tensor in halves.reader.inputs],
        "candidate": [_plain(tensor) for tensor in halves.candidate.inputs],
        "vector": _plain(halves.reader.output),
    }
    values["sample"] = schema.output.dtype == "float32" and (
        "model.tflite" in files or not pictures
    )
    values["runtime"] = "tflite" if "model.tflite" in files else "mnn"
    values["scorer"] = name + ("" if values["runtime"] == "tflite" else "Mnn")
    paths = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*")} | set(names) | set(files)
    values["listing"] = hashlib.sha256("\n".join(sorted(paths)).encode()).hexdigest()[:12]
    return filled("bundle", values)


def filled(folder: str, values: Mapping) -> dict[str, str]:
    """All templates of a folder of ``templates``, filled in with values.

    Returns
    -------
    Text by path, ``__name__`` and ``__package__`` in it replaced by the value ``name`` and by it in
    lower case. A template that comes out empty is left out.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER.with_name(folder)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"quoted": _quoted, "kotlin": _kotlin, "comment": _comment}
    rendered = {}
    for template in environment.list_templates():
        path = template.replace("__name__", values["name"])
        path = path.replace("__package__", values["name"].lower())
        rendered[path] = environment.get_template(template).render(values)
    return {path: text for path, text in rendered.items() if text.strip()}


def check_pictures(schema: Schema) -> None:
    """Refuse a model that does not classify pictures.

    Raises
    ------
    BadInput : it has another input than one picture, or its first output names no labels.
    """
    picture, output = schema.inputs[0], schema.output
    square = len(picture.shape) == 3 and picture.shape[0] == picture.shape[1]
    if len(schema.inputs) > 1 or picture.dtype != "float32" or not square or picture.shape[2] != 3:
        taken = ", ".join(f"{t.name} {t.dtype} {list(t.shape)}" for t in schema.inputs)
        raise BadInput(
            f"{schema.model_name} takes {taken}: a classifier of pictures takes one float32 input "
            "[size, size, 3]"
        )
    if output.dtype != "float32" or len(output.dimensions) < 2:
        raise BadInput(
            f"{output.name} of {schema.model_name} is {output.dtype} with "
            f"{len(output.dimensions)} named values: a classifier of pictures gives one float32 "
            "for each label, the names of its dimensions"
        )


def _plain(tensor: Tensor) -> dict:
    """What templates see of a tensor."""
    ranges = [{"low": part.low, "high": part.high} for part in tensor.dimensions or [tensor]]
    plain = {
        name: getattr(tensor, name) for name in ("name", "dtype", "size", "meaning", "low", "high")
    }
    plain |= {
        "shape": list(tensor.shape),
        "dimensions": [vars(dimension) for dimension in tensor.dimensions],
    }
    return plain | {"ranges": ranges, "outside": _outside(tensor, **ranges[0])}


def _outside(tensor: Tensor, low: float, high: float) -> list[int]:
    """Integers of the tensor's type just below and just above a range."""
    if tensor.dtype == "float32":
        return []
    least, most = _INTEGERS[tensor.dtype]
    beside = math.ceil(low) - 1, math.floor(high) + 1
    return [value for value in beside if least <= value <= most and not low <= float(value) <= high]


def _check_32_bits(tensor: Tensor) -> None:
    least, most = _INTEGERS["int32"]
    for part in tensor.dimensions or [tensor]:
        if part.low < least or part.high > most:
            raise BadInput(
                f"{tensor.name} takes integers from {part.low:.0f} to {part.high:.0f}, MNN has 32 "
                "bits: narrow its range in the schema, or make the bundle without model.mnn"
            )


def class_name(model: str) -> str:
    """A model's name as a class is called: ``ultra_simple_ranking_model`` is
    ``UltraSimpleRankingModel``.
    """
    words = re.findall(r"[A-Za-z0-9]+", model)
    name = "".join(word[0].upper() + word[1:] for word in words)
    return name if name[:1].isalpha() else f"Model{name}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)


def _kotlin(text: str) -> str:
    return _quoted(text).replace("$", "\\$")


def _comment(text: str) -> str:
    return " ".join(text.split()).replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")
