"""What a fork does: turn into what ``python -m module *arguments`` of its asker would be."""

from __future__ import annotations

import atexit
import importlib
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NoReturn

from helpers.forks import attributes
from helpers.forks.server import INLINE, SERVER_FOLDER, TENSORFLOW_MB


def become(request: Mapping, descriptors: list[int], close_servers: Callable[[], None]) -> NoReturn:
    """Run the module that a request names, in this fork, and end with its exit status.

    Parameters
    ----------
    request : see `helpers.forks.fork`, which makes it.
    descriptors : standard input, output and error; they are closed under their old numbers.
    close_servers : closes the server's files and sockets.
    """
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        close_servers()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        _set_environment(request["env"])
        attributes.apply(request["attributes"])
        os.chdir(request["cwd"])
        _forget()
        arguments = [word.replace("{server}", str(os.getppid())) for word in request["arguments"]]
        sys.argv = [request["module"], *arguments]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(code)  # what would run at exit may wait for what did not get as far as to be there
    finally:
        with suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _set_environment(variables: Mapping[str, str]) -> None:
    """Replace the server's variables by the asker's, but for what only the server could measure."""
    grown = os.environ.get(TENSORFLOW_MB)
    os.environ.clear()
    os.environ.update(variables)
    os.environ.pop(TENSORFLOW_MB, None)  # the asker may be a fork itself
    os.environ.update({} if grown is None else {TENSORFLOW_MB: grown})


def _forget() -> None:
    """Undo what a fresh process would not have: shared random states, our own modules, which may
    be edited, and what libraries chose while they were imported outside a kernel.

    One thing stays: ``hash("abc")`` is the same in all forks of a server, as with PYTHONHASHSEED
    set. Nothing here may count on that, nor on the opposite.
    """
    import random

    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "pandas" in sys.modules:
        pandas = sys.modules["pandas"]
        pandas.set_option("display.max_columns", 20)  # a server looks like a terminal with a width
        pandas.set_option("display.encoding", "UTF-8")  # as ipykernel's streams call theirs
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].rcParams["backend"] = os.environ.get("MPLBACKEND", INLINE)
    for name in [name for name in sys.modules if name == "helpers" or name.startswith("helpers.")]:
        del sys.modules[name]
    sys.path[:] = [place for place in sys.path if place != SERVER_FOLDER]
    importlib.invalidate_caches()
    time.tzset()
