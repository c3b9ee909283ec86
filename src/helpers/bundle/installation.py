"""The folder of an installation: whose it is, its versions, the links to them, one process at a
time.

    DIR/.workbench-bundles    says that the folder is an installation; locked while it is changed
    DIR/versions/V-HASH/      unpacked bundles: the current one and the one before
    DIR/current               link to the version in use; replaced in one step
    DIR/previous              link to the version before, for `rollback`
    DIR/downloads/V-HASH.zip  what has arrived of a zip; continued after an interruption

V is the version, HASH the SHA-256 of its zip. A folder that is neither empty nor marked is somebody
else's and refused. In a marked one, whatever has another name than these, or is of another kind (a
link in place of a folder), is not touched.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers import files
from helpers.bundle import archive
from helpers.errors import BadInput

MARK = ".workbench-bundles"
_TEXT = b"""This folder is an installation of `workbench bundle install`, which makes, replaces and
removes here:
versions/, downloads/, current and previous. Other files are left alone.
"""
_BUNDLE = (  # 12: of the clients before the mark
    rf"({archive.VERSION.pattern})-([0-9a-f]{{64}}|[0-9a-f]{{12}})"
)
_VERSION = re.compile(rf"{_BUNDLE}(?:-[1-9][0-9]{{0,3}})?")
_DOWNLOAD = re.compile(rf"{_BUNDLE}\.zip")
_PATIENCE_SECONDS = 1.0


class Installation:
    """An installation that this process has locked; see `opened`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.versions, self.downloads = folder / "versions", folder / "downloads"

    @property
    def current(self) -> Path | None:
        """The version in use."""
        return linked(self.folder / "current")

    @property
    def previous(self) -> Path | None:
        """The version before."""
        return linked(self.folder / "previous")

    def link(self, name: str, version: Path | None) -> None:
        """Point `current` or `previous` to a version, in one step; remove it if there is none."""
        link = self.folder / name
        if version is None:
            link.unlink(missing_ok=True)
        else:
            fresh = files.partial(link)
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(version.relative_to(self.folder))
            os.replace(fresh, link)
        files.flush(self.folder)

    def put(self, fresh: Path, version: Path) -> None:
        """Give an unpacked bundle its name, when the disk holds all of it."""
        for path in (*fresh.rglob("*"), fresh):
            files.flush(path)
        os.replace(fresh, version)
        files.flush(self.versions)

    def prune_versions(self) -> None:
        """Remove versions that are neither current nor previous, and what killed processes left of
        one.
        """
        kept = (self.current, self.previous)
        for path in self.versions.iterdir():
            if path not in kept and _is_version(path):
                gone = files.partial(path)
                with suppress(
                    OSError
                ):  # of what cannot be removed nobody depends on; it is tried again
                    os.rename(
                        path, gone
                    )  # first: killed halfway, no version is left that lacks files
                    files.remove(gone)
            elif _VERSION.fullmatch(files.abandoned(path) or ""):
                with suppress(OSError):
                    files.remove(path)
        for path in self.folder.iterdir():
            if files.abandoned(path) in ("current", "previous") and path.is_symlink():
                path.unlink()

    def prune_downloads(self) -> None:
        """Remove what has arrived of zips."""
        for path in self.downloads.iterdir():
            if _is_download(path):
                with suppress(OSError):
                    path.unlink()


@contextmanager
def opened(into: Path, echo: Callable[[str], None], *, make: bool = True) -> Iterator[Installation]:
    """Lock an installation for this process, and make it if it is not there.

    Parameters
    ----------
    into : no links in its path.
    echo : is told that another process holds the lock.
    make : whether an empty folder, or none, becomes one.

    Raises
    ------
    BadInput : the folder is somebody else's; something stands where a part of the installation
        belongs; nothing is installed and `make` is false.
    """
    if make:
        files.make_folder(into)
    elif not _is_marked(into) and not _is_earlier(into):
        raise BadInput(f"nothing is installed in {into}")
    with files.writing(into):
        _claim(into)
        with files.open_plain(into / MARK) as mark:
            _lock(mark.fileno(), into, echo)
            if not mark.read(1):
                mark.write(_TEXT)
                mark.flush()
            installation = Installation(into)
            for folder in (installation.versions, installation.downloads):
                if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                    raise BadInput(
                        f"{folder} is a link or a file, an installation has a folder there: move it"
                        " away"
                    )
                folder.mkdir(exist_ok=True)
            linked(into / "previous"), linked(into / "current")  # refused before anything is done
            yield installation


def name(descriptor: archive.Descriptor) -> str:
    """Name of a bundle's folder, but for a number after it."""
    return f"{descriptor.version}-{descriptor.sha256}"


def is_of(version: Path, bundle: str) -> bool:
    """Whether a version's folder is of the bundle with that `name`, damaged or not."""
    found = _VERSION.fullmatch(version.name)
    return bool(found) and bundle.startswith(f"{found[1]}-{found[2]}")


def version_of(folder: Path) -> str:
    """The version that a folder of `Installation.versions` holds."""
    found = _VERSION.fullmatch(folder.name)
    return found[1] if found else folder.name


def linked(link: Path) -> Path | None:
    """The version that `current` or `previous` leads to; None if there is none.

    Raises
    ------
    BadInput : something else has that name.
    """
    try:
        target = os.readlink(link)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        if error.errno != errno.EINVAL:
            raise
        target = ""
    versions, _, name = target.rpartition("/")
    if versions != "versions" or not _VERSION.fullmatch(name):
        leads = f"leads to {target}" if target else "is no link"
        raise BadInput(
            f"{link} {leads}, an installation has a link to one of its versions there: move it away"
        )
    folder = link.parent / target
    return folder if _is_version(folder) else None


def _claim(into: Path) -> None:
    """Refuse a folder that is somebody else's: not marked, not empty, not of an earlier client."""
    if _is_marked(into) or _is_earlier(into):
        return
    foreign = sorted(set(os.listdir(into)))
    if foreign and not _is_marked(into):  # another process may have marked it just now
        raise BadInput(
            f"{into} is not empty (it holds {foreign[0]!r}) and was not made by `workbench bundle "
            f"install`: give a new or an empty folder, as {into / 'models'}"
        )


def _is_marked(into: Path) -> bool:
    return os.path.lexists(into / MARK)


def _is_earlier(into: Path) -> bool:
    """Whether all that a folder holds is what clients before the mark made: then it is theirs."""
    if not (into / "versions").is_dir() or not (into / ".lock").is_file():
        return False
    parts = {
        "versions": lambda path: _is_folder_of(path, _is_version),
        "downloads": lambda path: _is_folder_of(path, _is_download),
        "current": _is_link,
        "previous": _is_link,
        ".lock": lambda path: path.is_file() and not path.is_symlink() and not path.stat().st_size,
    }
    return all(
        files.abandoned(path) in ("current", "previous")
        or parts.get(path.name, lambda _: False)(path)
        for path in into.iterdir()
    )


def _is_folder_of(path: Path, belongs: Callable[[Path], bool]) -> bool:
    whole = path.is_dir() and not path.is_symlink()
    return whole and all(
        belongs(part) or _VERSION.fullmatch(files.abandoned(part) or "") for part in path.iterdir()
    )


def _is_version(path: Path) -> bool:
    return bool(_VERSION.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()


def _is_download(path: Path) -> bool:
    return bool(_DOWNLOAD.fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def _is_link(path: Path) -> bool:
    try:
        linked(path)
    except BadInput:
        return False
    return True


def _lock(number: int, into: Path, echo: Callable[[str], None]) -> None:
    """Wait for the lock; it is asked for again and again, so that Ctrl-C counts at every moment."""
    import fcntl

    until, waits = time.monotonic() + _PATIENCE_SECONDS, False
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        if not waits and time.monotonic() > until:
            echo(f"another process changes {into}: waiting until it is done (Ctrl-C gives up)")
            waits = True
        time.sleep(0.05)
    if waits:
        echo(f"{into} is free now")
