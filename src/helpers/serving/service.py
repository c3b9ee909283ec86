"""What the service answers, without HTTP: lists, films, users, ratings, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from helpers.bundle import rollout
from helpers.errors import BadInput
from helpers.ratings import GENRES
from helpers.ratings.recall import MOST
from helpers.ratings.states import UserRecord
from helpers.serving import tfserving
from helpers.serving.exposure import Log
from helpers.serving.known import Known
from helpers.serving.models import ModelUnavailable, Version
from helpers.serving.stores import Unavailable

USER, FILM = "userId", "movieId"
"""Inputs by which a client of the published API says whom and what it means."""
MOST_ROWS = 4096
"""Rows of a request that are filled in."""


class Absent(BadInput):
    """There is no such film, model or version."""


@dataclass(frozen=True)
class List:
    """Films for a user, best first.

    Attributes
    ----------
    films : as the API gives them.
    model : the run whose model put them in order; None where none did.
    missing : what did not answer, so that the list is a popular one: ``features`` or ``model``.
    """

    films: list[dict]
    model: str | None
    missing: str | None = None


@dataclass(frozen=True)
class Service:
    """Models over what is known of users and films; `exposures` and `ratings` are its logs."""

    known: Known
    versions: Sequence[Version]
    exposures: Log
    ratings: Log
    test: str = ""
    _weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        self._weights.update({version.run: version.weight for version in self.versions})

    def version_of(self, user: int) -> Version:
        """The model that a user gets, by hash, see `helpers.bundle.rollout`."""
        if len(self.versions) == 1:
            return self.versions[0]
        return self.by_label(rollout.assign(str(user), self._weights, test=self.test))

    def by_label(self, run: str) -> Version:
        found = [version for version in self.versions if version.run == run]
        if not found:
            there = ", ".join(version.run for version in self.versions)
            raise Absent(f"there is no model {run!r} here; there is: {there}")
        return found[0]

    def recommend(self, user: int, size: int, model: str | None = None) -> List:
        """The best `size` of at most 800 candidates that the user has not seen.

        Raises
        ------
        BadInput : an id that no user can have.
        Absent : there is no such model.
        """
        self.known.features.check_user(user)
        version = self.version_of(user) if model is None else self.by_label(model)
        of_user = UserRecord()
        try:
            of_user = self.known.features.user(user)
            films, ways = self.known.recall.together(of_user.seen, of_user.liked(), MOST)
            if not len(films):
                return List([], version.run)
            scores = self._scores(version, self.known.features.rows(user, of_user, films))
            best = np.argsort(-scores, kind="stable")[:size]
            sums = self.known.features.film_sums(films[best])
        except (Unavailable, ModelUnavailable) as error:
            missing = "features" if isinstance(error, Unavailable) else "model"
            return List(self._popular(of_user, size), None, missing)
        listed = [
            {**self._described(int(films[i]), numbers), "way": ways[i], "score": float(scores[i])}
            for i, numbers in zip(best, sums, strict=True)
        ]
        by_chance = {"among": list(self._weights)} if model is None else {}
        shown = films[best].tolist()
        self.exposures.add(user=user, model=version.run, films=shown, **by_chance)
        return List(listed, version.run)

    def _scores(self, version: Version, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        taken = {name: rows[name] for name in version.schema.input_names}
        return version.scorer.score(taken).reshape(-1)

    def _popular(self, of_user: UserRecord, size: int) -> list[dict]:
        recall = self.known.recall
        films = recall.found("popular", of_user.seen, [], size).tolist()
        return [{**self._described(film), "way": "popular", "score": None} for film in films]

    def similar(self, film: int, size: int) -> list[dict]:
        """Films near to one in the space of candidates; the best rated of its genres where it has
        no vector.
        """
        self._check_film(film)
        recall = self.known.recall
        films, way = recall.similar(film, size), "nearest"
        if not len(films):
            films, way = recall.found("genre", [film], [film], size), "genre"
        return [{**self._described(other), "way": way} for other in films.tolist()]

    def film(self, film: int) -> dict:
        """A film, with what its ratings are now."""
        self._check_film(film)
        return self._described(film, self.known.features.film_sums(np.array([film]))[0])

    def user(self, user: int) -> dict:
        """A user: how many films were seen, the last ratings (the newest first), genres liked, and
        which model the user gets.
        """
        self.known.features.check_user(user)
        of_user = self.known.features.user(user)
        columns = of_user.state.columns(self.known.films)
        genres = [columns[f"userGenre{i}"] for i in range(1, 6)]
        return {
            "userId": user,
            "filmsSeen": len(of_user.seen),
            "ratingCount": columns["userRatingCount"],
            "averageRating": columns["userAvgRating"],
            "genres": [GENRES[genre] for genre in genres if genre],
            "model": self.version_of(user).run,
            "ratings": [
                {FILM: film, "title": self.known.titles[film], "rating": halves / 2}
                for film, halves, _ in reversed(of_user.state.last)
            ],
        }

    def rate(self, user: int, film: int, stars: float) -> None:
        """Add a rating: features change at once, and the next list with them.

        Raises
        ------
        BadInput, Absent, Unavailable : see `Features.rate`; nothing was changed.
        """
        self._check_film(film)
        self.known.features.rate(user, film, stars)
        self.ratings.add(user=user, film=film, rating=stars)

    def predict(self, version: Version, asked: tfserving.Asked) -> np.ndarray:
        """Scores ``(n_rows, 1)`` of a predict request.

        A request that names a signature, or has all inputs of a model that takes more than ids, is
        what a TensorFlow Serving client means: tensors as they are. In every other, `USER` and
        `FILM` are ids of the data, and inputs that are not there are what is known of both now.

        Raises
        ------
        BadInput : inputs that are not the model's, or none to say whom and what is meant.
        """
        tensors = {tensor.name: tensor for tensor in version.schema.inputs}
        known_names = {*tensors, USER, FILM}
        if unknown := [name for name in asked.values if name not in known_names]:
            raise BadInput(f"the model has no input {unknown[0]}; it takes {', '.join(tensors)}")
        missing = [name for name in tensors if name not in asked.values]
        ids_alone = set(asked.values) == {USER, FILM}
        if asked.signature or not (missing or ids_alone):
            if missing:
                raise BadInput(f"the request has no input {', '.join(missing)}")
            given = {name: tfserving.array(tensors[name], asked.values[name]) for name in tensors}
            return version.scorer.score(given)
        if lacking := {USER, FILM} - set(asked.values):
            raise BadInput(
                f"the request has no input {', '.join(missing)}; with {min(lacking)} they would "
                "be filled in"
            )
        if asked.rows > MOST_ROWS:
            raise BadInput(f"{asked.rows:,} rows: at most {MOST_ROWS:,} are filled in at a time")
        users, films = (_ids(asked.values[name], name) for name in (USER, FILM))
        rows = self.known.features.pairs(users, films)
        given = {
            name: rows[name]
            if name in missing or name in (USER, FILM)
            else tfserving.array(tensor, asked.values[name])
            for name, tensor in tensors.items()
        }
        return version.scorer.score(given)

    def _check_film(self, film: int) -> None:
        if film not in self.known.titles:
            raise Absent(f"there is no film {film}")

    def _described(self, film: int, sums: np.ndarray | None = None) -> dict:
        films = self.known.films
        described = {
            FILM: film,
            "title": self.known.titles[film],
            "releaseYear": int(films.year[film]) or None,
            "genres": [GENRES[genre] for genre in films.genres[film] if genre],
        }
        if sums is not None:
            count, total = int(sums[0]), int(sums[1])
            mean = round(total / (2 * count), 3) if count else None
            described |= {"ratingCount": count, "averageRating": mean}
        return described


def _ids(values: Sequence, name: str) -> np.ndarray:
    """Ids of a request, plain or in lists of one, ``(n,) int64``."""
    try:
        found = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{name} are ids, a whole number each") from error
    if found.dtype.kind not in "iu" or found.size != len(values):
        raise BadInput(f"{name} are ids, a whole number each")
    return found.reshape(-1).astype(np.int64)
