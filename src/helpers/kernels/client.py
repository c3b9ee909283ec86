"""A client that goes on as soon as its kernel is ready, and only with one that has our code."""

from __future__ import annotations

import ast
import time
from queue import Empty

from jupyter_client.asynchronous import AsyncKernelClient

import helpers
from helpers.errors import WorkbenchError

_ANSWER_SECONDS, _HEARD_SECONDS = 1.0, 0.05
"""How long to wait for an answer before asking again, and for its end to be heard once it is there.
"""


class NotStarted(RuntimeError):
    """A kernel that ended, or said nothing, before it was ready: another may fare better.

    Jupyter chooses ports first and the kernel takes them later; where many start at once, another
    process can be faster.
    """


class Client(AsyncKernelClient):
    """Jupyter's client, which waits after the kernel's first answer until nothing has come for a
    fifth of a second.

    The kernel says when it is done with a request; hearing that proves that its output is heard, so
    nothing is lost.
    """

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel has answered and its output channel is heard.

        Raises
        ------
        NotStarted : the kernel died, or did not answer within `timeout` seconds.
        WorkbenchError : it imports other helpers than this process does.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while time.monotonic() < deadline:
            request = self.kernel_info()
            try:
                reply = await self.shell_channel.get_msg(timeout=_ANSWER_SECONDS)
                if reply["msg_type"] == "kernel_info_reply":
                    self._handle_kernel_info_reply(reply)
                while not _done_with(
                    request, await self.iopub_channel.get_msg(timeout=_HEARD_SECONDS)
                ):
                    pass
                break
            except Empty:
                if not await self._async_is_alive():
                    raise NotStarted(f"{self._kernel()} ended before it was ready") from None
        else:
            raise NotStarted(f"{self._kernel()} did not answer in {timeout} seconds")
        await self._check_code()

    def _kernel(self) -> str:
        return f"kernel {self.parent.kernel_name!r} of {self.parent.kernel_spec.resource_dir}"

    async def _check_code(self) -> None:
        """Refuse a kernel with other code: this process's would be recorded as what it executed."""
        asked = {"file": "__import__('helpers').__file__"}
        request = self.execute("", silent=True, store_history=False, user_expressions=asked)
        reply: dict = {"parent_header": {}}
        while reply["parent_header"].get("msg_id") != request:
            try:
                reply = await self.shell_channel.get_msg(timeout=_ANSWER_SECONDS)
            except Empty:
                if not await self._async_is_alive():
                    raise NotStarted(f"{self._kernel()} ended before it was ready") from None
        answer = reply["content"]["user_expressions"]["file"]
        if answer["status"] != "ok":
            found = f"{answer['ename']}: {answer['evalue']}"
        else:
            found = ast.literal_eval(answer["data"]["text/plain"])
        if found != helpers.__file__:
            raise WorkbenchError(
                f"the kernel would run {found}, but this command is {helpers.__file__}: run it from"
                " a folder without other helpers, and without a PYTHONPATH that leads to some"
            )


def _done_with(request: str, message: dict) -> bool:
    status = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
    return status and message["parent_header"].get("msg_id") == request
