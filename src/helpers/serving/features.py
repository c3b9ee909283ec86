"""What is known of users and films now, and the model's inputs made of it.

Keys are ``uf:ID`` of a user and ``mf:ID`` of a film. Columns are those of `helpers.ratings.as_of`,
bit for bit, and the source's own function makes inputs of them: the one that made the training
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from helpers.errors import BadInput
from helpers.ratings import Catalogue, Ids, Ratings, states
from helpers.serving.stores import Store

FILLED = "filled"
"""Key of the data set whose ratings the store has been told."""
MOST_ID = 2**31 - 1


@dataclass(frozen=True)
class Features:
    """Users and films in a store.

    Attributes
    ----------
    there : ``(n,) bool``, by id, which films there are.
    inputs : ``(columns, ids) -> named inputs``, of the source, see `helpers.studies.Rated`.
    """

    store: Store
    films: Catalogue
    there: np.ndarray
    ids: Ids
    inputs: Callable[[Mapping[str, np.ndarray], Ids], dict[str, np.ndarray]]

    def fill(self, ratings: Ratings, name: str) -> None:
        """Tell the store all ratings of a data set; its name is written last, so that a process
        that is killed before does it again.
        """

        def contents() -> Iterator[tuple[str, bytes]]:
            for film, content in states.films_after(ratings):
                yield f"mf:{film}", content
            for user, content in states.users_after(ratings):
                yield f"uf:{user}", content
            yield FILLED, name.encode()

        self.store.put(contents())

    def filled(self) -> str | None:
        """The data set that the store has been told."""
        content = self.store.get([FILLED])[0]
        return None if content is None else content.decode()

    def rate(self, user: int, film: int, stars: float) -> None:
        """Add a rating to what is known of the user and of the film; it takes the place of one that
        the user gave the film before.

        Raises
        ------
        BadInput : an id that cannot be, a film that is not there, stars that are no halves.
        Unavailable : the store does not answer; nothing was changed.
        """
        self.check_user(user)
        self.check_films(np.array([film]))
        if not (0.5 <= stars <= 5 and 2 * stars == int(2 * stars)):
            raise BadInput(f"{stars} stars: give .5 to 5 in steps of .5")
        keys = [f"uf:{user}", f"mf:{film}"]

        def rated(contents: list[bytes | None]) -> dict[str, bytes]:
            of_user = states.UserRecord.from_bytes(contents[0])
            of_film = states.film_state(contents[1])
            if (before := of_user.forget(film)) is not None:
                of_film.remove(before)
            of_user.add(film, stars, of_film.residual(stars))
            of_film.add(stars)
            return dict(zip(keys, (of_user.to_bytes(), states.film_bytes(of_film)), strict=True))

        self.store.change(keys, rated)

    def user(self, user: int) -> states.UserRecord:
        """What is known of a user; nothing of one who has not rated."""
        return states.UserRecord.from_bytes(self.store.get([f"uf:{user}"])[0])

    def film_sums(self, films: np.ndarray) -> np.ndarray:
        """Count, sum and sum of squares of the half stars of films, ``(n, 3) int64``."""
        return states.film_sums(self.store.get([f"mf:{film}" for film in films.tolist()]))

    def columns(
        self, user: int, of_user: states.UserRecord, films: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Columns of a user and each of some films, arrays ``(n,)`` by name."""
        return states.columns(self.films, user, of_user.state, films, self.film_sums(films))

    def rows(
        self, user: int, of_user: states.UserRecord, films: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Named inputs ``(n, *shape)`` of a user and each of some films, all of the study's."""
        return self.inputs(self.columns(user, of_user, films), self.ids)

    def pairs(self, users: np.ndarray, films: np.ndarray) -> dict[str, np.ndarray]:
        """Named inputs of users and films by row, ``(n, *shape)``.

        Raises
        ------
        BadInput : an id that cannot be, or a film that is not there.
        """
        self.check_films(films)
        different, place = np.unique(users, return_inverse=True)
        self.check_user(int(different[0]))
        self.check_user(int(different[-1]))
        order = np.argsort(place, kind="stable")
        parts = np.split(films[order], np.flatnonzero(np.diff(place[order])) + 1)
        kept = self.store.get([f"uf:{user}" for user in different.tolist()])
        made = [
            self.rows(user, states.UserRecord.from_bytes(content), part)
            for user, content, part in zip(different.tolist(), kept, parts, strict=True)
        ]
        back = np.argsort(order)
        return {name: np.concatenate([part[name] for part in made])[back] for name in made[0]}

    def check_films(self, films: np.ndarray) -> None:
        """Refuse ids of films that are not there."""
        outside = (films < 1) | (films >= len(self.there))
        absent = outside | ~self.there[np.where(outside, 0, films)]
        if absent.any():
            raise BadInput(f"there is no film {films[int(np.argmax(absent))]}")

    @staticmethod
    def check_user(user: int) -> None:
        """Refuse an id that no user can have."""
        if not 1 <= user <= MOST_ID:
            raise BadInput(f"user {user}: ids are from 1 to {MOST_ID}")
