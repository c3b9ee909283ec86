"""Data sets on disk: Parquet parts of a chunk of rows, one column a tensor, the same bytes whoever
made them.

A data set lives in ``data/<study>/<hash of its parameters>/``, is made once and shared by every run
that asks for the same one. Its rows come in chunks from `helpers.simulation` or `helpers.logs`, so
a set of any size is made in bounded memory.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers import arrays, code, features, files, logs, pictured, rated, simulation, tables
from helpers import parameters as parameter_table
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.pictures import Preparation
from helpers.schema import Schema
from helpers.studies import Arrays, Files, Inputs, Pictures, Rated, Simulated, Study
from helpers.tables import BAYES, CHUNK_ROWS, LABEL, PICTURE, REQUEST, SPLITS, USER
from helpers.tasks import Truth

MEMORY_BYTES, _BESIDE_BYTES = 256 << 20, 32
"""Most bytes of a split's rows that are read at once to learn from, and what a row has beside its
inputs."""


@dataclass(frozen=True)
class Dataset:
    """A data set that is whole on disk. `manifest` is the content of its ``dataset.json``."""

    folder: Path
    manifest: dict
    _checked: set[str] = field(default_factory=set, compare=False, repr=False)

    @functools.cached_property
    def schema(self) -> Schema:
        """Names, shapes and types of the inputs that are stored."""
        return Schema.from_json(self.manifest["schema"])

    @property
    def encoding(self) -> features.Encoding | None:
        """What turns raw columns into the model's inputs, fitted on training rows; None if the
        study has none.
        """
        described = self.manifest.get("encoding")
        return None if described is None else features.Encoding.from_json(described)

    @property
    def preparation(self) -> Preparation | None:
        """What turns a picture file into the model's input; None if rows are no pictures."""
        described = self.manifest.get("preparation")
        return None if described is None else Preparation.from_json(described)

    @property
    def raw_columns(self) -> list[str]:
        """Names of the raw columns beside the model's inputs."""
        import pyarrow.parquet as pq

        names = pq.read_schema(self._verified(self._parts(SPLITS[0])[0])).names
        return [name for name in names if name not in {*self.schema.input_names, *self._beside}]

    @property
    def _beside(self) -> list[str]:
        """Columns beside inputs that every data set of the source has."""
        return self.manifest["beside"]

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
        inputs = self.schema.inputs
        holders = {
            name: tensor.name for tensor in inputs for name in tensor.columns or [tensor.name]
        }
        known = [*holders, *self._beside]
        if (set(columns or ()) - set(known)) and (
            unknown := sorted(set(columns) - {*known, *self.raw_columns})
        ):
            there = ", ".join([*known, *self.raw_columns])
            raise BadInput(f"there is no column {', '.join(unknown)}; there is: {there}")
        stored = (
            None
            if columns is None
            else list(dict.fromkeys(holders.get(name, name) for name in columns))
        )
        return tables.frame(self.schema, self._table(split, stored, limit), columns)

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

    def arrays(
        self, split: str, limit: int | None = None, *, schema: Schema | None = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None, np.ndarray]:
        """Read named inputs ``(n_rows, *shape)``, labels ``(n_rows,)`` (None without) and requests
        ``(n_rows,)``.

        `schema` is that of a model which takes some of the inputs; default all.
        """
        schema = schema or self.schema
        known = [name for name in (LABEL, REQUEST) if name in self._beside]
        table = self._table(split, [*schema.input_names, *known], limit)
        labels = table[LABEL].to_numpy() if LABEL in known else None
        return tables.arrays(schema, table), labels, table[REQUEST].to_numpy()

    def splits(self, schema: Schema) -> dict[str, tuple]:
        """What `arrays` gives of every split, of as many rows as are `in_memory`."""
        rows = self.in_memory(schema)
        return {split: self.arrays(split, count, schema=schema) for split, count in rows.items()}

    def in_memory(self, schema: Schema) -> dict[str, int]:
        """Rows of each split that are read at once: all of the test; of the others as many as
        `MEMORY_BYTES` hold.
        """
        most = max(1, MEMORY_BYTES // (schema.row_bytes + _BESIDE_BYTES))
        return {split: min(self.rows(split), most) for split in SPLITS[:-1]} | {
            SPLITS[-1]: self.rows(SPLITS[-1])
        }

    def stream(
        self,
        schema: Schema,
        seed: int,
        augment: Callable[[np.random.Generator, Inputs], Inputs] | None = None,
    ) -> Stream | None:
        """Training rows a part at a time, as `Study.augment` makes them anew in each epoch; None if
        there is no such thing and all are `in_memory`.
        """
        whole = self.in_memory(schema)[SPLITS[0]] == self.rows(SPLITS[0])
        return None if whole and augment is None else Stream(self, schema, seed, augment)

    def chunks(
        self,
        split: str,
        *,
        schema: Schema,
        seed: int | tuple[int, ...] | None = None,
        multiple: int = 1,
    ) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
        """Yield named inputs and labels of a split, a part at a time.

        Parameters
        ----------
        seed : of an order of chance: of the parts, and of the rows in each with what the one before
            left over. Default the order on disk.
        multiple : every chunk but the last has a multiple of so many rows.
        """
        import pyarrow.parquet as pq

        parts, rng = list(self._parts(split)), np.random.default_rng(seed)
        known = [name for name in (LABEL,) if name in self._beside]
        rest: dict[str, np.ndarray] = {}
        order = np.arange(len(parts)) if seed is None else rng.permutation(len(parts))
        for i, number in enumerate(order):
            file = pq.ParquetFile(self._verified(parts[number]))
            table = file.read(columns=[*schema.input_names, *known])
            arrays = tables.arrays(schema, table) | {name: table[name].to_numpy() for name in known}
            if rest:
                arrays = {name: np.concatenate([rest[name], a]) for name, a in arrays.items()}
            rows = len(next(iter(arrays.values())))
            whole = rows if i == len(order) - 1 else rows - rows % multiple
            if seed is None:
                places, left = slice(whole), slice(whole, None)
            else:
                places, left = np.split(rng.permutation(rows), [whole])
            rest = {name: a[left] for name, a in arrays.items()} if whole < rows else {}
            chunk = {name: a[places] for name, a in arrays.items()}
            labels = chunk.pop(LABEL, None)
            yield chunk, labels

    def truth(self, split: str) -> Truth:
        """What is known of the rows of a split beside their inputs."""
        known = {name: self._column(split, name) for name in (LABEL, REQUEST, USER)}
        return Truth(known[LABEL], known[REQUEST], known[USER])

    def _column(self, split: str, name: str, limit: int | None = None) -> np.ndarray | None:
        """A column beside the inputs; None if the data set has none of that name."""
        import pyarrow as pa

        if name not in self._beside:
            return None
        column = self._table(split, [name], limit)[name]
        if not pa.types.is_fixed_size_list(column.type):
            return column.to_numpy()
        return tables.lists(column).reshape(len(column), -1)

    def best(self, split: str) -> np.ndarray | None:
        """What no model can beat for each row of a split, which the source knew; None if it did
        not.
        """
        return self._column(split, BAYES)

    def users(self, split: str, limit: int | None = None) -> np.ndarray | None:
        """Whose request each row is of, ``(n_rows,) int64``; None if every request is another
        user's.
        """
        return self._column(split, USER, limit)

    def pictures(self, split: str) -> np.ndarray | None:
        """Of which file each row is, ``(n_rows,)`` text; None if rows are no pictures of files."""
        return self._column(split, PICTURE)

    def sessions(self, split: str, limit: int) -> list[dict]:
        """The first sessions of a split in the published raw form, see `helpers.features.read`."""
        candidates = self.manifest["candidates"]
        frame = self.read(split, self.raw_columns, limit * candidates)
        table = {name: frame[name].to_numpy() for name in frame}
        return features.to_sessions(table, candidates, self.manifest["id_field"])

    def save_sessions(self, path: Path, split: str, limit: int) -> None:
        """Write the first sessions of a split in the published raw form, a line of JSON each."""
        lines = (
            json.dumps(session, allow_nan=False) + "\n" for session in self.sessions(split, limit)
        )
        path.write_text("".join(lines), encoding="utf-8")

    def describe(self):
        """Splits at a glance: DataFrame of rows, requests, parts, and what is known of the labels.

        Shares are taken over the first part, so that this stays cheap for a set of any size.
        """
        import pandas as pd

        return pd.DataFrame({split: self._described(split) for split in SPLITS}).T

    def _described(self, split: str) -> dict[str, object]:
        rows, of_request = self.rows(split), self.manifest["candidates"]
        found: dict[str, object] = {"rows": f"{rows:,}"}
        if of_request > 1:
            found["requests"] = f"{-(-rows // of_request):,}"
        found["parts"] = len(self._parts(split))
        if self.manifest["threshold"][split] is not None:
            found["threshold"] = f"{self.manifest['threshold'][split]:.4f}"
        labels = self._column(split, LABEL, CHUNK_ROWS)
        if labels is None:
            return found
        if self.schema.output.size == 1:
            return {**found, "label = 1": f"{labels.mean():.3f}"}
        return {**found, "classes": f"{len(np.unique(labels))}"}

    def save(self, path: Path) -> None:
        """Write the record that `load` reads; it holds the SHA-256 of every part."""
        path.write_text(
            json.dumps(self.manifest, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )

    def files(self) -> dict[str, str]:
        """SHA-256 of every part by its path below `files.home`, for `Stage.share`."""
        return {
            files.shown(self.folder / part["file"]): part["sha256"]
            for split in SPLITS
            for part in self._parts(split)
        }

    def verify(self) -> None:
        """Check the SHA-256 of every part; raises DamagedFile for the first that differs."""
        for split in SPLITS:
            for part in self._parts(split):
                self._verified(part)

    def _parts(self, split: str) -> list[dict]:
        if split not in self.manifest["parts"]:
            raise BadInput(
                f"there is no split {split!r}; there is: {', '.join(self.manifest['parts'])}"
            )
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
                    f"{files.shown(path)} is gone or is not the file that was made (its SHA-256 "
                    "differs): run notebook 01 again, it makes the data set anew"
                )
            self._checked.add(part["file"])
        return path


@dataclass(frozen=True)
class Stream:
    """Training rows of a data set that are more than fit, or others in each epoch; models are
    trained on it.
    """

    data: Dataset
    schema: Schema
    seed: int
    augment: Callable[[np.random.Generator, Inputs], Inputs] | None = None

    @property
    def rows(self) -> int:
        return self.data.rows(SPLITS[0])

    def epoch(self, number: int, batch_size: int) -> Iterator[tuple[dict, np.ndarray]]:
        """Named inputs and labels in the order of an epoch, in chunks of whole batches.

        Raises
        ------
        BadInput : augmented rows are not of the schema, or more or fewer.
        """
        order = (self.seed, number)
        chunks = self.data.chunks(SPLITS[0], schema=self.schema, seed=order, multiple=batch_size)
        for part, (inputs, labels) in enumerate(chunks):
            if self.augment is not None:
                rng = np.random.default_rng([self.seed, number, part])
                inputs = self.augment(rng, inputs)
                if (rows := self.schema.check(inputs)) != len(labels):
                    raise BadInput(f"{len(labels)} rows are augmented to {rows}: keep their number")
            yield inputs, labels


_MAKERS = {
    Simulated: simulation,
    Files: logs,
    Rated: rated,
    Pictures: pictured,
    Arrays: arrays,
}
"""What makes the rows of a source, by what kind of source it is."""


def sources(study: Study, source: str) -> list[Path]:
    """Files of somebody's own that a data set is made of, and the folder that pictures are put
    into; none where rows are drawn.
    """
    chosen = study.source(source)
    found = [] if isinstance(chosen, Simulated) else _MAKERS[type(chosen)].found(study, chosen)
    if found and isinstance(chosen, Pictures):
        return [pictured.folder(study, chosen), *found]
    return found


def load(record: Path) -> Dataset:
    """The data set that stage 01 recorded in `record` (``data.json`` of a run).

    Raises
    ------
    DamagedFile : another version recorded it, which kept its tensors otherwise.
    """
    manifest = json.loads(record.read_text(encoding="utf-8"))
    if "schema" not in manifest:
        raise DamagedFile("data.json was written by an earlier version: run notebook 01 again")
    return Dataset(files.home() / manifest["folder"], manifest)


def make(
    study: Study,
    source: str,
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
    BadInput : unknown source, sizes or seed out of range.
    WorkbenchError : the disk is full or may not be written; nothing half-written stays behind. Or
        the set that is there cannot be read now; it stays as it is.
    """
    chosen = study.source(source)
    counts = {"rows": rows, "validation_rows": validation_rows, "test_rows": test_rows}
    checked = parameter_table.check_all(
        {**counts, "seed": seed, "workers": workers or os.cpu_count() or 1}
    )
    workers = checked.pop("workers")
    if study.is_drawn(chosen.name):
        simulation.check_sizes(counts)
    rows_of = dict(zip(SPLITS, counts.values(), strict=True))
    if taken := {LABEL, REQUEST, BAYES, USER, PICTURE} & {
        *study.schema.input_names,
        *study.schema.columns,
    }:
        raise BadInput(
            f"data sets keep a column of their own called {min(taken)!r}: give the input another "
            "name"
        )
    source_rows = _MAKERS[type(chosen)].Rows(study, chosen, rows_of, seed, workers)
    modules, values = source_rows.origin()
    printed = json.dumps([code.executed(modules), values], sort_keys=True).encode()
    fingerprint = hashlib.sha256(printed).hexdigest()[:16]
    parameters = {"study": study.name, "source": chosen.name, **checked, "fingerprint": fingerprint}
    name = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]
    folder = files.home() / "data" / study.name / name
    existing = _existing(folder)
    if existing:
        return existing

    manifest = {
        "folder": files.shown(folder),
        "parameters": parameters,
        "schema": study.schema.to_json(),
        "id_field": study.id_field,
        "rows": dict.fromkeys(SPLITS, 0),
        "parts": {split: [] for split in SPLITS},
    }
    files.make_folder(folder.parent)
    partial = files.partial(
        folder.with_name(f"{folder.name}-{secrets.token_hex(4)}")
    )  # threads share a process id
    with files.writing(folder):
        try:
            files.clear_partial(folder.parent)
            partial.mkdir()
            for split, part, beside in source_rows.each(
                functools.partial(_write, partial, study.schema)
            ):
                manifest["parts"][split].append(part)
                manifest["rows"][split] += part["rows"]
                manifest["beside"] = beside
            manifest |= source_rows.facts()
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
    except (
        FileNotFoundError,
        NotADirectoryError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        DamagedFile,
    ):
        return None
    return dataset


def _place(partial: Path, folder: Path) -> None:
    """Move a whole set into its place part by part, its record last, unless a whole one stands
    there by now.

    Makers wait for each other. The parts of a set are the same bytes whoever made them, so that a
    set which others read meanwhile stays readable while its damaged files are replaced.
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
    """Turn the operating system's refusals while reading `path` into one line; that it is not there
    is none.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise WorkbenchError(
            f"cannot read {files.shown(path)} ({error.strerror}): nothing was changed, see to that "
            "and run the same command again"
        ) from error


def _write(
    folder: Path, schema: Schema, split: str, number: int, table
) -> tuple[str, dict, list[str]]:
    """Write a part of a split; returns the split, a record of the part, and the columns beside
    inputs and raw ones.
    """
    import pyarrow.parquet as pq

    beside = [name for name in (LABEL, REQUEST, BAYES, USER, PICTURE) if name in table.column_names]
    path = folder / f"{split}-{number:05d}.parquet"
    repeated = [name for name in (LABEL, REQUEST) if name in beside]
    pq.write_table(table, path, compression=tables.compression(schema), use_dictionary=repeated)
    return split, {"file": path.name, "rows": table.num_rows, "sha256": files.sha256(path)}, beside
