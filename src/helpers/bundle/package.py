"""Put a bundle together: what a phone downloads, sources for its engineer, the zip and its
descriptor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers import pictured, registry
from helpers.bundle import archive, golden, halves, make, pictures, sources
from helpers.datasets import Dataset
from helpers.runs import Stage
from helpers.trained import Trained

HANDOVER = "handover.zip"
SESSIONS = 10
"""Sessions of the test split that become golden ones, where the phone makes the model's inputs
itself.
"""
_SPLIT, _LOOKED_AT = "test", 48
"""Where golden pictures are chosen from, see `pictures.choose`: its first files."""


@dataclass(frozen=True)
class Package:
    """A bundle in memory.

    Attributes
    ----------
    download : bytes by name of what a phone downloads, ``model.json`` included.
    code : text by name of the sources for iOS, Android and the desktop.
    minimum : least version of each runtime.
    """

    version: str
    download: Mapping[str, bytes]
    code: Mapping[str, str]
    minimum: Mapping[str, str]

    @property
    def manifest(self) -> dict:
        """What ``model.json`` says."""
        return json.loads(self.download[archive.MANIFEST])

    def code_table(self):
        """The sources to read: DataFrame by folder, how many ``files`` and ``lines`` they have."""
        import pandas as pd

        rows = [(_folder(name), name, text.count("\n")) for name, text in self.code.items()]
        frame = pd.DataFrame(rows, columns=["folder", "files", "lines"])
        return frame.groupby("folder").agg({"files": "count", "lines": "sum"}).rename_axis(None)

    def write(self, stage: Stage, *, url: str, scene: int) -> archive.Descriptor:
        """Write all of it as outputs of a stage below ``bundle/``, with the zip, its descriptor and
        ``handover.zip``.

        Parameters
        ----------
        url : where phones find the zip, absolute or relative to the descriptor.
        scene : which list of the app the model ranks.
        """
        everything = {**self.download, **{name: text.encode() for name, text in self.code.items()}}
        for name, content in everything.items():
            with stage.output(f"bundle/{name}") as path:
                path.write_bytes(content)
        with stage.output(f"bundle/{archive.ZIP}") as path:
            archive.pack(self.download, path)
        zipped = stage.run.folder / "bundle" / archive.ZIP
        address = {"url": url, "version": self.version, "scene": scene}
        described = archive.describe(zipped, **address, minimum=self.minimum)
        with stage.output(f"bundle/{archive.DESCRIPTOR}") as path:
            path.write_text(described.to_json(), encoding="utf-8")
        everything |= {
            archive.ZIP: zipped.read_bytes(),
            archive.DESCRIPTOR: described.to_json().encode(),
        }
        with stage.output(f"bundle/{HANDOVER}") as path:
            archive.pack(everything, path)
        return described


def _folder(name: str) -> str:
    """What the sources of a bundle are counted by: ``ios/Sources``, ``android/src/main``."""
    parts = Path(name).parent.parts
    return "/".join(parts[: 3 if "src" in parts else 2]) or "."


def package(
    stage: Stage,
    trained: Trained,
    comparison,
    files: Mapping[str, str],
    models: Mapping[str, Path],
    cases: golden.Golden,
    data: Dataset,
    *,
    version: str = "",
    seed: int = 0,
) -> Package:
    """Put the bundle of a run together.

    Parameters
    ----------
    comparison : table of ``comparison.csv``.
    files, models : by name in the bundle, the file in the run and its path.
    data : the run's data set; where it has an encoding, the phone makes the model's inputs of raw
        behaviour; where it has a preparation, of pictures.
    version : default follows from the content.
    """
    download = make.contents(models, cases)
    trained_file = stage.input("02", trained.file)
    if data.encoding:
        raws = data.sessions(_SPLIT, SESSIONS)
        parts = (models, trained.schema, cases.tolerance)
        download |= make.raw_contents(data.encoding, raws, *parts, seed=seed)
    if data.preparation:
        study = registry.get(stage.run.study)
        files_there = pictured.originals(study, data.manifest, _SPLIT, _LOOKED_AT)
        chosen = pictures.choose((file.name, file.content) for file in files_there)
        parts = (models, trained.schema, cases.tolerance)
        download |= make.picture_contents(data.preparation, chosen, trained_file, *parts)
    split, parts = halves.contents(stage.run.study, trained, trained_file, cases)
    download |= parts
    version = version or make.version_of(download)
    minimum = make.minimum_versions(files)
    download[archive.MANIFEST] = make.manifest(
        trained.task,
        trained.schema,
        comparison,
        files,
        cases,
        download,
        version=version,
        run=f"{stage.run.study}/{stage.run.name}",
        minimum=minimum,
        packages=stage.run.record()["packages"],
        halves=split and split.to_json(),
    )
    beyond = golden.BEYOND in [case.name for case in cases.cases]
    code = sources.render(
        trained.schema,
        models,
        minimum,
        encoding=data.encoding is not None,
        beyond=beyond,
        pictures=data.preparation is not None,
        names=download,
        halves=split,
    )
    return Package(version, download, code, minimum)
