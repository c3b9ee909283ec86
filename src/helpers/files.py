"""Files and folders: where they are, written whole or not at all, and errors with a way out."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from helpers.errors import BadInput, WorkbenchError

REASONS = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EACCES: (
        "this user may not write there: change that, or give another folder (WORKBENCH_HOME, or "
        "--into)"
    ),
    errno.EPERM: (
        "this user may not write there: change that, or give another folder (WORKBENCH_HOME, or "
        "--into)"
    ),
    errno.EROFS: (
        "it is on a read-only file system: give a folder that can be written (WORKBENCH_HOME, or "
        "--into)"
    ),
    errno.ENOTDIR: (
        "a file stands where a folder is needed: move it away, or give another (WORKBENCH_HOME, or "
        "--into)"
    ),
    errno.EMFILE: (
        "too many files are open: raise the limit (`ulimit -n`) and run the same command again"
    ),
    errno.EISDIR: "a folder stands where a file is needed: move it away",
}
"""What to do about what the operating system refuses."""
_PARTIAL = ".partial-"
_PASSED_OVER = ("Thumbs.db", "desktop.ini")
_ROOT = Path(__file__).resolve().parents[2]


def project() -> Path:
    """The folder of the project, where ``notebooks/`` is; the current folder if the package stands
    alone.
    """
    return _ROOT if (_ROOT / "pyproject.toml").exists() else Path.cwd()


def notebook(stage: str) -> Path:
    """Where the notebook of a stage is, by the stage's whole name; it need not be there."""
    return project() / "notebooks" / f"{stage}.ipynb"


def home() -> Path:
    """The folder that holds ``data/`` and ``artifacts/``: WORKBENCH_HOME, or the project."""
    place = os.environ.get("WORKBENCH_HOME")
    if not place:
        return project()
    try:
        return Path(place).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise BadInput(f"WORKBENCH_HOME={place!r} is not a folder: {error}") from error


def own(path: str, study: str, folder: str = "") -> list[Path]:
    """Where a file of somebody's own may be: beside their study's file, in `folder`, or below
    ``data/<study>/raw``; of an absolute path, there.
    """
    folders = [Path(folder)] * bool(folder) + [home() / "data" / study / "raw"]
    return list(dict.fromkeys(place / path for place in folders))


def make_folder(path: Path) -> None:
    """Make a folder and those above it, or say why it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = REASONS.get(
            error.errno,
            f"{error.strerror}: give a folder that can be written (WORKBENCH_HOME, or --into)",
        )
        if isinstance(error, FileExistsError):
            reason = REASONS[errno.ENOTDIR]
        raise WorkbenchError(f"cannot make the folder {path}: {reason}") from error


def partial(path: Path) -> Path:
    """A temporary name beside `path`, marked with this machine and process; the suffix stays,
    writers go by it.
    """
    return path.with_name(f"{_PARTIAL}{_machine()}-{os.getpid()}-{path.name}")


def _machine() -> str:
    """This machine in eight characters: its process ids mean nothing on others that share the
    folder.
    """
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def without_partial(text: str) -> str:
    """A message with the names that its temporary files would have had."""
    return re.sub(rf"{re.escape(_PARTIAL)}[0-9a-f]{{8}}-\d+-", "", text)


def abandoned(path: Path) -> str | None:
    """The name that a killed process of this machine was writing under `path`.

    None if `path` is no name of `partial`, or its process is alive, on another machine, or not ours
    to look at.
    """
    named = re.fullmatch(
        rf"{re.escape(_PARTIAL)}{_machine()}-([1-9][0-9]{{0,8}})-(.+)", path.name, re.DOTALL
    )
    if not named:
        return None
    try:
        os.kill(int(named[1]), 0)
    except ProcessLookupError:
        return named[2]
    except PermissionError:
        pass
    return None


def clear_partial(folder: Path) -> None:
    """Remove what killed processes of this machine left half-written below `folder`.

    Others may be at work there: what vanishes meanwhile, or cannot be removed, is passed over.
    """
    for here, folders, names in os.walk(folder):
        for path in (Path(here, name) for name in (*folders, *names)):
            if abandoned(path) is not None:
                with suppress(OSError):
                    remove(path)
        folders[:] = [name for name in folders if not name.startswith(_PARTIAL)]


def remove(path: Path) -> None:
    """Remove a file, a link (not what it leads to) or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading and writing, made if it is not there.

    Raises
    ------
    BadInput : it is a link (also a hard one), a folder, a fifo, a socket or a device: what is
        written would land elsewhere, or wait for ever.
    """
    reason = BadInput(f"{path} is no plain file: move it away")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        number = os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV):
            raise reason from error
        raise
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(number)
        raise reason
    return os.fdopen(number, "r+b")


def flush(path: Path) -> None:
    """Make the disk hold a file, or a folder's list of names, before what follows."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def shown(path: Path) -> str:
    """`path` as a reader should see it: relative to `home`, the same on every machine."""
    try:
        return path.relative_to(home()).as_posix()
    except ValueError:
        return str(path)


def below(folder: Path) -> list[Path]:
    """Files in a folder and in those in it, sorted. Hidden ones and those that file managers leave
    behind are passed over.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = filter(is_seen, folders)
        found += [os.path.join(place, name) for name in filter(is_seen, names)]
    return sorted(Path(path) for path in found if os.path.isfile(path))


def is_seen(name: str) -> bool:
    """Whether a file or a folder of this name is somebody's own."""
    return not name.startswith(".") and name not in _PASSED_OVER


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while writing `path` into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in REASONS:
            raise
        raise WorkbenchError(f"cannot write {path}: {REASONS[error.errno]}") from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the body is done, remove it if
    it fails.

    If a file already stands at `path`, it stays whole until the new one replaces it.
    """
    temporary = partial(path)
    make_folder(path.parent)
    with writing(path):
        try:
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
