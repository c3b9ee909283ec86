"""What a service knows when it starts: the films, their titles, candidates, and all ratings so far.

It is learned once from the data set that a run was trained on, and kept beside the features in
``data/<study>/serving/<data set>/``, so that the next start reads two files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import datasets, files, rated, registry
from helpers.errors import BadInput
from helpers.ratings import Catalogue, Pack, Ratings
from helpers.ratings.recall import Recall
from helpers.runs import Run
from helpers.serving import stores
from helpers.serving.features import Features


@dataclass(frozen=True)
class Known:
    """Films, candidates and features.

    Attributes
    ----------
    folder : what is kept of the data set, see above.
    titles : of films, by id.
    """

    folder: Path
    titles: dict[int, str]
    recall: Recall
    features: Features

    @property
    def films(self) -> Catalogue:
        return self.recall.films


def of(run: Run, where: str = "sqlite") -> Known:
    """What is known of the ratings of a run's data set, from disk where it has been learned before.

    Parameters
    ----------
    where : the feature store, see `helpers.serving.stores.opened`.

    Raises
    ------
    BadInput : the run's rows are no ratings, or the store holds those of another data set.
    Unavailable : the store does not answer.
    """
    data = data_of(run)
    behind = rated.behind(registry.get(run.study), data.manifest)
    folder = data.folder.parent / "serving" / data.folder.name
    files.make_folder(folder)
    file = folder / "known.npz"
    if not file.is_file():
        _learn(file, behind.pack)
    titles, recall = _load(file)
    there = np.zeros(len(recall.films.year), bool)
    there[list(titles)] = True
    store = stores.opened(where, folder / "features.sqlite")
    features = Features(store, recall.films, there, behind.ids, behind.source.inputs)
    _fill(features, data.folder.name, lambda: behind.pack.ratings)
    return Known(folder, titles, recall, features)


def data_of(run: Run) -> datasets.Dataset:
    """The data set that a run was trained on."""
    return datasets.load(run.verified("01", "data.json", any_code=True))


def _fill(features: Features, name: str, read: Callable[[], Ratings]) -> None:
    filled = features.filled()
    if filled is None:
        features.fill(read(), name)
    elif filled != name:
        raise BadInput(
            f"the feature store holds the ratings of data set {filled}, the run's is {name}: give "
            "each a store of its own (another Redis database: redis://HOST:PORT/1)"
        )


def _learn(file: Path, pack: Pack) -> None:
    """Write what `_load` reads."""
    recall = Recall.of(pack.ratings, pack.films)
    titles = json.dumps({str(film): title for film, title in pack.titles.items()})
    with files.atomic(file) as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream,
            year=pack.films.year,
            genres=pack.films.genres,
            count=recall.count,
            mean=recall.mean,
            vectors=recall.vectors,
            titles=np.frombuffer(titles.encode(), np.uint8),
        )


def _load(file: Path) -> tuple[dict[int, str], Recall]:
    with np.load(file, allow_pickle=False) as kept:
        titles = json.loads(kept["titles"].tobytes())
        films = Catalogue(kept["year"], kept["genres"])
        recall = Recall(films, kept["count"], kept["mean"], kept["vectors"])
    return {int(film): title for film, title in titles.items()}, recall
