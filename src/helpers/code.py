"""Which code of this package made a result: an edit of it makes the result stale.

A result records the SHA-256 of sources, either of what its process executed (`loaded`) or of what a
module can reach (`imported`); `changed` compares such a record with the sources as they are now.
Files outside the package that a result was made of, as a user's study, count as well (`outside`).
The package itself, ``helpers``, holds nothing but its version and is left out; a notebook counts by
its code cells.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from helpers.errors import BadInput

PACKAGE = "helpers"
FOLDER = Path(__file__).resolve().parent
DATA = {"helpers.bundle.native": "bundle/headers", "helpers.bundle.sources": "templates/bundle"}
"""Folders of this package whose files a module puts into what it makes; they count as it does."""
EDITED = "edited while it was used"
"""In place of the SHA-256 of a source where nobody can tell which version of it was executed."""
_CALLED = re.compile(rf"({PACKAGE}(?:\.\w+)+):\w+")
"""How a function for a child process is named, see `helpers.child`."""

_parsing = threading.Lock()
_known: dict[str, dict[str, str]] | None = None
_seen: dict[str, str] = {}
_looked = time.time_ns()


def loaded() -> dict[str, str]:
    """Return the SHA-256 by name of the modules that this process or a child (`add`) has loaded.

    The data of these modules is among them. A source counts as it was when its module was first
    seen here. One that was edited since the look before that may have been loaded before or after
    the edit: it is recorded as `EDITED`, which no source ever equals.
    """
    global _looked
    before, _looked = _looked, time.time_ns()
    main = getattr(
        sys.modules.get("__main__"), "__spec__", None
    )  # as in ``python -m helpers.child``
    names = [*list(sys.modules), *([main.name] if main else [])]
    for name, digest in sha256s(
        name for name in names if _is_module(name) and name not in _seen
    ).items():
        modified = os.stat(_source(name) or FOLDER / name).st_mtime_ns
        edited = before < modified <= time.time_ns()
        _seen.setdefault(name, EDITED if edited else digest)
    return dict(sorted(_seen.items()))


def add(record: Mapping[str, str]) -> None:
    """Count what another process executed for this one."""
    here = loaded()
    for name, digest in record.items():
        _seen[name] = digest if here.get(name, digest) == digest else EDITED


def outside(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of files outside the package, by absolute path; a folder counts by the
    names of the files in it.
    """
    return {
        str(path.absolute()): (_folder if path.is_dir() else _sha256)(str(path)) for path in paths
    }


def imported(names: Iterable[str]) -> list[str]:
    """Return the modules of this package that these can import, themselves included, sorted.

    They are read from the sources, transitively: imports inside functions count, and functions that
    are named for a child process. Imports of computed names (``registry.get``) cannot be seen.
    """
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in found or path is None or name == PACKAGE:
            continue
        found.add(name)
        waiting += [name.rpartition(".")[0], *_imports(name, path, *_version(path))]
    return sorted(found)


def modules() -> list[str]:
    """Return all modules of this package, sorted."""
    parts = (path.relative_to(FOLDER).with_suffix("").parts for path in FOLDER.rglob("*.py"))
    names = {".".join((PACKAGE, *part)).removesuffix(".__init__") for part in parts}
    return sorted(names - {PACKAGE})


def sha256s(names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of the sources of modules by name, and of their `DATA` by its path.

    A module that is not there has none.
    """
    result: dict[str, str] = {}
    for name in sorted(names):
        if _known is None:
            result |= _digests(name)
        else:
            result |= _known[name] if name in _known else _known.setdefault(name, _digests(name))
    return result


def executed(names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of modules and of all that they can reach by imports, as this process
    executes them.
    """
    digests, here = sha256s(imported(names)), loaded()
    return digests | {name: here[name] for name in digests if here.get(name, EDITED) != EDITED}


@contextmanager
def at_once() -> Iterator[None]:
    """Look at each source only once within the body, to compare many records with it."""
    global _known
    _known = {}
    try:
        yield
    finally:
        _known = None


def changed(record: Mapping[str, str]) -> str | None:
    """Tell which recorded source is another one now, in words; None if all are the same.

    Files in a recorded folder are read only where one of them was written since.
    """
    now = sha256s(name for name in record if _is_module(name))
    outside = [name for name in record if os.path.isabs(name)]
    folders = {name: _folder(name) for name in outside if os.path.isdir(name)}
    untouched = tuple(f"{name}/" for name, found in folders.items() if found == record[name])
    for name in outside:
        if name.startswith(untouched):
            now[name] = record[name]
        elif os.path.isfile(name):
            now[name] = _sha256(name)
    for name in sorted({*record, *now} - set(folders)):
        if record.get(name) != now.get(name):
            return f"{name} {'has changed since' if name in now else 'is gone'}"
    for name, found in folders.items():
        if found.split()[0] != record[name].split()[0]:
            return f"{name} has other files in it since"
    return None


def cells_sha256(notebook: Path) -> str:
    """Return the SHA-256 of a notebook's code cells; prose and stored outputs do not count.

    Raises
    ------
    BadInput : it is not a notebook.
    """
    try:
        return _cells_sha256(notebook, *_version(notebook))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{notebook} is not a notebook ({type(error).__name__}: {error})") from error


def _is_module(name: str) -> bool:
    return name.startswith(f"{PACKAGE}.")


def _digests(name: str) -> dict[str, str]:
    """SHA-256 of the source of one module, and of its data."""
    path = _source(name)
    result = {} if path is None else {name: _sha256(path)}
    for place, _, found in os.walk(FOLDER / DATA[name]) if name in DATA else ():
        for data in (Path(place, file) for file in found if not file.startswith(".")):
            result[data.relative_to(FOLDER).as_posix()] = _sha256(str(data))
    return result


def _source(name: str) -> str | None:
    """The source file of a module of this package; None if there is no such module."""
    package, *parts = name.split(".")
    stem = os.path.join(FOLDER, *parts)
    found = (path for path in (f"{stem}.py", f"{stem}/__init__.py") if os.path.isfile(path))
    return next(found, None) if package == PACKAGE else None


def _folder(path: str) -> str:
    """SHA-256 of the names of the files in a folder, and another that changes with any of them."""
    if _known is None:
        return _listed(Path(path))
    if path not in _known:
        _known[path] = {path: _listed(Path(path))}
    return _known[path][path]


def _listed(path: Path) -> str:
    from helpers import files  # not before: else every result is made with it

    found = {os.path.relpath(file, path): _version(file) for file in files.below(path)}
    parts = (json.dumps(part).encode() for part in ([*found], found))
    return " ".join(hashlib.sha256(part).hexdigest() for part in parts)


def _sha256(path: str) -> str:
    return _read_sha256(path, *_version(path))


@functools.cache
def _read_sha256(path: str, *version: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(path: str | Path) -> tuple[int, int, int]:
    """Changes when a file is written."""
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size, found.st_ino


@functools.cache
def _cells_sha256(notebook: Path, *version: int) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


@functools.cache
def _imports(name: str, path: str, *version: int) -> tuple[str, ...]:
    """What one module imports, or names for a child; some are no modules but what is in one."""
    package = name if path.endswith("/__init__.py") else name.rpartition(".")[0]
    found: list[str] = []
    text = Path(path).read_text(encoding="utf-8")
    with (
        _parsing
    ):  # CPython 3.11 counts the depth of all threads together and gives up where they differ
        tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (match := _CALLED.fullmatch(node.value))
        ):
            found.append(match[1])
    return tuple(found)
