"""Run functions in a child process, so that a native crash is an error message and not a dead
kernel.

Converters and runtimes are native code: on a damaged file they may end the process, on a bad one
they print to file descriptor 1 and exit with status 0, and MNN's converter cannot live in one
process with TensorFlow. A `Child` is a process of its own that imports only what the called
functions import::

    with Child("convert to MNN") as child:
        log = child.call("helpers.convert.mnn:_convert_here", source="a.tflite", target="b.mnn")

Arguments and results are JSON; arrays travel as files. The child ends when its parent does, however
the parent ends.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress

from helpers import code, errors, forks

_LOG_LINES = 8
_CLOCK = re.compile(r"^\[\d\d:\d\d:\d\d\] ")


class ChildDied(errors.WorkbenchError):
    """The child process ended, or did not answer in time, before it returned a result."""


class Child:
    """A process that runs functions named ``"module:function"`` for its parent.

    Parameters
    ----------
    purpose : what it is for, in the words of an error message ("open model.mnn").
    environment : variables to set in the child, over the parent's own.
    imports : what it may have imported already, see `helpers.forks.server.IMPORTS`.
    """

    def __init__(
        self, purpose: str, environment: dict[str, str] | None = None, imports: str = "bare"
    ):
        self.purpose = purpose
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        (asked, self._requests), (self._replies, answers) = os.pipe(), os.pipe()
        try:
            self._process = forks.start(
                "helpers.child",
                imports=imports,
                stdin=asked,
                stdout=answers,
                stderr=self._log.fileno(),
                environment={**os.environ, **(environment or {})},
            )
        finally:
            os.close(asked)
            os.close(answers)
        self._unread, self._open, self._asked = b"", True, ""

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, function: str, *, timeout: float | None = 600.0, **arguments):
        """Run ``module:function(**arguments)`` in the child and return its result.

        Raises
        ------
        ChildDied : the process crashed, or gave no answer within `timeout` seconds (it is then
            killed); None waits.
        WorkbenchError : whatever of `helpers.errors` the function raised; anything else it raised
            comes as a plain WorkbenchError with the type's name.
        """
        self.ask(function, **arguments)
        return self.answer(timeout)

    def ask(self, function: str, **arguments) -> None:
        """Have ``module:function(**arguments)`` run while this process goes on, until `answer`."""
        self._asked = function
        request = json.dumps({"function": function, "arguments": arguments}) + "\n"
        content = memoryview(request.encode())
        with suppress(BrokenPipeError):  # it has died, which its answer is
            while content:
                content = content[os.write(self._requests, content) :]

    def answer(self, timeout: float | None = 600.0):
        """Wait for the result of what was asked for; raises what `call` does."""
        executed = None
        try:
            reply = json.loads(self._line(timeout))
            executed = reply.get("code", {})  # of what it had not executed before
        finally:
            if executed is None:  # of a child that dies, nobody knows how far it got
                executed = code.sha256s(code.imported([self._asked.partition(":")[0]]))
            if executed:
                code.add(executed)
        if "error" in reply:
            kind = getattr(errors, reply["error"], None)
            if kind is None:
                raise errors.WorkbenchError(
                    f"could not {self.purpose}: {reply['error']}: "
                    f"{reply['message']}{self.log_tail()}"
                )
            raise kind(reply["message"])
        return reply["result"]

    def log_tail(self) -> str:
        """The last lines that native code printed in the child, ready to append to a message;
        without the time of day that it puts before them, so that messages repeat.
        """
        self._log.seek(0)
        lines = [
            line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()
        ]
        return "".join(f"\n  | {_CLOCK.sub('', line)}" for line in lines[-_LOG_LINES:])

    def close(self) -> None:
        """End the child and wait for it; safe to call twice."""
        if not self._open:
            return
        self._open = False
        os.close(self._requests)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._replies)
        self._log.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def kill(self) -> None:
        """End the child at once; whoever waits for an answer is told that it died."""
        self._process.kill()

    def _line(self, timeout: float | None) -> bytes:
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._unread:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._replies], [], [], left)
            if not ready:
                self._process.kill()
                raise ChildDied(
                    f"could not {self.purpose}: no answer in {timeout:g} s, gave "
                    f"up{self.log_tail()}"
                )
            part = os.read(self._replies, 65536)
            if not part:
                raise self._died()
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _died(self) -> ChildDied:
        status = self._process.wait()
        how = signal.strsignal(-status) if status < 0 else f"exit status {status}"
        return ChildDied(
            f"could not {self.purpose}: the native code ended the process ({how}){self.log_tail()}"
        )


def run(purpose: str, function: str, *, timeout: float = 600.0, **arguments):
    """One call in one child; see `Child.call`."""
    with Child(purpose) as child:
        return child.call(function, timeout=timeout, **arguments)


def _serve() -> None:
    """The child's loop: a request a line on stdin, a reply a line on what was stdout."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints on stdout goes to the log
    known: dict[str, str] = {}
    for line in sys.stdin:
        request = json.loads(line)
        module, _, name = request["function"].partition(":")
        try:
            result = getattr(importlib.import_module(module), name)(**request["arguments"])
            reply = {"result": result}
        except Exception as error:
            reply = {"error": type(error).__name__, "message": str(error)}
        if (loaded := code.loaded()) != known:
            reply["code"] = known = loaded
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _end_with(parent: int) -> None:
    """End this process soon after its parent has ended, also in the middle of a call."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _serve()
