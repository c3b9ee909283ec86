"""Data sets on disk: Parquet parts made in chunks, the same bytes however many workers made them.

A data set lives in ``data/<study>/<hash of its parameters>/``, is made once and shared by every run that asks
for the same one. Each chunk of `CHUNK_ROWS` rows has its own random stream, derived from seed, split and
chunk number, so its content depends neither on the workers nor on what was made before it, and a set of
any size is made in bounded memory.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from helpers import features, files
from helpers import parameters as parameter_table
from helpers.errors import BadInput, DamagedFile
from helpers.studies import Scenario, Study, get

CHUNK_ROWS = 100_000
"""Rows a chunk and Parquet part: whole requests of 20, about 10 MB, some 40 MB while it is being made."""
SPLITS = ("train", "validation", "test")
LABEL, REQUEST, BAYES = "label", "request", "bayes_probability"
"""Columns beside the features: 0 or 1; which rows are ranked together; P(label = 1), never a feature."""


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
        return [name for name in names if name not in self._known]

    @property
    def _known(self) -> list[str]:
        """Columns that every data set of the study has."""
        return [*self.study.schema.columns, LABEL, REQUEST, BAYES]

    def rows(self, split: str) -> int:
        return self.manifest["rows"][split]

    def read(self, split: str, columns: list[str] | None = None, limit: int | None = None):
        """Rows of a split as a pandas DataFrame; only the parts that `limit` rows need are opened.

        Raises
        ------
        DamagedFile : a part is gone or is not the bytes that were recorded.
        """
        import pandas as pd
        import pyarrow.parquet as pq

        beyond = set(columns or ()) - set(self._known)
        if beyond and (unknown := sorted(beyond - set(self.raw_columns))):
            known = ", ".join([*self._known, *self.raw_columns])
            raise BadInput(f"there is no column {', '.join(unknown)}; there is: {known}")
        if limit is not None and limit < 1:
            raise BadInput(f"limit must be at least 1 row, not {limit}")
        frames, rows = [], 0
        for part in self._parts(split):
            if limit is not None and rows >= limit:
                break
            table = pq.ParquetFile(self._verified(part)).read(columns=columns)
            frames.append(table.slice(0, None if limit is None else limit - rows).to_pandas())
            rows += len(frames[-1])
        return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]

    def arrays(self, split: str, limit: int | None = None) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Named inputs, labels ``(n_rows,) int8`` and requests ``(n_rows,) int64`` of a split."""
        schema = self.study.schema
        frame = self.read(split, [*schema.columns, LABEL, REQUEST], limit)
        return schema.arrays(frame), frame[LABEL].to_numpy(), frame[REQUEST].to_numpy()

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
            if not path.exists() or files.sha256(path) != part["sha256"]:
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
    WorkbenchError : the disk is full or may not be written; nothing half-written stays behind.
    """
    chosen = study.scenario(scenario)
    counts = {"rows": rows, "validation_rows": validation_rows, "test_rows": test_rows}
    checked = parameter_table.check_all({**counts, "seed": seed, "workers": workers or os.cpu_count() or 1})
    workers = checked.pop("workers")
    parameters = {"study": study.name, "scenario": chosen.name, **checked, "source": _fingerprint(chosen)}
    name = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]
    folder = files.home() / "data" / study.name / name
    existing = _existing(folder)
    if existing:
        return existing

    rows_of = dict(zip(SPLITS, counts.values(), strict=True))
    manifest = {"folder": files.shown(folder), "parameters": parameters, "rows": rows_of, "threshold": {}, "parts": {}}
    files.make_folder(folder.parent)
    files.clear_partial(folder.parent)
    partial = files.partial(folder)
    with files.writing(folder):
        try:
            partial.mkdir()
            encoding = _fitted(study, chosen, rows, seed)
            if encoding is not None:
                manifest["encoding"] = encoding.to_json()
            for split, count in rows_of.items():
                maker = _Maker(chosen, study, split, count, seed, workers, encoding)
                manifest["threshold"][split], manifest["parts"][split] = maker.write(partial)
            manifest["digest"] = _digest(manifest)
            Dataset(partial, manifest).save(partial / "dataset.json")
            if _existing(folder) is None:  # else another process made the same bytes meanwhile
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Dataset(folder, manifest)


def _fitted(study: Study, scenario: Scenario, rows: int, seed: int) -> features.Encoding | None:
    """The study's encoding, fitted on the first training rows: one chunk of them."""
    if not study.features:
        return None
    maker = _Maker(scenario, study, SPLITS[0], min(rows, CHUNK_ROWS), seed, workers=1)
    return features.fit(maker.draw(0), study.features)


def _digest(manifest: Mapping) -> str:
    """SHA-256 of a manifest without its own digest."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _fingerprint(scenario: Scenario) -> str:
    """Of the code that makes the rows: a study's whole module, or just the function if a notebook defined it."""

    def source(function: Callable) -> str:
        module = inspect.getmodule(function)
        return inspect.getsource(function if module.__name__ == "__main__" else module)

    values = f"{scenario.threshold} {scenario.noise} {scenario.candidates}"
    return hashlib.sha256((source(scenario.draw) + source(scenario.utility) + values).encode()).hexdigest()[:16]


def check_separate(splits: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Refuse splits that share rows with the first one, training: what a model has seen proves nothing of it.

    Parameters
    ----------
    splits : named inputs by split, training first. Rows may repeat by chance where features are coarse: as often as
        they repeat within training, 1 % and five standard errors more is let through.

    Raises
    ------
    BadInput : names the split and how many of its rows are in training too.
    """
    (first, inputs), *others = splits.items()
    seen, counts = np.unique(_row_hashes(inputs), return_counts=True)
    by_chance = counts[counts > 1].sum() / counts.sum()
    for name, other in others:
        hashes = _row_hashes(other)
        shared = np.isin(hashes, seen)
        error = np.sqrt(by_chance * (1 - by_chance) * (1 / len(hashes) + 1 / counts.sum()))
        if shared.mean() > by_chance + 0.01 + 5 * error:
            raise BadInput(
                f"{shared.sum():,} of the {len(hashes):,} {name} rows are {first} rows too: split the data "
                "anew, by request, before anything is learned from it"
            )


def _row_hashes(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """A 64-bit hash of each row over all inputs: multilinear in its bytes, with fixed random odd factors."""
    rng, total = np.random.default_rng(0), np.uint64(0)
    for name in sorted(inputs):
        rows = np.ascontiguousarray(inputs[name]) + np.zeros((), inputs[name].dtype)  # -0.0 is 0.0
        octets = rows.view(np.uint8).reshape(len(rows), -1)
        factors = rng.integers(0, 2**63, octets.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        total = total + octets.astype(np.uint64) @ factors
    return total


def sample(study: Study, scenario: str, *, rows: int, seed: int, split: str = "train"):
    """The first rows that `make` would write of a split, as a DataFrame in memory: at most `CHUNK_ROWS` rows."""
    if not 1 <= rows <= CHUNK_ROWS:
        raise BadInput(f"a sample has 1 to {CHUNK_ROWS:,} rows, not {rows:,}: make a data set")
    if split not in SPLITS:
        raise BadInput(f"there is no split {split!r}; there is: {', '.join(SPLITS)}")
    chosen = study.scenario(scenario)
    maker = _Maker(chosen, study, split, rows, seed, workers=1, encoding=_fitted(study, chosen, rows, seed))
    return maker.table(0, maker.threshold()).to_pandas()


def best_possible(study: Study, scenario: str, *, rows: int, validation_rows: int, seed: int) -> float:
    """Validation accuracy of the true preference with the training set's threshold.

    No training can be expected to pass it: what is missing to 1 is label noise and, for a scenario whose
    threshold is each set's own median, the distance between the two medians.
    """
    chosen = study.scenario(scenario)
    sizes = {"train": rows, "validation": validation_rows}
    makers = {s: _Maker(chosen, study, s, n, seed, workers=1) for s, n in sizes.items()}
    frame = makers["validation"].table(0, makers["validation"].threshold())
    utility = chosen.utility(study.schema.arrays(frame.to_pandas()))
    best = chosen.probability(utility, makers["train"].threshold()) > 0.5
    return float((best == frame[LABEL].to_numpy()).mean())


def possible_table(study: Study, sizes: Mapping[str, tuple[int, int]], target: float, *, seeds: int):
    """How many seeds draw data on which `target` can be reached at all, see `best_possible`.

    `sizes` are (training rows, validation rows) by name, on the published scenario.
    """
    import pandas as pd

    rows = {}
    for name, (size, validation) in sizes.items():
        fixed = {"rows": size, "validation_rows": validation}
        best = [best_possible(study, study.published.scenario, **fixed, seed=s) for s in range(seeds)]
        reach = sum(value >= target for value in best)
        rows[name] = {"lowest possible": f"{min(best):.3f}", "seeds that can pass": f"{reach} of {seeds}"}
    return pd.DataFrame(rows).T


def _existing(folder: Path) -> Dataset | None:
    """The data set in `folder` if it is whole."""
    try:
        dataset = Dataset(folder, json.loads((folder / "dataset.json").read_text(encoding="utf-8")))
        if dataset.manifest["digest"] != _digest(dataset.manifest):
            return None
        dataset.verify()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, DamagedFile):
        return None
    return dataset


@dataclass(frozen=True)
class _Maker:
    """Writes one split chunk by chunk."""

    scenario: Scenario
    study: Study
    split: str
    rows: int
    seed: int
    workers: int
    encoding: features.Encoding | None = None

    def threshold(self) -> float:
        """Where the label flips: the scenario's own, or the median of this split (a pass of its own)."""
        if self.scenario.threshold is not None:
            return self.scenario.threshold
        utilities = np.concatenate(list(self._map("median", self._utility)))
        return float(np.median(utilities, overwrite_input=True))

    def write(self, folder: Path) -> tuple[float, list[dict]]:
        """Write the parts of the split; returns the threshold and what was written."""
        threshold = self.threshold()
        parts = list(self._map("write", lambda chunk: self._write_chunk(folder, chunk, threshold)))
        return threshold, parts

    def _map(self, step: str, work: Callable[[int], object]) -> Iterator:
        """`work` on every chunk, results in order, never more chunks under way than two a worker."""
        from tqdm import tqdm

        chunks = iter(range(-(-self.rows // CHUNK_ROWS)))
        bar = tqdm(total=self.rows, desc=f"{self.split}: {step}", unit=" rows", unit_scale=True, delay=1, leave=False)
        with ThreadPoolExecutor(self.workers) as pool, bar:
            waiting = [(chunk, pool.submit(work, chunk)) for chunk in islice(chunks, 2 * self.workers)]
            while waiting:
                chunk, future = waiting.pop(0)
                yield future.result()
                bar.update(self._count(chunk))
                waiting.extend((chunk, pool.submit(work, chunk)) for chunk in islice(chunks, 1))

    def _count(self, chunk: int) -> int:
        return min(CHUNK_ROWS, self.rows - chunk * CHUNK_ROWS)

    def _stream(self, chunk: int, purpose: int) -> np.random.Generator:
        """Random numbers of one chunk: purpose 0 draws features, 1 the labels' noise."""
        return np.random.default_rng([self.seed, SPLITS.index(self.split), chunk, purpose])

    def draw(self, chunk: int) -> dict[str, np.ndarray]:
        """What the scenario draws for a chunk: named inputs, or raw columns."""
        return self.scenario.draw(self._stream(chunk, 0), self._count(chunk))

    def _utility(self, chunk: int) -> np.ndarray:
        return self.scenario.utility(self.draw(chunk))

    def table(self, chunk: int, threshold: float):
        """One chunk as an Arrow table: features, label, request, Bayes probability."""
        import pyarrow as pa

        drawn = self.draw(chunk)
        probability = self.scenario.probability(self.scenario.utility(drawn), threshold)
        inputs = drawn if self.encoding is None else features.encode(self.encoding, drawn)
        uniform = self._stream(chunk, 1).random(len(probability))
        columns = {
            column: inputs[tensor.name][:, j]
            for tensor in self.study.schema.inputs
            for j, column in enumerate(tensor.columns)
        }
        if self.encoding is not None:
            columns |= {name: values for name, values in drawn.items() if not name.startswith("_")}
        first = chunk * CHUNK_ROWS
        columns[LABEL] = (uniform < probability).astype(np.int8)
        columns[REQUEST] = np.arange(first, first + len(probability)) // self.scenario.candidates
        columns[BAYES] = probability
        return pa.table(columns)

    def _write_chunk(self, folder: Path, chunk: int, threshold: float) -> dict:
        import pyarrow.parquet as pq

        table = self.table(chunk, threshold)
        path = folder / f"{self.split}-{chunk:05d}.parquet"
        pq.write_table(table, path, compression="zstd", use_dictionary=[LABEL, REQUEST])
        return {"file": path.name, "rows": table.num_rows, "sha256": files.sha256(path)}
