"""A real Redis, in a process of the test's own."""

import shutil
import socket
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


def _listens(path: Path) -> bool:
    """Whether somebody answers: the file is there a little earlier."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


@contextmanager
def redis_server(folder: Path) -> Iterator[Server]:
    """Start a Redis that keeps nothing, in `folder`; skip the test where there is none."""
    command = shutil.which("redis-server")
    if command is None:
        pytest.skip("no redis-server on the path (apt-get install redis-server)")
    pytest.importorskip("redis", reason="the Redis client is not installed")
    place = folder / "socket"
    process = subprocess.Popen(
        [command, "--port", "0", "--unixsocket", place, "--save", "", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    try:
        while not _listens(place):
            assert process.poll() is None
            time.sleep(0.01)
        yield Server(place, process)
    finally:
        process.kill()
        process.wait()
