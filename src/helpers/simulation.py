"""Rows of a simulated study: drawn, labelled, encoded, chunk by chunk and in memory only.

Each chunk of `CHUNK_ROWS` rows has its own random stream, derived from seed, split and chunk
number, so its content depends neither on the workers nor on what was made before it.
`helpers.datasets` stores what comes out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np

from helpers import features, tables
from helpers.errors import BadInput
from helpers.studies import Simulated, Study
from helpers.tables import BAYES, CHUNK_BYTES, CHUNK_ROWS, LABEL, REQUEST, SPLITS, USER

_Made = TypeVar("_Made")
LEAST = {"rows": 20, "validation_rows": 20, "test_rows": 200}
"""Fewest rows that are drawn, by parameter."""


def check_sizes(sizes: Mapping[str, object]) -> None:
    """Refuse fewer rows, by parameter, than are drawn; others among `sizes` are not looked at.

    Raises
    ------
    BadInput : the parameter and how many it takes.
    """
    for name, least in LEAST.items():
        if sizes.get(name, least) < least:
            raise BadInput(
                f"{name} must be at least {least} where rows are drawn, not {sizes[name]} (0, for "
                "all there are, is for tables)"
            )


@dataclass
class Rows:
    """Rows of all splits, as `helpers.datasets` stores them.

    `sizes` are rows by split; `workers` threads work on them, and they do not depend on how many.
    """

    study: Study
    source: Simulated
    sizes: Mapping[str, int]
    seed: int
    workers: int = 1

    def __post_init__(self):
        self._thresholds: dict[str, float] = {}
        self._encoding: features.Encoding | None = None

    def origin(self) -> tuple[list[str], list]:
        """What makes the rows: modules of the package, and the values that these take from the
        study.

        A function that is in no module of the package is among the values: one of a notebook by its
        own source, one of another module by that module's.
        """
        names, sources = [__name__], []
        for function in filter(None, (self.source.draw, self.source.utility)):
            module = inspect.getmodule(function)
            if module.__name__.startswith("helpers."):
                names.append(module.__name__)
            else:
                sources.append(
                    inspect.getsource(function if module.__name__ == "__main__" else module)
                )
        columns = [tensor.identity for tensor in self.study.schema.inputs]
        sizes = [self.source.candidates, self.source.requests_a_user]
        values = [
            self.source.threshold,
            self.source.noise,
            *sizes,
            columns,
            repr(self.study.features),
        ]
        return names, [sources, values]

    def each(self, work: Callable[[str, int, object], _Made]) -> Iterator[_Made]:
        """Call ``work(split, number, table)`` for every chunk of every split; results in that
        order.
        """
        self._encoding = fitted(self.study, self.source, self.sizes[SPLITS[0]], self.seed)
        for name, rows in self.sizes.items():
            split = Split(
                self.study, self.source, name, rows, self.seed, self.workers, self._encoding
            )
            threshold = self._thresholds[name] = split.threshold()
            yield from split.map("write", partial(_worked, work, split, threshold))

    def facts(self) -> dict:
        """What is known of the rows when all are made, as plain values."""
        found = {"candidates": self.source.candidates, "threshold": self._thresholds}
        if self.source.requests_a_user > 1:
            found["requests_a_user"] = self.source.requests_a_user
        return found if self._encoding is None else {**found, "encoding": self._encoding.to_json()}


def _worked(work: Callable, split: Split, threshold: float, chunk: int):
    return work(split.name, chunk, split.table(chunk, threshold))


@dataclass(frozen=True)
class Split:
    """One split of a simulated data set. `workers` threads work on it; its rows do not depend on
    them.
    """

    study: Study
    source: Simulated
    name: str
    rows: int
    seed: int
    workers: int = 1
    encoding: features.Encoding | None = None

    def threshold(self) -> float | None:
        """Where the label flips: the source's own, or the median of this split (a pass of its own);
        None for classes.
        """
        classes = self.study.schema.output.size > 1
        if self.source.threshold is not None or self.source.utility is None or classes:
            return self.source.threshold
        utilities = np.concatenate(list(self.map("median", self._utility)))
        return float(np.median(utilities, overwrite_input=True))

    def draw(self, chunk: int) -> dict[str, np.ndarray]:
        """What the source draws for a chunk: named inputs, or raw columns."""
        return self.source.draw(self._stream(chunk, 0), self._count(chunk))

    @property
    def chunk_rows(self) -> int:
        """Rows a chunk: `CHUNK_ROWS`, or as many whole requests as have `CHUNK_BYTES`."""
        requests = CHUNK_BYTES // self.study.schema.row_bytes // self.source.candidates
        return min(CHUNK_ROWS, max(1, requests) * self.source.candidates)

    def table(self, chunk: int, threshold: float | None):
        """One chunk as an Arrow table: a column a tensor (`helpers.tables`), label, request, Bayes
        probability.
        """
        import pyarrow as pa

        drawn = self.draw(chunk)
        inputs = drawn if self.encoding is None else features.encode(self.encoding, drawn)
        columns = tables.columns(self.study.schema, inputs)
        if self.encoding is not None:
            columns |= {name: values for name, values in drawn.items() if not name.startswith("_")}
        first, rows = chunk * self.chunk_rows, self._count(chunk)
        if self.source.utility is not None:
            utility = self.source.utility(drawn)
            if utility.ndim == 2:
                probability = self.source.class_probabilities(utility)
            else:
                probability = self.source.probability(utility, threshold)
            columns[LABEL] = self._labels(chunk, probability)
        columns[REQUEST] = np.arange(first, first + rows) // self.source.candidates
        if self.source.utility is not None:
            columns[BAYES] = tables.column(probability)
        if self.source.requests_a_user > 1:
            columns[USER] = columns[REQUEST] // self.source.requests_a_user
        return pa.table(columns)

    def _labels(self, chunk: int, probability: np.ndarray) -> np.ndarray:
        uniform = self._stream(chunk, 1).random(len(probability))
        if probability.ndim == 1:
            return (uniform < probability).astype(np.int8)
        below = probability.cumsum(axis=1)[:, :-1] <= uniform[:, None]
        return below.sum(axis=1).astype(np.int16)

    def map(self, step: str, work: Callable[[int], object]) -> Iterator:
        """`work` on the number of every chunk, results in order, never more chunks under way than
        two a worker.
        """
        from tqdm import tqdm

        chunks = iter(range(-(-self.rows // self.chunk_rows)))
        bar = tqdm(
            total=self.rows,
            desc=f"{self.name}: {step}",
            unit=" rows",
            unit_scale=True,
            delay=1,
            leave=False,
        )
        with ThreadPoolExecutor(self.workers) as pool, bar:
            waiting = [
                (chunk, pool.submit(work, chunk)) for chunk in islice(chunks, 2 * self.workers)
            ]
            while waiting:
                chunk, future = waiting.pop(0)
                yield future.result()
                bar.update(self._count(chunk))
                waiting.extend((chunk, pool.submit(work, chunk)) for chunk in islice(chunks, 1))

    def _count(self, chunk: int) -> int:
        return min(self.chunk_rows, self.rows - chunk * self.chunk_rows)

    def _stream(self, chunk: int, purpose: int) -> np.random.Generator:
        """Random numbers of one chunk: purpose 0 draws features, 1 the labels' noise."""
        return np.random.default_rng([self.seed, SPLITS.index(self.name), chunk, purpose])

    def _utility(self, chunk: int) -> np.ndarray:
        return self.source.utility(self.draw(chunk))


def fitted(study: Study, source: Simulated, rows: int, seed: int) -> features.Encoding | None:
    """The study's encoding, fitted on the first training rows, one chunk of them; None if the study
    has none.
    """
    if not study.features:
        return None
    first = Split(study, source, SPLITS[0], min(rows, CHUNK_ROWS), seed)
    return features.fit(first.draw(0), study.features)


def sample(study: Study, source: str, *, rows: int, seed: int, split: str = "train"):
    """The first rows that `datasets.make` would write of a split, as a DataFrame: at most a chunk
    of them, where rows are wide.

    Tensors whose values have names are spread over a column a value, others are columns of arrays;
    `Schema.arrays` makes the model's inputs of either.
    """
    if split not in SPLITS:
        raise BadInput(f"there is no split {split!r}; there is: {', '.join(SPLITS)}")
    chosen = study.source(source)
    most = Split(study, chosen, split, CHUNK_ROWS, seed).chunk_rows
    if not 1 <= rows <= CHUNK_ROWS:
        raise BadInput(f"a sample has 1 to {CHUNK_ROWS:,} rows, not {rows:,}: make a data set")
    rows = min(rows, most)
    drawn = Split(study, chosen, split, rows, seed, encoding=fitted(study, chosen, rows, seed))
    return tables.frame(study.schema, drawn.table(0, drawn.threshold()))


def best_possible(
    study: Study, source: str, *, rows: int, validation_rows: int, seed: int
) -> float:
    """Validation accuracy of the true preference with the training set's threshold.

    No training can be expected to pass it: what is missing to 1 is label noise and, for a source
    whose threshold is each set's own median, the distance between the two medians.
    """
    chosen = study.source(source)
    sizes = {"train": rows, "validation": validation_rows}
    splits = {name: Split(study, chosen, name, size, seed) for name, size in sizes.items()}
    frame = splits["validation"].table(0, splits["validation"].threshold())
    utility = chosen.utility(tables.arrays(study.schema, frame))
    best = chosen.probability(utility, splits["train"].threshold()) > 0.5
    return float((best == frame[LABEL].to_numpy()).mean())


def possible_table(
    study: Study, sizes: Mapping[str, tuple[int, int]], target: float, *, seeds: int
):
    """How many seeds draw data on which `target` can be reached at all, see `best_possible`.

    `sizes` are (training rows, validation rows) by name, on the published source.
    """
    import pandas as pd

    rows = {}
    for name, (size, validation) in sizes.items():
        fixed = {"rows": size, "validation_rows": validation}
        best = [best_possible(study, study.published.source, **fixed, seed=s) for s in range(seeds)]
        reach = sum(value >= target for value in best)
        rows[name] = {
            "lowest possible": f"{min(best):.3f}",
            "seeds that can pass": f"{reach} of {seeds}",
        }
    return pd.DataFrame(rows).T
