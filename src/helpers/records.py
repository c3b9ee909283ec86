"""What the record of a run says: which stages made what, and which of them still count.

A record is the content of ``run.json``, see `helpers.runs`: a dictionary with an entry for each
stage by the name of its notebook. Nothing here reads the run folder; sources and notebooks are
compared with what the record says of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from helpers import code, files
from helpers.errors import BadInput


def full_name(stage: str, record: dict) -> str | None:
    """``"02"`` or the whole name, as the key in the record; None if that stage has not been run."""
    return next((name for name in record["stages"] if name[:2] == stage[:2]), None)


def outputs(record: dict) -> Iterator[tuple[dict, str]]:
    """Every stage's entry with each file that it recorded."""
    for entry in record["stages"].values():
        for file in entry["outputs"]:
            yield entry, file


def makers(record: dict) -> dict[str, str]:
    """Which stage recorded a file, by file."""
    return {file: name for name, entry in record["stages"].items() for file in entry["outputs"]}


def stale(record: dict, *, any_code: bool = False) -> dict[str, str]:
    """Tell why stages do not count (any more), in words by name; one that counts has no reason.

    Parameters
    ----------
    any_code : leave out that the code which a stage executed has changed since.
    """
    maker_of, reasons = makers(record), {}
    for name, entry in sorted(
        record["stages"].items()
    ):  # inputs come from stages with lower numbers
        reason = None if entry["status"] == "done" else "was started and did not finish"
        if reason is None and not any_code:
            reason = outdated(name, entry)
        for file, used in entry["inputs"].items() if reason is None else ():
            maker = maker_of.get(file)
            if maker is None or record["stages"][maker]["outputs"][file] != used:
                reason = f"used an earlier {file}, which has been made anew since"
            elif maker in reasons:
                reason = f"used {file} of stage {maker[:2]}, which {reasons[maker]}"
            if reason:
                break
        if reason:
            reasons[name] = reason
    return reasons


def outdated(name: str, entry: dict) -> str | None:
    """Tell which of the code that a stage executed has changed since, in words; None if none has.

    A stage executed by hand does not know its notebook's cells: it counts by the modules it used.
    """
    if "code" not in entry:
        return "was executed with code that it has no record of"
    if entry.get("notebook_sha256") is not None:
        notebook = files.notebook(name)
        if not notebook.is_file():
            return f"was executed as {notebook.name}, which is gone"
        try:
            same = code.cells_sha256(notebook) == entry["notebook_sha256"]
        except BadInput:  # told, with its name, by whoever executes it
            same = False
        if not same:
            return f"was executed with other code: {notebook.name} has changed since"
    changed = code.changed(entry["code"])
    return f"was executed with other code: {changed}" if changed else None
