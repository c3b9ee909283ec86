"""Rows of a simulated study: drawn, labelled, encoded, chunk by chunk and in memory only.

Each chunk of `CHUNK_ROWS` rows has its own random stream, derived from seed, split and chunk number, so its content
depends neither on the workers nor on what was made before it. `helpers.datasets` stores what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from helpers import features, tables
from helpers.errors import BadInput
from helpers.studies import Scenario, Study

CHUNK_ROWS = 100_000
"""Most rows a chunk: whole requests of 20, about 10 MB, some 40 MB while it is being made."""
CHUNK_BYTES = 64 << 20
"""Most bytes of a chunk's inputs: of wide ones it has fewer rows."""
SPLITS = ("train", "validation", "test")
LABEL, REQUEST, BAYES, USER = "label", "request", "bayes_probability", "user"
"""Columns beside the features: 0 or 1; which rows are ranked together; P(label = 1), never a feature; and, where users
have several requests, whose each is."""


@dataclass(frozen=True)
class Split:
    """One split of a simulated data set. `workers` threads work on it; its rows do not depend on them."""

    study: Study
    scenario: Scenario
    name: str
    rows: int
    seed: int
    workers: int = 1
    encoding: features.Encoding | None = None

    def threshold(self) -> float:
        """Where the label flips: the scenario's own, or the median of this split (a pass of its own)."""
        if self.scenario.threshold is not None:
            return self.scenario.threshold
        utilities = np.concatenate(list(self.map("median", self._utility)))
        return float(np.median(utilities, overwrite_input=True))

    def draw(self, chunk: int) -> dict[str, np.ndarray]:
        """What the scenario draws for a chunk: named inputs, or raw columns."""
        return self.scenario.draw(self._stream(chunk, 0), self._count(chunk))

    @property
    def chunk_rows(self) -> int:
        """Rows a chunk: `CHUNK_ROWS`, or as many whole requests as have `CHUNK_BYTES`."""
        requests = CHUNK_BYTES // self.study.schema.row_bytes // self.scenario.candidates
        return min(CHUNK_ROWS, max(1, requests) * self.scenario.candidates)

    def table(self, chunk: int, threshold: float):
        """One chunk as an Arrow table: a column a tensor (`helpers.tables`), label, request, Bayes probability."""
        import pyarrow as pa

        drawn = self.draw(chunk)
        probability = self.scenario.probability(self.scenario.utility(drawn), threshold)
        inputs = drawn if self.encoding is None else features.encode(self.encoding, drawn)
        uniform = self._stream(chunk, 1).random(len(probability))
        columns = tables.columns(self.study.schema, inputs)
        if self.encoding is not None:
            columns |= {name: values for name, values in drawn.items() if not name.startswith("_")}
        first = chunk * self.chunk_rows
        columns[LABEL] = (uniform < probability).astype(np.int8)
        columns[REQUEST] = np.arange(first, first + len(probability)) // self.scenario.candidates
        columns[BAYES] = probability
        if self.scenario.requests_a_user > 1:
            columns[USER] = columns[REQUEST] // self.scenario.requests_a_user
        return pa.table(columns)

    def map(self, step: str, work: Callable[[int], object]) -> Iterator:
        """`work` on the number of every chunk, results in order, never more chunks under way than two a worker."""
        from tqdm import tqdm

        chunks = iter(range(-(-self.rows // self.chunk_rows)))
        bar = tqdm(total=self.rows, desc=f"{self.name}: {step}", unit=" rows", unit_scale=True, delay=1, leave=False)
        with ThreadPoolExecutor(self.workers) as pool, bar:
            waiting = [(chunk, pool.submit(work, chunk)) for chunk in islice(chunks, 2 * self.workers)]
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
        return self.scenario.utility(self.draw(chunk))


def fitted(study: Study, scenario: Scenario, rows: int, seed: int) -> features.Encoding | None:
    """The study's encoding, fitted on the first training rows, one chunk of them; None if the study has none."""
    if not study.features:
        return None
    first = Split(study, scenario, SPLITS[0], min(rows, CHUNK_ROWS), seed)
    return features.fit(first.draw(0), study.features)


def sample(study: Study, scenario: str, *, rows: int, seed: int, split: str = "train"):
    """The first rows that `datasets.make` would write of a split, as a DataFrame: at most a chunk of them.

    Tensors whose values have names are spread over a column a value, others are columns of arrays; `Schema.arrays`
    makes the model's inputs of either.
    """
    if split not in SPLITS:
        raise BadInput(f"there is no split {split!r}; there is: {', '.join(SPLITS)}")
    chosen = study.scenario(scenario)
    most = Split(study, chosen, split, CHUNK_ROWS, seed).chunk_rows
    if not 1 <= rows <= most:
        raise BadInput(f"a sample has 1 to {most:,} rows, not {rows:,}: make a data set")
    drawn = Split(study, chosen, split, rows, seed, encoding=fitted(study, chosen, rows, seed))
    return tables.frame(study.schema, drawn.table(0, drawn.threshold()))


def best_possible(study: Study, scenario: str, *, rows: int, validation_rows: int, seed: int) -> float:
    """Validation accuracy of the true preference with the training set's threshold.

    No training can be expected to pass it: what is missing to 1 is label noise and, for a scenario whose
    threshold is each set's own median, the distance between the two medians.
    """
    chosen = study.scenario(scenario)
    sizes = {"train": rows, "validation": validation_rows}
    splits = {name: Split(study, chosen, name, size, seed) for name, size in sizes.items()}
    frame = splits["validation"].table(0, splits["validation"].threshold())
    utility = chosen.utility(tables.arrays(study.schema, frame))
    best = chosen.probability(utility, splits["train"].threshold()) > 0.5
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
