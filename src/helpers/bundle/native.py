"""The runners of a bundle on this machine: built, run and timed, with no Python between the calls
and the model.

The C runner needs a C compiler and libtensorflowlite_c with its headers, from the environment
variable TFLITE_ROOT (``include/`` and ``lib/``) or from the npm package ``tfjs-tflite-node`` below
WORKBENCH_TOOLS, where ``.ci/tools`` puts it. The C++ runner needs a compiler only: MNN's Python
wheel carries the whole library, so the runner is built as a shared one and loaded by a Python
process that has loaded MNN and then only waits.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers.bundle import archive, golden
from helpers.errors import WorkbenchError
from helpers.evaluation.latency import BLOCK_SECONDS, time_text
from helpers.runtimes import open_model, runtime_of
from helpers.schema import Schema

HEADERS = Path(__file__).resolve().parent / "headers"
WARNINGS = ("-Wall", "-Wextra", "-Werror")
_LOADER = """
import ctypes, os, sys
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
import _mnncengine
values = [value.encode() for value in sys.argv[1:]]
arguments = (ctypes.c_char_p * (len(values) + 1))(*values, None)
sys.exit(ctypes.CDLL(sys.argv[1]).main(len(values), arguments))
"""


class NotHere(WorkbenchError):
    """This machine lacks what a runner is built with."""


@dataclass(frozen=True)
class Outcome:
    """What a runner said: its exit status (0: every case reproduced), its lines, and microseconds a
    call by case.
    """

    status: int
    lines: tuple[str, ...]
    microseconds: Mapping[str, float]


def tools() -> Path:
    """The folder of tools that are no Python packages: WORKBENCH_TOOLS, or in the user's cache."""
    return Path(os.environ.get("WORKBENCH_TOOLS") or "~/.cache/ranking-workbench").expanduser()


def build(sources: Path, into: Path, file: str) -> list[str]:
    """Build the runner of a model file and return the command that starts it.

    Parameters
    ----------
    sources : the bundle's folder ``c``.
    into : folder for the program; it must stay as long as the command is used.
    file : ``model.tflite`` or ``model.mnn``.

    Raises
    ------
    NotHere : no compiler, or no library.
    WorkbenchError : the compiler refuses the sources.
    """
    if file == archive.MODELS["litert"]:
        return _build_tflite(sources / "run_tflite.c", into)
    return _build_mnn(sources / "run_mnn.cpp", into)


def build_rerank(
    sources: Path, into: Path, file: str = archive.MODELS["litert"], *, halves: bool = False
) -> list[str]:
    """Build the program that encodes raw sessions, scores and re-ranks them; see `build`.

    It is called with the model file, ``features.json`` and ``sessions.json``. With `halves` it
    scores with the two halves that lie beside the model file.
    """
    name = "rerank_halves" if halves else "rerank"
    if file == archive.MODELS["litert"]:
        return _build_tflite(sources / f"{name}_tflite.c", into)
    return _build_mnn(sources / f"{name}_mnn.cpp", into)


def build_classify(sources: Path, into: Path) -> list[str]:
    """Build the program that prepares golden pictures and classifies them; see `build`.

    It is called with ``model.tflite``, ``features.json``, ``pictures.json``, ``pictures.bin`` and,
    if the pixels are to be prepared too, a folder of decoded pictures.
    """
    return _build_tflite(sources / "classify_tflite.c", into)


def build_training(source: Path, into: Path, *, beside: Path | None = None) -> list[str]:
    """Build a program that trains, as ``run_training.c`` of a training bundle, together with the
    bundle's ``training.c``; see `build`.

    Parameters
    ----------
    beside : the bundle's folder ``c`` with ``training.c``, if `source` is elsewhere.

    Returns
    -------
    The command; ``run_training`` is called with the folder of a bundle.
    """
    return _build_tflite(source, into, (beside or source.parent) / "training.c")


def _build_tflite(source: Path, into: Path, *more: Path) -> list[str]:
    include, library = _tflite()
    program = into / source.stem
    places = [f"-I{include}", str(library), f"-Wl,-rpath,{library.parent}", "-lm"]
    parts = [str(source), *map(str, more), *(f"-I{place.parent}" for place in more)]
    _compile("cc", "CC", [*parts, "-std=c99", "-o", str(program), *places])
    return [str(program)]


def _build_mnn(source: Path, into: Path) -> list[str]:
    if platform.system() != "Linux":
        raise NotHere("the C++ runner is linked against the library in MNN's wheel on Linux only")
    program = into / f"{source.stem}.so"
    options = ["-std=c++11", "-shared", "-fPIC", f"-I{HEADERS}", "-o", str(program)]
    _compile("c++", "CXX", [str(source), *options])
    return [sys.executable, "-c", _LOADER, str(program)]


def _tflite() -> tuple[Path, Path]:
    """Folder of the headers and path of the library of TensorFlow Lite's C API."""
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system(), "")
    processor = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(
        platform.machine(), ""
    )
    name = f"libtensorflowlite_c{'.dylib' if system == 'darwin' else '.so'}"
    package = tools() / "node_modules" / "tfjs-tflite-node" / "cc_deps"
    places = [(package / "include", package / f"{system}_{processor}" / name)]
    if root := os.environ.get("TFLITE_ROOT"):
        places.insert(0, (Path(root) / "include", Path(root) / "lib" / name))
    for include, library in places:
        if (include / "tensorflow" / "lite" / "c" / "c_api.h").is_file() and library.is_file():
            return include, library
    raise NotHere(
        "libtensorflowlite_c is not here: run `.ci/tools` (needs npm), or set TFLITE_ROOT"
    )


def _compile(compiler: str, variable: str, arguments: list[str]) -> None:
    command = os.environ.get(variable) or compiler
    if shutil.which(command.split()[0]) is None:
        raise NotHere(f"there is no compiler {command!r} (set {variable} to name one)")
    done = subprocess.run(
        [*command.split(), "-O2", *WARNINGS, *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise WorkbenchError(
            f"{command} refuses {Path(arguments[0]).name}: {done.stderr.strip()[-1500:]}"
        )


def run(
    command: list[str], model: Path, *cases: Path, seconds: float = 0.0, timeout: float = 600.0
) -> Outcome:
    """Score the golden cases with a model file, and time each case for `seconds` if that is not 0.

    `cases` is ``golden.bin``; for the program of `build_rerank`, ``features.json`` and
    ``sessions.json``.
    """
    arguments = [*command, str(model), *map(str, cases), *([f"{seconds:g}"] if seconds else [])]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout)
    lines = tuple((done.stdout + done.stderr).splitlines())
    if done.returncode not in (0, 1, 2):
        lines += (f"the runner ended before it was done, with status {done.returncode}",)
    timed = (re.fullmatch(r"time  (.*?) +\d+ rows ([\d.]+) us", line) for line in lines)
    return Outcome(done.returncode, lines, {match[1]: float(match[2]) for match in timed if match})


def beside_python(
    commands: Mapping[str, list[str]],
    bundle: Path,
    schema: Schema,
    *,
    rounds: int = 2,
    seconds: float = 0.02,
):
    """Time the same calls (copy in, run, copy out; one thread) in C or C++ and from Python, in
    turns.

    Parameters
    ----------
    commands : by model file, what `build` returned.
    bundle : folder with the model files and their golden cases.

    Returns
    -------
    DataFrame, a row a file and batch size: file, runtime, rows, native_us, python_us. Each time is
    the smallest mean of blocks of at least `BLOCK_SECONDS`, over all rounds. A case that a runner
    does not reproduce has no time and no row.
    """
    import pandas as pd

    cases = {
        case.name: case for case in golden.from_bytes((bundle / archive.GOLDEN).read_bytes()).cases
    }
    typical = {
        name: case.rows for name, case in cases.items() if name.startswith("typical, batch ")
    }
    best: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for file, command in commands.items():
            outcome = run(command, bundle / file, bundle / archive.GOLDEN, seconds=seconds)
            model = open_model(bundle / file, schema, trusted=True)
            for name, rows in typical.items():
                if name not in outcome.microseconds:
                    continue
                timer = model.steps(cases[name].inputs).copy_and_run
                once = outcome.microseconds[name], _smallest(timer, seconds)
                known = best.setdefault((file, rows), [float("inf")] * 2)
                best[file, rows] = [min(pair) for pair in zip(known, once, strict=True)]
    rows = [(file, runtime_of(file), batch, *times) for (file, batch), times in best.items()]
    return pd.DataFrame(rows, columns=["file", "runtime", "rows", "native_us", "python_us"])


def _smallest(timer, seconds: float) -> float:
    calls = 1
    while timer.timeit(calls) < BLOCK_SECONDS:
        calls *= 2
    blocks, end = [], time.perf_counter() + seconds
    while not blocks or time.perf_counter() < end:
        blocks.append(timer.timeit(calls) / calls)
    return min(blocks) * 1e6


def table(timed):
    """`beside_python` to read: DataFrame of text with the part of each call that is Python's."""
    import pandas as pd

    cells = {
        "in C or C++": [time_text(value) for value in timed["native_us"]],
        "from Python": [time_text(value) for value in timed["python_us"]],
        "Python's part": [_part(r.native_us / r.python_us) for r in timed.itertuples()],
    }
    return pd.DataFrame(cells, index=[f"{r.file}, batch {r.rows}" for r in timed.itertuples()])


def _part(share: float) -> str:
    """Python's part of a call of which C takes `share`, in words where there is none."""
    return f"{1 - share:.0%}" if share <= 1 else "none, this C library is slower"
