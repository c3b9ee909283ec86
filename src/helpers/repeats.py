"""Whether training repeats: meanwhile another process trains the same model of the same files."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers import frameworks, registry, tasks
from helpers.child import Child
from helpers.datasets import SPLITS, Dataset


class Repeat:
    """A second training of a study's model, in a process of its own, which begins at once.

    It takes the model's function from the study's files: what a notebook has changed in its own
    memory is not in it.

    Parameters
    ----------
    study, model : names, of a model that is trained here.
    data : that the model learns from.
    settings : of the framework's ``train``.
    """

    def __init__(self, study: str, model: str, data: Dataset, *, seed: int, **settings):
        self._folder = tempfile.TemporaryDirectory()
        self._child = Child("train a second time", imports="notebooks")
        self._end = weakref.finalize(self, _ended, self._child)
        if "weights" in settings:
            settings["weights"] = settings["weights"] and str(settings["weights"])
        self._child.ask(
            f"{__name__}:_train_here",
            study=study,
            model=model,
            folder=str(data.folder),
            manifest=data.manifest,
            target=str(self._file),
            seed=seed,
            settings=settings,
        )

    @property
    def _file(self) -> Path:
        return Path(self._folder.name) / "weights.npz"

    def weights(self) -> list[np.ndarray]:
        """Wait for its end; all weights in the model's order.

        Raises
        ------
        WorkbenchError : whatever the training raised.
        ChildDied : its process did not survive.
        """
        if self._end.alive:
            self._child.answer(timeout=None)
            self._end()
        with np.load(self._file, allow_pickle=False) as file:
            return [file[str(place)] for place in range(len(file.files))]

    def same(self, weights: Sequence[np.ndarray]) -> bool:
        """Wait for its end; whether every weight is the same, bit for bit."""
        pairs = zip(weights, self.weights(), strict=True)
        return all(
            own.dtype == other.dtype and own.tobytes() == other.tobytes() for own, other in pairs
        )


def _ended(process: Child) -> None:
    process.kill()
    process.close()


def _train_here(study, model, folder, manifest, target, seed, settings) -> None:
    chosen = registry.get(study)
    architecture, schema = chosen.models[model], chosen.schema_of(model)
    task = tasks.get(chosen.task, **chosen.limits)
    framework = frameworks.get(architecture.framework)
    data = Dataset(Path(folder), manifest)
    rows, validation = (
        data.arrays(split, count, schema=schema)[:2]
        for split, count in data.in_memory(schema).items()
        if split != SPLITS[-1]
    )
    trained, _ = framework.train(
        architecture.build,
        schema,
        task,
        data.stream(schema, seed, chosen.augment) or rows,
        validation,
        seed=seed,
        progress=False,
        **settings,
    )
    np.savez(target, **{str(i): array for i, array in enumerate(framework.weights(trained))})
