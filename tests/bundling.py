"""What tests of the bundle share: making one of a folder, with its manifest and descriptor."""

import json
from pathlib import Path

from helpers import files
from helpers.bundle import archive


def write_manifest(folder: Path, schema, version: str = "v1") -> None:
    """``model.json`` for whatever is in the folder."""
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {archive.MANIFEST}
    models = {name: {} for name in ("model.tflite", "model.mnn") if name in names}
    digests = {name: files.sha256(folder / name) for name in sorted(names)}
    content = {"version": version, "files": models, "schema": schema.to_json(), "sha256": digests}
    (folder / archive.MANIFEST).write_text(json.dumps(content))


def publish(folder: Path, place: Path, version: str = "v1") -> Path:
    """Pack a folder and write its descriptor beside the zip; returns the descriptor's path."""
    place.mkdir(parents=True, exist_ok=True)
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    archive.pack(folder, names, place / "bundle.zip")
    described = archive.describe(place / "bundle.zip", url="bundle.zip", version=version, minimum={})
    (place / "bundle.json").write_text(described.to_json())
    return place / "bundle.json"
