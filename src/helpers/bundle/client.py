"""Install a bundle as an app should: download, check, score the golden cases, switch, keep the version before.

    DIR/versions/<version>-<hash>/   unpacked bundles: the current one and the one before
    DIR/current               link to the version in use; replaced in one step
    DIR/previous              link to the version before, for `rollback`
    DIR/downloads/            what has arrived of a zip; continued after an interruption

Whatever is wrong with a bundle is found before `current` changes; a kill at any moment leaves the old or the new
version whole.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers import child, features, files
from helpers.bundle import archive, fetch, golden, sessions
from helpers.errors import BadInput, DamagedFile, WorkbenchError


@dataclass(frozen=True)
class Checked:
    """What the golden cases said of each model file: how many were scored."""

    version: str
    cases: dict[str, int]


def install(source: str, into: Path, *, switch: Callable[[Path], None] | None = None) -> Checked:
    """Install the bundle that a descriptor announces.

    Parameters
    ----------
    source : path or URL (http, https, file) of the descriptor, or of a zip whose descriptor stands beside it with the
        suffix ``.json``.
    into : folder of the installation; made if it is not there.
    switch : called with the new version's folder after it has become current, for an app's own check; if it raises, the
        version before is current again.

    Raises
    ------
    BadInput : the descriptor or the zip cannot be fetched.
    DamagedFile : the bundle is not what was announced, is not safe to unpack, or does not score as it should. What was
        installed before is untouched.
    """
    into = _real(into)
    place = fetch.descriptor_place(source)
    descriptor = archive.Descriptor.from_json(fetch.small(place))
    files.make_folder(into / "versions")
    files.make_folder(into / "downloads")
    with _only_one(into):
        files.clear_partial(into)
        target, checked = _place(into, descriptor)
        if checked is None:
            zipped = into / "downloads" / f"{_name(descriptor)}.zip"
            _prune(into / "downloads", kept={zipped.resolve()})
            fetch.download(fetch.zip_place(place, descriptor), zipped, descriptor)
            checked = _put(zipped, descriptor, target)
        before, older = current(into), _linked(into / "previous")
        target = target.resolve()  # `versions` may be a link
        try:
            if before != target:
                if before is not None and not before.name.startswith(_name(descriptor)):  # else a damaged copy of it
                    _link(into / "previous", before)  # first: killed here, the version before is not forgotten
                _link(into / "current", target)
            if switch is not None:
                switch(target)
        except BaseException:
            if before != target:
                _link(into / "current", before)
                _link(into / "previous", older)
            raise
        finally:
            _prune(into / "versions", kept={current(into), _linked(into / "previous")})
        _prune(into / "downloads")
        return checked


def current(into: Path) -> Path | None:
    """Folder of the version in use, or None."""
    return _linked(_real(into) / "current")


def rollback(into: Path) -> Path:
    """Make the version before current again; returns its folder.

    Raises
    ------
    BadInput : there is none.
    DamagedFile : it does not score as it should any more; the current one stays in use.
    """
    into = _real(into)
    if not (into / "versions").is_dir():
        raise BadInput(f"nothing is installed in {into}")
    with _only_one(into):
        older, now = _linked(into / "previous"), current(into)
        if older is None or older == now:
            raise BadInput(f"{into} has no version before the current one to go back to")
        verify_folder(older)
        _link(into / "current", older)
        if now is not None:
            _link(into / "previous", now)
        return older


def verify(source: Path) -> Checked:
    """Check a bundle where it is: a zip (with its descriptor beside it, if there is one) or an unpacked folder.

    Raises
    ------
    BadInput : there is nothing at `source`.
    DamagedFile : see `install`.
    """
    source = Path(source)
    if source.is_dir():
        return verify_folder(source, exact=False)
    if not source.is_file():
        raise BadInput(f"there is no bundle at {source}")
    if source.suffix == ".json":
        raise BadInput(f"{source} only announces a bundle: give the zip or the folder")
    if source.name == "handover.zip":
        raise BadInput(f"{source} is for engineers: give bundle.zip, which is in it")
    beside = source.with_suffix(".json")
    if beside.is_file():
        archive.check_bytes(source, archive.Descriptor.from_json(beside.read_bytes()))
    with tempfile.TemporaryDirectory() as scratch:
        archive.unpack(source, Path(scratch) / "bundle")
        return verify_folder(Path(scratch) / "bundle")


def verify_folder(folder: Path, *, exact: bool = True) -> Checked:
    """Compare an unpacked bundle with its manifest and score its golden cases, in a child process.

    Raises
    ------
    DamagedFile : a file that is not the listed one, a model that crashes its runtime or does not reproduce its cases.
    """
    manifest = archive.check_files(folder, exact=exact)
    try:
        cases = child.run(f"score the bundle in {folder.name}", f"{__name__}:_score_here", folder=str(folder))
    except DamagedFile:
        raise
    except WorkbenchError as error:
        raise DamagedFile(f"the bundle cannot be scored: {error}") from error
    return Checked(str(manifest.get("version", "")), cases)


def _score_here(folder: str) -> dict[str, int]:
    """Score every golden case with every model file; runs in a child process."""
    from helpers.runtimes import open_model

    manifest = archive.check_files(Path(folder), exact=False)  # the parent was exact where it must be
    schema = archive.schema(manifest)
    cases = golden.from_bytes((Path(folder) / archive.GOLDEN).read_bytes())
    own = [(tensor.name, tensor.width, tensor.dtype) for tensor in schema.inputs]
    if list(cases.inputs) != own or cases.output != schema.output.name:
        raise DamagedFile(f"the golden cases are of inputs {list(cases.inputs)}, the model takes {own}")
    if set(cases.tolerance) != set(manifest["files"]):
        raise DamagedFile(
            f"the golden cases are of {sorted(cases.tolerance)}, the bundle has {sorted(manifest['files'])}"
        )
    raw = _sessions(Path(folder), manifest)
    for file in cases.tolerance:
        model = open_model(Path(folder) / file, schema, trusted=True)  # this is the child process
        wrong = golden.failures(cases, file, model)
        if wrong:
            raise DamagedFile(
                f"{file} does not score as it should in {len(wrong)} of {len(cases.cases)} cases: {wrong[0]}"
            )
        if raw is not None and (wrong := sessions.failures(raw[1], file, raw[0], model.score)):
            raise DamagedFile(f"{file} does not make of raw sessions what it should, {len(wrong)} times: {wrong[0]}")
    return dict.fromkeys(cases.tolerance, len(cases.cases) + (0 if raw is None else len(raw[1].cases)))


def _sessions(folder: Path, manifest: Mapping) -> tuple[features.Encoding, sessions.Sessions] | None:
    """The encoding of a bundle and its golden sessions; None if the app makes the model's inputs."""
    there = {archive.FEATURES, sessions.FILE} & set(manifest["sha256"])
    if not there:
        return None
    if len(there) == 1:
        raise DamagedFile(f"the bundle has {there.pop()} alone: {archive.FEATURES} and {sessions.FILE} belong together")
    encoding = features.load(folder / archive.FEATURES)
    cases = sessions.from_json((folder / sessions.FILE).read_bytes())
    if set(cases.tolerance) != set(manifest["files"]):
        raise DamagedFile(f"the sessions are of {sorted(cases.tolerance)}, the bundle has {sorted(manifest['files'])}")
    return encoding, cases


def _place(into: Path, descriptor: archive.Descriptor) -> tuple[Path, Checked | None]:
    """The folder for a bundle, and what its cases said if it is there already, whole.

    A folder that is there and damaged may be in use, so it is not touched: another takes its place.
    """
    name, number = _name(descriptor), 1
    while True:
        folder = into / "versions" / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return folder, None
        try:
            return folder, verify_folder(folder)
        except DamagedFile:
            number += 1


def _put(zipped: Path, descriptor: archive.Descriptor, target: Path) -> Checked:
    """Unpack beside `target`, check, and rename: a version folder is whole or not there."""
    fresh = files.partial(target)
    shutil.rmtree(fresh, ignore_errors=True)  # of a killed process that had the same number
    try:
        archive.unpack(zipped, fresh)
        checked = verify_folder(fresh)
        if checked.version != descriptor.version:
            raise DamagedFile(
                f"the bundle says it is version {checked.version!r}, announced was {descriptor.version!r}"
            )
        os.replace(fresh, target)
        return checked
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _name(descriptor: archive.Descriptor) -> str:
    """Folder of a bundle, but for a number after it."""
    return f"{descriptor.version}-{descriptor.sha256[:12]}"


def _real(folder: Path) -> Path:
    """A folder without links in its path: what is linked relative to it must not depend on how it is reached."""
    return Path(os.path.realpath(folder))


def _linked(link: Path) -> Path | None:
    """The folder that a link names; None without one."""
    return link.resolve() if link.is_symlink() and link.exists() else None


def _link(link: Path, target: Path | None) -> None:
    """Point a link elsewhere in one step; remove it if `target` is None."""
    if target is None:
        return link.unlink(missing_ok=True)
    fresh = files.partial(link)
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(target, link.parent))
    os.replace(fresh, link)


def _prune(folder: Path, kept: Collection[Path | None] = ()) -> None:
    """Remove what is in a folder, but for `kept`."""
    for path in folder.iterdir():
        if path.resolve() not in kept:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


@contextmanager
def _only_one(into: Path) -> Iterator[None]:
    import fcntl

    files.make_folder(into)
    with files.writing(into), open(into / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
