"""The numbered notebooks: which there are, what they declare, and that their stored outputs are
true.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from helpers import files, kernels, quiet
from helpers.errors import BadInput, StageFailed
from helpers.parameters import Declared, declared

LAST_STAGE = "06"
"""Notebooks 01 to 06 are the stages of a run; later numbers are read and run on their own."""
OF_PYTORCH = ("10_pytorch_to_phone", "02_pytorch_training")
"""Notebooks that need PyTorch, in the order of their execution: the first makes a data set that the
second learns from."""
MODEL_STAGE, TRAINED = "02", "02_trained_model"
"""The stage that has a notebook for every way to come by a model, and the one of a trained file."""
KERNEL = {
    "KernelManager": {
        "transport_encryption": "auto",
        "client_class": "helpers.kernels.client.Client",
    },
    "NotebookClient": {"kernel_manager_class": "helpers.kernels.manager.Manager"},
}
"""Traitlets configuration of the kernels: messages are encrypted, as ipykernel asks for."""
DEMONSTRATION = "demonstration"
"""Tag of cells that show what a converter does to any model: sweeps leave them out."""
STORED_SECONDS = 120.0
"""How long latency is timed for stored outputs."""
_NOT_STARTED = ("Kernel died before replying to kernel_info", "in _reconcile_connection_info")
"""What nbval says of it, see `kernels.client.NotStarted`: the second is in a traceback."""
_SECONDS = re.compile(r"^(latency_seconds: float = )[\d.]+", re.MULTILINE)
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_QUESTION = re.compile(r"\*\*Question:\*\*(.*?)(?:\n\s*\n|\Z)", re.DOTALL)
_NUMBERED = re.compile(r"[0-9][0-9]_.*\.ipynb", re.DOTALL)
MOST_NOISE = 0.2
"""Noise floor of latency above which outputs are not stored."""


def folder() -> Path:
    """The folder of the numbered notebooks."""
    return files.project() / "notebooks"


def numbered() -> dict[str, Path]:
    """All numbered notebooks by number, in order, from 01 on; 00 is free for scratch.

    Of those that are `MODEL_STAGE` the first is under its number, and the others are last, under
    their names.

    Raises
    ------
    BadInput : two have one number.
    """
    try:
        return dict(_numbered(folder(), tuple(sorted(os.listdir(folder())))))
    except FileNotFoundError:
        return {}


@functools.lru_cache(maxsize=4)
def _numbered(place: Path, names: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    others: dict[str, Path] = {}
    for path in [place / name for name in names if _NUMBERED.fullmatch(name)]:
        other = found.setdefault(path.name[:2], path)
        if other != path and path.name[:2] == MODEL_STAGE:
            others[path.stem] = path
        elif other != path and path.name[:2] != "00":
            raise BadInput(
                f"{other.name} and {path.name} in {place} have one number: give one of them a "
                "name without it"
            )
    return {number: path for number, path in {**found, **others}.items() if number != "00"}


def stages(chosen: str | None = None, model_stage: str | None = None) -> dict[str, Path]:
    """Stages by number: all of them, or ``"03"``, ``"02-04"``, ``"01,03-05"``.

    Parameters
    ----------
    model_stage : name of the notebook that is `MODEL_STAGE`, default the first of them.

    Raises
    ------
    BadInput : not of that form, or a number that no stage has.
    """
    every = numbered()
    there = {key: path for key, path in every.items() if key <= LAST_STAGE and key.isdigit()}
    if model_stage in every:
        there[MODEL_STAGE] = every[model_stage]
    if chosen is None:
        return there
    numbers: set[str] = set()
    for part in chosen.split(","):
        match = re.fullmatch(r"(\d\d)(?:-(\d\d))?", part.strip())
        first, last = (match[1], match[2] or match[1]) if match else ("", "")
        if first not in there or last not in there or first > last:
            raise BadInput(
                f"stages {chosen!r} are not like 03, 02-04 or 01,03-05, out of {', '.join(there)}"
            )
        numbers.update(number for number in there if first <= number <= last)
    return {number: there[number] for number in sorted(numbers)}


def parameters(model_stage: str | None = None) -> dict[str, Declared]:
    """All parameters that stages declare and a user may set, by name. One name means the same in
    every stage.
    """
    every = {
        name: d
        for notebook in stages(model_stage=model_stage).values()
        for name, d in declared(notebook).items()
    }
    return {name: d for name, d in every.items() if name not in ("study", "run")}


def every_parameter() -> dict[str, Declared]:
    """The same, whichever notebook comes by the model."""
    ways = [key for key in numbered() if key.startswith(f"{MODEL_STAGE}_")]
    return {name: d for way in [*ways, None] for name, d in parameters(way).items()}


def stages_with(name: str, model_stage: str | None = None) -> list[str]:
    """The numbers of the stages that have a parameter."""
    there = stages(model_stage=model_stage)
    return [number for number, notebook in there.items() if name in declared(notebook)]


def about(notebook: Path) -> tuple[str, str]:
    """Title of a notebook, ``05 Accuracy and latency``, and the question that it answers, as its
    first cell has them; empty where it says none, or is no notebook.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        text = "".join(next(c["source"] for c in cells if c["cell_type"] == "markdown"))
    except (OSError, ValueError, TypeError, KeyError, StopIteration):
        return "", ""
    title, paragraph = _TITLE.search(text), _QUESTION.search(text)
    question = " ".join(paragraph[1].split()) if paragraph else ""
    return title[1] if title else "", question[: question.rfind("?") + 1]


@contextmanager
def environment(**values: str):
    """Set environment variables for the body, for the kernels that start in it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def refresh(chosen: str | None = None, echo: Callable[[str], None] = print) -> None:
    """Execute notebooks in a throw-away home and store their normalised outputs in place.

    Latency is timed for `STORED_SECONDS` then, which is longer than the notebook's default: its
    noise is stored too.

    Parameters
    ----------
    chosen : which stages, from the first on as ``"01-05"``; default all notebooks.

    Raises
    ------
    StageFailed : a notebook raised an error, or timed in a noisy moment (`MOST_NOISE`); it is left
        as it was, as are those after it.
    """
    with quiet.without_uri_grammar():
        import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from traitlets.config import Config

    with tempfile.TemporaryDirectory() as home, environment(WORKBENCH_HOME=home, TQDM_DISABLE="1"):
        for notebook in (numbered() if chosen is None else stages(chosen)).values():
            if notebook.stem in OF_PYTORCH and importlib.util.find_spec("torch") is None:
                echo(f"{notebook.stem}  left as it was: it needs PyTorch (make pytorch)")
                continue
            started = time.monotonic()
            content = nbformat.read(notebook, as_version=4)
            sources = [cell.source for cell in content.cells]
            for cell in content.cells:
                if "parameters" in cell.metadata.get("tags", []):
                    cell.source = _SECONDS.sub(rf"\g<1>{STORED_SECONDS}", cell.source)
            resources = {"metadata": {"path": str(folder())}}
            options = {
                "timeout": None,
                "record_timing": False,
                "coalesce_streams": True,
                "config": Config(KERNEL),
            }
            options["kernel_name"] = kernels.NAME
            client = NotebookClient(content, resources=resources, **options)
            try:
                client.execute()
            except (CellExecutionError, DeadKernelError) as error:
                raise StageFailed(
                    f"{notebook.name} failed and was left as it was: {error}"
                ) from error
            _require_quiet(notebook.stem, Path(home))
            for cell, source in zip(content.cells, sources, strict=True):
                cell.source = source
            with files.atomic(notebook) as temporary:
                nbformat.write(normalised(content), temporary)
            echo(f"{notebook.stem}  stored in {time.monotonic() - started:.1f} s")


def _require_quiet(stage: str, home: Path) -> None:
    """Refuse what a stage of any run in `home` has timed above `MOST_NOISE`: readers take stored
    figures for true.
    """
    for path in home.glob("artifacts/*/*/run.json"):
        entry = json.loads(path.read_text(encoding="utf-8"))["stages"].get(stage, {})
        floor = entry.get("metrics", {}).get("noise_floor") or 0.0
        if floor > MOST_NOISE:
            raise StageFailed(
                f"{stage} was left as it was: it was timed with a noise floor of {floor:.2f}, at "
                f"most {MOST_NOISE} is stored; try again when the machine has nothing else to do"
            )


def normalised(content):
    """A notebook without what differs between executions or machines but means nothing."""
    content.metadata = {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    for cell in content.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
    return content


def check(
    paths: list[Path] | None = None, arguments: tuple[str, ...] = (), home: Path | None = None
) -> subprocess.CompletedProcess:
    """Execute notebooks and compare with their stored outputs (nbval).

    Times are sanitised by ``notebooks/sanitize.cfg``; nothing else is. The notebooks run one after
    the other in one home, because each needs what the one before recorded. Where a kernel did not
    start, which nbval does not try again, all of them are executed once more.

    Parameters
    ----------
    paths : notebooks, in order; default all.
    arguments : further arguments for pytest.
    home : where they work; default a throw-away folder.

    Returns
    -------
    The finished pytest process, with its output as text; status 0 if all outputs are as stored.
    """
    chosen = paths or list(numbered().values())
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-vv",
        "--nbval",
        "--nbval-sanitize-with",
        str(folder() / "sanitize.cfg"),
    ]
    command += ["--nbval-kernel-name", kernels.NAME]
    command += [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-c",
        os.devnull,
        "--rootdir",
        str(chosen[0].parent),
    ]
    command += [*arguments, *map(str, chosen)]

    def once() -> subprocess.CompletedProcess:
        with (
            tempfile.TemporaryDirectory() as throw_away,
            environment(WORKBENCH_HOME=str(home or throw_away), TQDM_DISABLE="1"),
            environment(JUPYTER_PATH=kernels.search_path(Path(throw_away) / "jupyter")),
        ):
            return subprocess.run(command, capture_output=True, text=True)

    done = once()
    # its port went to another process
    if home is None and any(sign in done.stdout for sign in _NOT_STARTED):
        done = once()
    return done
