"""What a result depends on besides its parameters and its code: packages, commit and host."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers import files

MIXED = "mixed"
"""Stands for what differs from one stage of a run to the next."""
_PACKAGES = (
    "tensorflow",
    "keras",
    "ai-edge-litert",
    "MNN",
    "onnx",
    "onnxruntime",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
)


def describe() -> dict:
    """Return ``packages``, ``commit`` (with ``no_commit``, why there is none) and ``host``."""
    from importlib import metadata

    return {
        "packages": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        **_commit(files.project()),
        "host": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
    }


def runtimes() -> dict[str, str]:
    """Versions of the runtimes that score phone files here: ``litert`` and ``mnn``, as
    `helpers.bundle.archive.check_runtimes` takes them, without what marks a release before its
    final one (``2.3.0rc1`` is ``2.3.0``).
    """
    from importlib import metadata

    there = {"litert": metadata.version("ai-edge-litert"), "mnn": metadata.version("MNN")}
    return {name: re.match(r"\d+(\.\d+){0,3}", version)[0] for name, version in there.items()}


def common(environments: Sequence[Mapping]) -> dict:
    """Return what several environments have in common; `MIXED` stands for what differs.

    A package or a property of the host that only some of them know differs too.
    """
    result = {}
    for key in dict.fromkeys(key for environment in environments for key in environment):
        values = [environment.get(key) for environment in environments]
        if any(isinstance(value, dict) for value in values):
            result[key] = common([value or {} for value in values])
        else:
            result[key] = values[0] if all(value == values[0] for value in values) else MIXED
    return result


def _commit(project: Path) -> dict[str, str | None]:
    """The project's git commit, with ``+changes`` if files differ from it; without one, why."""
    if not (project / ".git").exists():
        return _none(f"{project} is not a git repository")
    git = ["git", "--no-optional-locks", "-C", str(project)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        status = subprocess.run(
            [*git, "status", "--porcelain"], capture_output=True, text=True, check=True
        )
    except OSError as error:
        return _none(f"git cannot be run: {error.strerror}")
    except subprocess.CalledProcessError as error:
        return _none(
            error.stderr.strip().partition("\n")[0] or f"git ended with status {error.returncode}"
        )
    return {
        "commit": head.stdout.strip() + ("+changes" if status.stdout.strip() else ""),
        "no_commit": None,
    }


def _none(reason: str) -> dict[str, str | None]:
    return {"commit": None, "no_commit": reason}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
