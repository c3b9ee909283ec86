"""Data sets on disk: Parquet parts of a chunk of rows, one column a tensor, the same bytes whoever made them.

A data set lives in ``data/<study>/<hash of its parameters>/``, is made once and shared by every run that asks
for the same one. Its rows come from `helpers.simulation` in chunks, so a set of any size is made in bounded memory.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers import code, features, files, simulation, tables
from helpers import parameters as parameter_table
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.simulation import BAYES, CHUNK_ROWS, LABEL, REQUEST, SPLITS, USER
from helpers.studies import Scenario, Study, get
from helpers.tasks import Truth


@dataclass(frozen=True)
class Dataset:
    """A data set that is whole on disk. `manifest` is the content of its ``dataset.json``."""

    folder: Path
    manifest: dict
    _checked: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def study(self) -> Study:
        return get(self.manifest["parameters"]["study"])

    @property
    def encoding(self) -> features.Encoding | None:
        """What turns raw columns into the model's inputs, fitted on training rows; None if the study has none."""
        told = self.manifest.get("encoding")
        return None if told is None else features.Encoding.from_json(told)

    @property
    def raw_columns(self) -> list[str]:
        """Names of the raw columns beside the model's inputs."""
        import pyarrow.parquet as pq

        names = pq.read_schema(self._verified(self._parts(SPLITS[0])[0])).names
        return [name for name in names if name not in {*self.study.schema.input_names, *self._beside}]

    @property
    def _beside(self) -> list[str]:
        """Columns beside inputs that every data set of the scenario has."""
        return [LABEL, REQUEST, BAYES, *([USER] if self._has_users else [])]

    @property
    def _has_users(self) -> bool:
        return "requests_a_user" in self.manifest

    def rows(self, split: str) -> int:
        return self.manifest["rows"][split]

    def read(self, split: str, columns: list[str] | None = None, limit: int | None = None):
        """Read rows of a split as a DataFrame to look at, see `helpers.tables.frame`.

        Parameters
        ----------
        columns : of the DataFrame, in order; default all.
        limit : only the parts that so many rows need are opened.

        Raises
        ------
        DamagedFile : a part is gone or is not the bytes that were recorded.
        """
        inputs = self.study.schema.inputs
        holders = {name: tensor.name for tensor in inputs for name in tensor.columns or [tensor.name]}
        known = [*holders, *self._beside]
        if (set(columns or ()) - set(known)) and (unknown := sorted(set(columns) - {*known, *self.raw_columns})):
            there = ", ".join([*known, *self.raw_columns])
            raise BadInput(f"there is no column {', '.join(unknown)}; there is: {there}")
        stored = None if columns is None else list(dict.fromkeys(holders.get(name, name) for name in columns))
        return tables.frame(self.study.schema, self._table(split, stored, limit), columns)

    def _table(self, split: str, stored: list[str] | None, limit: int | None):
        """Stored columns of a split as an Arrow table."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if limit is not None and limit < 1:
            raise BadInput(f"limit must be at least 1 row, not {limit}")
        parts, rows = [], 0
        for part in self._parts(split):
            if limit is not None and rows >= limit:
                break
            table = pq.ParquetFile(self._verified(part)).read(columns=stored)
            parts.append(table.slice(0, None if limit is None else limit - rows))
            rows += len(parts[-1])
        return pa.concat_tables(parts)

    def arrays(self, split: str, limit: int | None = None) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Read named inputs ``(n_rows, *shape)``, labels ``(n_rows,) int8`` and requests ``(n_rows,) int64``."""
        schema = self.study.schema
        table = self._table(split, [*schema.input_names, LABEL, REQUEST], limit)
        return tables.arrays(schema, table), table[LABEL].to_numpy(), table[REQUEST].to_numpy()

    def truth(self, split: str) -> Truth:
        """What is known of the rows of a split beside their inputs."""
        table = self._table(split, [LABEL, REQUEST], None)
        return Truth(table[LABEL].to_numpy(), table[REQUEST].to_numpy(), self.users(split))

    def users(self, split: str, limit: int | None = None) -> np.ndarray | None:
        """Whose request each row is of, ``(n_rows,) int64``; None if every request is another user's."""
        return self.read(split, [USER], limit)[USER].to_numpy() if self._has_users else None

    def sessions(self, split: str, limit: int) -> list[dict]:
        """The first sessions of a split in the published raw form, see `helpers.features.read`."""
        study = self.study
        candidates = study.scenario(self.manifest["parameters"]["scenario"]).candidates
        frame = self.read(split, self.raw_columns, limit * candidates)
        table = {name: frame[name].to_numpy() for name in frame}
        return features.to_sessions(table, candidates, study.id_field)

    def save_sessions(self, path: Path, split: str, limit: int) -> None:
        """Write the first sessions of a split in the published raw form, a line of JSON each."""
        lines = (json.dumps(session, allow_nan=False) + "\n" for session in self.sessions(split, limit))
        path.write_text("".join(lines), encoding="utf-8")

    def describe(self):
        """Splits at a glance: DataFrame of rows, requests, parts, the label's threshold and share of ones.

        The share is taken over the first part, so that this stays cheap for a set of any size.
        """
        import pandas as pd

        per_request = self.study.scenario(self.manifest["parameters"]["scenario"]).candidates
        return pd.DataFrame(
            {
                split: {
                    "rows": f"{self.rows(split):,}",
                    "requests": f"{-(-self.rows(split) // per_request):,}",
                    "parts": len(self._parts(split)),
                    "threshold": f"{self.manifest['threshold'][split]:.4f}",
                    "label = 1": f"{self.read(split, [LABEL], CHUNK_ROWS)[LABEL].mean():.3f}",
                }
                for split in SPLITS
            }
        ).T

    def save(self, path: Path) -> None:
        """Write the record that `load` reads; it holds the SHA-256 of every part."""
        path.write_text(json.dumps(self.manifest, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def files(self) -> dict[str, str]:
        """SHA-256 of every part by its path below `files.home`, for `Stage.share`."""
        return {
            files.shown(self.folder / part["file"]): part["sha256"] for split in SPLITS for part in self._parts(split)
        }

    def verify(self) -> None:
        """Check the SHA-256 of every part; raises DamagedFile for the first that differs."""
        for split in SPLITS:
            for part in self._parts(split):
                self._verified(part)

    def _parts(self, split: str) -> list[dict]:
        if split not in self.manifest["parts"]:
            raise BadInput(f"there is no split {split!r}; there is: {', '.join(self.manifest['parts'])}")
        return self.manifest["parts"][split]

    def _verified(self, part: dict) -> Path:
        path = self.folder / part["file"]
        if part["file"] not in self._checked:
            try:
                with _reading(path):
                    whole = files.sha256(path) == part["sha256"]
            except (FileNotFoundError, NotADirectoryError):
                whole = False
            if not whole:
                raise DamagedFile(
                    f"{files.shown(path)} is gone or is not the file that was made (its SHA-256 differs): "
                    "run notebook 01 again, it makes the data set anew"
                )
            self._checked.add(part["file"])
        return path


def load(record: Path) -> Dataset:
    """The data set that stage 01 recorded in `record` (``data.json`` of a run)."""
    manifest = json.loads(record.read_text(encoding="utf-8"))
    return Dataset(files.home() / manifest["folder"], manifest)


def make(
    study: Study,
    scenario: str,
    *,
    rows: int,
    validation_rows: int,
    test_rows: int,
    seed: int,
    workers: int | None = None,
) -> Dataset:
    """Make a data set, or return the one that is already there and whole.

    Parameters
    ----------
    rows, validation_rows, test_rows : rows a split.
    seed : start of every random stream; the same seed gives the same bytes.
    workers : threads (NumPy and Arrow release the interpreter lock); default is one a core.

    Raises
    ------
    BadInput : unknown scenario, sizes or seed out of range.
    WorkbenchError : the disk is full or may not be written; nothing half-written stays behind. Or the set that is
        there cannot be read now; it stays as it is.
    """
    chosen = study.scenario(scenario)
    counts = {"rows": rows, "validation_rows": validation_rows, "test_rows": test_rows}
    checked = parameter_table.check_all({**counts, "seed": seed, "workers": workers or os.cpu_count() or 1})
    workers = checked.pop("workers")
    parameters = {"study": study.name, "scenario": chosen.name, **checked, "source": _fingerprint(study, chosen)}
    name = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]
    folder = files.home() / "data" / study.name / name
    existing = _existing(folder)
    if existing:
        return existing

    rows_of = dict(zip(SPLITS, counts.values(), strict=True))
    manifest = {"folder": files.shown(folder), "parameters": parameters, "rows": rows_of, "threshold": {}, "parts": {}}
    if chosen.requests_a_user > 1:
        manifest["requests_a_user"] = chosen.requests_a_user
    files.make_folder(folder.parent)
    partial = files.partial(folder.with_name(f"{folder.name}-{secrets.token_hex(4)}"))  # threads share a process id
    with files.writing(folder):
        try:
            files.clear_partial(folder.parent)
            partial.mkdir()
            encoding = simulation.fitted(study, chosen, rows, seed)
            if encoding is not None:
                manifest["encoding"] = encoding.to_json()
            for name, count in rows_of.items():
                split = simulation.Split(study, chosen, name, count, seed, workers, encoding)
                manifest["threshold"][name], manifest["parts"][name] = _write(split, partial)
            manifest["digest"] = _digest(manifest)
            Dataset(partial, manifest).save(partial / "dataset.json")
            _place(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Dataset(folder, manifest)


def _digest(manifest: Mapping) -> str:
    """SHA-256 of a manifest without its own digest."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _fingerprint(study: Study, scenario: Scenario) -> str:
    """SHA-256 of the code that makes the rows, and of the values that it takes from the study.

    Code is the modules of the package that the scenario and `helpers.simulation` can reach by their imports, as this
    process executes them; a function of a notebook counts by its own source, one of another module by that module's.
    """
    names, sources = [simulation.__name__], []
    for function in (scenario.draw, scenario.utility):
        module = inspect.getmodule(function)
        if module.__name__.startswith(f"{code.PACKAGE}."):
            names.append(module.__name__)
        else:
            sources.append(inspect.getsource(function if module.__name__ == "__main__" else module))
    digests = code.sha256s(code.imported(names))
    executed = code.loaded()
    digests |= {n: executed[n] for n in digests if executed.get(n, code.EDITED) != code.EDITED}
    columns = [(tensor.name, tensor.dtype, tensor.shape) for tensor in study.schema.inputs]
    sizes = [scenario.candidates, scenario.requests_a_user]
    values = [scenario.threshold, scenario.noise, *sizes, columns, repr(study.features)]
    return hashlib.sha256(json.dumps([digests, sources, values], sort_keys=True).encode()).hexdigest()[:16]


def _existing(folder: Path) -> Dataset | None:
    """The data set in `folder` if it is whole; None if it is not there, or damaged.

    Raises
    ------
    WorkbenchError : it cannot be read now, so that nobody knows whether it is whole.
    """
    try:
        with _reading(folder / "dataset.json"):
            content = (folder / "dataset.json").read_text(encoding="utf-8")
        dataset = Dataset(folder, json.loads(content))
        if dataset.manifest["digest"] != _digest(dataset.manifest):
            return None
        dataset.verify()
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError, AttributeError, DamagedFile):
        return None
    return dataset


def _place(partial: Path, folder: Path) -> None:
    """Move a whole set into its place part by part, its record last, unless a whole one stands there by now.

    Makers wait for each other. The parts of a set are the same bytes whoever made them, so that a set which others
    read meanwhile stays readable while its damaged files are replaced.
    """
    import fcntl

    record = "dataset.json"
    with open(folder.parent / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _existing(folder) is not None:
            return
        files.make_folder(folder)
        for name in [*sorted(name for name in os.listdir(partial) if name != record), record]:
            if (folder / name).is_dir():
                files.remove(folder / name)
            os.replace(partial / name, folder / name)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while reading `path` into one line; that it is not there is none."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise WorkbenchError(
            f"cannot read {files.shown(path)} ({error.strerror}): nothing was changed, see to that and run the "
            "same command again"
        ) from error


def _write(split: simulation.Split, folder: Path) -> tuple[float, list[dict]]:
    """Write the parts of a split; returns the label's threshold and a record of each part."""
    threshold = split.threshold()
    return threshold, list(split.map("write", lambda chunk: _write_chunk(split, folder, chunk, threshold)))


def _write_chunk(split: simulation.Split, folder: Path, chunk: int, threshold: float) -> dict:
    import pyarrow.parquet as pq

    table = split.table(chunk, threshold)
    path = folder / f"{split.name}-{chunk:05d}.parquet"
    pq.write_table(table, path, compression="zstd", use_dictionary=[LABEL, REQUEST])
    return {"file": path.name, "rows": table.num_rows, "sha256": files.sha256(path)}
