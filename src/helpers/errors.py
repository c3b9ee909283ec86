"""The errors a user can meet. Each message says what is wrong, with the value, and the way out."""

import difflib
from collections.abc import Iterable


def meant(name: object, known: Iterable[str]) -> str:
    """What to add to a message about a name that is not known: `` (did you mean epochs?)``, or
    nothing.
    """
    close = difflib.get_close_matches(str(name), known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


class WorkbenchError(Exception):
    """Something could not be done; the command line shows why and exits with `exit_status`."""

    exit_status = 1


class BadInput(WorkbenchError, ValueError):
    """What the user asked for or handed in cannot be used as it is."""

    exit_status = 2


class MissingStage(WorkbenchError):
    """A stage needs what an earlier stage has not made, or has made anew and not finished."""


class DamagedFile(WorkbenchError):
    """A recorded file is gone, cut short, or not the bytes that were recorded."""


class ConversionFailed(WorkbenchError):
    """A converter failed, whatever it reported, or wrote a file that is not its model."""


class ParityError(ConversionFailed):
    """A model file runs but does not score as its reference does."""


class StageFailed(WorkbenchError):
    """A notebook raised an error, or did not record itself."""


class KernelDied(StageFailed):
    """The process that executed a notebook ended; the notebook may be right."""
