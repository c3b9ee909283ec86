"""The configuration that travels with a model as ``features.json``: which encoders make which
inputs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from helpers import strict_json
from helpers.errors import BadInput, DamagedFile, meant
from helpers.features.encoders import MODES, Bucketize, Encoder, Equal, LabelEncode, Plain
from helpers.features.values import MISSING, shown

FORMAT = 1
MOST_BYTES = 256 * 2**20
"""Largest ``features.json`` that is read: about ten million 20-digit entries."""
KINDS = {encoder.kind: encoder for encoder in (Bucketize, LabelEncode, Plain, Equal)}


@dataclass(frozen=True)
class Encoding:
    """The encoders of a model, in the order of its inputs, and how they number "missing"
    (`encoders.MODES`).

    Raises
    ------
    BadInput : no encoders, a name that is there twice, an unknown mode.
    """

    encoders: tuple[Encoder, ...]
    mode: str = "separate"

    def __post_init__(self):
        object.__setattr__(self, "encoders", tuple(self.encoders))
        if not isinstance(self.mode, str) or self.mode not in MODES:
            raise BadInput(f"mode must be one of {', '.join(MODES)}, not {shown(self.mode)}")
        if not self.encoders:
            raise BadInput("an encoding needs at least one encoder")
        for encoder in self.encoders:
            if not isinstance(encoder, Encoder):
                raise BadInput(f"{shown(encoder)} is no encoder; there is: {', '.join(KINDS)}")
        if twice := sorted(name for name, times in Counter(self.names).items() if times > 1):
            raise BadInput(f"encoder {', '.join(twice)} is there more than once: an input has one")

    @property
    def names(self) -> list[str]:
        """Names of the model's inputs."""
        return [encoder.name for encoder in self.encoders]

    @property
    def sizes(self) -> dict[str, int]:
        """By input, how many distinct ids it can have (0 to size - 1): rows of its embedding."""
        return {encoder.name: encoder.size(self.mode) for encoder in self.encoders}

    @cached_property
    def reads(self) -> dict[tuple[str, str], set[bool]]:
        """By (source, field): whether it is needed exact (int64), as a number (float64) or both."""
        wanted: dict[tuple[str, str], set[bool]] = {}
        for encoder in self.encoders:
            for field in encoder.reads:
                wanted.setdefault(field, set()).add(encoder.exact)
        return wanted

    def to_json(self) -> dict:
        """Plain values for ``features.json``; `from_json` reads them back."""

        def plain(encoder: Encoder) -> dict:
            values = {field.name: getattr(encoder, field.name) for field in fields(encoder)}
            return {"kind": encoder.kind} | {
                n: list(v) if isinstance(v, tuple) else v for n, v in values.items()
            }

        encoders = [plain(encoder) for encoder in self.encoders]
        return {"format": FORMAT, "mode": self.mode, "missing": MISSING, "encoders": encoders}

    @classmethod
    def from_json(cls, value: object) -> Encoding:
        """The encoding that `to_json` wrote.

        Raises
        ------
        BadInput : a key is missing or unknown, a value is of another type or out of range.
        """
        for name, only in (
            ("format", FORMAT),
            ("missing", MISSING),
        ):  # first: another format may have other keys
            found = value.get(name) if isinstance(value, Mapping) else only
            if type(found) is not int or found != only:
                raise BadInput(
                    f"the encoding's {name} is {shown(found)}, this version reads {only}"
                )
        _check_keys(value, {"format", "mode", "missing", "encoders"}, "the encoding")
        if not isinstance(value["encoders"], list):
            raise BadInput(
                f"the encoding's encoders must be a list, not {shown(value['encoders'])}"
            )
        return cls(
            tuple(_encoder(i, plain) for i, plain in enumerate(value["encoders"])), value["mode"]
        )

    def save(self, path: Path) -> None:
        """Write ``features.json``; the same encoding gives the same bytes."""
        path.write_text(json.dumps(self.to_json(), allow_nan=False) + "\n", encoding="utf-8")


def load(path: Path) -> Encoding:
    """The encoding of a file that `Encoding.save` wrote.

    Raises
    ------
    DamagedFile : gone, longer than `MOST_BYTES`, or not JSON.
    BadInput : JSON, but not an encoding; the message names the file.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DamagedFile(
                f"{path} has {size:,} bytes, at most {MOST_BYTES:,} are read: raise vocabulary "
                "floors"
            )
        content = strict_json.read(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedFile(
            f"{path} cannot be read as JSON ({error}): copy it from its run or bundle again"
        ) from error
    try:
        return Encoding.from_json(content)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def _encoder(number: int, value: object) -> Encoder:
    where = f"encoder number {number}"
    if not isinstance(value, Mapping):
        raise BadInput(f"{where} must be an object, not {shown(value)}")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadInput(
            f"{where}: kind must be one of {', '.join(KINDS)}, not "
            f"{shown(kind)}{meant(kind, KINDS)}"
        )
    names = {field.name for field in fields(KINDS[kind])}
    _check_keys(value, names | {"kind"}, f"{where} ({kind})")
    return KINDS[kind](**{name: value[name] for name in names})


def _check_keys(value: object, keys: set[str], where: str) -> None:
    if not isinstance(value, Mapping):
        raise BadInput(f"{where} must be an object, not {shown(value)}")
    if missing := sorted(keys - set(value)):
        raise BadInput(f"{where} has no {', '.join(missing)}")
    if unknown := sorted(map(str, set(value) - keys)):
        raise BadInput(f"{where} has an unknown {shown(unknown[0])}{meant(unknown[0], keys)}")
