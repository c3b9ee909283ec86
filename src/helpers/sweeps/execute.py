"""Execute a plan: by processes of this machine, or on a Dask cluster; what is finished is never
done twice.

Every worker executes its stages in a child process, so that whatever happens to that, the sweep
goes on. A run that is finished is recognised by its record: the same command continues a sweep that
was killed, and two sweeps that have runs in common wait for each other there.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from helpers import code, files, kernels, notebooks, pipeline, report, runs, terminal, tracking
from helpers.child import Child, ChildDied
from helpers.errors import BadInput, KernelDied, WorkbenchError
from helpers.sweeps.plan import Plan, Task, executed_before

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_NAMED = 3
"""Of the stages at work, how many are named."""
_LEAST_NAME = 10
"""Characters that names of runs keep at least; fewer stages are named instead."""
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n}/{total} [{elapsed}<{remaining}{postfix}]"
ATTEMPTS = 2
"""How often a stage is tried whose process is killed from outside, by the system when memory is
short for one.
"""


@dataclass
class Outcome:
    """What became of the runs: those that are finished, why the others are not, and the page over
    all of the study.
    """

    page: Path | None = None
    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def default_workers() -> int:
    """Workers for this machine: a run keeps about one core busy."""
    return max(1, min(4, os.cpu_count() or 1))


def run(
    plan: Plan,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    fail_fast: bool = False,
    progress: bool = True,
    echo: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Execute all runs of a plan that are not finished; the page of the study is written at the
    end.

    Parameters
    ----------
    workers : processes on this machine; default `default_workers`.
    scheduler : address of a Dask scheduler (``tcp://host:8786``) to use instead. Its workers must
        see the same WORKBENCH_HOME and have the same notebooks and helpers.
    fail_fast : stop at the first run that fails; by default the others go on.
    progress : show a bar with the time that is left; without it `echo` gets a line about each
        stage.
    echo : where failures and warnings go, unless there is a terminal with a bar.

    Raises
    ------
    BadInput : a cluster that cannot be used.
    KeyboardInterrupt : what was being executed is ended, what is finished stays.
    """
    from tqdm import tqdm

    tasks = plan.tasks(executed_before(plan.study))
    outcome = Outcome()
    pool = _Local(workers or default_workers()) if scheduler is None else _Dask(scheduler)
    request = {"study": plan.study, "home": str(files.home())}
    shared = {} if scheduler else _threads(workers or default_workers())
    how = {} if progress else {"disable": True}  # TQDM_DISABLE counts only where nothing is said
    with (
        notebooks.environment(**shared),
        pool,
        tqdm(
            total=len(tasks), desc="sweep", bar_format=_BAR, smoothing=0.1, leave=False, **how
        ) as bar,
    ):
        if scheduler is None:  # the first kernels need them in the seconds that they take to start
            for imports in sorted(set(map(kernels.imports_of, plan.stages)), reverse=True):
                kernels.warm_up(imports, wait=False)

        def say(line: str) -> None:
            bar.write(line) if progress and sys.stderr.isatty() else echo(line)

        names = _differing(plan.runs)

        def tell(working: Collection[Task]) -> None:
            if not bar.disable:
                failed = f"; {len(outcome.failed)} failed" if outcome.failed else ""
                room = _room(bar.format_dict) - len(failed)
                bar.set_postfix_str(_at_work(working, names, room) + failed)

        done = _finished(pool, tasks, request, tell)
        for number, (task, error, said) in enumerate(done, start=1):
            place = f"{number:>{len(str(len(tasks)))}}/{len(tasks)}  {task.run}"
            bar.update(1)
            if error is None and bar.disable:
                say(f"{place}  {'; '.join(said)}")
            if error is None and task.last:
                outcome.finished.append(task.run)
                for warning in tracking.log(runs.Run(plan.study, task.run)):
                    say(warning)
            if error is not None and task.run not in outcome.failed:
                outcome.failed[task.run] = error
                say(f"{place}  {error}")
                if fail_fast:
                    pool.stop()
                    break
    for name in plan.runs:
        if name not in outcome.finished:
            outcome.failed.setdefault(
                name, "not executed: the sweep was stopped at the first failure (--fail-fast)"
            )
    outcome.page = report.write_index(plan.study)
    return outcome


def _threads(workers: int) -> dict[str, str]:
    """Variables that share the processors among workers: threads of linear algebra that have none
    wait for each other in loops. What is computed does not depend on them.
    """
    count = str(max(1, (os.cpu_count() or 1) // workers))
    return {name: count for name in _THREADS if name not in os.environ}


def _differing(names: Collection[str]) -> dict[str, str]:
    """What of the name of each run not all have: ``seed=3`` of ``epochs=5,seed=3``."""
    parts = [set(name.split(",")) for name in names]
    shared = set.intersection(*parts) if parts else set()
    return {
        name: ",".join(part for part in name.split(",") if part not in shared) or name
        for name in names
    }


def _room(bar: Mapping[str, object]) -> int:
    """Characters that a bar, by its `format_dict`, has for what is at work; it keeps ten itself."""
    from tqdm import tqdm

    columns = bar["ncols"] or shutil.get_terminal_size().columns
    other = tqdm.format_meter(**{**bar, "ncols": None, "postfix": "x"})
    return columns - len(other)


def _at_work(working: Collection[Task], names: Mapping[str, str], room: int) -> str:
    """The stages that are being executed, ``02 of seed=3, 03-05 of wide``, in so many characters;
    `names` are shorter ones of the runs.
    """
    count = len(working)
    for named in range(min(_NAMED, count), 0, -1):
        tasks = list(itertools.islice(working, named))
        more = f" and {count - named} more" if count > named else ""
        short = [names[task.run] for task in tasks]
        stages = [f"{task.stages} of " for task in tasks]
        each = (room - len(more) - sum(map(len, stages)) - 2 * (named - 1)) // named
        if named > 1 and each < min(_LEAST_NAME, max(map(len, short))):
            continue
        cut = terminal.cut(short, max(_LEAST_NAME, each))
        text = ", ".join(map("".join, zip(stages, cut, strict=True))) + more
        if len(text) <= room or named == 1:
            return text
    return ""


def _finished(
    pool, tasks: list[Task], request: dict, tell: Callable[[Collection[Task]], None]
) -> Iterator[tuple[Task, str | None, list[str]]]:
    """Submit every task once what it needs is done; yield it with its error, or None and what it
    said. `tell` gets what is being executed, each time that this changes.
    """
    waiting = list(tasks)
    working: dict[Future, Task] = {}
    ended: dict[Task, str | None] = {}
    while waiting or working:
        ready = [task for task in waiting if task.after is None or task.after in ended]
        for task in ready:
            failed = None if task.after is None else ended[task.after]
            if failed is not None:
                waiting.remove(task)
                other = task.after.run
                ended[task] = (
                    failed
                    if other == task.run
                    else f"not executed: run {other!r} failed in a shared stage"
                )
                yield task, ended[task], []
            elif len(working) < pool.most():
                waiting.remove(task)
                arguments = {
                    "name": task.run,
                    "values": dict(task.parameters),
                    "chosen": task.stages,
                    "page": task.last,
                }
                working[pool.submit({**request, **arguments, "reuse": dict(task.reuse)})] = task
        tell(working.values())
        for future in pool.wait(working) if working else ():
            task, said = working.pop(future), []
            try:
                said, ended[task] = pool.result(future), None
            except WorkbenchError as error:
                ended[task] = str(error)
            yield task, ended[task], said


class Children:
    """A child process for each thread that asks, which executes stages; one that was killed is
    replaced once.
    """

    def __init__(self):
        self._mine = threading.local()
        self._all: list[Child] = []
        self._stopped = False

    def execute(self, request: dict) -> list[str]:
        """Run `stages_here` in this thread's child."""
        attempt = 0
        while True:
            attempt += 1
            child = getattr(self._mine, "child", None)
            if child is None:
                child = self._mine.child = Child(
                    "execute the stages", {"WORKBENCH_HOME": request["home"]}
                )
                self._all.append(child)
            try:
                return child.call(f"{__name__}:stages_here", timeout=None, request=request)
            except (ChildDied, KernelDied) as error:
                if isinstance(error, ChildDied):
                    self._mine.child = None
                if self._stopped or attempt == ATTEMPTS:
                    raise

    def stop(self) -> None:
        """End what is being executed."""
        self._stopped = True
        for child in list(self._all):
            child.kill()

    def close(self) -> None:
        for child in self._all:
            child.close()


class _Local:
    """Threads of this process, each with a child process."""

    def __init__(self, workers: int):
        self._workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="sweep")
        self._children = Children()

    def most(self) -> int:
        return self._workers

    def submit(self, request: dict) -> Future:
        return self._threads.submit(self._children.execute, request)

    def wait(self, working: Mapping[Future, Task]) -> set[Future]:
        return wait(working, return_when=FIRST_COMPLETED).done

    def result(self, future: Future) -> list[str]:
        return future.result()

    def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._children.stop()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            self.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._children.close()


class _Dask:
    """An existing Dask cluster; one task is submitted for each, and Dask moves those of a worker
    that is lost.
    """

    def __init__(self, address: str):
        try:
            import distributed
        except ImportError as error:
            install = f"`make`, or `pip install -e '.[dask]'` in {files.project()}"
            raise BadInput(f"--scheduler needs Dask: {install}") from error
        try:
            self._client = distributed.Client(address, timeout=5, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise BadInput(f"no Dask scheduler answers at {address!r}: {error}") from error
        try:
            self._check_workers()
        except BaseException:
            self._client.close()
            raise

    def _check_workers(self) -> None:
        """Refuse a cluster whose workers have other code, or do not see the same files."""
        files.make_folder(files.home())
        with (
            files.writing(files.home()),
            tempfile.NamedTemporaryFile(dir=files.home(), prefix=".seen-") as token,
        ):
            seen = self._client.run(_looks, token.name)
        if not seen:
            raise BadInput("the Dask cluster has no workers: start some with `dask worker ADDRESS`")
        here = _code()
        for worker, (there, sees) in seen.items():
            if there != here:
                raise BadInput(
                    f"Dask worker {worker} has other notebooks or helpers: install the same version"
                    " there"
                )
            if not sees:
                raise BadInput(
                    f"Dask worker {worker} does not see {files.home()}: it must be on a shared file"
                    " system"
                )

    def most(self) -> int:
        return max(1, 2 * sum(self._client.nthreads().values()))

    def submit(self, request: dict):
        return self._client.submit(_on_worker, request, pure=False)

    def wait(self, working: Mapping) -> set:
        import distributed

        with self._client.as_current():
            return distributed.wait(list(working), return_when="FIRST_COMPLETED").done

    def result(self, future) -> list[str]:
        try:
            return future.result()
        except WorkbenchError:
            raise
        except (
            Exception
        ) as error:  # Dask's own: workers lost again and again, a scheduler that is gone
            raise WorkbenchError(
                f"Dask gave up: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error

    def stop(self) -> None:
        """Nothing to do: the client's end cancels what it submitted."""

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self._client.close()


def _code() -> list:
    return [
        code.sha256s(code.modules()),
        [code.cells_sha256(path) for path in notebooks.numbered().values()],
    ]


def _looks(token: str) -> tuple[list, bool]:
    """What a Dask worker has and sees."""
    return _code(), Path(token).exists()


_CHILDREN = Children()


def _on_worker(request: dict) -> list[str]:
    """What a thread of a Dask worker does for a task: the same as one of a local sweep."""
    return _CHILDREN.execute(request)


def stages_here(request: dict) -> list[str]:
    """Execute stages of one run in this process; returns a line about each."""
    said: list[str] = []
    names = ("study", "name", "values", "chosen", "page", "reuse")
    pipeline.run(
        **{name: request[name] for name in names},
        wait=True,
        demonstrations=False,
        echo=said.append,
    )
    return said
