"""Install a bundle as an app should: download, check, score the golden cases, switch, keep the
version before.

Whatever is wrong with a bundle is found before `current` changes; a kill or a power cut at any
moment leaves the old or the new version whole. A version is an opaque id (also of an A/B test):
which one a phone has is the server's decision, so an older one may follow a newer one.
`helpers.bundle.installation` says what the folder holds.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helpers import child, features, files
from helpers.bundle import archive, fetch, golden, halves, installation, pictures, sessions
from helpers.bundle.installation import Installation
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.pictures import Preparation
from helpers.pictures import load as load_preparation


@dataclass(frozen=True)
class Checked:
    """What the golden cases said of each model file, and of its two halves: how many were scored.

    `replaced` is the version that was in use before, if this is another one.
    """

    version: str
    cases: dict[str, int]
    replaced: str = ""


def install(
    source: str,
    into: Path,
    *,
    runtimes: Mapping[str, str] | None = None,
    switch: Callable[[Path], None] | None = None,
    echo: Callable[[str], None] = print,
) -> Checked:
    """Install the bundle that a descriptor announces, whether its version is newer or older than
    the one in use.

    Parameters
    ----------
    source : path or URL (http, https, file) of the descriptor, or of a zip whose descriptor stands
        beside it with the suffix ``.json``.
    into : folder of the installation; made if it is not there.
    runtimes : versions of an app's runtimes, see `archive.check_runtimes`. This package scores with
        its own.
    switch : called with the new version's folder after it has become current, for an app's own
        check; if it raises, the version before is current again.
    echo : is told when this has to wait for another process that changes the same installation.

    Raises
    ------
    BadInput : the descriptor or the zip cannot be fetched; `into` is neither empty nor an
        installation; a runtime is older than the bundle needs.
    DamagedFile : the bundle is not what was announced, is not safe to unpack, or does not score as
        it should. What was installed before is untouched.
    """
    place = fetch.descriptor_place(source)
    descriptor = archive.Descriptor.from_json(fetch.small(place))
    archive.check_runtimes(descriptor.minimum, runtimes or {})
    with installation.opened(_real(into), echo) as installed:
        bundle = installation.name(descriptor)
        version, checked = _place(installed, bundle)
        if checked is None:
            zipped = installed.downloads / f"{bundle}.zip"
            fetch.download(fetch.zip_place(place, descriptor), zipped, descriptor)
            checked = _put(installed, zipped, descriptor, version)
        before, older = installed.current, installed.previous
        try:
            if before != version:
                if before is not None and not installation.is_of(
                    before, bundle
                ):  # else a damaged copy of it
                    installed.link(
                        "previous", before
                    )  # first: killed here, the version before is not forgotten
                installed.link("current", version)
            if switch is not None:
                switch(version)
        except BaseException:
            if before != version:
                installed.link("current", before)
                installed.link("previous", older)
            raise
        finally:
            installed.prune_versions()
        installed.prune_downloads()
        replaced = "" if before in (None, version) else installation.version_of(before)
        return Checked(checked.version, checked.cases, replaced)


def current(into: Path) -> Path | None:
    """Folder of the version in use, or None.

    Raises
    ------
    BadInput : `current` is not a link of an installation.
    """
    return installation.linked(_real(into) / "current")


def rollback(into: Path, *, echo: Callable[[str], None] = print) -> Path:
    """Make the version before current again; returns its folder. Done twice, it is as before.

    Raises
    ------
    BadInput : there is none.
    DamagedFile : it does not score as it should any more; the current one stays in use.
    """
    into = _real(into)
    with installation.opened(into, echo, make=False) as installed:
        older, now = installed.previous, installed.current
        if older is None or older == now:
            only = f"only version {installation.version_of(now)}" if now else "nothing in use"
            raise BadInput(
                f"{into} has {only} and no version before it to go back to: install another one "
                "first"
            )
        verify_folder(older)
        installed.link("current", older)
        if now is not None:
            installed.link("previous", now)
        return older


def verify(source: Path) -> Checked:
    """Check a bundle where it is: a zip (with its descriptor beside it, if there is one) or an
    unpacked folder.

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
        archive.check_bytes(
            source, archive.Descriptor.from_json(fetch.small(beside.resolve().as_uri()))
        )
    with tempfile.TemporaryDirectory() as scratch:
        archive.unpack(source, Path(scratch) / "bundle")
        return verify_folder(Path(scratch) / "bundle")


def verify_folder(folder: Path, *, exact: bool = True) -> Checked:
    """Compare an unpacked bundle with its manifest and score its golden cases, in a child process.

    Raises
    ------
    DamagedFile : a file that is not the listed one, a model that crashes its runtime or does not
        reproduce its cases.
    """
    archive.check_files(folder, exact=exact)
    try:
        scored = child.run(
            f"score the bundle in {folder.name}", f"{__name__}:_score_here", folder=str(folder)
        )
    except DamagedFile:
        raise
    except WorkbenchError as error:
        raise DamagedFile(f"the bundle cannot be scored: {error}") from error
    return Checked(**scored)


def _score_here(folder: str) -> dict:
    """Score every golden case with every model file; runs in a child process."""
    from helpers.runtimes import open_model

    manifest = archive.manifest(Path(folder))  # the parent has compared every file with it
    schema = archive.schema(manifest)
    cases = golden.read(Path(folder))
    for kind, found, tensors in (
        ("inputs", cases.inputs, schema.inputs),
        ("outputs", cases.outputs, schema.outputs),
    ):
        if found != (wanted := golden.described(tensors)):
            raise DamagedFile(
                f"the golden cases are of {kind} {_text(found)}, the model has {_text(wanted)}"
            )
    if schema.batch is not None and (rows := {case.rows for case in cases.cases}) != {schema.batch}:
        raise DamagedFile(
            f"the golden cases have {sorted(rows)} rows, the model takes {schema.batch} at a time"
        )
    _same_tolerance("golden cases", cases.tolerance, manifest)
    raw = _sessions(Path(folder), manifest)
    prepared = _pictures(Path(folder), manifest)
    split = halves.of(manifest)
    for file in cases.tolerance:
        model = open_model(Path(folder) / file, schema, trusted=True)  # this is the child process
        wrong = golden.failures(cases, file, model)
        if wrong:
            raise DamagedFile(
                f"{file} does not score as it should in {len(wrong)} of {len(cases.cases)} cases: "
                f"{wrong[0]}"
            )
        if raw is not None and (wrong := sessions.failures(raw[1], file, raw[0], model.score)):
            raise DamagedFile(
                f"{file} does not make of raw sessions what it should, {len(wrong)} times: "
                f"{wrong[0]}"
            )
        if prepared is not None:
            wrong = pictures.failures(prepared[1], file, prepared[0], model.score)
            if wrong:
                raise DamagedFile(
                    f"{file} does not make of pictures what it should, {len(wrong)} times of "
                    f"{len(prepared[1].cases)}: {wrong[0]}"
                )
    scored = sum(len(kind.cases) for kind in (cases, *(raw or ())[1:], *(prepared or ())[1:]))
    counted = dict.fromkeys(cases.tolerance, scored)
    if split is not None:
        counted |= halves.check(Path(folder), split, schema, cases, raw, trusted=True)
    return {"version": str(manifest.get("version", "")), "cases": counted}


def _text(tensors: Iterable[golden.Described]) -> str:
    return ", ".join(f"{name} {dtype} {list(shape)}" for name, shape, dtype in tensors)


def _sessions(
    folder: Path, manifest: Mapping
) -> tuple[features.Encoding, sessions.Sessions] | None:
    """A bundle's encoding and its golden sessions; None if the app makes the model's inputs."""
    there = {archive.FEATURES, sessions.FILE} & set(manifest["sha256"])
    if not there or {pictures.FILE, pictures.PIXELS} & set(manifest["sha256"]):
        return None  # the features, if any, are a preparation of pictures
    if len(there) == 1:
        raise DamagedFile(
            f"the bundle has {there.pop()} alone: {archive.FEATURES} belongs to {sessions.FILE} or "
            f"{pictures.FILE}"
        )
    encoding = features.load(folder / archive.FEATURES)
    cases = sessions.from_json((folder / sessions.FILE).read_bytes())
    output = archive.schema(manifest).output.name
    _same_tolerance(
        "sessions", {file: {output: value} for file, value in cases.tolerance.items()}, manifest
    )
    return encoding, cases


def _pictures(folder: Path, manifest: Mapping) -> tuple[Preparation, pictures.Pictures] | None:
    """A bundle's preparation and its golden pictures; None if the app makes the model's input."""
    listed, parts = set(manifest["sha256"]), {archive.FEATURES, pictures.FILE, pictures.PIXELS}
    if not {pictures.FILE, pictures.PIXELS} & listed:
        return None
    if missing := sorted(parts - listed):
        raise DamagedFile(f"the bundle has golden pictures, and no {missing[0]}")
    preparation = load_preparation(folder / archive.FEATURES)
    schema = archive.schema(manifest)
    size = preparation.size
    if [(t.name, t.shape) for t in schema.inputs] != [(preparation.input, (size, size, 3))]:
        taken = ", ".join(f"{t.name} {list(t.shape)}" for t in schema.inputs)
        raise DamagedFile(
            f"{archive.FEATURES} prepares {preparation.input} [{size}, {size}, 3], the model takes "
            f"{taken}"
        )
    cases = pictures.read(folder, size)
    labels = tuple(dimension.name for dimension in schema.output.dimensions)
    if cases.labels != labels:
        raise DamagedFile(
            f"the golden pictures are of the labels {', '.join(cases.labels)}, {archive.MANIFEST} "
            f"names {', '.join(labels)}"
        )
    stated = {file: {schema.output.name: value} for file, value in cases.tolerance.items()}
    _same_tolerance("pictures", stated, manifest)
    return preparation, cases


def _same_tolerance(
    name: str, tolerance: Mapping[str, Mapping[str, float]], manifest: Mapping
) -> None:
    """Refuse cases that allow other differences than the manifest states: one of them is not of
    this bundle.
    """
    models = manifest["files"].items()
    stated = {
        file: said.get("tolerance") if isinstance(said, dict) else None for file, said in models
    }
    if set(tolerance) != set(stated):
        raise DamagedFile(f"the {name} are of {sorted(tolerance)}, the bundle has {sorted(stated)}")
    for file, by_output in tolerance.items():
        for output, allowed in by_output.items():
            said = stated[file].get(output) if isinstance(stated[file], dict) else None
            if type(said) not in (int, float) or said != allowed:
                where = f" in {output}" if len(by_output) > 1 else ""
                raise DamagedFile(
                    f"the {name} allow {file} differences of {allowed:g}{where}, {archive.MANIFEST}"
                    f" says {said!r}"
                )


def _place(installed: Installation, bundle: str) -> tuple[Path, Checked | None]:
    """The folder for a bundle, and what its cases said if it is there already, whole.

    A folder that is there and damaged may be in use, so it is not touched: another takes its place.
    """
    number = 1
    while True:
        folder = installed.versions / (bundle if number == 1 else f"{bundle}-{number}")
        if not os.path.lexists(folder):
            return folder, None
        if folder.is_dir() and not folder.is_symlink():
            with suppress(DamagedFile):
                return folder, verify_folder(folder)
        number += 1


def _put(
    installed: Installation, zipped: Path, descriptor: archive.Descriptor, version: Path
) -> Checked:
    """Unpack beside `version`, check, and rename: a version's folder is whole or not there."""
    fresh = files.partial(version)
    files.remove(fresh)  # of a killed process that had the same number
    try:
        archive.unpack(zipped, fresh)
        checked = verify_folder(fresh)
        if checked.version != descriptor.version:
            raise DamagedFile(
                f"the bundle says it is version {checked.version!r}, announced was "
                f"{descriptor.version!r}"
            )
        installed.put(fresh, version)
        return checked
    finally:
        with suppress(OSError):  # the error that led here says more
            files.remove(fresh)


def _real(folder: Path) -> Path:
    """A folder without links in its path: what is linked relative to it must not depend on how it
    is reached.
    """
    return Path(os.path.realpath(folder))
