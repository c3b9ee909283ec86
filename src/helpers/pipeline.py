"""The notebooks as the stages of a run: execute them through papermill, skip what is finished,
resume.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path

from helpers import (
    code,
    files,
    kernels,
    notebooks,
    quiet,
    records,
    registry,
    runs,
    studies,
)
from helpers import parameters as parameter_table
from helpers.errors import BadInput, KernelDied, StageFailed, WorkbenchError, meant
from helpers.notebooks import KERNEL, environment, stages

START_ATTEMPTS = 3
"""How often a kernel is started that ends before it is ready: no cell has been executed then."""


def requested(study: str, parameters: Mapping[str, object]) -> dict[str, object]:
    """Check parameters against what the stages declare; text is read as the declared type.

    Raises
    ------
    BadInput : an unknown name, a wrong type, a value out of
        range, or a source or a model that the study does not have.
    """
    known = notebooks.parameters(_model_stage(study, parameters))
    _check_defaults(study)
    result = {}
    for name, value in parameters.items():
        if name in ("study", "run"):
            raise BadInput(f"{name} is not set with -p: write `workbench run STUDY --run NAME`")
        if name not in known:
            raise BadInput(
                f"there is no parameter {name!r}{meant(name, known)}; `workbench run {study} "
                "--help` shows those that there are"
            )
        read = _read(value, known[name].kind) if isinstance(value, str) else value
        result[name] = parameter_table.check(name, read, known[name])
        if name == "weights" and value:
            result[name] = _checkpoint(str(value))
    known_study = registry.get(study)
    source = known_study.source(str(result.get("source", default(study, "source"))))
    if known_study.is_drawn(source.name):
        from helpers import simulation

        simulation.check_sizes(result)
    return result


def _checkpoint(name: str) -> str:
    """Where a file of weights is, from any folder; BadInput if there is none."""
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise BadInput(f"there is no checkpoint {name}")
    return str(path)


def _check_defaults(study: str) -> None:
    """Refuse defaults of a study that no stage has."""
    known = notebooks.every_parameter()
    for name in registry.get(study).defaults:
        if name not in known:
            raise BadInput(
                f"study {study!r}: its defaults have {name!r}{meant(name, known)}, which no stage"
                f" has; there is: {', '.join(known)}"
            )


def _model_stage(study: str, parameters: Mapping[str, object]) -> str:
    """Name of the notebook that comes by the model which a run asks for."""
    known = registry.get(study)
    model = known.models[known.model_name(str(parameters.get("model", default(study, "model"))))]
    return notebooks.TRAINED if model.file else f"02_{model.framework}_training"


def stages_of(
    study: str, parameters: Mapping[str, object], chosen: str | None = None
) -> dict[str, Path]:
    """The stages of a run by number, see `notebooks.stages`, with the notebook of its model."""
    return stages(chosen, _model_stage(study, parameters))


def _read(text: str, kind: type) -> object:
    """Text as a value of `kind`; the text itself where it is not one, for `check` to refuse with
    its words.
    """
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind is list:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    try:
        return kind(text)
    except ValueError:
        return text


def default_name(parameters: Mapping[str, object]) -> str:
    """Name of a run that was given none: ``default``, or its parameters (``epochs=10,seed=3``).

    Other parameters are another name: one that had to be cleaned or cut ends in a hash of them.
    """
    exact = {key: str(value) for key, value in sorted(parameters.items())}
    clean = {key: re.sub(r"[^A-Za-z0-9._+-]", "-", value) for key, value in exact.items()}
    name = ",".join(f"{key}={value}" for key, value in clean.items()) or "default"
    if clean == exact and len(name) <= 100:
        return name
    return f"{name[:80]}-{hashlib.sha256(json.dumps(exact).encode()).hexdigest()[:12]}"


def run(
    study: str,
    name: str | None = None,
    values: Mapping[str, object] | None = None,
    *,
    chosen: str | None = None,
    force: bool = False,
    reuse: Mapping[str, str] | None = None,
    wait: bool = False,
    page: bool = True,
    demonstrations: bool = True,
    echo: Callable[[str], None] = print,
) -> runs.Run:
    """Execute the stages of a run that are not finished, and write its report.

    Parameters
    ----------
    study : its name, or the path of its ``.py`` file.
    name : the run; by default named after its parameters.
    values : parameters by name, for every stage that has them. A run that exists keeps those it was
        started with.
    chosen : which stages, see `stages`.
    force : execute the chosen stages again even if they are finished; parameters given now replace
        the run's own.
    reuse : by stage number, the run that may have executed this very stage already, see
        `runs.Run.reuse`.
    wait : for another process that executes this run, instead of refusing.
    page : write ``report.html``.
    demonstrations : execute cells of `notebooks.DEMONSTRATION` too.
    echo : where a line about each stage goes.

    Raises
    ------
    BadInput : before anything is executed.
    StageFailed : a notebook failed; what it had done is in ``notebooks/NN_*.failed.ipynb`` of the
        run.
    """
    study = registry.link(study)
    wanted = requested(study, values or {})
    work = runs.Run(study, default_name(wanted) if name is None else name)
    stages(chosen)
    with _only_one(work, wait):
        files.clear_partial(work.folder)
        wanted = _settle(work, wanted, force, every_stage=chosen is None)
        todo = stages_of(study, wanted, chosen)
        if max(todo) > "01" and _model_stage(study, wanted) == "02_pytorch_training":
            from helpers.runtimes import pytorch

            pytorch.require()
        for number, notebook in todo.items():
            every = effective(study, notebook, wanted)
            chosen_here = {*registry.get(study).defaults, *wanted}
            parameters = {name: value for name, value in every.items() if name in chosen_here}
            reason = "forced" if force else work.unfinished(notebook.stem, every)
            if reason and not force and number in (reuse or {}):
                other = runs.Run(study, reuse[number])
                if work.reuse(notebook.stem, other, every):
                    echo(f"{notebook.stem}  is that of run {other.name!r}: taken from there")
                    continue
            if reason is None:
                echo(f"{notebook.stem}  finished before, nothing to do")
                continue
            if reason not in ("forced", "has not been run"):
                echo(f"{notebook.stem}  {reason}: executing it again")
            started = time.monotonic()
            if kernels.imports_of(number) != kernels.imports_of(max(todo)):  # it takes seconds
                kernels.warm_up(wait=False)
            _execute(work, notebook, parameters, demonstrations)
            echo(f"{notebook.stem}  done in {time.monotonic() - started:.1f} s")
        _tell_stale(work, set(todo), echo)
        if page:
            from helpers import report  # a typo is told before this is imported

            report.write(work)
    return work


def _tell_stale(work: runs.Run, executed: set[str], echo: Callable[[str], None]) -> None:
    """Say which other stages were made from what has been replaced now, or by code that has."""
    for stage, reason in records.stale(work.record()).items():
        if stage[:2] not in executed:
            echo(
                f"{stage}  {reason}: `workbench run {work.study} --run {work.name}` makes it again"
            )


def effective(study: str, notebook: Path, parameters: Mapping[str, object]) -> dict[str, object]:
    """What a stage will be executed with: its own defaults or the study's, and those of
    `parameters` that it has.
    """
    names = [name for name in parameter_table.declared(notebook) if name not in ("study", "run")]
    return {name: parameters.get(name, default(study, name)) for name in names}


def default(study: str, name: str) -> object:
    """What a parameter is if nobody sets it: the study's own default, or what the notebooks
    declare.
    """
    defaults = registry.get(study).defaults
    if name in defaults:
        return defaults[name]
    known = notebooks.every_parameter()
    return known[name].default if name in known else None


def _refuse_others(work: runs.Run, wanted: Mapping[str, object]) -> None:
    """Refuse parameters that a run which has begun was not made with."""
    record = work.record()
    if not record["stages"]:
        return
    for name, value in wanted.items():
        old = record["requested"].get(name, default(work.study, name))
        if old != value:
            raise BadInput(
                f"run {work.name!r} was made with {name}={old}, not {value}: give another name with"
                f" --run, or --stages {','.join(notebooks.stages_with(name))} --force to change it "
                "there"
            )


def _settle(work: runs.Run, wanted: dict, force: bool, every_stage: bool) -> dict:
    """The parameters of the run: those it was started with and those given now, which must not
    contradict.
    """
    if force and every_stage:
        try:
            work.record()
        except WorkbenchError:
            work.record_file.unlink()
    if not force:
        _refuse_others(work, wanted)
    record = work.record()
    before = record["requested"]
    wanted = {**before, **wanted}
    if before != wanted or not record["stages"]:
        with work.edit() as record:
            record["requested"] = wanted
    return wanted


@contextmanager
def _only_one(work: runs.Run, wait: bool = False):
    """Refuse to execute a run that another process is executing, or wait for that process."""
    import fcntl

    files.make_folder(work.folder)
    with files.writing(work.folder):
        lock = open(work.folder / ".executing", "w", encoding="utf-8")  # noqa: SIM115 (closed below)
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise WorkbenchError(
                f"run {work.name!r} is being executed by another process: wait for it, or end it"
            ) from None
        yield


def _execute(work: runs.Run, notebook: Path, parameters: dict, demonstrations: bool) -> None:
    """One stage through papermill, in its own kernel; the notebook in notebooks/ is only read."""
    import logging

    with quiet.without_uri_grammar():
        import papermill
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    from helpers.kernels import engine
    from helpers.kernels.client import NotStarted

    imports = kernels.imports_of(notebook.stem[:2])
    kernels.warm_up(imports)  # which may take seconds, and can be interrupted here
    logging.getLogger("papermill").setLevel(logging.ERROR)
    target = work.folder / "notebooks" / notebook.name
    failed = target.with_suffix(".failed.ipynb")
    terminal = sys.stderr.isatty()
    cells = code.cells_sha256(notebook)
    asked = work.record()["requested"]
    here = [str(asked.get(name, default(work.study, name))) for name in ("source", "model")]
    left_out = studies.KINDS - registry.get(work.study).kinds(*here)
    left_out |= set() if demonstrations else {notebooks.DEMONSTRATION}
    with (
        files.atomic(target) as temporary,
        environment(
            **{"WORKBENCH_HOME": str(files.home()), kernels.IMPORTS: imports},
            **({} if terminal else {"TQDM_DISABLE": "1"}),
        ),
    ):
        failed.unlink(missing_ok=True)
        try:
            for attempt in range(1, START_ATTEMPTS + 1):
                try:
                    papermill.execute_notebook(
                        *(
                            str(path).replace("{", "{{").replace("}", "}}")
                            for path in (notebook, temporary)
                        ),
                        parameters={"study": work.study, "run": work.name, **parameters},
                        progress_bar={"desc": notebook.stem, "leave": False} if terminal else False,
                        stderr_file=sys.stderr if terminal else None,
                        kernel_name=kernels.NAME,
                        engine_name=engine.NAME,
                        config=Config(KERNEL),
                        left_out=left_out,
                    )
                    break
                except NotStarted:
                    if attempt == START_ATTEMPTS:
                        raise
        except papermill.PapermillExecutionError as error:
            os.replace(temporary, failed)
            _mark_failed(work, notebook.stem)
            raise StageFailed(
                f"stage {notebook.stem} failed: {error.ename}: {error.evalue}\n  see {failed}"
            ) from error
        except (DeadKernelError, NotStarted) as error:
            _mark_failed(work, notebook.stem)
            raise KernelDied(f"stage {notebook.stem} failed: its kernel died ({error})") from error
    with work.edit() as record:
        stage = record["stages"].get(notebook.stem)
        if stage is None or stage["status"] != "done":
            raise StageFailed(
                f"stage {notebook.stem} ran to its end but did not record itself: its last cell "
                "must call finish()"
            )
        stage["notebook_sha256"] = cells


def _mark_failed(work: runs.Run, stage: str) -> None:
    """Say in the record that a stage is not at work any more, if it had opened itself."""
    with work.edit() as record:
        if record["stages"].get(stage, {}).get("status") == "running":
            record["stages"][stage]["status"] = "failed"
