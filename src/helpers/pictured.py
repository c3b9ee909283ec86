"""Rows of pictures: files that are drawn, given or somebody's own, each prepared for the model.

A drawn picture has a random stream of its own, derived from seed, split and number, so that it
depends neither on the workers nor on how many others there are. Files of a folder are looked at
twice: first which of them are pictures, and which are the same; then they go to their splits by a
hash of what they hold. `helpers.datasets` stores what comes out.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from helpers import files, pictures, tables
from helpers.errors import BadInput, DamagedFile
from helpers.studies import Pictures, Study
from helpers.tables import CHUNK_BYTES, CHUNK_ROWS, LABEL, PICTURE, REQUEST, SPLITS

_Made = TypeVar("_Made")
MOST_ORIGINALS = 256
"""Files at the beginning of each split that can be had again, see `originals`."""
MOST_LEFT_OUT = 0.01
"""Share of the files that may be left out; one may always be."""
_SHOWN = 5
_BLOCK = 32


class Original(NamedTuple):
    """A picture file and its class; `group` is the same for files with the same picture."""

    content: bytes
    name: str
    label: int
    group: int


@dataclass
class Rows:
    """Rows of all splits, as `helpers.datasets` stores them.

    `sizes` are rows by split. Of a folder they are the most that are kept, 0 for all there are.
    `workers` threads work on them, and they do not depend on how many.

    Raises
    ------
    BadInput : the study has no input that holds a prepared picture.
    """

    study: Study
    source: Pictures
    sizes: Mapping[str, int]
    seed: int
    workers: int = 1

    def __post_init__(self):
        self._said: list[str] = []
        self._first: dict[str, list[list]] = {}
        prepared, inputs = self.source.preparation, self.study.schema.inputs
        shape = (prepared.size, prepared.size, 3)
        fits = [(t.name, t.shape, t.dtype) for t in inputs] == [(prepared.input, shape, "float32")]
        if not fits:
            raise BadInput(
                f"the pictures of {self.source.name!r} become {prepared.input} "
                f"{list(shape)} float32: the schema of {self.study.name} must have this input alone"
            )

    def origin(self) -> tuple[list[str], list]:
        """What makes the rows: modules of the package, and values, the SHA-256 of the files of a
        folder among them.
        """
        names, sources = [__name__], []
        for function in filter(None, (self.source.draw, self.source.given)):
            module = inspect.getmodule(function)
            if module.__name__.startswith("helpers."):
                names.append(module.__name__)
            else:
                sources.append(inspect.getsource(module))
        own = [[files.shown(path), files.sha256(path)] for path in found(self.study, self.source)]
        columns = [tensor.identity for tensor in self.study.schema.inputs]
        prepared = self.source.preparation.to_json()
        return names, [sources, prepared, labels(self.study), self.source.shares, columns, own]

    def facts(self) -> dict:
        """What is known of the rows when all are made, as plain values.

        `said` are lines on files that were left out; `originals` the name, SHA-256 and label of the
        first files of each split.
        """
        plain = {"candidates": 1, "threshold": dict.fromkeys(SPLITS)}
        prepared = {"preparation": self.source.preparation.to_json()}
        return {**plain, **prepared, "said": self._said, "originals": self._first}

    def each(self, work: Callable[[str, int, object], _Made]) -> Iterator[_Made]:
        """Call ``work(split, number, table)`` for every chunk of every split; results in that
        order.

        Raises
        ------
        BadInput : too many files of a folder are no pictures of their class, or a split is empty.
        """
        from tqdm import tqdm

        row_bytes = self.study.schema.row_bytes
        most = min(CHUNK_ROWS, max(1, CHUNK_BYTES // row_bytes))
        with ThreadPoolExecutor(self.workers) as pool:
            stock = _stock(self.study, self.source, self.sizes, self.seed, pool)
            self._said = stock.said
            for split in SPLITS:
                count, self._first[split] = stock.count(split), []
                with tqdm(
                    total=count, desc=f"{split}: prepare", unit=" pictures", delay=1, leave=False
                ) as bar:
                    for number, first in enumerate(range(0, count, most)):
                        places = range(first, min(first + most, count))
                        yield work(split, number, self._table(stock, split, places, pool))
                        bar.update(len(places))

    def _table(self, stock: _Drawn | _Listed, split: str, places: range, pool):
        """The pictures at these places of a split as an Arrow table."""
        import pyarrow as pa

        prepared = self.source.preparation
        values = np.empty((len(places), prepared.size, prepared.size, 3), np.float32)
        beside = np.empty((len(places), 2), np.int64)
        names, first = [""] * len(places), {}

        def fill(begin: int) -> None:
            for row in range(begin, min(begin + _BLOCK, len(places))):
                original = stock.picture(split, places[row])
                values[row] = prepared.tensor(original.content, original.name)
                beside[row] = original.label, original.group
                names[row] = original.name
                if places[row] < MOST_ORIGINALS:
                    first[places[row]] = [
                        original.name,
                        hashlib.sha256(original.content).hexdigest(),
                        int(original.label),
                    ]

        for _ in pool.map(fill, range(0, len(places), _BLOCK)):
            pass
        self._first[split] += [first[place] for place in sorted(first)]
        columns = tables.columns(self.study.schema, {prepared.input: values})
        columns |= {LABEL: beside[:, 0].astype(np.int16), REQUEST: beside[:, 1]}
        columns[PICTURE] = names
        return pa.table(columns)


@dataclass(frozen=True)
class _Drawn:
    """Pictures that are drawn, as many as are asked for."""

    study: Study
    source: Pictures
    sizes: Mapping[str, int]
    seed: int
    said: list[str] = field(default_factory=list)

    def count(self, split: str) -> int:
        return self.sizes[split]

    def picture(self, split: str, place: int) -> Original:
        rng = np.random.default_rng([self.seed, SPLITS.index(split), place])
        label = int(rng.integers(len(labels(self.study))))
        content, end = self.source.draw(rng, label)
        return Original(content, f"{split}-{place:05d}{end}", label, place)


class _Listed:
    """Files that are there: which are pictures, which are the same, and which split each is in.

    Files with the same prepared picture are one group and go to one split; if they are of two
    classes, they are left out. What is left out is `said`.
    """

    def __init__(self, source: Pictures, there: Sequence[_File], classes: Sequence[str]):
        self._source, self._there, self._classes = source, there, classes
        self.said: list[str] = []

    def divide(self, sizes: Mapping[str, int], seed: int, pool: ThreadPoolExecutor) -> _Listed:
        """Look at all files, and give each to a split."""
        looks = list(pool.map(self._look, self._there))
        self._digests = [look.digest for look in looks]
        groups: dict[str, list[int]] = {}
        for number, look in enumerate(looks):
            groups.setdefault(look.pixels or f"none {number}", []).append(number)
        bad: dict[int, str] = {}
        for members in groups.values():
            of = {self._there[number].label for number in members}
            if looks[members[0]].wrong:
                bad[members[0]] = looks[members[0]].wrong
            elif len(of) > 1:
                said = " and ".join(self._there[number].name for number in members)
                bad |= dict.fromkeys(members, f"{said} are the same picture in two classes")
        self.said = [f"left out: {said}" for said in dict.fromkeys(bad.values())]
        self._check_few(bad)
        whole = [members for members in groups.values() if members[0] not in bad]
        self._places: dict[str, list[tuple[int, int]]] = {split: [] for split in SPLITS}
        digests = [min(self._digests[number] for number in members) for members in whole]
        chances, places = tables.divided(digests, seed, self._source.shares)
        for group in np.argsort(chances, kind="stable"):
            split = SPLITS[places[group]]
            if not sizes[split] or len(self._places[split]) < sizes[split]:
                self._places[split] += [(number, int(group)) for number in whole[group]]
        for split, places in self._places.items():
            if not places:
                raise BadInput(
                    f"no picture of {len(self._there)} falls into the {split} split of "
                    f"{self._source.name!r}: give more pictures"
                )
        return self

    def count(self, split: str) -> int:
        return len(self._places[split])

    def picture(self, split: str, place: int) -> Original:
        number, group = self._places[split][place]
        there = self._there[number]
        content = there.read()
        if hashlib.sha256(content).hexdigest() != self._digests[number]:
            raise BadInput(
                f"{there.name} was changed while it was read: run the same command again"
            )
        return Original(content, there.name, there.label, group)

    def _look(self, there: _File) -> _Look:
        try:
            content = there.read()
            digest = hashlib.sha256(content).hexdigest()
            prepared = self._source.preparation
            pixels = prepared.prepare(prepared.decode(content, there.name))
        except (BadInput, DamagedFile) as error:
            return _Look(wrong=str(error))
        return _Look(digest, hashlib.sha256(pixels.tobytes()).hexdigest())

    def _check_few(self, bad: Mapping[int, str]) -> None:
        """Refuse to leave out more than a few, or all of a class."""
        left = {file.label for number, file in enumerate(self._there) if number not in bad}
        empty = [name for label, name in enumerate(self._classes) if label not in left]
        wrong = list(dict.fromkeys(bad.values()))
        if not empty and len(wrong) <= max(1, MOST_LEFT_OUT * len(self._there)):
            return
        what = f"no picture of class {empty[0]} can be used" if empty else "too many to leave out"
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise BadInput(
            f"{len(bad)} of {len(self._there)} files cannot be used, {what}: "
            f"{'; '.join(wrong[:_SHOWN])}{more}. Mend them or move them away"
        )


class _File(NamedTuple):
    """A file that may be a picture: its name, its label, and how its content is had."""

    name: str
    label: int
    read: Callable[[], bytes]


class _Look(NamedTuple):
    """SHA-256 of a file and of its prepared pixels, or what is wrong with it."""

    digest: str = ""
    pixels: str = ""
    wrong: str = ""


def _stock(study: Study, source: Pictures, sizes, seed: int, pool) -> _Drawn | _Listed:
    if source.draw is not None:
        return _Drawn(study, source, sizes, seed)
    return _Listed(source, _there(study, source), labels(study)).divide(sizes, seed, pool)


def _there(study: Study, source: Pictures) -> list[_File]:
    """The files of a source that draws none, in order of their names."""
    if source.given is not None:
        return [
            _File(name, label, lambda content=content: content)
            for content, name, label in source.given()
        ]
    place, classes = folder(study, source), labels(study)

    def reader(path: Path, name: str) -> Callable[[], bytes]:
        return lambda: pictures.read(path, name)

    result = []
    for path in found(study, source):
        inside = path.relative_to(place)
        label = classes.index(inside.parts[0])
        result.append(_File(inside.as_posix(), label, reader(path, inside.as_posix())))
    return result


def labels(study: Study) -> list[str]:
    """Names of a study's classes: those of the values of its output."""
    named = [dimension.name for dimension in study.schema.output.dimensions]
    if not named:
        raise BadInput(
            f"the output of {study.name} names no classes: give {study.schema.output.name} a "
            "dimension a class"
        )
    return named


def found(study: Study, source: Pictures) -> list[Path]:
    """Files in the folders of the classes, sorted; none where pictures are drawn or given.

    Some are passed over, see `files.below`.

    Raises
    ------
    BadInput : there is no folder, or not one for each class and no others.
    """
    if source.draw is not None or source.given is not None:
        return []
    place, classes = folder(study, source), labels(study)
    seen = [path for path in sorted(place.iterdir()) if files.is_seen(path.name)]
    there = [path.name for path in seen if path.is_dir()]
    loose = [path.name for path in seen if path.is_file()]
    if loose:
        raise BadInput(
            f"{files.shown(place)}/{loose[0]} lies in no folder of a class: move it into one"
        )
    if others := sorted(set(there) - set(classes)):
        raise BadInput(
            f"{files.shown(place)} has a folder {others[0]!r}, which is no class of {study.name} "
            f"({', '.join(classes)}). For classes of your own write pets.py with `from "
            f"helpers.studies import images` and `STUDY = images.study('pets', {tuple(there)!r})`, "
            "put the folders into data/pets/raw, and run `workbench run ./pets.py`"
        )
    if missing := [name for name in classes if name not in there]:
        raise BadInput(f"{files.shown(place)} has no folder for the class {missing[0]!r}")
    return sorted(path for name in classes for path in files.below(place / name))


def folder(study: Study, source: Pictures) -> Path:
    """Where the folders of the classes are.

    Raises
    ------
    BadInput : nowhere.
    """
    raw = files.home() / "data" / study.name / "raw"
    places = [Path(study.folder) / source.folder] if study.folder and source.folder else []
    places += [raw / source.folder]
    for place in places:
        if place.is_dir():
            return place
    raise BadInput(
        f"there is no folder {files.shown(places[-1])}: put pictures there, in a folder a class "
        f"({', '.join(labels(study))})"
    )


def originals(study: Study, manifest: Mapping, split: str, count: int) -> list[Original]:
    """The first picture files of a split of a data set, drawn or read again.

    Parameters
    ----------
    manifest : of the data set, see `datasets.Dataset`.
    count : how many, at most `MOST_ORIGINALS`; fewer if the split has fewer.

    Raises
    ------
    BadInput : its rows are no pictures, or a file is not the one that the data set was made of.
    """
    parameters = manifest["parameters"]
    source = study.source(parameters["source"])
    if not isinstance(source, Pictures) or "originals" not in manifest:
        raise BadInput(f"the rows of {study.name} are no pictures")
    if not 1 <= count <= MOST_ORIGINALS:
        raise BadInput(f"1 to {MOST_ORIGINALS} picture files can be had again, not {count}")
    sizes = {s: parameters["rows" if s == SPLITS[0] else f"{s}_rows"] for s in SPLITS}
    drawn = _Drawn(study, source, sizes, parameters["seed"])
    there = {} if source.draw else {file.name: file for file in _there(study, source)}
    result = []
    for place, (name, digest, label) in enumerate(manifest["originals"][split][:count]):
        if source.draw is not None:
            content = drawn.picture(split, place).content
        else:
            content = there[name].read() if name in there else b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise BadInput(
                f"{name} is not the file that this data set was made of: run notebook 01 again"
            )
        result.append(Original(content, name, label, place))
    return result
