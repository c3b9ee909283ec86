"""Which tensors of a converted file hold the layers of the trained model.

Converters keep no names, join layers and split them, and store pictures with the channels last. So
a layer is found by what it computes for the same rows: of the tensors with as many values, in the
same order or with the channels moved, the nearest one is the layer's, if it has nearly the layer's
values (`NEAR`) and is nearer to no other layer. Behind a tensor that departs the trained model goes
on with the tensor's values in place of its own: so layers behind a fault are found as those before
it are, and only the layer at fault is not. Its tensor is the first one from which layers behind it
are found again. Tensors of the model's outputs are known by their names. Nothing is taken for a
layer by its place alone.

A layer that is not found is taken for a part of the next one that takes its values: a convolution
that is computed with its batch norm and activation is one layer of the file, and is called by the
names of all. Layers behind which none is found are left out, and those that only move values.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers import child, runtimes
from helpers.convert.layers import Layer
from helpers.runtimes.runtime import Computed
from helpers.schema import Schema

SUFFIXES = (".keras", ".pt2")
"""Trained models whose layers can be computed one by one."""
NEAR = 0.1
"""How far a tensor may be from the layer that it holds: root mean square, as a part of the layer's
standard deviation. So near, it has 99 % of the layer's variance."""
_SAME = 1e-4
"""Up to here the model's own values are as good to go on with."""
_LEAST_VALUES = 8
"""Tensors of fewer say too little."""
_MOST_NAMES = 4
_Pairs = dict[int, tuple[int, np.ndarray]]
"""By the place of a layer, the place of its tensor, and that in the shape of the layer."""


def aligned(
    model: Path, schema: Schema, inputs: Mapping[str, np.ndarray], found: Sequence[Layer]
) -> tuple[list[Layer], list[Layer]]:
    """The layers of a trained model that a converted file has, and what the file has of each, in
    the model's order and shapes. The model is opened in a process of its own.

    Parameters
    ----------
    model : ``.keras`` or ``.pt2`` file.
    inputs : rows that both are run on.
    found : what `helpers.convert.layers.values` has read of the file for these rows.

    Raises
    ------
    BadInput : what the model needs is not installed.
    DamagedFile : it cannot be run layer by layer.
    """
    ends = {name: i for i, layer in enumerate(found) for name in layer.names}
    with (
        tempfile.TemporaryDirectory() as folder,
        child.Child(f"run {model.name}", imports=runtimes.imports(model)) as process,
    ):
        given, tensors, target = (f"{folder}/{name}.npz" for name in ("inputs", "file", "found"))
        np.savez(given, *inputs.values())
        np.savez(tensors, *(layer.values for layer in found))
        described = process.call(
            f"{__name__}:_aligned_here",
            path=str(model),
            schema=schema.to_json(),
            names=list(inputs),
            inputs=given,
            tensors=tensors,
            ends={name: ends[name] for name in schema.output_names if name in ends},
            target=target,
        )
        with np.load(target, allow_pickle=False) as arrays:
            of_model, of_file = (
                [
                    Layer((name,), operator, arrays[f"{end}{i}"], tuple(takes))
                    for i, (name, operator, takes) in enumerate(described)
                ]
                for end in ("model", "file")
            )
    return of_model, of_file


def _aligned_here(
    path: str,
    schema: dict,
    names: list[str],
    inputs: str,
    tensors: str,
    ends: dict[str, int],
    target: str,
) -> list:
    """Hold a model to the tensors of a file; runs in a child process."""
    reader = importlib.import_module(f"{runtimes.__name__}.{runtimes.runtime_of(path)}")
    graph = reader.Graph(Path(path), Schema.from_json(schema).as_given())
    rows = dict(zip(names, _arrays(inputs), strict=True))
    search = _Search(lambda held: graph.run(rows, held), rows, _arrays(tensors))
    pairs = search.pairs({graph.outputs[n]: i for n, i in ends.items() if n in graph.outputs})
    described, arrays = [], {}
    computed, numbers = search.computed, {place: i for i, place in enumerate(sorted(pairs))}
    claimed: set[int] = set()
    for place, i in numbers.items():
        arrays |= {f"model{i}": computed[place].values, f"file{i}": pairs[place][1]}
        between, takes = _before(computed, place, pairs)
        members = [*sorted(between.intersection(search.places) - claimed), place]
        claimed.update(members)
        texts = (_joined([computed[m][end] for m in members]) for end in (0, 1))
        described.append((*texts, sorted(numbers[taken] for taken in takes)))
    np.savez(target, **arrays)
    return described


def _arrays(path: str) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return [file[f"arr_{i}"] for i in range(len(file))]


def _joined(names: list[str]) -> str:
    if len(names) > _MOST_NAMES:
        names = [names[0], f"{len(names) - 2} more", names[-1]]
    return " + ".join(names)


def _before(computed: Sequence[Computed], place: int, pairs: _Pairs) -> tuple[set[int], set[int]]:
    """Layers without a tensor that a layer is computed from, and the layers with one that these
    are.
    """
    between, takes, waiting = set(), set(), [*computed[place].takes]
    while waiting:
        taken = waiting.pop()
        if taken in pairs:
            takes.add(taken)
        elif taken not in between:
            between.add(taken)
            waiting += computed[taken].takes
    return between, takes


class _Search:
    """Finds layers of a trained model among the tensors of a file.

    Parameters
    ----------
    run : what the layers compute, given the values with which to go on after some of them.

    Attributes
    ----------
    computed : what the layers compute of the model's own values.
    places : of those that compute; the others only move values, or give one value alone.
    """

    def __init__(
        self,
        run: Callable[[Mapping[int, np.ndarray]], list[Computed]],
        inputs: Mapping[str, np.ndarray],
        tensors: Sequence[np.ndarray],
    ):
        self._run, self._tensors = run, tensors
        self.computed = run({})
        self._moved = {  # the layer whose numbers a layer gives as they are, by its place
            place: source
            for place, layer in enumerate(self.computed)
            for source, values in self._taken(layer, inputs)
            if layer.values is not None and _same_numbers(layer.values, values)
        }
        self.places = [
            place
            for place, layer in enumerate(self.computed)
            if place not in self._moved
            and layer.values is not None
            and layer.values.size
            and np.ptp(layer.values)
        ]
        big = [j for j, tensor in enumerate(tensors) if tensor.size >= _LEAST_VALUES]
        same = {j for j in big for i in big if i < j and _same_numbers(tensors[i], tensors[j])}
        self._order = [j for j in big if j not in same]

    def _taken(
        self, layer: Computed, inputs: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[int | None, np.ndarray]]:
        """Values that a layer takes, by the place of the layer that made them; None of inputs."""
        if not layer.takes:
            yield from ((None, values) for values in inputs.values())
        for place in layer.takes:
            if (values := self.computed[place].values) is not None:
                yield place, values

    def pairs(self, ends: Mapping[int, int]) -> _Pairs:
        """The layers that are found, with their tensors.

        Parameters
        ----------
        ends : the places of the tensors that are the model's outputs, by the layer's place.
        """
        known: _Pairs = {}
        for place, j in ends.items():
            while self._moved.get(place) is not None:
                place = self._moved[place]
            values = self.computed[place].values
            if values is not None and values.size == self._tensors[j].size:
                known[place] = j, _fit(values, self._tensors[j])[1]
        while True:
            pairs, computed = self._scan(known)
            leap = self._leap(pairs, computed)
            if not leap:
                return pairs
            known |= leap

    def _scan(self, known: _Pairs) -> tuple[_Pairs, list[Computed]]:
        """Go through the file in order: the layers that are found, and what each computes from
        those before it.
        """
        pairs, computed = dict(known), self._go_on(known)
        fits: dict[tuple[int, int], tuple[float, np.ndarray]] = {}

        def fit(place: int, j: int) -> tuple[float, np.ndarray]:
            if (place, j) not in fits:
                fits[place, j] = _fit(computed[place].values, self._tensors[j])
            return fits[place, j]

        for j in self._left(known):
            places = self._alike(j, pairs)
            if not places:
                continue
            place = min(places, key=lambda i: fit(i, j)[0])
            distance, found = fit(place, j)
            rivals = (i for i in self._left(pairs) if place in self._alike(i, pairs))
            if distance > NEAR or any(fit(place, i)[0] < distance for i in rivals):
                continue
            pairs[place] = j, found
            if distance > _SAME:
                computed = self._go_on(pairs)
                fits.clear()
        return pairs, computed

    def _leap(self, pairs: _Pairs, computed: Sequence[Computed]) -> _Pairs:
        """The layer of the first tensor from which layers are found that were not, or that were
        further off; of several the one with most, of equal ones the last. Nothing if there is none.
        """
        off = {i: _far(computed[i].values, found) for i, (_, found) in pairs.items()}
        off = {i: distance for i, distance in off.items() if distance > _SAME}
        known = (_before(self.computed, i, pairs)[0] for i in pairs if i not in off)
        joined = set().union(*known)  # with layers that are what they should be
        left = self._left(pairs)
        for j in left:
            best, leap = (0, -1), {}
            for place in (i for i in self._alike(j, pairs) if i not in joined):
                for found in _arrangements(self._tensors[j], self.computed[place].values.shape):
                    behind = self._go_on(pairs | {place: (j, found)})
                    reached = sum(self._is_near(behind, pairs, place, i) for i in left if i > j)
                    reached += sum(
                        _far(behind[i].values, pairs[i][1]) <= min(NEAR, distance / 2)
                        for i, distance in off.items()
                    )
                    if reached and (reached, place) > best:
                        best, leap = (reached, place), {place: (j, found)}
            if leap:
                return leap
        return {}

    def _is_near(self, computed: Sequence[Computed], pairs: _Pairs, place: int, j: int) -> bool:
        """Whether a layer behind another is nearly a tensor."""
        return any(
            _fit(computed[i].values, self._tensors[j])[0] <= NEAR
            for i in self._alike(j, pairs)
            if i > place
        )

    def _go_on(self, pairs: _Pairs) -> list[Computed]:
        return self._run({place: found for place, (_, found) in pairs.items()})

    def _left(self, pairs: _Pairs) -> list[int]:
        taken = {j for j, _ in pairs.values()}
        return [j for j in self._order if j not in taken]

    def _alike(self, j: int, pairs: _Pairs) -> list[int]:
        """Layers without a tensor that have as many values as one."""
        size = self._tensors[j].size
        return [
            place
            for place in self.places
            if place not in pairs and self.computed[place].values.size == size
        ]


def _same_numbers(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays hold the same values in any order."""
    return (
        one.size == other.size > 0
        and one.min() == other.min()
        and one.max() == other.max()
        and np.array_equal(np.sort(one, axis=None), np.sort(other, axis=None))
    )


def _arrangements(tensor: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A tensor in the shape of a layer: with its values in the same order, and with channels moved
    from the last place to the second or back.
    """
    yield tensor.reshape(shape)
    for source, target in ((1, -1), (-1, 1)) if len(shape) > 2 else ():
        moved = np.moveaxis(np.broadcast_to(0, shape), source, target).shape
        yield np.moveaxis(tensor.reshape(moved), target, source)


def _fit(values: np.ndarray, tensor: np.ndarray) -> tuple[float, np.ndarray]:
    """How far a layer's values are from a tensor in the arrangement that is nearest, and that."""
    fits = []
    for found in _arrangements(tensor, values.shape):
        fits.append((_far(values, found), found))
        if fits[-1][0] <= _SAME:
            break
    return min(fits, key=lambda fit: fit[0])


def _far(values: np.ndarray, found: np.ndarray) -> float:
    """Root mean square of the difference, as a part of the standard deviation of `values`; infinite
    where others than theirs are not finite, and if they are all the same.
    """
    finite = np.isfinite(values)
    if not finite.all():
        if not np.array_equal(finite, np.isfinite(found)):
            return float("inf")
        values, found = values[finite], found[finite]
    with np.errstate(all="ignore"):
        off = (found - values).ravel(order="K")
        distance = np.sqrt(np.dot(off, off) / off.size) / values.std()
    return float(distance) if np.isfinite(distance) else float("inf")
