"""MovieLens, as GroupLens packs it: ml-100k, ml-1m, ml-latest-small, ml-25m and their like; and
ml-100k in the form of RecBole's package.

GroupLens' terms forbid passing the data on: it is read where the user has put it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from helpers.errors import BadInput
from helpers.ratings.pack import Pack
from helpers.ratings.statistics import GENRES, Catalogue, Ratings

_MOST_ID = 1 << 24
_YEAR = re.compile(r"\((\d{4})(?:[-\N{EN DASH}]\d{0,4})?\)\s*$")
_SPELLED = {"Children's": "Children", "(no genres listed)": "", "unknown": ""}
_FLAGS = tuple(genre for genre in GENRES if genre != "IMAX")
"""Genres of ml-100k's ``u.item`` by column; the first is none."""


def files_of(folder: Path) -> list[Path]:
    """The two files of the pack in a folder; none where there is no pack."""
    forms = [[folder / name for name in form] for form in _FORMS]
    return next((form for form in forms if all(path.is_file() for path in form)), [])


def read(folder: Path) -> Pack:
    """Read the pack in a folder, whichever it is.

    A film that one user has rated twice counts once, with the later rating. Films without a year or
    genres have none.

    Raises
    ------
    BadInput : there is no pack, a file of it is empty or damaged, or a rating is of a film that the
        pack does not list; names the file and the row.
    """
    for files, reader in _FORMS.items():
        if all((folder / name).is_file() for name in files):
            for name in files:
                if (folder / name).stat().st_size == 0:
                    raise BadInput(f"{folder / name} is empty: unpack it again")
            return _checked(folder / files[0], folder / files[1], *reader(folder))
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    raise BadInput(
        f"there is no MovieLens pack in {folder} (it has {', '.join(there) or 'nothing'}): it "
        f"needs {', or '.join(' and '.join(files) for files in _FORMS)}"
    )


_Film = tuple[int, str, int, list[str]]


def _checked(
    ratings_file: Path, films_file: Path, columns: Mapping[str, np.ndarray], films: list[_Film]
) -> Pack:
    ids = [film for film, *_ in films]
    if not ids or min(ids) < 1 or max(ids) > _MOST_ID:
        raise BadInput(f"{films_file}: ids of films must be from 1 to {_MOST_ID:,}")
    size, most = max(ids) + 1, max(len(names) for *_, names in films)
    year, genres = np.zeros(size, np.int32), np.zeros((size, max(3, most)), np.int8)
    listed = np.zeros(size, bool)
    unknown: set[str] = set()
    for film, _, released, names in films:
        listed[film], year[film] = True, released
        places = [_SPELLED.get(name, name) for name in names]
        unknown |= {name for name in places if name and name not in GENRES}
        places = [GENRES.index(name) for name in places if name in GENRES[1:]]
        genres[film, : len(places)] = places
    film = columns["film"]
    lost = (film < 0) | (film >= size)
    lost[~lost] = ~listed[film[~lost]]
    if lost.any():
        row = int(np.argmax(lost))
        raise BadInput(
            f"{ratings_file}, row {row + 1}: film {film[row]} is not in {films_file.name}: both "
            "must be of one pack"
        )
    try:
        given = Ratings(**columns)
    except BadInput as error:
        raise BadInput(f"{ratings_file}, {error}") from error
    kept = _last_of_each(given)
    said = [f"genres that MovieLens does not have: {', '.join(sorted(unknown))}"] if unknown else []
    if len(kept) < len(given):
        again = len(given) - len(kept)
        said.append(f"{again:,} ratings were given again later by the same user: the last counts")
        given = Ratings(**{name: array[kept] for name, array in vars(given).items()})
    return Pack(given, Catalogue(year, genres), {f: title for f, title, *_ in films}, said)


def _last_of_each(given: Ratings) -> np.ndarray:
    """Rows that no later one of the same user and film replaces, in the order of the rows."""
    order = given.order()
    pair = given.user[order].astype(np.int64) * (_MOST_ID + 1) + given.film[order]
    by_pair = np.argsort(pair, kind="stable")
    is_last = np.ones(len(pair), bool)
    is_last[:-1] = pair[by_pair][1:] != pair[by_pair][:-1]
    return np.sort(order[by_pair[is_last]])


def _csv(folder: Path) -> tuple[dict[str, np.ndarray], list[_Film]]:
    columns = _table(folder / "ratings.csv", ",", header=True)
    films = []
    for row, cells in _cells(folder / "movies.csv", ","):
        if row:  # the first is the header
            film, title, names = _width(folder / "movies.csv", row, cells, 3)
            films.append((_id(folder / "movies.csv", row, film), *_titled(title), names.split("|")))
    return columns, films


def _colons(folder: Path) -> tuple[dict[str, np.ndarray], list[_Film]]:
    columns = _table(folder / "ratings.dat", "::")
    films = []
    path = folder / "movies.dat"
    for row, line in enumerate(_text(path).splitlines(), start=1):
        film, title, names = _width(path, row, line.split("::"), 3)
        films.append((_id(path, row, film), *_titled(title), names.split("|")))
    return columns, films


def _tabs(folder: Path) -> tuple[dict[str, np.ndarray], list[_Film]]:
    columns = _table(folder / "u.data", "\t")
    films, path = [], folder / "u.item"
    for row, line in enumerate(_text(path).splitlines(), start=1):
        cells = _width(path, row, line.split("|"), 5 + len(_FLAGS))
        names = [name for name, flag in zip(_FLAGS, cells[5:], strict=True) if flag == "1"]
        title, year = _titled(cells[1])
        released = re.search(r"(\d{4})$", cells[2])
        films.append((_id(path, row, cells[0]), title, year or _year(released), names))
    return columns, films


def _atomic(folder: Path) -> tuple[dict[str, np.ndarray], list[_Film]]:
    columns = _table(folder / "ml-100k.inter", "\t", header=True)
    films, path = [], folder / "ml-100k.item"
    for row, line in enumerate(_text(path).splitlines()[1:], start=1):
        film, title, year, names = _width(path, row, line.split("\t"), 4)
        released = re.fullmatch(r"(\d{4})", year.strip())
        films.append((_id(path, row, film), title.strip(), _year(released), names.split()))
    return columns, films


_NAMES = ("user", "film", "stars", "time")
_FORMS: dict[tuple[str, str], Callable] = {
    ("ratings.csv", "movies.csv"): _csv,
    ("ratings.dat", "movies.dat"): _colons,
    ("u.data", "u.item"): _tabs,
    ("ml-100k.inter", "ml-100k.item"): _atomic,
}
"""The file of ratings and that of films, of every form that is read."""


def _table(path: Path, separator: str, *, header: bool = False) -> dict[str, np.ndarray]:
    """Columns of a file of ratings, in the order of `_NAMES` whatever its header calls them."""
    import pyarrow as pa
    import pyarrow.csv

    content: object = path
    if len(separator) > 1:
        content = pa.BufferReader(path.read_bytes().replace(separator.encode(), b"\t"))
        separator = "\t"
    kinds = dict(zip(_NAMES, (pa.int64(), pa.int64(), pa.float64(), pa.int64()), strict=True))
    try:
        table = pyarrow.csv.read_csv(
            content,
            pyarrow.csv.ReadOptions(column_names=_NAMES, skip_rows=int(header)),
            pyarrow.csv.ParseOptions(delimiter=separator, quote_char=False),
            pyarrow.csv.ConvertOptions(column_types=kinds, null_values=[]),
        )
    except pa.ArrowInvalid as error:
        raise BadInput(
            f"{path} is damaged: {' '.join(str(error).split())}; unpack it again"
        ) from error
    return {name: table[name].to_numpy() for name in _NAMES}


def _cells(path: Path, separator: str):
    import csv
    import io

    try:
        yield from enumerate(csv.reader(io.StringIO(_text(path)), delimiter=separator, strict=True))
    except csv.Error as error:
        raise BadInput(f"{path} is damaged: {error}; unpack it again") from error


def _text(path: Path) -> str:
    """Text of a file: UTF-8, or Latin-1 as the older packs are."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _width(path: Path, row: int, cells: list[str], wanted: int) -> list[str]:
    if len(cells) != wanted:
        raise BadInput(f"{path}, row {row}: {len(cells)} cells, not {wanted}: unpack it again")
    return cells


def _id(path: Path, row: int, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"{path}, row {row}: {text!r} is no id of a film") from None


def _titled(title: str) -> tuple[str, int]:
    """A title without its year, and the year; 0 where there is none."""
    found = _YEAR.search(title)
    return (title[: found.start()].strip(), int(found[1])) if found else (title.strip(), 0)


def _year(found: re.Match | None) -> int:
    return int(found[1]) if found else 0
