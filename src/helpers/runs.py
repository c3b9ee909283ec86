"""The run folder: where files go, what was recorded of them, and that none is half-written or
stale.

A run is a folder ``artifacts/<study>/<run>/`` with a ``run.json``. Each stage (numbered notebook)
opens itself as a `Stage`, takes its inputs from what earlier stages recorded (their SHA-256 is
checked), writes every output under a temporary name that is renamed when whole, and records itself
at its end. Killed at any moment, a run therefore holds whole files only, and its record says which
of them count.
"""

from __future__ import annotations

import errno
import json
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from helpers import code, environment, figures, files, records
from helpers import parameters as parameter_table
from helpers.errors import BadInput, DamagedFile, MissingStage, WorkbenchError

RECORD = "run.json"
_TABLES = ("parameters", "inputs", "outputs", "shared", "metrics", "code", "environment")
_VERBS = {"inputs": "used", "outputs": "recorded", "shared": "made"}
_NOT_OF_STAGES = (RECORD, "report.html", "notebooks")
"""What `workbench run` keeps in a run folder; a stage writes none of it."""


class Run:
    """One run folder and its record, ``run.json``."""

    def __init__(self, study: str, name: str):
        self.study = parameter_table.check("study", study)
        self.name = parameter_table.check("run", name)
        self.folder = files.home() / "artifacts" / study / name

    @property
    def record_file(self) -> Path:
        return self.folder / RECORD

    def record(self) -> dict:
        """The record as it is on disk; an empty one if there is none yet."""
        try:
            record = json.loads(self.record_file.read_text(encoding="utf-8"))
            for entry in record["stages"].values():
                assert {"status", "parameters", "inputs", "outputs", "metrics"} <= set(entry)
                assert all(isinstance(entry.get(key, {}), dict) for key in _TABLES)
            return record
        except FileNotFoundError:
            return {
                "study": self.study,
                "run": self.name,
                "requested": {},
                "parameters": {},
                "stages": {},
            }
        except NotADirectoryError as error:
            raise WorkbenchError(
                f"cannot read {self.record_file}: {files.REASONS[errno.ENOTDIR]}"
            ) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
            raise DamagedFile(
                f"{self.record_file} is not the record of a run any more: start the run over with "
                f"`workbench run {self.study} --run {self.name} --force`"
            ) from error

    @contextmanager
    def edit(self) -> Iterator[dict]:
        """Change the record under a lock: two processes cannot lose each other's entries."""
        with self._locked():
            record = self.record()
            yield record
            self._summarise(record)
            files.write_json(self.record_file, record)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep every other process from changing the record: no stage is opened or finished
        meanwhile.
        """
        import fcntl

        files.make_folder(self.folder)
        with (
            files.writing(self.record_file),
            open(self.folder / ".lock", "w", encoding="utf-8") as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def files(self, *suffixes: str, stage: str = "") -> list[str]:
        """Recorded outputs that end in one of `suffixes`, of all finished stages or of one, in
        order of making.
        """
        return [
            path
            for name, entry in sorted(self.record()["stages"].items())
            if name.startswith(stage) and entry["status"] == "done"
            for path in entry["outputs"]
            if path.endswith(suffixes)
        ]

    def verified(self, stage: str, file: str, *, any_code: bool = False) -> Path:
        """The path of what `stage` recorded as `file`, after its SHA-256 has been checked.

        Parameters
        ----------
        any_code : take it also where the code that made it has changed since, for a stage that does
            not count either until that is made again.

        Raises
        ------
        MissingStage : the stage has not finished in this run, or what it did does not count any
            more (`records.stale`).
        DamagedFile : the file is gone or is not the bytes that were recorded.
        """
        record = self.record()
        name = records.full_name(stage, record)
        reason = records.stale(record, any_code=any_code).get(name) if name else "has not been run"
        if not reason and file not in record["stages"][name]["outputs"]:
            reason = f"did not make {file}"
        number = stage[:2]
        again = (
            f"run notebook {number} for it, or `workbench run {self.study} --run {self.name}` for "
            "all that is missing"
        )
        if reason:
            raise MissingStage(f"stage {number} of run {self.name!r} {reason}: {again}")
        path = self.folder / file
        if not path.is_file():
            raise DamagedFile(
                f"{files.shown(path)} is gone, although stage {number} recorded it: {again}"
            )
        if files.sha256(path) != record["stages"][name]["outputs"][file]:
            raise DamagedFile(
                f"{files.shown(path)} is not the file that stage {number} recorded (its SHA-256 "
                f"differs): {again}"
            )
        return path

    def recorded(self, file: str) -> Path | None:
        """The path of what whichever stage recorded as `file`, see `verified`; None if none did."""
        maker = records.makers(self.record()).get(file)
        return None if maker is None else self.verified(maker, file)

    def unfinished(
        self, stage: str, requested: Mapping[str, object], record: dict | None = None
    ) -> str | None:
        """Why `stage` must be executed (again), in words; None when it is finished and all of it is
        there.

        Parameters
        ----------
        stage : its number, or the whole name of the notebook that it must have been.
        """
        record = self.record() if record is None else record
        name = records.full_name(stage, record)
        if name is None:
            return "has not been run"
        if stage not in (name, name[:2]):
            return f"was executed as another notebook, {name}"
        entry = record["stages"][name]
        if reason := records.stale(record, any_code=True).get(name):
            return reason
        for parameter, value in requested.items():
            if entry["parameters"].get(parameter, value) != value:
                return (
                    f"was executed with {parameter}={entry['parameters'][parameter]!r}, not "
                    f"{value!r}"
                )
        if entry.get("notebook_sha256") is None:
            return "was executed by hand"
        if reason := records.outdated(name, entry):
            return reason
        for kind, base in (
            ("inputs", self.folder),
            ("outputs", self.folder),
            ("shared", files.home()),
        ):
            for file, recorded in entry.get(kind, {}).items():
                path = base / file
                if not path.is_file():
                    return f"{_VERBS[kind]} {file}, which is gone"
                if files.sha256(path) != recorded:
                    return f"{_VERBS[kind]} {file}, which has been changed since"
        return None

    def reuse(self, stage: str, other: Run, requested: Mapping[str, object]) -> bool:
        """Take a finished stage from another run that executed it with the same parameters, inputs
        and code.

        Its files and its executed notebook are copied and its record too, with the name of the run
        it came from; the other run cannot begin to execute it again meanwhile. Returns False, and
        changes nothing that counts, where the other has nothing (more) that `requested` would make.
        """
        if not other.record_file.is_file():
            return False
        recorded = {file: entry["outputs"][file] for entry, file in records.outputs(self.record())}
        with other._locked():
            theirs = other.record()
            if other.unfinished(stage, requested, theirs):
                return False
            name = records.full_name(stage, theirs)
            entry = theirs["stages"][name]
            if any(recorded.get(file) != used for file, used in entry["inputs"].items()):
                return False
            try:
                for file, digest in {**entry["outputs"], f"notebooks/{name}.ipynb": None}.items():
                    with files.atomic(self.folder / file) as temporary:
                        shutil.copyfile(other.folder / file, temporary)
                        if digest is not None and files.sha256(temporary) != digest:
                            raise DamagedFile(f"{file} of run {other.name!r} has been changed")
            except (FileNotFoundError, DamagedFile):
                return False
        with self.edit() as record:
            parameters = {**entry["parameters"], "run": self.name}
            copied = {
                **entry,
                "parameters": parameters,
                "from_run": entry.get("from_run", other.name),
            }
            self._enter(record, name, copied)
        return True

    def _enter(self, record: dict, stage: str, entry: dict) -> None:
        """Set a stage's entry; what another of its number, or with its files, said of them does not
        hold any more.
        """
        for name in [name for name in record["stages"] if name[:2] == stage[:2] and name != stage]:
            del record["stages"][name]  # the notebook had another name then
            (self.folder / "notebooks" / f"{name}.ipynb").unlink(missing_ok=True)
        for other, file in list(records.outputs(record)):
            if file in entry["outputs"]:
                del other["outputs"][file]
        record["stages"][stage] = entry

    @staticmethod
    def _summarise(record: dict) -> None:
        """Set what the stages have been executed with, and where, as one table each."""
        ordered = [record["stages"][stage] for stage in sorted(record["stages"])]
        record["parameters"] = {k: v for stage in ordered for k, v in stage["parameters"].items()}
        record["seed"] = record["parameters"].get("seed")
        record.update(
            environment.common(
                [stage["environment"] for stage in ordered if "environment" in stage]
            )
        )


class Stage:
    """One notebook at work in a run.

    Parameters
    ----------
    name : the notebook's name without suffix, ``"02_keras_training"``.
    study, run : which run folder.
    **parameters : the notebook's other parameters; checked against `helpers.parameters` and
        recorded.

    Examples
    --------
    >>> stage = Stage("03_tflite_conversion", study=study, run=run)
    >>> model = stage.input("02", "model/model.keras")
    >>> with stage.output("tflite/fp32.tflite") as path:
    ...     tflite.convert(model, path)
    >>> stage.finish()
    """

    def __init__(self, name: str, *, study: str, run: str, **parameters):
        self.name = name
        values = {"study": study, "run": run, **parameters}
        self.parameters = parameter_table.check_all(values, files.notebook(name))
        self.run = Run(study, run)
        self.inputs: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        self.shared: dict[str, str] = {}
        self.metrics: dict[str, float | None] = {}
        self._used: dict[str, str] = {}
        self._started = time.time()
        self._environment = environment.describe()
        self._warned: set[str] = set()
        with self.run.edit() as record:
            before = record["stages"].get(name, {"parameters": {}})["parameters"]
            changed = {k: v for k, v in self.parameters.items() if k in before and before[k] != v}
            if changed:
                was = ", ".join(f"{k}={before[k]!r} is now {v!r}" for k, v in changed.items())
                print(
                    f"this replaces what {name} made in run {run!r}: {was} (-p run NAME keeps both)"
                )
            self.run._enter(record, name, self._entry("running"))

    def input(self, stage: str, file: str) -> Path:
        """The path of what an earlier stage recorded; see `Run.verified` for what is refused.

        A stage whose code has changed since is told and not refused: an edit would else stop all
        work by hand.
        """
        path = self.run.verified(stage, file, any_code=True)
        record = self.run.record()
        reason = records.stale(record).get(records.full_name(stage, record))
        if reason and stage[:2] not in self._warned:
            self._warned.add(stage[:2])
            print(
                f"stage {stage[:2]} {reason}: what is made of it does not count until it is "
                "executed again"
            )
        self.inputs[file] = files.sha256(path)
        return path

    def made(self, stage: str, *suffixes: str) -> list[str]:
        """Names of the files that an earlier stage recorded and that end in one of `suffixes`."""
        return self.run.files(*suffixes, stage=stage)

    @contextmanager
    def output(self, file: str) -> Iterator[Path]:
        """A temporary path to write; it becomes `file` of the run when the body ends without an
        error.

        Whatever is checked inside the body is checked before the file counts.
        """
        path = self._own(file)
        with files.atomic(path) as temporary:
            yield temporary
        self.outputs[file] = files.sha256(path)

    def discard(self, file: str) -> None:
        """Remove a file that this stage could not make (again), so that an earlier one is not taken
        for it.
        """
        self._own(file).unlink(missing_ok=True)
        self.outputs.pop(file, None)

    def _own(self, file: str) -> Path:
        """The path of a file that a stage may write or remove: a plain relative name, and none of
        the run's own.
        """
        parts = PurePosixPath(file).parts
        path = self.run.folder / file
        plain = (
            bool(parts)
            and "/".join(parts) == file
            and not any(part.startswith(".") for part in parts)
        )
        inside = path.resolve().is_relative_to(self.run.folder.resolve())
        if not plain or not inside or parts[0].lower() in _NOT_OF_STAGES:
            raise BadInput(f"{file!r} is not a file that a stage may write in its run folder")
        return path

    def share(self, digests: Mapping[str, str]) -> None:
        """Record files outside the run folder that this stage stands for: SHA-256 by path below
        `home`.

        They may serve other runs too. If one is gone or changed, `workbench run` executes the stage
        again.
        """
        self.shared.update(digests)

    def use(self, paths: Iterable[Path]) -> None:
        """Count files outside the run that this stage was made of, as a user's own tables: if one
        changes, the stage counts no more.
        """
        self._used |= code.outside(paths)

    def figure(self, name: str, figure):
        """Save a figure as ``figures/<name>.png`` of the run, and return that picture for the
        notebook to show: it is drawn once.

        The file and the notebook's picture say in words what it shows: the label of the figure, see
        `helpers.plots.shows`.
        """
        content = figures.png(figure)
        with self.output(f"figures/{name}.png") as path:
            path.write_bytes(content)
        return figures.image(content)

    def finish(self, **metrics: float) -> str:
        """Record the stage as done, with `metrics` to be found again in run.json; returns a line to
        show.

        A metric that is no finite number is undefined, which is null in the record.
        """
        self.metrics = {
            name: float(value) if math.isfinite(value) else None for name, value in metrics.items()
        }
        with self.run.edit() as record:
            self.run._enter(record, self.name, self._entry("done"))
        infinite = [name for name, value in metrics.items() if math.isinf(value)]
        said = f"; infinite, recorded as undefined: {', '.join(infinite)}" if infinite else ""
        return (
            f"stage {self.name} recorded {len(self.outputs)} files in "
            f"{files.shown(self.run.folder)}{said}"
        )

    def _entry(self, status: str) -> dict:
        return {
            "status": status,
            "started": datetime.fromtimestamp(self._started, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self._started, 3),
            "parameters": self.parameters,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "shared": self.shared,
            "metrics": self.metrics,
            "code": {**code.loaded(), **self._used},
            "environment": self._environment,
        }
