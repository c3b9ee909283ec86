"""Make a bundle of a run: which files, their golden cases, the manifest."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from helpers import child
from helpers.bundle import archive, golden
from helpers.errors import BadInput
from helpers.evaluation import parity
from helpers.runtimes import open_model, runtime_of, variant_of
from helpers.schema import Schema

FIGURES = ("verdict", "accuracy", "auc", "auc_delta", "auc_delta_low", "auc_delta_high", "ndcg_at_10", "kendall_tau")


def choose(comparison, recommended: str | None, variant: str = "recommended") -> dict[str, str]:
    """Which file of the run goes into the bundle for each runtime.

    Parameters
    ----------
    comparison : table of ``comparison.csv``.
    recommended : ``file`` of ``recommendation.json``.
    variant : ``recommended``, or a variant's name such as ``mnn fp16``.

    Returns
    -------
    By name in the bundle (`archive.MODELS`), the file in the run: the chosen one, and for the other runtime the file of
    the same precision, or float32 where that is not there or broken.

    Raises
    ------
    BadInput : there is no such variant, or it is broken; the message lists those that can be shipped.
    """
    usable = comparison[(comparison["runtime"] != "keras") & (comparison["verdict"] != "broken")]
    names = {f"{row['runtime']} {row['precision']}": row["file"] for _, row in usable.iterrows()}
    chosen = recommended if variant == "recommended" else names.get(variant)
    if chosen is None or chosen not in names.values():
        why = "nothing is recommended" if variant == "recommended" else f"there is no variant {variant!r} to ship"
        raise BadInput(f"{why}; there is: {', '.join(names)}")
    precision = variant_of(chosen)[1]
    result = {}
    for runtime, name in archive.MODELS.items():
        same = names.get(f"{runtime} {precision}") or names.get(f"{runtime} fp32")
        own = chosen if runtime_of(chosen) == runtime else same
        if own is not None:
            result[name] = own
    return result


def cases(
    schema: Schema, keras: Path, files: Mapping[str, Path], typical: Mapping[str, np.ndarray], *, seed: int = 0
) -> golden.Golden:
    """The golden cases of model files.

    Parameters
    ----------
    keras : the trained model, which is scored in a process that may import TensorFlow.
    files : by name in the bundle, model files that passed `Stage.input`.
    typical : named inputs of the test split.

    Returns
    -------
    Cases with the tolerance of each file: `parity.SAME_ERROR` if it computes in float32, and one step of an eight-bit
    score, `parity.BATCH_ERROR`, if another device's integer kernels may round another way.
    """
    inputs = golden.draw(schema, typical, seed=seed)
    trained = _scores_of_keras(keras, schema, inputs)
    models = {name: open_model(path, schema, trusted=True) for name, path in files.items()}
    made = []
    for name, values in inputs.items():
        expected = {file: np.array(model.score(values)).reshape(-1) for file, model in models.items()}
        made.append(golden.Case(name, values, trained[name], expected))
    tolerance = {}
    for file in files:
        moved = max(float(np.abs(case.expected[file] - case.keras).max()) for case in made)
        tolerance[file] = parity.SAME_ERROR if moved <= parity.SAME_ERROR else parity.BATCH_ERROR
    own = tuple((tensor.name, tensor.width, tensor.dtype) for tensor in schema.inputs)
    return golden.Golden(own, schema.output.name, tolerance, tuple(made))


def _scores_of_keras(keras: Path, schema: Schema, inputs: Mapping[str, Mapping[str, np.ndarray]]) -> dict:
    """Scores of the trained model by case, from a process that has TensorFlow imported where that is possible."""
    with tempfile.TemporaryDirectory() as folder:
        for number, values in enumerate(inputs.values()):
            np.savez(Path(folder) / f"{number}.npz", **values)
        with child.Child(f"score {keras.name}", imports="notebooks") as process:
            request = {"keras": str(keras), "schema": schema.to_json(), "folder": folder, "cases": len(inputs)}
            process.call(f"{__name__}:_score_here", **request)
        return {name: np.load(Path(folder) / f"{number}.npy") for number, name in enumerate(inputs)}


def _score_here(keras: str, schema: dict, folder: str, cases: int) -> None:
    """Score files of inputs; runs in a child process."""
    model = open_model(Path(keras), Schema.from_json(schema), trusted=True)
    for number in range(cases):
        with np.load(Path(folder) / f"{number}.npz", allow_pickle=False) as values:
            np.save(Path(folder) / f"{number}.npy", np.array(model.score(dict(values))).reshape(-1))


def version_of(digests: Mapping[str, str]) -> str:
    """A version that follows from the content: twelve hexadecimal digits of the SHA-256 of names and digests."""
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()[:12]


def manifest(
    schema: Schema,
    comparison,
    files: Mapping[str, str],
    cases: golden.Golden,
    digests: Mapping[str, str],
    *,
    version: str,
    run: str,
    packages: Mapping[str, str],
) -> dict:
    """What ``model.json`` says.

    Parameters
    ----------
    files : by name in the bundle, the file in the run.
    digests : SHA-256 of every other file of the bundle, by name.
    run : ``<study>/<run>``, to find it again.
    packages : versions that made the files.
    """
    rows = comparison.set_index("file")
    described = {}
    for name, file in files.items():
        row = rows.loc[file]
        runtime, precision = variant_of(file)
        figures = {key: row[key] if key == "verdict" else round(float(row[key]), 6) for key in FIGURES}
        described[name] = {
            "runtime": runtime,
            "precision": precision,
            "bytes": int(row["bytes"]),
            "tolerance": cases.tolerance[name],
            "largest difference to the trained model": float(f"{cases.keras_difference(name):.3g}"),
            **figures,
        }
    return {
        "format": 1,
        "model": schema.model_name,
        "version": version,
        "run": run,
        "files": described,
        "schema": schema.to_json(),
        "packages": dict(packages),
        "sha256": dict(sorted(digests.items())),
    }
