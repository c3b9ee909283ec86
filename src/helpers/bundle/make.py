"""Make a bundle of a run: which files, their golden cases, the manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from helpers import features
from helpers.bundle import archive, golden, pictures, sessions, sources
from helpers.convert import recipes
from helpers.errors import BadInput
from helpers.evaluation.comparison import names
from helpers.pictures import Preparation
from helpers.runtimes import PHONE, open_model, runtime_of, variant_of
from helpers.schema import Schema
from helpers.tasks import Task
from helpers.tasks.judgement import BATCH_ERROR, SAME_ERROR, SHIPS, error_text


def choose(comparison, recommended: str | None, variant: str = "recommended") -> dict[str, str]:
    """Which file of the run goes into the bundle for each runtime.

    Parameters
    ----------
    comparison : table of ``comparison.csv``.
    recommended : ``file`` of ``recommendation.json``.
    variant : ``recommended``, or a variant's name such as ``mnn fp16``.

    Returns
    -------
    By name in the bundle (`archive.MODELS`), the file in the run: the chosen one, and for the other
    runtime the file of the same precision, or float32 where that is not there or broken.

    Raises
    ------
    BadInput : there is no such variant, or it is broken; the message lists those that can be
        shipped.
    """
    usable = comparison[(comparison["runtime"].isin(PHONE)) & comparison["verdict"].isin(SHIPS)]
    there = dict(zip(names(usable), usable["file"], strict=True))
    chosen = recommended if variant == "recommended" else there.get(variant)
    if chosen is None or chosen not in there.values():
        why = (
            "nothing is recommended"
            if variant == "recommended"
            else f"there is no variant {variant!r} to ship"
        )
        raise BadInput(f"{why}; there is: {', '.join(there)}")
    precision = variant_of(chosen)[1]
    result = {}
    for runtime, name in archive.MODELS.items():
        same = there.get(f"{runtime} {precision}") or there.get(f"{runtime} fp32")
        file = chosen if runtime_of(chosen) == runtime else same
        if file is not None:
            result[name] = file
    return result


def cases(
    schema: Schema,
    trained: Path,
    files: Mapping[str, Path],
    typical: Mapping[str, np.ndarray],
    *,
    seed: int = 0,
) -> golden.Golden:
    """The golden cases of model files.

    Parameters
    ----------
    trained : the trained model's file.
    files : by name in the bundle, model files that passed `Stage.input`.
    typical : named inputs of the test split.

    Returns
    -------
    Cases with the tolerance of each file and output, in parts of the output's scale: `SAME_ERROR`
    if the file computes in float32, and one step of an eight-bit score, `BATCH_ERROR`, if another
    device's integer kernels may round another way. Of the case that goes beyond the declared ranges
    nothing is left if the trained model, or a file, has no number for it, as a logarithm of what is
    never negative.

    Raises
    ------
    BadInput : the trained model or a file gives NaN or infinity within the declared ranges.
    """
    return scored_cases(schema, trained, files, golden.draw(schema, typical, seed=seed))


def scored_cases(
    schema: Schema,
    trained: Path,
    files: Mapping[str, Path],
    inputs: dict[str, dict[str, np.ndarray]],
) -> golden.Golden:
    """The golden cases of model files over given inputs, by case; see `cases`."""
    found = {}
    with open_model(trained, schema.as_given()) as model:
        found[""] = {name: model.predict(values) for name, values in inputs.items()}
    for file, path in files.items():
        with open_model(path, schema) as model:
            found[file] = {name: model.predict(values) for name, values in inputs.items()}
    for file, outputs in found.items():
        for name in [name for name in inputs if not _is_finite(outputs[name])]:
            if name != golden.BEYOND:
                raise BadInput(
                    f"{file or 'the trained model'} gives no number for a row of the golden case "
                    f"{name!r}, which is within the declared ranges: correct them in the schema, or"
                    " the model"
                )
            del inputs[name]
    golden_cases = tuple(
        golden.Case(name, values, found[""][name], {file: found[file][name] for file in files})
        for name, values in inputs.items()
    )
    ends = golden.described(schema.inputs), golden.described(schema.outputs)
    cases = golden.Golden(*ends, {}, golden_cases)
    return replace(cases, tolerance={file: _tolerance(cases, file) for file in files})


def _is_finite(outputs: Mapping[str, np.ndarray]) -> bool:
    return all(np.isfinite(values).all() for values in outputs.values())


def _tolerance(cases: golden.Golden, file: str) -> dict[str, float]:
    """By output, the largest difference that a file may show elsewhere."""
    same = cases.trained_difference(file) <= SAME_ERROR
    allowed = SAME_ERROR if same else BATCH_ERROR
    return {output.name: allowed * cases.scale(output.name) for output in cases.outputs}


def chosen_table(task: Task, comparison, files: Mapping[str, str]):
    """What `choose` chose, to read: DataFrame of text, a row a file."""
    import pandas as pd

    rows = comparison.set_index("file").loc[list(files.values())]
    cells = {
        "file": names(rows),
        "bytes": [f"{value:,}" for value in rows["bytes"]],
        task.agreement_name: [f"{value:.3f}" for value in rows[task.agreement]],
        "verdict": rows["verdict"],
    }
    return pd.DataFrame({name: list(values) for name, values in cells.items()}, index=list(files))


def cases_table(cases: golden.Golden):
    """The golden cases to read: DataFrame of text, a row a case, with how far each file is from the
    trained model.

    Where there are several outputs, the furthest.
    """
    import pandas as pd

    rows = {}
    for case in cases.cases:
        moved = {file: error_text(cases.case_difference(file, case)) for file in case.expected}
        rows[case.name] = {
            "rows": case.rows,
            **{f"{file} moves by": text for file, text in moved.items()},
        }
    return pd.DataFrame(rows).T


def input_table(schema: Schema):
    """What an app must feed, to read: DataFrame of text, a row a dimension of an input.

    Of an input whose values have no meaning of their own, one row, where the shape stands for the
    dimension.
    """
    import pandas as pd

    rows = [
        (tensor.name, tensor.dtype, place, part.meaning, f"{part.low:g} to {part.high:g}")
        for tensor in schema.inputs
        for place, part in list(enumerate(tensor.dimensions))
        or [(" x ".join(map(str, tensor.shape)), tensor)]
    ]
    return pd.DataFrame(rows, columns=["input", "type", "at", "meaning", "range"]).set_index(
        ["input", "type", "at"]
    )


def contents(models: Mapping[str, Path], cases: golden.Golden) -> dict[str, bytes]:
    """What a phone downloads but for ``model.json``: bytes by name in the bundle."""
    files = {name: path.read_bytes() for name, path in models.items()}
    return {
        **files,
        archive.GOLDEN_JSON: golden.to_json(cases).encode(),
        archive.GOLDEN: golden.to_bytes(cases),
    }


def raw_contents(
    encoding: features.Encoding,
    raws: Iterable[Mapping],
    models: Mapping[str, Path],
    schema: Schema,
    tolerance: Mapping[str, Mapping[str, float]],
    *,
    seed: int = 0,
) -> dict[str, bytes]:
    """What a phone needs besides if it makes the inputs itself: the encoding, and golden sessions
    to prove it by.

    Parameters
    ----------
    raws : sessions of the study, in the raw form; hard ones are added, see `sessions.generate`.
    tolerance : by name in the bundle and output, as in the golden cases.

    Raises
    ------
    BadInput : the model decides by something else than one float32 a row.
    """
    output = schema.output
    if output.shape != (1,) or output.dtype != "float32":
        raise BadInput(
            f"{output.name} is {output.dtype} {list(output.shape)}: candidates are ordered by one "
            "float32 each"
        )
    texts = {f"session {i}": json.dumps(raw) for i, raw in enumerate(raws, start=1)}
    texts |= sessions.generate(encoding, seed=seed)
    score = {name: open_model(path, schema).score for name, path in models.items()}
    allowed = {name: by_output[output.name] for name, by_output in tolerance.items()}
    cases = sessions.make(encoding, texts, score, allowed)
    described = (json.dumps(encoding.to_json(), allow_nan=False) + "\n").encode()
    return {archive.FEATURES: described, sessions.FILE: sessions.to_json(cases).encode()}


def picture_contents(
    preparation: Preparation,
    originals: Iterable[tuple[str, bytes, str]],
    trained: Path,
    models: Mapping[str, Path],
    schema: Schema,
    tolerance: Mapping[str, Mapping[str, float]],
) -> dict[str, bytes]:
    """What a phone needs besides if it makes the input of pictures: the preparation, and golden
    pictures to prove it by.

    Parameters
    ----------
    originals : name, content and a description of each picture file, see `pictures.make`.
    trained : the trained model's file.
    tolerance : by name in the bundle and output, as in the golden cases.

    Raises
    ------
    BadInput : the model takes something else than what is prepared, or names no labels.
    """
    sources.check_pictures(schema)
    name, shape = schema.inputs[0].name, schema.inputs[0].shape
    if (name, shape) != (preparation.input, (preparation.size, preparation.size, 3)):
        raise BadInput(
            f"pictures are prepared as {preparation.input} of {preparation.size} x "
            f"{preparation.size} pixels, the model takes {name} {list(shape)}"
        )
    score = {file: open_model(path, schema).score for file, path in models.items()}
    allowed = {file: by_output[schema.output.name] for file, by_output in tolerance.items()}
    labels = [dimension.name for dimension in schema.output.dimensions]
    with open_model(trained, schema.as_given()) as model:
        made = pictures.make(preparation, originals, model.score, score, allowed, labels)
    described = (json.dumps(preparation.to_json(), allow_nan=False) + "\n").encode()
    return {archive.FEATURES: described, **made}


def version_of(content: Mapping[str, bytes]) -> str:
    """A version that follows from the content: twelve hexadecimal digits of the SHA-256 of names
    and digests.
    """
    return hashlib.sha256(json.dumps(_digests(content)).encode()).hexdigest()[:12]


def with_file(content: Mapping[str, bytes], name: str, data: bytes) -> dict[str, bytes]:
    """A bundle with one file replaced and its hash made right: what only the golden cases can
    notice.
    """
    said = json.loads(content[archive.MANIFEST])
    said["sha256"][name] = hashlib.sha256(data).hexdigest()
    return {**content, name: data, archive.MANIFEST: json.dumps(said).encode()}


def publish(content: Mapping[str, bytes], place: Path, version: str) -> Path:
    """Write the zip of a bundle and its descriptor into a folder; returns the descriptor's path."""
    place.mkdir(parents=True, exist_ok=True)
    archive.pack(content, place / archive.ZIP)
    described = archive.describe(place / archive.ZIP, url=archive.ZIP, version=version, minimum={})
    (place / archive.DESCRIPTOR).write_text(described.to_json(), encoding="utf-8")
    return place / archive.DESCRIPTOR


def least_alike(comparison, file: str) -> str:
    """The file of the same runtime whose scores are the furthest from those of `file`, by their
    largest differences.
    """
    rows = comparison.set_index("file")
    same = rows[rows["runtime"] == rows.loc[file, "runtime"]]["max_abs_error"]
    return (same - same[file]).abs().idxmax()


def _digests(content: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content[name]).hexdigest() for name in sorted(content)}


def minimum_versions(files: Mapping[str, str]) -> dict[str, str]:
    """Least version of each runtime, by ``tflite``, ``litert`` or ``mnn``, see
    `helpers.convert.recipes.oldest`.
    """
    return dict(recipes.oldest(*variant_of(file)) for file in files.values())


def manifest(
    task: Task,
    schema: Schema,
    comparison,
    files: Mapping[str, str],
    cases: golden.Golden,
    content: Mapping[str, bytes],
    *,
    version: str,
    run: str,
    minimum: Mapping[str, str],
    packages: Mapping[str, str],
    halves: Mapping | None = None,
) -> bytes:
    """``model.json``: what the files are, what they take and give, how they scored, and their
    SHA-256.

    Parameters
    ----------
    files : by name in the bundle, the file in the run.
    content : what `contents` returned, and whatever else the phone downloads.
    run : ``<study>/<run>``, to find it again.
    minimum : see `minimum_versions`.
    packages : versions that made the files.
    halves : what the two halves of the model are, see `helpers.bundle.halves`.
    """
    rows = comparison.set_index("file")
    described = {}
    for name, file in files.items():
        row = rows.loc[file]
        runtime, precision = variant_of(file)
        figures = {name: _figure(row[name]) for name in task.columns}
        described[name] = {
            "runtime": runtime,
            "precision": precision,
            "bytes": int(row["bytes"]),
            "tolerance": dict(cases.tolerance[name]),
            "largest difference to the trained model": float(
                f"{cases.trained_difference(name):.3g}"
            ),
            "verdict": row["verdict"],
            **figures,
        }
    said = {
        "format": archive.FORMAT,
        "model": schema.model_name,
        "version": version,
        "run": run,
        "files": described,
        "schema": schema.as_converted().to_json(),
        "minimum": dict(minimum),
        "packages": dict(packages),
        **({"halves": halves} if halves else {}),
        "sha256": _digests(content),
    }
    return (json.dumps(said, indent=1, allow_nan=False) + "\n").encode()


def _figure(value: float) -> float | None:
    """A figure to six decimals; None, which is null in JSON, if it is undefined."""
    return round(float(value), 6) if np.isfinite(value) else None
