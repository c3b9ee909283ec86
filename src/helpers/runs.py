"""The run folder: where files go, what was recorded of them, and that none is half-written or stale.

A run is a folder ``artifacts/<study>/<run>/`` with a ``run.json``. Each stage (numbered notebook) opens
itself as a `Stage`, takes its inputs from what earlier stages recorded (their SHA-256 is checked), writes
every output under a temporary name that is renamed when whole, and records itself at its end. Killed at
any moment, a run therefore holds whole files only, and its record says which of them count.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from helpers import files
from helpers import parameters as parameter_table
from helpers.errors import BadInput, DamagedFile, MissingStage, WorkbenchError

_PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "MNN", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow")


def _commit() -> str | None:
    """The project's git commit, with ``+changes`` if files differ from it; None outside a checkout."""
    if not (files.project() / ".git").exists():
        return None
    git = ["git", "-C", str(files.project())]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def environment() -> dict:
    """What a result depends on besides its parameters: packages, commit, host."""
    return {
        "packages": {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
        "commit": _commit(),
        "host": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
    }


_VERBS = {"inputs": "used", "outputs": "recorded", "shared": "made"}


class Run:
    """One run folder and its record, ``run.json``."""

    def __init__(self, study: str, name: str):
        self.study = parameter_table.check("study", study)
        self.name = parameter_table.check("run", name)
        self.folder = files.home() / "artifacts" / study / name

    @property
    def record_file(self) -> Path:
        return self.folder / "run.json"

    def record(self) -> dict:
        """The record as it is on disk; an empty one if there is none yet."""
        try:
            record = json.loads(self.record_file.read_text())
            entries = record["stages"].values()
            assert all({"status", "parameters", "inputs", "outputs"} <= set(entry) for entry in entries)
            return record
        except FileNotFoundError:
            return {"study": self.study, "run": self.name, "requested": {}, "parameters": {}, "stages": {}}
        except NotADirectoryError as error:
            raise WorkbenchError(f"cannot read {self.record_file}: {files.REASONS[errno.ENOTDIR]}") from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
            raise DamagedFile(
                f"{self.record_file} is not the record of a run any more: start the run over with "
                f"`workbench run {self.study} --run {self.name} --force`"
            ) from error

    @contextmanager
    def edit(self) -> Iterator[dict]:
        """Change the record under a lock, so that two processes cannot lose each other's entries."""
        import fcntl

        files.make_folder(self.folder)
        with files.writing(self.record_file), open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            record = self.record()
            yield record
            files.write_json(self.record_file, record)

    def files(self, *suffixes: str, stage: str = "") -> list[str]:
        """Recorded outputs that end in one of `suffixes`, of all finished stages or of one, in order of making."""
        return [
            path
            for name, entry in sorted(self.record()["stages"].items())
            if name.startswith(stage) and entry["status"] == "done"
            for path in entry["outputs"]
            if path.endswith(suffixes)
        ]

    def verified(self, stage: str, file: str) -> Path:
        """The path of what `stage` recorded as `file`, after its SHA-256 has been checked.

        Raises
        ------
        MissingStage : the stage has not finished in this run, or ran before one of its inputs was made anew.
        DamagedFile : the file is gone or is not the bytes that were recorded.
        """
        record = self.record()
        reason = self.stale(stage, record)
        entry = record["stages"].get(self._full_name(stage, record), {})
        if not reason and file not in entry["outputs"]:
            reason = f"did not make {file}"
        number = stage[:2]
        again = (
            f"run notebook {number} for it, or `workbench run {self.study} --run {self.name}` for all that is missing"
        )
        if reason:
            raise MissingStage(f"stage {number} of run {self.name!r} {reason}: {again}")
        path = self.folder / file
        if not path.is_file():
            raise DamagedFile(f"{files.shown(path)} is gone, although stage {number} recorded it: {again}")
        if files.sha256(path) != entry["outputs"][file]:
            raise DamagedFile(
                f"{files.shown(path)} is not the file that stage {number} recorded (its SHA-256 differs): {again}"
            )
        return path

    def recorded(self, file: str) -> Path | None:
        """The path of what whichever stage recorded as `file`, see `verified`; None if none did."""
        maker = next((name for name, stage in self.record()["stages"].items() if file in stage["outputs"]), None)
        return None if maker is None else self.verified(maker, file)

    def unfinished(self, stage: str, requested: dict, code_sha256: str) -> str | None:
        """Why `stage` must be executed (again), in words; None when it is finished and all of it is there."""
        record = self.record()
        reason = self.stale(stage, record)
        if reason:
            return reason
        entry = record["stages"][self._full_name(stage, record)]
        for name, value in requested.items():
            if entry["parameters"].get(name, value) != value:
                return f"was executed with {name}={entry['parameters'][name]!r}, not {value!r}"
        if entry.get("code_sha256") is None:
            return "was executed by hand"
        if entry["code_sha256"] != code_sha256:
            return "was executed with other code (notebook or helpers)"
        for kind, base in (("inputs", self.folder), ("outputs", self.folder), ("shared", files.home())):
            for file, recorded in entry.get(kind, {}).items():
                path = base / file
                if not path.is_file():
                    return f"{_VERBS[kind]} {file}, which is gone"
                if files.sha256(path) != recorded:
                    return f"{_VERBS[kind]} {file}, which has been changed since"
        return None

    def adopt(self, stage: str, donor: Run) -> bool:
        """Take a finished stage from another run that executed it with the same parameters and inputs.

        Its files and its executed notebook are copied and its record too, with the name of the run it came from.
        Returns False, and changes nothing that counts, where this run's inputs are not those that the donor used, or
        the donor's files change in the meantime.
        """
        theirs = donor.record()
        name = self._full_name(stage, theirs)
        entry = theirs["stages"][name]
        made = {file: digest for other in self.record()["stages"].values() for file, digest in other["outputs"].items()}
        if any(made.get(file) != used for file, used in entry["inputs"].items()):
            return False
        try:
            for file, digest in {**entry["outputs"], f"notebooks/{name}.ipynb": None}.items():
                with files.atomic(self.folder / file) as temporary:
                    shutil.copyfile(donor.folder / file, temporary)
                    if digest is not None and files.sha256(temporary) != digest:
                        raise DamagedFile(f"{file} of run {donor.name!r} has been changed")
        except (FileNotFoundError, DamagedFile):
            return False
        with self.edit() as record:
            own = {**entry["parameters"], "run": self.name}
            record.update({key: theirs[key] for key in ("packages", "commit", "host")})
            record["stages"][name] = {**entry, "parameters": own, "from_run": entry.get("from_run", donor.name)}
            self._collect_parameters(record)
        return True

    @staticmethod
    def _collect_parameters(record: dict) -> None:
        """Set what the stages have been executed with, as one table."""
        ordered = [record["stages"][stage] for stage in sorted(record["stages"])]
        record["parameters"] = {k: v for stage in ordered for k, v in stage["parameters"].items()}
        record["seed"] = record["parameters"].get("seed")

    @staticmethod
    def _full_name(stage: str, record: dict) -> str | None:
        """``"02"`` or the whole name, as the key in the record."""
        return next((name for name in record["stages"] if name[:2] == stage[:2]), None)

    def stale(self, stage: str, record: dict) -> str | None:
        """Why what `stage` made does not count (any more) by the record, in words; None if it does."""
        entry = record["stages"].get(self._full_name(stage, record))
        if entry is None:
            return "has not been run"
        if entry["status"] != "done":
            return "was started and did not finish"
        for file, used in entry["inputs"].items():
            maker = next((n for n, other in record["stages"].items() if file in other["outputs"]), None)
            if maker is None or record["stages"][maker]["outputs"][file] != used:
                return f"used an earlier {file}, which has been made anew since"
            if self.stale(maker, record):
                return f"used {file} of stage {maker[:2]}, which {self.stale(maker, record)}"
        return None


class Stage:
    """One notebook at work in a run.

    Parameters
    ----------
    name : the notebook's name without suffix, ``"02_keras_training"``.
    study, run : which run folder.
    **parameters : the notebook's other parameters; checked against `helpers.parameters` and recorded.

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
        self.parameters = parameter_table.check_all({"study": study, "run": run, **parameters})
        self.run = Run(study, run)
        self.inputs: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        self.shared: dict[str, str] = {}
        self.metrics: dict[str, float | None] = {}
        self._started = time.time()
        with self.run.edit() as record:
            before = record["stages"].get(name, {"parameters": {}})["parameters"]
            changed = {k: v for k, v in self.parameters.items() if k in before and before[k] != v}
            if changed:
                was = ", ".join(f"{k}={before[k]!r} is now {v!r}" for k, v in changed.items())
                print(f"this replaces what {name} made in run {run!r}: {was} (-p run NAME keeps both)")
            record.update(environment())
            record["stages"][name] = self._entry("running")

    def input(self, stage: str, file: str) -> Path:
        """The path of what an earlier stage recorded; see `Run.verified` for what is refused."""
        path = self.run.verified(stage, file)
        self.inputs[file] = files.sha256(path)
        return path

    def made(self, stage: str, *suffixes: str) -> list[str]:
        """Names of the files that an earlier stage recorded and that end in one of `suffixes`."""
        return self.run.files(*suffixes, stage=stage)

    @contextmanager
    def output(self, file: str) -> Iterator[Path]:
        """A temporary path to write; it becomes `file` of the run when the body ends without an error.

        Whatever is checked inside the body is checked before the file counts.
        """
        path = self.run.folder / file
        if not path.resolve().is_relative_to(self.run.folder.resolve()) or path == self.run.record_file:
            raise BadInput(f"{file!r} is not a file that a stage may write in its run folder")
        with files.atomic(path) as temporary:
            yield temporary
        self.outputs[file] = files.sha256(path)

    def discard(self, file: str) -> None:
        """Remove a file that this stage could not make (again), so that an earlier one is not taken for it."""
        (self.run.folder / file).unlink(missing_ok=True)
        self.outputs.pop(file, None)

    def share(self, made: Mapping[str, str]) -> None:
        """Record files outside the run folder that this stage stands for: SHA-256 by path below `home`.

        They may serve other runs too. If one is gone or changed, `workbench run` executes the stage again.
        """
        self.shared.update(made)

    def figure(self, name: str, figure):
        """Save a figure as ``figures/<name>.png`` of the run, and return it for the notebook to show."""
        with self.output(f"figures/{name}.png") as path:
            figure.savefig(path, dpi=100, metadata={"Software": None})
        return figure

    def finish(self, **metrics: float) -> str:
        """Record the stage as done, with `metrics` to be found again in run.json; returns a line to show."""
        self.metrics = {name: None if value != value else float(value) for name, value in metrics.items()}  # no NaN
        with self.run.edit() as record:
            record["stages"][self.name] = self._entry("done")
            Run._collect_parameters(record)
        return f"stage {self.name} recorded {len(self.outputs)} files in {files.shown(self.run.folder)}"

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
        }
