"""A headless Chromium that tests open pages in, press keys and look, over its DevTools protocol."""

import base64
import json
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import websocket

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needed = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to open the pages in (.ci/run installs it)"
)
_QUIET = (
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-renderer-backgrounding",
)
_KEYS = {"Tab": 9, "Enter": 13, " ": 32, "Escape": 27}


class Page:
    """An open page: `complaints` are its errors and warnings, `fetched` what it asked for."""

    def __init__(self, address: str):
        self._socket = websocket.create_connection(address, timeout=120, suppress_origin=True)
        self._sent = 0
        self.complaints: list[str] = []
        self.fetched: list[str] = []

    def call(self, method: str, **parameters) -> dict:
        """What a command of the protocol gives."""
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            self._hear(message)
            if message.get("id") == self._sent:
                assert "error" not in message, message["error"]
                return message["result"]

    def _hear(self, message: dict) -> None:
        found = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = found["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", str(details)))
        elif message.get("method") == "Runtime.consoleAPICalled":
            if found["type"] in ("error", "warning", "assert"):
                self.complaints.append(str([a.get("value", a) for a in found["args"]]))
        elif message.get("method") == "Log.entryAdded":
            self.complaints.append(found["entry"]["text"])
        elif message.get("method") == "Network.requestWillBeSent":
            self.fetched.append(found["request"]["url"])

    def open(self, page: Path, width: int = 1280, height: int = 1400) -> "Page":
        """Open a file and wait until its scripts have done their work."""
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=page.as_uri())
        self.until("document.documentElement?.dataset.ready === ''")
        return self

    def until(self, condition: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.look(condition):
            assert time.monotonic() < end, f"{condition}: not in {seconds} s; {self.complaints}"
            time.sleep(0.05)

    def look(self, expression: str):
        """The value of a JavaScript expression, awaited."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, times: int = 1) -> None:
        """Press a key as a user does."""
        code = {"key": key, "windowsVirtualKeyCode": _KEYS[key], "code": key}
        text = {"Enter": "\r", " ": " "}.get(key)
        for _ in range(times):
            down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
            self.call("Input.dispatchKeyEvent", **down, **code)
            self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place in the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def close(self) -> None:
        self.call("Page.close")
        self._socket.close()

    def picture(self) -> bytes:
        """A PNG of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.call("Page.printToPDF")["data"])


@contextmanager
def browser(profile: Path, *options: str):
    """A Chromium of its own; yields what opens a new, empty `Page`."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *_QUIET]
    command += [f"--user-data-dir={profile}", "--remote-debugging-port=0", *options]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        said = next((line for line in process.stderr if "ws://" in line), "")
        host = re.search(r"ws://([^/]+)(/\S+)", said)
        assert host, "Chromium did not start"
        whole = Page(host[0])

        def opened() -> Page:
            target = whole.call("Target.createTarget", url="about:blank")["targetId"]
            return Page(f"ws://{host[1]}/devtools/page/{target}")

        yield opened
    finally:
        process.terminate()
        process.wait()
