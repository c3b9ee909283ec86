"""``bundle.zip``: packed so that the same content is the same bytes, described, and opened without believing it.

The descriptor is what a server sends to phones, as in the published pipeline: ``scene``, ``modelUrl``, ``version``
(which is also the id of an A/B test), ``md5``; and the SHA-256, the size and the least runtime versions. Inside,
``model.json`` lists every other file with its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from helpers import files
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.schema import Schema

MANIFEST, ZIP, DESCRIPTOR = "model.json", "bundle.zip", "bundle.json"
MODELS = {"litert": "model.tflite", "mnn": "model.mnn"}
GOLDEN, FEATURES = "golden.bin", "features.json"
MOST_BYTES = 256 << 20
"""Largest zip, and largest content of one: published models grew to 50 MB."""
MOST_FILES = 500
MOST_MANIFEST = 16 << 20
"""Largest ``model.json``: as Python values it takes up to twenty times that."""
MOST_RATIO = 200.0
"""Content by its compressed size: weights do not compress, JSON does ten times; thousands are a bomb."""
_DATE = (1980, 1, 1, 0, 0, 0)
_ENTRY = b"PK\x01\x02"
_URL = r".{1,2048}"
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Descriptor:
    """What a server says of a bundle, see the module."""

    modelUrl: str  # noqa: N815 (the published name)
    version: str
    md5: str
    sha256: str
    size: int
    scene: int = 1
    minimum: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> Descriptor:
        """Read a descriptor; every field is checked.

        Raises
        ------
        DamagedFile : not JSON, a field is missing or of another form, a version that cannot be a folder name, a size
            beyond `MOST_BYTES`.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DamagedFile(f"the descriptor is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise DamagedFile("the descriptor is no JSON object")
        forms = {
            "md5": r"[0-9a-f]{32}",
            "sha256": r"[0-9a-f]{64}",
            "version": _VERSION.pattern,
            "modelUrl": _URL,
        }
        for name, form in forms.items():
            value = content.get(name)
            if not isinstance(value, str) or not re.fullmatch(form, value):
                raise DamagedFile(f"the descriptor's {name} is {str(value)[:80]!r}, which it cannot be")
        for name, least, most in (("size", 1, MOST_BYTES), ("scene", 0, 1 << 31)):
            value = content.get(name)
            if type(value) is not int or not least <= value <= most:
                raise DamagedFile(
                    f"the descriptor's {name} is {str(value)[:80]!r}, not a number from {least} to {most:,}"
                )
        minimum = content.get("minimum", {})
        if not isinstance(minimum, dict) or not all(isinstance(value, str) for value in minimum.values()):
            raise DamagedFile("the descriptor's minimum does not map runtimes to versions")
        names = ("modelUrl", "version", "md5", "sha256", "size", "scene")
        return Descriptor(**{name: content[name] for name in names}, minimum=minimum)


def pack(content: Mapping[str, bytes], target: Path) -> None:
    """Write `content`, bytes by name, as a zip: sorted, without times, owners or modes of this machine."""
    with zipfile.ZipFile(target, "w") as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, content[name], zipfile.ZIP_DEFLATED, compresslevel=9)


def describe(zipped: Path, *, url: str, version: str, scene: int = 1, minimum: Mapping[str, str]) -> Descriptor:
    """The descriptor of a zip.

    Raises
    ------
    BadInput : `version` cannot be a folder name, or `url` is empty or too long.
    """
    if not re.fullmatch(_URL, url):
        raise BadInput(f"model_url {url[:80]!r} must have from 1 to 2048 characters in one line, as bundle.zip")
    if not _VERSION.fullmatch(version):
        raise BadInput(
            f"version {version!r} must be letters, digits and . _ - (at most 64), it names a folder and a test"
        )
    content = zipped.read_bytes()
    digests = {name: hashlib.new(name, content, usedforsecurity=False).hexdigest() for name in ("md5", "sha256")}
    return Descriptor(modelUrl=url, version=version, size=len(content), scene=scene, minimum=dict(minimum), **digests)


def check_bytes(zipped: Path, descriptor: Descriptor) -> None:
    """Refuse a file that is not the one that was described."""
    size = zipped.stat().st_size
    if size != descriptor.size:
        raise DamagedFile(f"the zip has {size:,} bytes, {descriptor.size:,} were announced: download it again")
    content = zipped.read_bytes()
    for name in ("md5", "sha256"):
        if hashlib.new(name, content, usedforsecurity=False).hexdigest() != getattr(descriptor, name):
            raise DamagedFile(f"the zip is not the one that was announced (its {name} differs): download it again")


def unpack(zipped: Path, folder: Path) -> None:
    """Write the content of a zip below `folder`, which must not exist, after every entry has been checked.

    Raises
    ------
    DamagedFile : not a zip; a name that leaves the folder, is absolute, given twice or not plain; a link or a device;
        too many files, too much content, too high a ratio; content that is not what its header or ``model.json`` says.
    """
    try:
        if zipped.read_bytes().count(_ENTRY) > 2 * MOST_FILES:  # before zipfile makes an object of each
            raise DamagedFile(f"the zip has too many files, from 1 to {MOST_FILES} make sense")
        with files.writing(folder), zipfile.ZipFile(zipped) as archive:
            entries = archive.infolist()
            _check_entries(entries, zipped.stat().st_size)
            folder.mkdir(parents=True)
            for entry in entries:
                path = folder / entry.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, open(path, "xb") as target:
                    left = entry.file_size
                    while part := source.read(min(1 << 20, left + 1)):
                        left -= len(part)
                        if left < 0:
                            raise DamagedFile(f"{entry.filename} is larger than its header says")
                        target.write(part)
                    if left:
                        raise DamagedFile(f"{entry.filename} is smaller than its header says")
    except WorkbenchError:
        raise
    except Exception as error:  # zipfile, zlib and the file system raise what comes when bytes are damaged
        raise DamagedFile(f"the zip is damaged: {type(error).__name__}: {error}") from error
    check_files(folder)


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    if not entries or len(entries) > MOST_FILES:
        raise DamagedFile(f"the zip has {len(entries)} files, from 1 to {MOST_FILES} make sense")
    seen: set[str] = set()
    total = 0
    for entry in entries:
        name = entry.filename
        parts = name.split("/")
        plain = re.fullmatch(r"[A-Za-z0-9._+ /-]{1,200}", name) and not name.startswith("/") and not name.endswith("/")
        if not plain or any(part in ("", "..", ".") or part.endswith((" ", ".")) for part in parts):
            raise DamagedFile(f"the zip holds a file named {name[:80]!r}, which a bundle never does")
        if name.lower() in seen:
            raise DamagedFile(f"the zip holds {name} twice")
        seen.add(name.lower())
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & 0x1:
            raise DamagedFile(f"{name} in the zip is a link, a device or encrypted, not a plain file")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DamagedFile(f"{name} in the zip is compressed in a way that phones do not know")
        if entry.file_size > MOST_RATIO * max(entry.compress_size, 1) and entry.file_size > 1 << 20:
            raise DamagedFile(f"{name} unfolds to {entry.file_size:,} bytes from {entry.compress_size:,}")
        total += entry.file_size
    if total > MOST_BYTES or total > MOST_RATIO * size:
        raise DamagedFile(f"the zip unfolds to {total:,} bytes from {size:,}: at most {MOST_BYTES:,} are unpacked")


def check_files(folder: Path, *, exact: bool = True) -> dict:
    """The manifest of an unpacked bundle, after every file has been compared with it.

    Parameters
    ----------
    exact : refuse files that are not listed. The folder of a run has some, the sources.

    Raises
    ------
    DamagedFile : no manifest or a damaged one, a file that is missing, not listed, or not the bytes that are listed.
    """
    manifest = _manifest(folder / MANIFEST)
    listed = manifest["sha256"]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {MANIFEST}
    for name in sorted(there ^ set(listed) if exact else set(listed) - there):
        raise DamagedFile(
            f"{name} is {'not listed in' if name in there else 'missing, although it is listed in'} {MANIFEST}"
        )
    for name, digest in listed.items():
        try:
            same = files.sha256(folder / name) == digest
        except OSError as error:
            raise DamagedFile(f"{name} cannot be read: {error.strerror}") from error
        if not same:
            raise DamagedFile(f"{name} is not the file that {MANIFEST} lists (its SHA-256 differs)")
    return manifest


def _manifest(path: Path) -> dict:
    try:
        if path.stat().st_size > MOST_MANIFEST:
            raise ValueError(f"{path.stat().st_size:,} bytes, at most {MOST_MANIFEST:,} are read")
        content = json.loads(path.read_bytes())
        schema(content)
        text = all(isinstance(word, str) for pair in content["sha256"].items() for word in pair)
        if (
            text
            and isinstance(content["files"], dict)
            and content["files"]
            and set(content["files"]) <= set(content["sha256"])
        ):
            return content
    except FileNotFoundError:
        raise DamagedFile(f"the bundle has no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFile(f"{MANIFEST} is damaged: {type(error).__name__}: {error}") from error
    raise DamagedFile(f"{MANIFEST} is damaged: it does not list files with their SHA-256")


def schema(manifest: Mapping) -> Schema:
    """The schema that a manifest holds."""
    return Schema.from_json(manifest["schema"])
