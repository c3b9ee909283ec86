"""``bundle.zip``: packed so that the same content is the same bytes, described, and opened without
believing it.

The descriptor is what a server sends to phones, as in the published pipeline: ``scene``,
``modelUrl``, ``version`` (which is also the id of an A/B test), ``md5``; and the SHA-256, the size
and the least runtime versions. Inside, ``model.json`` lists every other file with its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from helpers import files, strict_json
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.schema import Schema

MANIFEST, ZIP, DESCRIPTOR = "model.json", "bundle.zip", "bundle.json"
MODELS = {"litert": "model.tflite", "mnn": "model.mnn"}
GOLDEN, GOLDEN_JSON, FEATURES = "golden.bin", "golden.json", "features.json"
MOST_BYTES = 256 << 20
"""Largest zip, and largest content of one: published models grew to 50 MB."""
MOST_FILES = 500
MOST_MANIFEST = 16 << 20
"""Largest ``model.json``: as Python values it takes up to twenty times that."""
MOST_RATIO = 200.0
"""Content by its compressed size: weights do not compress, JSON does ten times; thousands are a
bomb.
"""
_BLOCK = 1 << 16
_DATE = (1980, 1, 1, 0, 0, 0)
_ENTRY = b"PK\x01\x02"
_ENCRYPTED = 0x61
"""Flags of an entry: encrypted, a patch of another file, strongly encrypted."""
_LOCAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s4H2IH")
"""The header before an entry's content, and the record at the end of a zip (APPNOTE.TXT, 4.3.7 and
4.3.16).
"""
_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{i}" for port in ("com", "lpt") for i in range(10)),
}
_URL = r".{1,2048}"
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RELEASE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}")
"""Of a runtime, in a descriptor's minimum."""
FORMAT = 2
"""Of a descriptor and of ``model.json``; a descriptor without one is of the first."""


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
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> Descriptor:
        """Read a descriptor; every field is checked.

        Raises
        ------
        DamagedFile : not JSON, a field is missing or of another form, a version that cannot be a
            folder name, a size beyond `MOST_BYTES`, another `FORMAT`.
        """
        try:
            content = strict_json.read(text)
        except ValueError as error:
            raise DamagedFile(f"the descriptor is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise DamagedFile("the descriptor is no JSON object")
        forms = {
            "md5": r"[0-9a-f]{32}",
            "sha256": r"[0-9a-f]{64}",
            "version": VERSION.pattern,
            "modelUrl": _URL,
        }
        for name, form in forms.items():
            value = content.get(name)
            if not isinstance(value, str) or not re.fullmatch(form, value):
                raise DamagedFile(
                    f"the descriptor's {name} is {str(value)[:80]!r}, which it cannot be"
                )
        for name, least, most in (("size", 1, MOST_BYTES), ("scene", 0, 1 << 31)):
            value = content.get(name)
            if type(value) is not int or not least <= value <= most:
                raise DamagedFile(
                    f"the descriptor's {name} is {str(value)[:80]!r}, not a number from {least} to "
                    f"{most:,}"
                )
        minimum = content.get("minimum", {})
        if not isinstance(minimum, dict) or not all(
            isinstance(value, str) and _RELEASE.fullmatch(value) for value in minimum.values()
        ):
            raise DamagedFile("the descriptor's minimum does not map runtimes to versions")
        _check_format(content, DESCRIPTOR)
        names = ("modelUrl", "version", "md5", "sha256", "size", "scene")
        return Descriptor(**{name: content[name] for name in names}, minimum=minimum)


def earlier(what: str) -> DamagedFile:
    """The refusal of what was made before `FORMAT`."""
    return DamagedFile(
        f"{what} made by an earlier version: run stage 06 again, which makes the bundle anew"
    )


def _check_format(content: Mapping, name: str) -> None:
    form = content.get("format", 1)
    if form == 1 and type(form) is int:
        raise earlier(f"{name} was")
    if form != FORMAT or type(form) is not int:
        raise DamagedFile(f"{name} has the format {str(form)[:80]!r}, this version reads {FORMAT}")


def pack(content: Mapping[str, bytes], target: Path) -> None:
    """Write `content`, bytes by name, as a zip: sorted, without times, owners or modes of this
    machine.
    """
    with zipfile.ZipFile(target, "w") as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, content[name], zipfile.ZIP_DEFLATED, compresslevel=9)


def describe(
    zipped: Path, *, url: str, version: str, scene: int = 1, minimum: Mapping[str, str]
) -> Descriptor:
    """The descriptor of a zip.

    Raises
    ------
    BadInput : `version` cannot be a folder name, or `url` is empty or too long.
    """
    if not re.fullmatch(_URL, url):
        raise BadInput(
            f"model_url {url[:80]!r} must have from 1 to 2048 characters in one line, as bundle.zip"
        )
    if not VERSION.fullmatch(version):
        raise BadInput(
            f"version {version!r} must be letters, digits and . _ - (at most 64), it names a folder"
            " and a test"
        )
    content = zipped.read_bytes()
    digests = {
        name: hashlib.new(name, content, usedforsecurity=False).hexdigest()
        for name in ("md5", "sha256")
    }
    return Descriptor(
        modelUrl=url,
        version=version,
        size=len(content),
        scene=scene,
        minimum=dict(minimum),
        **digests,
    )


def check_runtimes(minimum: Mapping[str, str], runtimes: Mapping[str, str]) -> None:
    """Refuse a bundle that needs a later runtime than there is.

    Parameters
    ----------
    minimum : of a descriptor.
    runtimes : versions that there are, by ``litert`` or ``tflite``, and ``mnn``; another runtime's
        least version is not looked at.

    Raises
    ------
    BadInput : a runtime is too old. LiteRT is TensorFlow Lite's later name: it meets every least
        version of ``tflite``, which meets none of ``litert``.
    """

    def numbers(version: str) -> list[int]:
        return [*map(int, version.split(".")), 0, 0, 0][:4]

    for runtime, least in minimum.items():
        there = runtimes.get(runtime)
        earlier = runtimes.get("tflite") if runtime == "litert" and there is None else None
        if earlier is not None or (there is not None and numbers(there) < numbers(least)):
            raise BadInput(
                f"the bundle needs {runtime} {least} or later, there is "
                f"{f'{runtime} {there}' if there else f'tflite {earlier}'}: update the app first "
                "(for `workbench bundle install`, this environment)"
            )


def check_bytes(zipped: Path, descriptor: Descriptor) -> None:
    """Refuse a file that is not the one that was described."""
    size = zipped.stat().st_size
    if size != descriptor.size:
        raise DamagedFile(
            f"the zip has {size:,} bytes, {descriptor.size:,} were announced: download it again"
        )
    content = zipped.read_bytes()
    for name in ("md5", "sha256"):
        if hashlib.new(name, content, usedforsecurity=False).hexdigest() != getattr(
            descriptor, name
        ):
            raise DamagedFile(
                f"the zip is not the one that was announced (its {name} differs): download it again"
            )


def unpack(zipped: Path, folder: Path) -> None:
    """Write the content of a zip below `folder`, which must not exist, after every entry has been
    checked.

    Raises
    ------
    DamagedFile : not a zip; a name that leaves the folder, is absolute, given twice or not plain; a
        link or a device; too many files, too much content, too high a ratio; content that is not
        what its header says; headers that contradict each other, bytes that belong to no file.
        (`check_files` compares what is unpacked.)
    """
    try:
        content = zipped.read_bytes()
        if content.count(_ENTRY) > 2 * MOST_FILES:  # before zipfile makes an object of each
            raise DamagedFile(f"the zip has too many files, from 1 to {MOST_FILES} make sense")
        with files.writing(folder), zipfile.ZipFile(zipped) as archive:
            entries = archive.infolist()
            _check_entries(entries, len(content))
            _check_layout(content, entries)
            folder.mkdir(parents=True)
            for entry in entries:
                path = folder / entry.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as target:
                    for part in _parts(content, entry):
                        target.write(part)
    except WorkbenchError:
        raise
    except (
        Exception
    ) as error:  # zipfile, zlib and the file system raise what comes when bytes are damaged
        raise DamagedFile(f"the zip is damaged: {type(error).__name__}: {error}") from error


def _parts(content: bytes, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """What an entry unfolds to: exactly what its headers say, from all of its bytes.

    `zipfile` passes over what comes after the end of a compressed entry, and cuts one off that is
    larger than its header says.
    """
    name = entry.filename
    start = entry.header_offset + _LOCAL.size + len(name)
    packed, left, checksum = memoryview(content)[start : start + entry.compress_size], 0, 0
    stored = entry.compress_type == zipfile.ZIP_STORED
    for part in [packed] if stored else _inflated(packed, name):
        left += len(part)
        if left > entry.file_size:
            raise DamagedFile(f"{name} is larger than its header says")
        checksum = zlib.crc32(part, checksum)
        yield part
    if left < entry.file_size:
        raise DamagedFile(f"{name} is smaller than its header says")
    if checksum != entry.CRC:
        raise DamagedFile(f"the zip is damaged: {name} has another checksum")


def _inflated(packed: memoryview, name: str) -> Iterator[bytes]:
    inflater, place, given = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    while not inflater.eof:
        if not given:
            given, place = packed[place : place + _BLOCK], place + _BLOCK
        ended = not given
        part = inflater.decompress(given, _BLOCK)
        given = inflater.unconsumed_tail
        if ended and not part and not inflater.eof:
            raise DamagedFile(f"the zip is damaged: {name} ends too soon")
        yield part
    if inflater.unused_data or place < len(packed):
        raise DamagedFile(f"{name} has bytes in the zip after its end")


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    if not entries or len(entries) > MOST_FILES:
        raise DamagedFile(f"the zip has {len(entries)} files, from 1 to {MOST_FILES} make sense")
    spelled: dict[
        str, str
    ] = {}  # of files and their folders, which some phones do not tell apart by case
    total = 0
    for entry in entries:
        name = entry.orig_filename  # `filename` ends where a zero byte is
        parts = name.split("/")
        plain = re.fullmatch(r"[A-Za-z0-9._+ /-]{1,200}", name) and entry.filename == name
        if not plain or not all(map(_is_plain, parts)):
            raise DamagedFile(
                f"the zip holds a file named {name[:80]!r}, which a bundle never does"
            )
        for folder in ("/".join(parts[:i]) for i in range(1, len(parts))):
            if spelled.setdefault(folder.lower(), f"{folder}/") != f"{folder}/":
                raise DamagedFile(
                    f"the zip holds {folder} twice, as a folder and otherwise or in another case"
                )
        if name.lower() in spelled:
            raise DamagedFile(f"the zip holds {name} twice")
        spelled[name.lower()] = name
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & _ENCRYPTED:
            raise DamagedFile(
                f"{name} in the zip is a link, a device or encrypted, not a plain file"
            )
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DamagedFile(f"{name} in the zip is compressed in a way that phones do not know")
        if entry.file_size > MOST_RATIO * max(entry.compress_size, 1) and entry.file_size > 1 << 20:
            raise DamagedFile(
                f"{name} unfolds to {entry.file_size:,} bytes from {entry.compress_size:,}"
            )
        total += entry.file_size
    if total > MOST_BYTES or total > MOST_RATIO * size:
        raise DamagedFile(
            f"the zip unfolds to {total:,} bytes from {size:,}: at most {MOST_BYTES:,} are unpacked"
        )


def _is_plain(part: str) -> bool:
    """Whether a part of a path is a name everywhere: not hidden, no device of Windows, nothing that
    it cuts off.
    """
    odd = not part or part.strip(" ") != part or part.startswith(".") or part.endswith(".")
    return not odd and part.split(".")[0].rstrip(" ").lower() not in _DEVICES


def _check_layout(content: bytes, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse a zip that readers may understand differently: one goes by the headers, another by the
    directory.

    Each entry must begin where the one before it ends, with a header that says what the directory
    says.
    """
    place = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset != place:
            raise DamagedFile(
                f"the zip has bytes before {entry.filename} that belong to no file, or to two"
            )
        sign, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack_from(
            content, place
        )
        said = (
            sign,
            flags,
            method,
            crc,
            packed,
            size,
            content[place + _LOCAL.size :][:name],
            extra,
        )
        expected = (
            entry.flag_bits,
            entry.compress_type,
            entry.CRC,
            entry.compress_size,
            entry.file_size,
        )
        if (
            said != (b"PK\x03\x04", *expected, entry.filename.encode(), 0)
            or entry.extra
            or entry.comment
        ):
            raise DamagedFile(
                f"{entry.filename} has two headers in the zip, which say different things or too "
                "much"
            )
        place += _LOCAL.size + name + packed
    end = len(content) - _END.size
    directory = end - place
    if _END.unpack_from(content, end) != (
        b"PK\x05\x06",
        0,
        0,
        len(entries),
        len(entries),
        directory,
        place,
        0,
    ):
        raise DamagedFile("the zip has bytes after its last file that belong to nothing")


def check_files(folder: Path, *, exact: bool = True, listing: str = MANIFEST) -> None:
    """Compare every file of an unpacked bundle with its manifest.

    Parameters
    ----------
    exact : refuse files that are not listed. The folder of a run has some, the sources.
    listing : name of the manifest.

    Raises
    ------
    DamagedFile : no manifest or a damaged one, a file that is missing, not listed, or not the bytes
        that are listed.
    """
    listed = manifest(folder, listing)["sha256"]
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    } - {listing}
    for name in sorted(there ^ set(listed) if exact else set(listed) - there):
        raise DamagedFile(
            f"{name} is {'not listed in' if name in there else 'missing, although it is listed in'}"
            f" {listing}"
        )
    for name, digest in listed.items():
        try:
            if not stat.S_ISREG((folder / name).lstat().st_mode):
                raise DamagedFile(f"{name} is a link, a folder or no plain file")
            same = files.sha256(folder / name) == digest
        except OSError as error:
            raise DamagedFile(f"{name} cannot be read: {error.strerror}") from error
        if not same:
            raise DamagedFile(f"{name} is not the file that {listing} lists (its SHA-256 differs)")


def manifest(folder: Path, name: str = MANIFEST) -> dict:
    """``model.json`` of an unpacked bundle: its files with their SHA-256, the model files with
    their tolerances. Or another listing of that form.

    Raises
    ------
    DamagedFile : there is none, it is not of that form, or of another `FORMAT`.
    """
    path = folder / name
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("it is no plain file")
        with open(path, "rb") as file:
            content = strict_json.read(file.read(MOST_MANIFEST + 1), most=MOST_MANIFEST)
        text = all(isinstance(word, str) for pair in content["sha256"].items() for word in pair)
        models = content["files"]
        if text and isinstance(models, dict) and models and set(models) <= set(content["sha256"]):
            _check_format(content, name)
            return content
    except FileNotFoundError:
        raise DamagedFile(f"the bundle has no {name}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFile(f"{name} is damaged: {type(error).__name__}: {error}") from error
    raise DamagedFile(f"{name} is damaged: it does not list files with their SHA-256")


def schema(manifest: Mapping) -> Schema:
    """The schema that a manifest holds.

    Raises
    ------
    DamagedFile : it holds none, or one that no model can have.
    """
    try:
        return Schema.from_json(manifest["schema"])
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedFile(
            f"the schema in {MANIFEST} is damaged: {type(error).__name__}: {error}"
        ) from error
