"""Fetching: one deadline that no server can stretch, wherever it is slow, and no way from https to
http.
"""

import _thread
import contextlib
import http.server
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error

import pytest
from delivering import DRIPS, OK

from helpers.bundle import archive, fetch
from helpers.errors import BadInput

LONG, SOON = 8.0, 4.0
"""Seconds that a server goes on, and that it may take until it is given up; the deadline is half a
second.
"""


@pytest.fixture
def dripping():
    """Starts servers that send a beginning and then a few bytes again and again, for `LONG`
    seconds; their ports.

    Its event `called` is set when somebody has connected.
    """
    with contextlib.ExitStack() as stack:
        ended, called = threading.Event(), threading.Event()
        stack.callback(ended.set)

        def drip(connection: socket.socket, beginning: bytes, part: bytes) -> None:
            called.set()
            until = time.monotonic() + LONG
            with connection, contextlib.suppress(OSError):
                connection.sendall(beginning)
                while time.monotonic() < until and not ended.wait(0.05):
                    connection.sendall(part)

        def serve(listening: socket.socket, *what: bytes) -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(
                        target=drip, args=(listening.accept()[0], *what), daemon=True
                    ).start()

        def start(beginning: bytes, part: bytes) -> int:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            threading.Thread(target=serve, args=(listening, beginning, part), daemon=True).start()
            return listening.getsockname()[1]

        start.called = called
        yield start


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(fetch, "SLOWEST", 1 << 20)


def _described(size: int) -> archive.Descriptor:
    return archive.Descriptor("bundle.zip", "v1", "0" * 32, "0" * 64, size)


def _given_up_soon(call) -> None:
    started = time.monotonic()
    with pytest.raises(
        BadInput, match="cannot fetch .*: the server sends too slowly, try again later"
    ):
        call()
    assert time.monotonic() - started < SOON


@pytest.mark.parametrize("place", DRIPS)
def test_a_server_that_drips_is_given_up(dripping, impatient, tmp_path, place):
    url = f"http://127.0.0.1:{dripping(*DRIPS[place])}/bundle"
    _given_up_soon(lambda: fetch.small(url))
    _given_up_soon(lambda: fetch.download(url, tmp_path / "bundle.zip", _described(10_000)))


def test_a_handshake_that_drips_is_given_up(dripping, impatient):
    _given_up_soon(
        lambda: fetch.small(
            f"https://127.0.0.1:{dripping(bytes.fromhex('1603034000'), b'x')}/bundle"
        )
    )


def test_a_server_that_does_not_answer_the_call_is_given_up(impatient):
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        _given_up_soon(lambda: fetch.small(f"http://127.0.0.1:{listening.getsockname()[1]}/bundle"))


@pytest.mark.parametrize(
    "error", [TimeoutError("timed out"), urllib.error.URLError(TimeoutError("timed out"))]
)
def test_a_socket_that_times_out_first_says_the_same(error):
    said = "cannot fetch x: the server sends too slowly, try again later"
    with pytest.raises(BadInput, match=said), fetch._fetching("x"):
        raise error


def test_slow_redirections_share_one_deadline(hostile, impatient):
    def answer(handler):
        time.sleep(0.3)
        number = int(handler.path.split("-")[1].split(".")[0])
        handler.wfile.write(
            f"HTTP/1.0 302 Found\r\nLocation: /next-{number + 1}.x\r\n\r\n".encode()
        )

    hostile.answers = {".x": answer}
    _given_up_soon(lambda: fetch.small(hostile.url.replace("bundle.json", "next-0.x")))


def test_the_deadline_moves_with_what_has_arrived(dripping, monkeypatch, tmp_path):
    """Slow is not too slow: 20 parts at twice the slowest rate take longer than the deadline of
    nothing at all.
    """
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(fetch, "SLOWEST", 1000)
    port = dripping(OK + b"Content-Length: 4000\r\n\r\n", b"x" * 200)
    with pytest.raises(Exception, match="its md5 differs"):
        fetch.download(f"http://127.0.0.1:{port}/bundle", tmp_path / "bundle.zip", _described(4000))


def test_a_thread_that_is_given_up_ends(dripping, impatient):
    before = set(threading.enumerate())
    url = f"http://127.0.0.1:{dripping(*DRIPS['body'])}/bundle"
    _given_up_soon(lambda: fetch.small(url))
    (thread,) = [t for t in set(threading.enumerate()) - before if t.name.endswith("(_fetch)")] or [
        threading.Thread()
    ]
    if thread.ident:
        thread.join(3)
    assert not thread.is_alive()


def test_ctrl_c_ends_a_download_at_once(dripping, tmp_path):
    url = f"http://127.0.0.1:{dripping(*DRIPS['headers'])}/bundle.json"
    command = [
        sys.executable,
        "-m",
        "helpers.cli",
        "bundle",
        "install",
        url,
        "--into",
        str(tmp_path / "phone"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert dripping.called.wait(120)
        time.sleep(0.5)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert "workbench: interrupted" in process.stderr.read()
        assert process.wait(timeout=20) == 130 and time.monotonic() - started < SOON


def test_an_interruption_that_wakes_nobody_counts_soon(dripping):
    """It is noted while a wait begins, or by another thread."""
    url = f"http://127.0.0.1:{dripping(*DRIPS['headers'])}/bundle.json"
    threading.Timer(1.0, _thread.interrupt_main).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch.small(url)
    assert time.monotonic() - started < 1 + SOON


@pytest.fixture
def secure(tmp_path, monkeypatch):
    """An https server whose certificate is trusted here; it redirects every path to `target`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "
        "subjectAltName=DNS:localhost"
    )
    subprocess.run(
        ["openssl", *words.split(), "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/here":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"content")
                return
            self.send_response(302)
            self.send_header("Location", self.server.target)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        running.socket = context.wrap_socket(running.socket, server_side=True)
        running.url = f"https://localhost:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_https_redirects_to_https_only(secure, hostile):
    secure.target = f"{secure.url}/here"
    assert fetch.small(f"{secure.url}/there") == b"content"
    hostile.answers = {".json": lambda handler: handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n{}")}
    secure.target = hostile.url
    with pytest.raises(
        BadInput, match=f"cannot fetch {secure.url}/there: it redirects from https to {hostile.url}"
    ):
        fetch.small(f"{secure.url}/there")
    assert hostile.asked == []
