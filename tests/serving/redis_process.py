"""A real Redis, in a process of the test's own."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Server:
    """A Redis behind a socket file; `process` may be killed."""

    socket: Path
    process: subprocess.Popen


@contextmanager
def redis_server(folder: Path) -> Iterator[Server]:
    """Start a Redis that keeps nothing, in `folder`; skip the test where there is none."""
    command = shutil.which("redis-server")
    if command is None:
        pytest.skip("no redis-server on the path (apt-get install redis-server)")
    pytest.importorskip("redis", reason="the Redis client is not installed")
    socket = folder / "socket"
    process = subprocess.Popen(
        [command, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    try:
        while not socket.exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield Server(socket, process)
    finally:
        process.kill()
        process.wait()
