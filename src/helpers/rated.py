"""Rows of ratings: each is a user and a film at the moment of a rating, with what was known then.

What is known of users and films comes from `helpers.ratings`. A row knows what came before it: one
of the training split training rows only, one of the validation split those and its own, one of the
test all, as a service would that is told each rating. `helpers.datasets` stores what comes out.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from helpers import files, ratings, tables
from helpers.errors import BadInput
from helpers.ratings import movielens
from helpers.studies import Rated, Study
from helpers.tables import BAYES, CHUNK_ROWS, LABEL, REQUEST, SPLITS

_Made = TypeVar("_Made")
KNOWN_RATINGS = 5
"""Ratings from which on a user or a film has an id of its own; before, and where it is none of the
training rows', it is 0."""
SHARES = (0.1, 0.2)
"""Of the ratings of a pack, those that are validation and test."""
_LEFT_OUT = -1


@dataclass
class Rows:
    """Rows of all splits, as `helpers.datasets` stores them.

    `sizes` are rows by split. Of a pack they are the most that are kept, by chance, 0 for all there
    are; what is known is of all of them in any case.
    """

    study: Study
    source: Rated
    sizes: Mapping[str, int]
    seed: int
    workers: int = 1

    def __post_init__(self):
        self._known: dict[str, list[int]] = {}
        self._said: list[str] = []
        self._digest = ""

    def origin(self) -> tuple[list[str], list]:
        """What makes the rows: modules of the package, and values, the SHA-256 of the pack's files
        among them.
        """
        functions = [f for f in (self.source.draw, self.source.inputs) if f is not None]
        modules = {inspect.getmodule(function).__name__ for function in functions}
        columns = [tensor.identity for tensor in self.study.schema.inputs]
        digests = [files.sha256(path) for path in found(self.study, self.source)]
        values = [self.source.split, self.source.film_totals, columns, digests]
        return [__name__, movielens.__name__, *sorted(modules)], values

    def facts(self) -> dict:
        """What is known of the rows when all are made, as plain values; `known` are users and films
        by their id in the model's tables, from 1 on; `ratings` is the SHA-256 of all of them.
        """
        plain = {"candidates": 1, "threshold": dict.fromkeys(SPLITS)}
        return {**plain, "known": self._known, "said": self._said, "ratings": self._digest}

    def each(self, work: Callable[[str, int, object], _Made]) -> Iterator[_Made]:
        """Call ``work(split, number, table)`` for every chunk of every split; results in that
        order.
        """
        import pyarrow as pa

        pack = read(self.study, self.source, sum(self.sizes.values()), self.seed)
        self._said = pack.said
        given, split = pack.ratings, split_of(pack.ratings, self.source, self.sizes, self.seed)
        self._digest = _digest(given)
        known = self._ids(given, split)
        kept = self._kept(split)
        columns: dict[str, np.ndarray] = {}
        for number, name in enumerate(SPLITS):
            if number == 0 or self.source.split != "time":  # nothing before a row is of a later one
                seen = None if self.source.split == "time" else split <= number
                columns = ratings.as_of(
                    given, pack.films, seen, film_totals=self.source.film_totals
                )
            rows = np.flatnonzero(kept == number)
            if not len(rows):
                raise BadInput(f"no rating is left for the {name} split of {self.source.name!r}")
            rows = rows[np.lexsort((given.time[rows], given.user[rows]))]
            for part in range(0, len(rows), CHUNK_ROWS):
                places = rows[part : part + CHUNK_ROWS]
                here = {column: values[places] for column, values in columns.items()}
                stored = tables.columns(self.study.schema, self.source.inputs(here, known))
                stored[LABEL] = here["label"]
                stored[REQUEST] = given.user[places].astype(np.int64)
                if pack.chance is not None:
                    stored[BAYES] = pack.chance[places]
                yield work(name, part // CHUNK_ROWS, pa.table(stored))

    def _kept(self, split: np.ndarray) -> np.ndarray:
        """The split of each row, or `_LEFT_OUT`."""
        kept, rng = split.copy(), np.random.default_rng([self.seed, 1])
        for number, most in enumerate(self.sizes.values()):
            rows = np.flatnonzero(split == number)
            if most and len(rows) > most:
                kept[rng.permutation(rows)[most:]] = _LEFT_OUT
        return kept

    def _ids(self, given: ratings.Ratings, split: np.ndarray) -> ratings.Ids:
        sizes = self.source.most_users, self.source.most_films
        known = ratings.Ids.of(given, split == 0, KNOWN_RATINGS, *sizes)
        self._known = {"user": known.users.tolist(), "film": known.films.tolist()}
        return known


def split_of(
    given: ratings.Ratings, source: Rated, sizes: Mapping[str, int], seed: int
) -> np.ndarray:
    """The split of each rating, an index of `SPLITS`: the last ones in time are the test, or whole
    users, or any.
    """
    rng, count = np.random.default_rng([seed, 0]), len(given)
    drawn = source.draw is not None
    parts = [*sizes.values()][1:] if drawn else [round(share * count) for share in SHARES]
    if source.split == "user":
        users, sizes_of = np.unique(given.user, return_counts=True)
        mixed = rng.permutation(len(users))
        ends = np.cumsum(sizes_of[mixed])
        of_user = np.zeros(len(users), np.int8)
        of_user[mixed] = np.select([ends <= parts[1], ends <= sum(parts)], [2, 1], 0)
        return of_user[np.searchsorted(users, given.user)]
    order = given.order() if source.split == "time" else rng.permutation(count)
    split = np.zeros(count, np.int8)
    split[order[count - parts[1] :]] = 2
    split[order[count - sum(parts) : count - parts[1]]] = 1
    return split


@dataclass(frozen=True)
class Behind:
    """The ratings behind a data set.

    Attributes
    ----------
    source : whose `inputs` made its rows.
    sizes, seed : as it was made.
    ids : of users and films in the model's tables.
    digest : of the ratings that it was made of, see `Rows.facts`.
    """

    study: Study
    source: Rated
    sizes: Mapping[str, int]
    seed: int
    ids: ratings.Ids
    digest: str

    @functools.cached_property
    def pack(self) -> ratings.Pack:
        """All ratings, drawn or read anew.

        Raises
        ------
        BadInput : they are not those that the data set was made of.
        """
        pack = read(self.study, self.source, sum(self.sizes.values()), self.seed)
        if _digest(pack.ratings) != self.digest:
            raise BadInput(
                f"the ratings of {self.source.name!r} are others than those that this data set was "
                "made of: run notebook 01 again"
            )
        return pack

    def split(self) -> np.ndarray:
        """The split of each rating, ``(n,)``, an index of `SPLITS`."""
        return split_of(self.pack.ratings, self.source, self.sizes, self.seed)


def behind(study: Study, manifest: Mapping) -> Behind:
    """What a data set with this manifest was made of.

    Raises
    ------
    BadInput : its rows are no ratings, or an earlier version made it.
    """
    parameters = manifest["parameters"]
    source = study.source(parameters["source"])
    if not isinstance(source, Rated):
        raise BadInput(f"the rows of {study.name} are no ratings: there is nobody to recommend to")
    if "ratings" not in manifest:
        raise BadInput("this data set was made by an earlier version: run notebook 01 again")
    sizes = {s: parameters["rows" if s == SPLITS[0] else f"{s}_rows"] for s in SPLITS}
    known = (np.array(manifest["known"][kind], np.int64) for kind in ("user", "film"))
    return Behind(
        study,
        source,
        sizes,
        parameters["seed"],
        ratings.Ids(*known, KNOWN_RATINGS),
        manifest["ratings"],
    )


def _digest(given: ratings.Ratings) -> str:
    """SHA-256 of ratings."""
    digest = hashlib.sha256()
    for name, kind in (("user", "i8"), ("film", "i8"), ("stars", "f4"), ("time", "i8")):
        digest.update(np.ascontiguousarray(getattr(given, name), kind).data)
    return digest.hexdigest()


def read(study: Study, source: Rated, rows: int, seed: int) -> ratings.Pack:
    """The ratings of a source: `rows` of them drawn, or those of the pack that is there."""
    if source.draw is not None:
        return source.draw(np.random.default_rng(seed), rows)
    return movielens.read(found(study, source)[0].parent)


def found(study: Study, source: Rated) -> list[Path]:
    """Files of the pack of a source; none where ratings are drawn.

    Raises
    ------
    BadInput : there is no pack in ``data/<study>/raw``, or there are several.
    """
    if source.draw is not None:
        return []
    raw = files.home() / "data" / study.name / "raw"
    packs = [movielens.files_of(folder) for folder in (raw, *sorted(raw.glob("*/")))]
    packs = [pack for pack in packs if pack]
    if not packs:
        raise BadInput(
            f"there is no MovieLens pack in {files.shown(raw)}: `make movielens` brings one "
            "there, or unpack one of GroupLens' there"
        )
    if len(packs) > 1:
        there = ", ".join(files.shown(pack[0].parent) for pack in packs)
        raise BadInput(f"there are several MovieLens packs ({there}): leave one of them there")
    return packs[0]
