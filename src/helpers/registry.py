"""Which studies there are: those of this package, and those of files somewhere else.

A study outside the package is kept as ``artifacts/<study>/study.json`` (`keep`), so that kernels,
other commands and later runs find it by its name. Such a record is either ``{"source": path}`` of a
``.py`` file that defines ``STUDY``, or what `from_record` makes a study of. Stages count it and the
files that it names (`definition`): an edit of one, or another study of the name, makes them stale.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import json
import os
import pkgutil
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from helpers import files, studies
from helpers.errors import BadInput, meant
from helpers.schema import Schema

RECORD = "study.json"
_DRAWN_BYTES = 16 << 20
"""What drawn rows take, where they are wide."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_BROUGHT = {"model", "schema", "data", "label", "group", "task", "settings"}
"""What the record of a trained file says, see `from_record`."""


def modules() -> list[str]:
    """Names of the studies of this package, sorted."""
    return list(_modules(tuple(map(tuple, map(os.listdir, studies.__path__)))))


@functools.lru_cache(maxsize=4)
def _modules(content: tuple) -> list[str]:
    """The modules while the folder has this content."""
    return sorted(module.name for module in pkgutil.iter_modules(studies.__path__))


def names() -> list[str]:
    """Names of all studies: those of this package, then those that are linked."""
    return [*modules(), *(name for name in _linked() if name not in modules())]


def get(name: str) -> studies.Study:
    """The study of that name, or a BadInput that lists those there are."""
    if name in modules():
        return importlib.import_module(f"{studies.__name__}.{name}").STUDY
    if name not in names():
        known = ", ".join(names())
        raise BadInput(
            f"there is no study {name!r}{meant(name, names())}; there is: {known}, or the path of "
            "a .py file that defines STUDY"
        )
    source = _source(name)
    return from_record(name, record(name)) if source is None else _load(source)


def link(text: str) -> str:
    """The name of a study that is given by its name or as the path of its ``.py`` file.

    A path is loaded, and kept under the study's name (`keep`), so that kernels, other
    commands and later runs find it by that.

    Raises
    ------
    BadInput : there is no such study, or its file is wrong: what about it, in one line.
    """
    if not text.endswith(".py") and "/" not in text:
        return get(text).name
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise BadInput(f"there is no file {path}")
    study = _load(path)
    keep(study.name, {"source": str(path)})
    return study.name


def read_schema(path: Path) -> Schema:
    """A schema of somebody's own, as JSON.

    Raises
    ------
    BadInput : it is none.
    """
    try:
        return Schema.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadInput(
            f"{path} is no schema ({type(error).__name__}: {error}): mend it, or remove it and "
            "have it inferred again"
        ) from error


def from_record(name: str, record: Mapping) -> studies.Study:
    """The study of a trained file that somebody brings, see `helpers.own`.

    Raises
    ------
    BadInput : its schema is gone or is none.
    """
    schema = read_schema(Path(record["schema"]))
    file = Path(record["model"])
    source: studies.Source = studies.drawn(schema)
    fit = _DRAWN_BYTES // schema.row_bytes
    sizes = {"rows": min(max(fit, 100), 1000), "validation_rows": 20}
    sizes["test_rows"] = min(max(fit, 200), 2000)
    if record["data"]:
        said = ", ".join(Path(path).name for path in record["data"])
        columns = {key: record[key] for key in ("label", "group")}
        source = studies.Files("given", said, tuple(record["data"]), **columns, shares=(0.05, 0.75))
        sizes = dict.fromkeys(sizes, 0)
    return studies.Study(
        name,
        f"{file.name}, as it was given",
        schema,
        {source.name: source},
        {"given": studies.Model(f"{file.name}, not trained again", file=str(file))},
        defaults=sizes,
        task=record["task"],
        limits=record["settings"],
    )


def _load(path: Path) -> studies.Study:
    """The study that a file defines; the file is executed once a process."""
    name = check_new_name(path.stem)
    if not path.is_file():
        raise BadInput(f"there is no file {path}, where the study {name!r} was")
    known = sys.modules.get(f"study_{name}")
    if known is None or known.__file__ != str(path):
        known = _executed(f"study_{name}", path)
    study = getattr(known, "STUDY", None)
    if not isinstance(study, studies.Study):
        said = "defines no STUDY" if study is None else f"STUDY is a {type(study).__name__}"
        raise BadInput(f"{path.name}: {said}: end it with STUDY = Study(...)")
    if study.name != name:
        raise BadInput(
            f"{path.name}: the study is called {study.name!r}: give it the name of its file, "
            f"name={name!r}"
        )
    return study.beside(str(path))


def _executed(name: str, path: Path):
    """The module of a file, which may import others from beside it."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise BadInput(f"{path.name}{_where(path, error)}: {_said(error)}") from error
    return module


def _where(path: Path, error: Exception) -> str:
    """The line of a file where an error came from, as ``, line 3``."""
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""


def _said(error: Exception) -> str:
    text = " ".join(str(getattr(error, "msg", "") or error).split())
    return text if isinstance(error, BadInput) else f"{type(error).__name__}: {text}"


def _linked() -> list[str]:
    """Names of the studies that are linked, sorted."""
    return sorted(path.parent.name for path in files.home().glob(f"artifacts/*/{RECORD}"))


def check_name(name: str) -> str:
    """Return a study's name, or say what it has to be: it names folders and a module."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"study name {name!r} must be a letter, then letters, digits and _")
    return name


def check_new_name(name: str, way: str = "give yours another name") -> str:
    """Return the name of a study outside the package, or say that one of the package has it."""
    if check_name(name) in modules():
        raise BadInput(f"there is a study {name!r} already: {way}")
    return name


def folder(name: str) -> Path:
    """The folder of a study's runs, and of its record if it is linked."""
    return files.home() / "artifacts" / check_name(name)


def _record_file(name: str) -> Path:
    return folder(name) / RECORD


def keep(name: str, content: dict) -> None:
    """Link a study, in the place of an earlier link of the name."""
    target = _record_file(name)
    if not target.is_file() or record(name) != content:
        files.make_folder(target.parent)
        files.write_json(target, content)


def record(name: str) -> dict | None:
    """The record of a linked study; None if there is none.

    Raises
    ------
    BadInput : it is not one.
    """
    try:
        found = json.loads(_record_file(name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"{_record_file(name)} cannot be read ({error}): remove it") from error
    if not isinstance(found, dict) or not ("source" in found or found.keys() >= _BROUGHT):
        raise BadInput(f"{_record_file(name)} says of no study where it is: remove it")
    return found


def _source(name: str) -> Path | None:
    """The ``.py`` file of a linked study; None if it has none."""
    known = record(name)
    return Path(known["source"]) if known and "source" in known else None


def definition(name: str) -> list[Path]:
    """Files outside the package that say what a study is: its record, and its ``.py`` and what that
    imports from beside it, or its schema.
    """
    if name in modules():
        return []
    known = record(name)
    if "source" not in known:
        return [_record_file(name), Path(known["schema"])]
    source = Path(known["source"])
    found, waiting = [_record_file(name)], [source]
    while waiting:
        here = waiting.pop()
        if here not in found and here.is_file():
            found.append(here)
            waiting += _imported(here, source.parent)
    return found


def _imported(path: Path, place: Path) -> list[Path]:
    """Modules in a folder that a file imports; of a package, all that it has."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return []
    wanted: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wanted.append(node.module)
    found = []
    for name in dict.fromkeys(name.partition(".")[0] for name in wanted):
        found += [place / f"{name}.py", *sorted((place / name).rglob("*.py"))]
    return [module for module in found if module.is_file()]
