"""The trained model of a run, as stage 02 recorded it: all that later stages know of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers import tasks
from helpers.errors import BadInput, DamagedFile, MissingStage
from helpers.runs import Run, Stage
from helpers.schema import Schema
from helpers.tasks import Task

CONFIG = "model/config.json"


@dataclass(frozen=True)
class Trained:
    """Which model it is, what it takes and gives, and what it decides.

    Attributes
    ----------
    model : name of the study's model.
    framework : that has trained it, see `helpers.frameworks`.
    file : within the run folder.
    """

    model: str
    framework: str
    file: str
    schema: Schema
    task: Task

    def save(self, path: Path, described: Mapping) -> None:
        """Write ``config.json``: this, and what a framework's ``describe`` says of the model."""
        content = {
            "model": self.model,
            "framework": self.framework,
            "file": self.file,
            "task": self.task.to_json(),
            **described,
            "schema": self.schema.to_json(),
        }
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Trained:
        """Read what `save` wrote.

        Raises
        ------
        DamagedFile : it was written by another version.
        """
        content = json.loads(path.read_text(encoding="utf-8"))
        try:
            schema, task = Schema.from_json(content["schema"]), tasks.get(**content["task"])
            return cls(content["model"], content["framework"], content["file"], schema, task)
        except (KeyError, TypeError, BadInput) as error:
            raise DamagedFile(
                f"{CONFIG} was written by another version: run stage 02 again"
            ) from error

    @classmethod
    def recorded(cls, stage: Stage) -> Trained:
        """Load what stage 02 of the same run recorded."""
        return cls.load(stage.input("02", CONFIG))


def of(run: Run) -> Trained:
    """The trained model of a run.

    Raises
    ------
    WorkbenchError : there is none that counts, or it was written by another version.
    """
    path = run.recorded(CONFIG)
    if path is None:
        raise MissingStage(f"stage 02 of run {run.name!r} has not been run")
    return Trained.load(path)
