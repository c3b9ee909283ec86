"""One corpus of attacks on a client that installs bundles: what a server sends, what lies in the
folder, and the verdict.

`CASES` says of each what every client must say: ``accepted``, or the kind of its refusal
(``FETCH``: try again later, ``FOLDER``: somebody else's, ``RUNTIME``: update the app, ``DAMAGED``:
the bundle is wrong) and words of its message. The clients are the reference
`helpers.bundle.client`, and those in Kotlin and Swift that are rendered for the app.
"""

import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from bundling import publish

from helpers import files
from helpers.bundle import archive, client, fetch, golden
from helpers.errors import BadInput, DamagedFile

PATIENT, IMPATIENT = (30.0, 8 << 10), (0.5, 1 << 20)
"""Seconds, and bytes a second."""


class Server:
    """An HTTP server of one bundle: ``/bundle.json``, its zip at any other path, with ranges.

    `descriptor` and `zip` are what it sends; ``answers[path]`` takes a handler in place of that.
    """

    def __init__(self, unpacked: Path, published: Path):
        self.unpacked = unpacked
        self._good = json.loads(published.read_text()), published.with_suffix(".zip").read_bytes()
        self._running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._running.daemon_threads = True
        self.host = f"http://127.0.0.1:{self._running.server_port}"
        self.url = f"{self.host}/bundle.json"
        threading.Thread(target=self._running.serve_forever, daemon=True).start()
        self.reset()

    def reset(self) -> None:
        said, self.zip = self._good
        self.descriptor: dict | bytes = dict(said)
        self.answers: dict[str, Callable] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.ended = threading.Event()

    def close(self) -> None:
        self.ended.set()
        self._running.shutdown()
        self._running.server_close()

    def announce(self, content: bytes) -> None:
        """Send another zip, and announce it: a server that is wrong or hostile."""
        self.zip = content
        self.descriptor |= described(content)

    def publish(self, folder: Path, version: str = "v1") -> None:
        """Send what is in a folder, as it is."""
        descriptor = publish(folder, folder.with_name(f"server-{folder.name}"), version)
        self.descriptor = json.loads(descriptor.read_text())
        self.zip = descriptor.with_suffix(".zip").read_bytes()

    def _handler(self):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append((self.path, self.headers.get("Range")))
                with contextlib.suppress(OSError):
                    server.answers.get(self.path, server.send)(self)

            def log_message(self, *_):
                pass

        return Handler

    def send(self, handler) -> None:
        content = self.zip
        if handler.path == "/bundle.json":
            said = self.descriptor
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
        asked = handler.headers.get("Range")
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        whole(content[first:], "206 Partial Content" if asked else "200 OK")(handler)


def described(content: bytes) -> dict:
    digests = {name: hashlib.new(name, content).hexdigest() for name in ("md5", "sha256")}
    return {"size": len(content), **digests}


def raw(content: bytes):
    return lambda handler: handler.wfile.write(content)


def whole(content: bytes, status: str = "200 OK", more: str = ""):
    head = f"HTTP/1.0 {status}\r\nContent-Length: {len(content)}\r\n{more}\r\n"
    return raw(head.encode() + content)


def redirect(target: str, status: int = 302):
    return raw(f"HTTP/1.0 {status} Moved\r\nLocation: {target}\r\n\r\n".encode())


@dataclass(frozen=True)
class Case:
    """What a client meets, and what it must say to its last call.

    Attributes
    ----------
    prepare : changes the server.
    before : makes the client's folder, where it is not to be made by the client.
    calls : one after the other; between them, `between` changes the server or the folder.
    current : version in use at the end; ``...`` is not looked at.
    on_phone : what phones say, where that is not what the reference says.
    """

    verdict: str
    said: str = ""
    prepare: Callable[[Server, Path], None] = lambda server, scratch: None
    before: Callable[[Path, Server], None] | None = None
    calls: tuple[str, ...] = ("install",)
    between: tuple[Callable[[Server, Path, Path], None], ...] = ()
    patience: tuple[float, int] = PATIENT
    runtimes: tuple[tuple[str, str], ...] = ()
    current: str | None = None
    on_phone: str | None = None


CASES: dict[str, Case] = {}


def _case(name: str, verdict: str, said: str = "", **more) -> None:
    assert name not in CASES
    if "current" not in more:
        more["current"] = "v1" if verdict == "accepted" else None
    CASES[name] = Case(verdict, said, **more)


# Descriptors


def _said(**change):
    def prepare(server, _):
        server.descriptor |= change

    return prepare


def _descriptor(change: Callable[[dict], bytes]):
    def prepare(server, _):
        server.descriptor = change(server.descriptor)

    return prepare


for name, change, said in (
    ("md5", {"md5": "0" * 32}, "its md5 differs"),
    ("md5 in capitals", {"md5": "A" * 32}, "the descriptor's md5"),
    ("sha256", {"sha256": "0" * 64}, "its sha256 differs"),
    ("sha256 cut", {"sha256": "0" * 63}, "the descriptor's sha256"),
    ("huge size", {"size": 10**12}, "the descriptor's size"),
    ("largest size and one", {"size": archive.MOST_BYTES + 1}, "the descriptor's size"),
    ("size beyond int64", {"size": 10**30}, "the descriptor's size"),
    ("negative size", {"size": -1}, "the descriptor's size"),
    ("no size", {"size": 0}, "the descriptor's size"),
    ("true as size", {"size": True}, "the descriptor's size"),
    ("text as size", {"size": "100"}, "the descriptor's size"),
    ("float as size", {"size": 100.0}, "the descriptor's size"),
    ("smaller size", {"size": 100}, "were announced"),
    ("path as version", {"version": "../../etc"}, "the descriptor's version"),
    ("empty version", {"version": ""}, "the descriptor's version"),
    ("version with a line end", {"version": "v1\n"}, "the descriptor's version"),
    ("long version", {"version": "v" * 65}, "the descriptor's version"),
    ("version in other digits", {"version": "v\u0661"}, "the descriptor's version"),
    ("another version", {"version": "v9"}, "the bundle says it is version 'v1'"),
    ("no address", {"modelUrl": None}, "the descriptor's modelUrl"),
    ("empty address", {"modelUrl": ""}, "the descriptor's modelUrl"),
    ("long address", {"modelUrl": "x" * 2049}, "the descriptor's modelUrl"),
    ("address with a line end", {"modelUrl": "a\nb"}, "the descriptor's modelUrl"),
    ("ftp", {"modelUrl": "ftp://x/y.zip"}, "neither http, https nor a file"),
    ("javascript", {"modelUrl": "javascript:alert(1)"}, "neither http, https nor a file"),
    ("file of this machine", {"modelUrl": "file:///dev/zero"}, "names a file of this machine"),
    ("FILE of this machine", {"modelUrl": "FILE:///dev/zero"}, "names a file of this machine"),
    ("half an IPv6 address", {"modelUrl": "http://[::1/x.zip"}, "is no URL"),
    ("port that is none", {"modelUrl": "http://127.0.0.1:x/x.zip"}, "is no URL"),
    ("text as scene", {"scene": "1"}, "the descriptor's scene"),
    ("huge scene", {"scene": (1 << 31) + 1}, "the descriptor's scene"),
    ("minimum as list", {"minimum": [1]}, "does not map"),
    ("minimum is null", {"minimum": None}, "does not map"),
    ("minimum as number", {"minimum": {"tflite": 2}}, "does not map"),
    ("minimum as word", {"minimum": {"tflite": "newest"}}, "does not map"),
    ("format 3", {"format": 3}, "the format '?3"),
    ("format 1", {"format": 1}, "made by an earlier version"),
    ("format 2.0", {"format": 2.0}, "has the format"),
    ("format true", {"format": True}, "has the format"),
):
    _case(f"descriptor: {name}", "DAMAGED", said, prepare=_said(**change))

for name, change, said in (
    ("garbage", lambda d: b"garbage", "not JSON"),
    ("empty", lambda d: b"", "not JSON"),
    ("list", lambda d: b"[1]", "no JSON object"),
    ("cut", lambda d: json.dumps(d).encode()[:-1], "not JSON"),
    ("more behind", lambda d: json.dumps(d).encode() + b"x", "not JSON"),
    ("byte order mark", lambda d: b"\xef\xbb\xbf" + json.dumps(d).encode(), "not JSON"),
    ("UTF-16", lambda d: json.dumps(d).encode("utf-16"), "not JSON"),
    ("no UTF-8", lambda d: json.dumps(d).replace("v1", "\u00ff").encode("latin-1"), "not JSON"),
    ("key twice", lambda d: json.dumps(d).replace("{", '{"size": 1, ', 1).encode(), "not JSON"),
    ("NaN", lambda d: json.dumps(d | {"x": float("nan")}).encode(), "not JSON"),
    ("deeply nested", lambda d: b"[" * 70 + b"]" * 70, "not JSON"),
    ("no format", lambda d: json.dumps({**d, "format": ...}, default=str).encode(), "format"),
    ("huge", lambda d: json.dumps(d | {"x": "x" * 70_000}).encode(), "larger than"),
    ("endless", lambda d: b" " * (1 << 20), "larger than"),
):
    _case(f"descriptor: {name}", "DAMAGED", said, prepare=_descriptor(change))
_case(
    "descriptor: without a format",
    "DAMAGED",
    "made by an earlier version",
    prepare=_descriptor(
        lambda d: json.dumps({k: v for k, v in d.items() if k != "format"}).encode()
    ),
)
_case("descriptor: unknown fields", "accepted", prepare=_said(later={"x": [1, None]}))
_case("descriptor: scene at its end", "accepted", prepare=_said(scene=1 << 31))
_case(
    "descriptor: no minimum and no scene",
    "DAMAGED",
    "scene",
    prepare=_descriptor(lambda d: json.dumps({**d, "scene": None}).encode()),
)
for name, verdict, least, has in (
    ("later than the app's", "RUNTIME", {"tflite": "2.14.0"}, {"tflite": "2.9.0"}),
    ("later in the last place", "RUNTIME", {"tflite": "2.9.0.1"}, {"tflite": "2.9"}),
    ("by numbers, not by letters", "accepted", {"tflite": "2.9.0"}, {"tflite": "2.14.0"}),
    ("the same, written shorter", "accepted", {"tflite": "2.9.0"}, {"tflite": "2.9"}),
    ("LiteRT for TensorFlow Lite", "accepted", {"tflite": "2.14.0"}, {"litert": "1.2.0"}),
    ("TensorFlow Lite for LiteRT", "RUNTIME", {"litert": "1.2.0"}, {"tflite": "2.17.0"}),
    ("of a runtime that is not used", "accepted", {"mnn": "9.9"}, {"tflite": "2.9.0"}),
):
    _case(
        f"minimum: {name}",
        verdict,
        "" if verdict == "accepted" else "update the app first",
        prepare=_said(minimum=least),
        runtimes=tuple(has.items()),
    )

# Servers

OK = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "status line": (b"", b"H"),
    "headers": (OK, b"X"),
    "1xx answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk sizes": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "body": (OK + b"Content-Length: 1000\r\n\r\n", b"x"),
    "body without a length": (OK + b"\r\n", b"x"),
}
LONG_SECONDS = 4.0


def _drip(server: Server, beginning: bytes, part: bytes):
    def answer(handler):
        handler.wfile.write(beginning)
        until = time.monotonic() + LONG_SECONDS
        while time.monotonic() < until and not server.ended.wait(0.05):
            handler.wfile.write(part)

    return answer


def _answer(path: str, make: Callable[[Server], Callable]):
    def prepare(server, _):
        server.answers[path] = make(server)

    return prepare


for path in ("/bundle.json", "/bundle.zip"):
    kind = path.split(".")[-1]
    for place, (beginning, part) in DRIPS.items():
        if (kind, place) != ("json", "trailers"):  # the content is there: only some wait for more
            _case(
                f"server drips: {place} of the {kind}",
                "FETCH",
                "cannot fetch" if place in ("status line", "1xx answers") else "sends too slowly",
                prepare=_answer(path, lambda s, b=beginning, p=part: _drip(s, b, p)),
                patience=IMPATIENT,
            )
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for name, content in (
        ("nothing", b""),
        ("garbage", b"garbage\r\n\r\n"),
        ("a header without an end", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"),
        ("200 headers", OK + b"".join(b"X-%d: y\r\n" % i for i in range(200)) + b"\r\n{}"),
        ("a chunk of no size", chunked + b"zzzz\r\n"),
        ("a chunk that is cut", chunked + b"1000\r\nshort"),
        ("a cut answer", OK + b"Content-Length: 1000\r\n\r\nshort"),
        ("a redirection to ftp", b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n"),
        ("a redirection to a file", b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"),
        ("a redirection to a blank", b"HTTP/1.1 302 Found\r\nLocation: http://a b/\r\n\r\n"),
        ("a redirection to nothing", b"HTTP/1.1 302 Found\r\n\r\n"),
        ("a redirection to script", b"HTTP/1.1 302 Found\r\nLocation: javascript:x\r\n\r\n"),
        ("not modified", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        ("multiple choices", b"HTTP/1.1 300 Multiple\r\nContent-Length: 2\r\n\r\n{}"),
        ("not found", b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"),
        ("unauthorized", b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'),
        ("an error", b"HTTP/1.1 500 Internal Server Error\r\n\r\n"),
    ):
        _case(
            f"server sends {name} as {kind}",
            "FETCH",
            "cannot fetch",
            prepare=_answer(path, lambda s, c=content: raw(c)),
        )


def _loop(server, _):
    server.answers["/bundle.zip"] = redirect("/bundle.zip")


def _hops(count: int):
    def prepare(server, _):
        for i in range(count):
            server.answers[f"/hop-{i}.zip"] = redirect(
                f"hop-{i + 1}.zip", (301, 302, 303, 307, 308)[i % 5]
            )
        server.descriptor["modelUrl"] = "hop-0.zip"

    return prepare


def _slow_hops(server, _):
    def answer(handler):
        time.sleep(0.3)
        number = int(handler.path.split("-")[1].split(".")[0])
        redirect(f"/slow-{number + 1}.zip")(handler)

    server.answers |= {f"/slow-{i}.zip": answer for i in range(12)}
    server.descriptor["modelUrl"] = "slow-0.zip"


def _heavy_hop(server, _):
    """All that comes with a redirection is nobody's business."""

    def answer(handler):
        handler.wfile.write(b"HTTP/1.0 302 Found\r\nLocation: /bundle-2.zip\r\n\r\n")
        with contextlib.suppress(OSError):
            until = time.monotonic() + LONG_SECONDS
            while time.monotonic() < until and not server.ended.is_set():
                handler.wfile.write(b"x" * 65536)
                time.sleep(0.01)

    server.answers["/bundle.zip"] = answer


def _compressed(path: str):
    import gzip

    def prepare(server, _):
        content = server.zip if path.endswith("zip") else json.dumps(server.descriptor).encode()
        server.answers[path] = whole(gzip.compress(content), more="Content-Encoding: gzip\r\n")

    return prepare


def _endless(server, _):
    def answer(handler):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        until = time.monotonic() + LONG_SECONDS
        while time.monotonic() < until and not server.ended.is_set():
            handler.wfile.write(b"x" * 65536)

    server.answers["/bundle.zip"] = answer


def _sends(content: Callable[[bytes], bytes], status: str = "200 OK"):
    def prepare(server, _):
        server.answers["/bundle.zip"] = whole(content(server.zip), status)

    return prepare


def _named(url: str):
    return _said(modelUrl=url)


_case("redirection: to itself", "FETCH", "redirections", prepare=_loop)
_case("redirection: ten", "accepted", prepare=_hops(10))
_case("redirection: eleven", "FETCH", "redirections", prepare=_hops(11))
_case(
    "redirection: slow ones share a deadline",
    "FETCH",
    "too slowly",
    prepare=_slow_hops,
    patience=IMPATIENT,
)
_case("redirection: with endless content", "accepted", prepare=_heavy_hop)
_case("compressed descriptor", "FETCH", "compressed", prepare=_compressed("/bundle.json"))
_case("compressed zip", "FETCH", "compressed", prepare=_compressed("/bundle.zip"))
_case("zip without an end", "DAMAGED", "were announced", prepare=_endless)
_case("larger zip", "DAMAGED", "were announced", prepare=_sends(lambda c: c + b"x"))
_case("much larger zip", "DAMAGED", "were announced", prepare=_sends(lambda c: c * 20))
_case("smaller zip", "DAMAGED", "were announced", prepare=_sends(lambda c: c[:1000]))
_case("another zip", "DAMAGED", "its md5 differs", prepare=_sends(lambda c: bytes(len(c))))
_case("empty zip", "DAMAGED", "were announced", prepare=_sends(lambda c: b""))
_case("another good status", "accepted", prepare=_sends(lambda c: c, "203 Non-Authoritative"))
_case(
    "partial content that was not asked for", "accepted", prepare=_sends(lambda c: c, "206 Partial")
)
_case(
    "chunks",
    "accepted",
    prepare=lambda s, _: s.answers.__setitem__(
        "/bundle.zip",
        raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"%x\r\n" % len(p) + p + b"\r\n" for p in (s.zip[:1000], s.zip[1000:]))
            + b"0\r\n\r\n"
        ),
    ),
)
_case(
    "no length",
    "accepted",
    prepare=lambda s, _: s.answers.__setitem__("/bundle.zip", raw(OK + b"\r\n" + s.zip)),
)
_case(
    "a missing zip",
    "FETCH",
    "cannot fetch",
    prepare=lambda s, _: (
        _said(modelUrl="missing.zip")(s, _),
        s.answers.__setitem__("/missing.zip", whole(b"", "404 Not Found")),
    ),
)
_case("address with a blank", "accepted", prepare=_named("my bundle.zip"))
_case("address with an umlaut", "accepted", prepare=_named("b\u00fcndel.zip"))
_case("address in another folder", "accepted", prepare=_named("/deep/er/../bundle.zip"))
_case("address with a query", "accepted", prepare=_named("bundle.zip?token=a&b=c%20d"))
_case("nobody listens", "FETCH", "cannot fetch", prepare=_named("http://127.0.0.1:1/bundle.zip"))


def _cut(at: int):
    """The server ends an answer early, though it announced all."""

    def prepare(server, _):
        content = server.zip
        head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        server.answers["/bundle.zip"] = raw(head + content[:at])

    return prepare


def _then(answer: Callable[[Server], Callable] | None):
    def between(server, scratch, folder):
        server.answers = {"/bundle.zip": answer(server)} if answer else {}
        server.asked.clear()

    return between


def _no_ranges(server):
    def answer(handler):
        (whole(b"", "416 No") if handler.headers.get("Range") else whole(server.zip))(handler)

    return answer


def _wrong_range(server):
    """A part from another place than asked for."""
    return lambda handler: whole(server.zip[500:], "206 Partial Content")(handler)


def _changed(server):
    """Another zip at the same address (its ETag would say so): a part of each makes none."""
    other = bytes(byte ^ 1 for byte in server.zip)

    def answer(handler):
        first = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        whole(other[first:], "206 Partial Content" if first else "200 OK")(handler)

    return answer


_case("cut", "FETCH", "the connection was cut after", prepare=_cut(1000))
for name, answer, verdict, said in (
    ("goes on", None, "accepted", ""),
    ("all again", lambda s: whole(s.zip), "accepted", ""),
    ("no ranges", _no_ranges, "accepted", ""),
    ("a wrong range", _wrong_range, "DAMAGED", "were announced|its md5 differs"),
    ("all as a part", lambda s: whole(s.zip, "206 Partial"), "DAMAGED", "were announced"),
    ("another zip", _changed, "DAMAGED", "its md5 differs"),
    ("no more", lambda s: whole(b"", "206 Partial"), "DAMAGED", "were announced"),
):
    _case(
        f"cut, then {name}",
        verdict,
        said,
        prepare=_cut(1000),
        calls=("install",) * 2,
        between=(_then(answer),),
    )
_case(
    "cut, then another zip, then all",
    "accepted",
    prepare=_cut(1000),
    calls=("install",) * 3,
    between=(_then(_changed), _then(None)),
)

# Zips


def zip_with(unpacked: Path, *entries, method=zipfile.ZIP_DEFLATED, **more) -> bytes:
    """The zip of a folder with further entries, as `zipfile` writes it."""
    import io

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(unpacked.iterdir()):
            made.write(path, path.name)
        for info, content in entries:
            made.writestr(
                info if isinstance(info, zipfile.ZipInfo) else zipfile.ZipInfo(info),
                content,
                method,
            )
    return target.getvalue()


def _entries(*entries, **more):
    return lambda server, _: server.announce(zip_with(server.unpacked, *entries, **more))


def _kind(name: str, kind: int, flags: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return info


for name in (
    "../outside",
    "a/../../outside",
    "/etc/outside",
    "C:\\outside",
    "a\\..\\outside",
    "a//b",
    "./a",
    "name.",
    "name ",
    " name",
    ".name",
    "a/.name",
    f".partial-{'0' * 8}-{'9' * 40}-x",
    ".partial-phone-x",
    "CON",
    "a/aux.txt",
    "LPT1.tar.gz",
    "nul .txt",
    "folder/",
    "a\u0308",
    "\u202egpj.exe",
    "\u212aelvin",
    "a\tb",
    "x" * 201,
):
    shown = name.encode("unicode_escape").decode()[:30]
    _case(f"zip: a file named '{shown}'", "DAMAGED", "a file named", prepare=_entries((name, b"x")))
for name, entries, said in (
    ("a file below a file", [("model.json/x", b"x")], "model.json twice"),
    ("a name in another case", [("model.TFLITE", b"x")], "twice"),
    ("folders in two cases", [("Docs/a.txt", b"x"), ("docs/b.txt", b"x")], "holds docs twice"),
    ("a file that is a folder too", [("docs", b"x"), ("docs/b.txt", b"x")], "docs twice"),
    ("a file that is not listed", [("extra.txt", b"x")], "extra.txt is not listed in model.json"),
    ("a link", [(_kind("notes.txt", stat.S_IFLNK), b"/etc/passwd")], "a link, a device or"),
    ("a device", [(_kind("notes.txt", stat.S_IFCHR), b"")], "a link, a device or"),
    ("a fifo", [(_kind("notes.txt", stat.S_IFIFO), b"")], "a link, a device or"),
    ("a folder as a file", [(_kind("notes.txt", stat.S_IFDIR), b"")], "a link, a device or"),
    ("a bomb", [("bomb.txt", bytes(3 << 20))], "unfolds to"),
    ("many files", [(f"f{i}", b"x") for i in range(501)], "files, from 1 to 500 make sense"),
):
    _case(f"zip: {name}", "DAMAGED", said, prepare=_entries(*entries))
_case(
    "zip: the same name twice",
    "DAMAGED",
    "twice",
    prepare=lambda s, _: s.announce(
        zip_with(s.unpacked, ("noteA.txt", b"x"), ("noteB.txt", b"x")).replace(
            b"noteB.txt", b"noteA.txt"
        )
    ),
)
_case(
    "zip: a name that a zero byte cuts",
    "DAMAGED",
    "a file named",
    prepare=lambda s, _: s.announce(
        zip_with(s.unpacked, ("noteA.txt", b"x")).replace(b"noteA.txt", b"note\0.txt")
    ),
)
for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
    _case(
        f"zip: method {method}",
        "DAMAGED",
        "" if method == zipfile.ZIP_LZMA else "compressed in a way",
        prepare=_entries(("notes.txt", b"x" * 100), method=method),
    )
_case(
    "zip: stored",
    "DAMAGED",
    "notes.txt is not listed",
    prepare=_entries(("notes.txt", b"x"), method=0),
)


def local(content: bytes, place: int, value: bytes) -> bytes:
    """A zip with other bytes in the header before its last file."""
    header = content.rfind(b"PK\x03\x04")
    return content[: header + place] + value + content[header + place + len(value) :]


def central(content: bytes, place: int, value: bytes) -> bytes:
    """A zip with other bytes in the last entry of its directory."""
    header = content.rfind(b"PK\x01\x02")
    return content[: header + place] + value + content[header + place + len(value) :]


def both(content: bytes, place: int, value: bytes) -> bytes:
    """Other bytes in both headers of the last file, by their place in the local one."""
    return central(local(content, place, value), place + 2, value)


def last(content: bytes, place: int, value: bytes) -> bytes:
    """Other bytes in the record at the end."""
    at = len(content) - 22 + place
    return content[:at] + value + content[at + len(value) :]


def _gap(c: bytes) -> bytes:
    at, end = c.find(b"PK\x01\x02"), len(c) - 22
    return c[:at] + b"??" + c[at:end] + c[end : end + 16] + (at + 2).to_bytes(4, "little") + c[-2:]


def raw_zip(*parts: tuple) -> bytes:
    """A zip of entries given by name, method, packed bytes, size, checksum, with headers that
    agree.
    """
    body, directory = b"", b""
    for name, method, packed, size, crc, *rest in parts:
        flags, needed, extra = [*rest, *(0, 20, b"")[len(rest) :]]
        fields = struct.pack("<HHHHIII", flags, method, 0, 33, crc, len(packed), size)
        place = len(body)
        body += b"PK\x03\x04" + struct.pack("<H", needed) + fields
        body += struct.pack("<HH", len(name), len(extra)) + name + extra + packed
        directory += b"PK\x01\x02" + struct.pack("<HH", 20, needed) + fields
        directory += (
            struct.pack("<HHHHHII", len(name), len(extra), 0, 0, 0, 0, place) + name + extra
        )
    end = struct.pack("<HHHHIIH", 0, 0, len(parts), len(parts), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def deflated(content: bytes) -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    return made.compress(content) + made.flush()


def _rebuilt(change: Callable[[bytes], tuple]):
    """The bundle's zip, its ``golden.bin`` given by what `change` makes of its content."""

    def prepare(server, _):
        parts = []
        for path in sorted(server.unpacked.iterdir()):
            content = path.read_bytes()
            part = (8, deflated(content), len(content), zlib.crc32(content))
            parts.append(
                (path.name.encode(), *(change(content) if path.name == "golden.bin" else part))
            )
        server.announce(raw_zip(*parts))

    return prepare


def _packed(
    c: bytes, packed=None, size=None, crc=None, method=8, flags=0, needed=20, extra=b""
) -> tuple:
    packed = deflated(c) if packed is None else packed
    size, crc = len(c) if size is None else size, zlib.crc32(c) if crc is None else crc
    return method, packed, size, crc, flags, needed, extra


for name, change, verdict in (
    ("as it is", lambda c: _packed(c), "accepted"),
    ("stored", lambda c: _packed(c, c, method=0), "accepted"),
    ("flag of UTF-8 names", lambda c: _packed(c, flags=0x800), "accepted"),
    ("flag of a descriptor behind", lambda c: _packed(c, flags=0x8), "accepted"),
    ("flag of encryption", lambda c: _packed(c, flags=0x1), "DAMAGED"),
    ("flag of strong encryption", lambda c: _packed(c, flags=0x40), "DAMAGED"),
    ("flag of a patch", lambda c: _packed(c, flags=0x20), "DAMAGED"),
    ("later version needed", lambda c: _packed(c, needed=64), "DAMAGED"),
    ("extra field", lambda c: _packed(c, extra=b"\x99\x99\x00\x00"), "DAMAGED"),
    ("bytes behind the compressed", lambda c: _packed(c, deflated(c) + b"more"), "DAMAGED"),
    ("compressed twice", lambda c: _packed(c, deflated(c) * 2), "DAMAGED"),
    ("compressed cut", lambda c: _packed(c, deflated(c)[:-5]), "DAMAGED"),
    ("compressed garbage", lambda c: _packed(c, b"\xff" * 100), "DAMAGED"),
    ("compressed empty", lambda c: _packed(c, b""), "DAMAGED"),
    ("smaller than it is", lambda c: _packed(c, size=100, crc=zlib.crc32(c[:100])), "DAMAGED"),
    ("larger than it is", lambda c: _packed(c, size=len(c) + 1), "DAMAGED"),
    ("checksum", lambda c: _packed(c, crc=1), "DAMAGED"),
    (
        "stored smaller",
        lambda c: _packed(c, c, size=100, crc=zlib.crc32(c[:100]), method=0),
        "DAMAGED",
    ),
    ("stored larger", lambda c: _packed(c, c, size=len(c) + 1, method=0), "DAMAGED"),
    ("zlib in place of deflate", lambda c: _packed(c, zlib.compress(c)), "DAMAGED"),
    ("unfolds to 250 times", lambda c: _packed(c, deflated(bytes(2 << 20)), 2 << 20), "DAMAGED"),
    ("says 300 MB", lambda c: _packed(c, size=300 << 20), "DAMAGED"),
):
    _case(f"entry: {name}", verdict, prepare=_rebuilt(change))

LAYOUTS = {
    "bytes before": lambda c: b"#!/bin/sh\n" + c,
    "bytes after": lambda c: c + b"\0",
    "a comment": lambda c: c[:-2] + b"\x05\0hello",
    "another zip after": lambda c: c + c,
    "bytes before the directory": _gap,
    "flags": lambda c: local(c, 6, b"\x08"),
    "method": lambda c: local(c, 8, b"\0\0"),
    "crc": lambda c: local(c, 14, b"abcd"),
    "packed size": lambda c: local(c, 18, b"\x01\0\0\0"),
    "size": lambda c: local(c, 22, b"\x01\0\0\0"),
    "name": lambda c: local(c, 30, b"M"),
    "extra": lambda c: local(c, 28, b"\x01\0"),
    "directory's size of a file": lambda c: central(c, 24, b"\x01\0\0\0"),
    "directory's place of a file": lambda c: central(c, 42, b"\0\0\0\0"),
    "both sizes": lambda c: both(c, 22, b"\x01\0\0\0"),
    "both packed sizes": lambda c: both(c, 18, b"\x01\0\0\0"),
    "huge packed sizes": lambda c: both(c, 18, b"\xff\xff\xff\x7f"),
    "disk": lambda c: last(c, 4, b"\x01\0"),
    "fewer files": lambda c: last(c, 8, b"\x01\0\x01\0"),
    "more files": lambda c: last(c, 8, b"\x09\0\x09\0"),
    "two numbers of files": lambda c: last(c, 8, b"\x01\0"),
    "64-bit marks": lambda c: last(c, 8, b"\xff" * 12),
    "directory elsewhere": lambda c: last(c, 16, b"\0\0\0\0"),
    "cut": lambda c: c[:-1],
    "half": lambda c: c[: len(c) // 2],
    "nothing but an end": lambda c: b"PK\x05\x06" + bytes(18),
    "no zip": lambda c: b"hello",
    "zeros": lambda c: bytes(len(c)),
}
for name, layout in LAYOUTS.items():
    _case(f"layout: {name}", "DAMAGED", prepare=lambda s, _, made=layout: s.announce(made(s.zip)))


def _directory_only(server, _):
    entry = b"PK\x01\x02" + b"\0" * 24 + b"\x01" + b"\0" * 17 + b"x"
    size = len(entry) * 2000
    server.announce(
        entry * 2000 + b"PK\x05\x06" + b"\0" * 8 + size.to_bytes(4, "little") + b"\0" * 6
    )


_case("layout: all directory", "DAMAGED", "files, from 1 to 500|too large", prepare=_directory_only)

# Contents


def _content(change: Callable[[Path], None], manifest: bool = True, version: str = "v1"):
    """The bundle with a changed folder, and a manifest that fits."""

    def prepare(server, scratch):
        folder = scratch / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(server.unpacked, folder)
        change(folder)
        if manifest:
            said = json.loads((folder / "model.json").read_text())
            said["sha256"] = {
                p.relative_to(folder).as_posix(): files.sha256(p)
                for p in sorted(folder.rglob("*"))
                if p.is_file() and p.name != "model.json"
            }
            (folder / "model.json").write_text(json.dumps(said))
        server.publish(folder, version)

    return prepare


def _manifest(change: Callable[[dict], object]):
    def edit(folder):
        said = json.loads((folder / "model.json").read_text())
        changed = change(said)
        (folder / "model.json").write_text(json.dumps(said if changed is None else changed))

    return _content(edit, manifest=False)


def _halves(folder: Path) -> None:
    (folder / "reader.tflite").write_bytes(b"a half")
    said = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**said, "halves": {"reader": {}}}))


def _bytes(name: str, change: Callable[[bytes], bytes]):
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def _cases(change: Callable[[golden.Golden], golden.Golden]):
    """Golden cases that are others, in both of their forms."""

    def edit(folder):
        made = change(golden.from_bytes((folder / "golden.bin").read_bytes()))
        (folder / "golden.bin").write_bytes(golden.to_bytes(made))
        with contextlib.suppress(ValueError):  # which NaN has no place in
            (folder / "golden.json").write_text(golden.to_json(made))

    return edit


def _case_values(change: Callable[[np.ndarray], np.ndarray], of: str):
    def edit(cases: golden.Golden) -> golden.Golden:
        def changed(case):
            if of == "inputs":
                return replace(case, inputs={n: change(v) for n, v in case.inputs.items()})
            if of == "trained":
                return replace(case, trained={n: change(v) for n, v in case.trained.items()})
            return replace(
                case,
                expected={
                    f: {n: change(v) for n, v in o.items()} for f, o in case.expected.items()
                },
            )

        return replace(cases, cases=tuple(map(changed, cases.cases)))

    return edit


def _nan(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.reshape(-1)[-1] = np.nan
    return values


def _tolerance(value: float, manifest: bool = True):
    def edit(folder):
        def change(cases):
            return replace(
                cases, tolerance={f: dict.fromkeys(t, value) for f, t in cases.tolerance.items()}
            )

        made = change(golden.from_bytes((folder / "golden.bin").read_bytes()))
        (folder / "golden.bin").write_bytes(golden.to_bytes(made))
        with contextlib.suppress(ValueError):
            (folder / "golden.json").write_text(golden.to_json(made))
        if manifest:
            said = json.loads((folder / "model.json").read_text())
            for file, allowed in made.tolerance.items():
                said["files"][file]["tolerance"] = dict(allowed)
            with contextlib.suppress(ValueError):
                (folder / "model.json").write_text(json.dumps(said, allow_nan=False))

    return edit


def _renamed(folder):
    made = golden.from_bytes((folder / "golden.bin").read_bytes())
    first, *rest = made.inputs
    cases = tuple(
        replace(c, inputs={("x" if n == first.name else n): v for n, v in c.inputs.items()})
        for c in made.cases
    )
    made = replace(made, inputs=(first._replace(name="x"), *rest), cases=cases)
    (folder / "golden.bin").write_bytes(golden.to_bytes(made))
    (folder / "golden.json").write_text(golden.to_json(made))


def _output(manifest: dict) -> str:
    return manifest["schema"]["outputs"][0]["name"]


def _without(name: str):
    return lambda folder: (folder / name).unlink()


for name, prepare, said in (
    (
        "a file that is missing",
        _content(_without("golden.bin"), manifest=False),
        "golden.bin is missing",
    ),
    ("no golden cases", _content(_without("golden.bin")), "golden.bin cannot be read"),
    ("no model", _content(_without("model.tflite")), ""),
    ("no manifest", _content(_without("model.json"), manifest=False), "has no model.json"),
    (
        "another file",
        _content(_bytes("model.mnn", lambda c: c[:-1] + b"?"), manifest=False),
        "is not the file",
    ),
    (
        "manifest cut",
        _content(_bytes("model.json", lambda c: c[:-1]), manifest=False),
        "model.json is damaged",
    ),
    ("manifest empty", _manifest(lambda m: {}), "model.json is damaged"),
    ("manifest a list", _manifest(lambda m: [m]), "model.json is damaged"),
    (
        "manifest without hashes",
        _manifest(lambda m: m.pop("sha256") and None),
        "model.json is damaged",
    ),
    ("hashes a list", _manifest(lambda m: m.update(sha256=[])), "model.json is damaged"),
    (
        "hash a number",
        _manifest(lambda m: m["sha256"].update({"golden.bin": 1})),
        "model.json is damaged",
    ),
    (
        "another hash",
        _manifest(lambda m: m["sha256"].update({"golden.bin": "0" * 64})),
        "is not the file",
    ),
    ("no models", _manifest(lambda m: m.update(files={})), "model.json is damaged"),
    (
        "models a list",
        _manifest(lambda m: m.update(files=["model.tflite"])),
        "model.json is damaged",
    ),
    ("unknown model", _manifest(lambda m: m["files"].update(x={})), "model.json is damaged"),
    (
        "listed outside",
        _manifest(lambda m: m["sha256"].update({"../x": "0" * 64})),
        "is missing, although",
    ),
    ("format 3", _manifest(lambda m: m.update(format=3)), "has the format"),
    ("no format", _manifest(lambda m: m.pop("format") and None), "earlier version"),
    ("another version", _manifest(lambda m: m.update(version="v2")), "says it is version 'v2'"),
    ("no version", _manifest(lambda m: m.pop("version") and None), "says it is version ''"),
    ("no schema", _manifest(lambda m: m.pop("schema") and None), "schema in model.json is damaged"),
    ("schema a list", _manifest(lambda m: m.update(schema=[])), "schema in model.json is damaged"),
    (
        "no inputs",
        _manifest(lambda m: m["schema"].update(inputs=[])),
        "schema in model.json is damaged",
    ),
    (
        "input's type",
        _manifest(lambda m: m["schema"]["inputs"][0].update(dtype="float16")),
        "schema in model.json",
    ),
    (
        "input's shape",
        _manifest(lambda m: m["schema"]["inputs"][0].update(shape=[-1, 0])),
        "schema in model.json",
    ),
    (
        "input's name",
        _manifest(lambda m: m["schema"]["inputs"][0].update(name="a b")),
        "schema in model.json",
    ),
    (
        "another input",
        _manifest(lambda m: m["schema"]["inputs"][0].update(name="other")),
        "golden cases are of",
    ),
    (
        "a fixed batch",
        _manifest(
            lambda m: [t.update(shape=[4, *t["shape"][1:]]) for t in m["schema"]["inputs"]] and None
        ),
        "rows, the model takes 4",
    ),
    (
        "no tolerance",
        _manifest(lambda m: m["files"]["model.tflite"].pop("tolerance") and None),
        "model.json says",
    ),
    (
        "another tolerance",
        _manifest(lambda m: m["files"]["model.tflite"]["tolerance"].update({_output(m): 1e-3})),
        "model.json says",
    ),
    (
        "tolerance as text",
        _manifest(lambda m: m["files"]["model.tflite"]["tolerance"].update({_output(m): "1e-05"})),
        "model.json says",
    ),
    ("golden cut", _content(_bytes("golden.bin", lambda c: c[:-1])), "cut short"),
    ("golden empty", _content(_bytes("golden.bin", lambda c: b"")), "golden cases"),
    ("golden long", _content(_bytes("golden.bin", lambda c: c + b"\0")), "go on for"),
    (
        "golden of before",
        _content(_bytes("golden.bin", lambda c: b"GOLDEN01" + c[8:])),
        "earlier version",
    ),
    (
        "golden no cases",
        _content(_bytes("golden.bin", lambda c: b"NOTHING!" + c[8:])),
        "no golden cases",
    ),
    (
        "golden huge number",
        _content(_bytes("golden.bin", lambda c: c[:8] + b"\xff" * 4 + c[12:])),
        "a number is",
    ),
    (
        "golden huge name",
        _content(_bytes("golden.bin", lambda c: c[:12] + b"\xff\x0f\0\0" + c[16:])),
        "",
    ),
    ("golden of no case", _content(_cases(lambda g: replace(g, cases=()))), "are empty"),
    ("golden NaN input", _content(_cases(_case_values(_nan, "inputs"))), "not finite"),
    ("golden NaN score", _content(_cases(_case_values(_nan, "expected"))), "not finite"),
    ("golden NaN of the trained", _content(_cases(_case_values(_nan, "trained"))), "not finite"),
    (
        "golden all alike",
        _content(_cases(_case_values(np.zeros_like, "expected"))),
        "prove nothing",
    ),
    ("golden tolerance of 10", _content(_tolerance(10.0)), "prove nothing"),
    ("golden tolerance of -1", _content(_tolerance(-1.0)), "prove nothing"),
    ("golden tolerance NaN", _content(_tolerance(float("nan"))), "prove nothing"),
    ("golden tolerance of .06", _content(_tolerance(0.06)), "prove nothing"),
    ("golden of another input", _content(_renamed), "golden cases are of"),
    (
        "golden other scores",
        _content(_cases(_case_values(lambda v: v + np.float32(1e-3), "expected"))),
        "does not score as it should",
    ),
    (
        "golden other inputs",
        _content(_cases(_case_values(lambda v: v + np.float32(0.3), "inputs"))),
        "does not score as it should",
    ),
    (
        "no model at all",
        _content(_bytes("model.tflite", lambda c: b"no model" * 100)),
        "cannot be scored|cannot be opened|is not a usable",
    ),
    (
        "empty model",
        _content(_bytes("model.tflite", lambda c: b"")),
        "cannot be scored|cannot be opened|is not a usable",
    ),
):
    _case(f"content: {name}", "DAMAGED", said, prepare=prepare)
for name, prepare in (
    ("golden.json of another", _content(lambda f: (f / "golden.json").write_text("{}"))),
    (
        "golden.json with another score",
        _content(
            _bytes(
                "golden.json",
                lambda c: re.sub(
                    rb"0\.(\d)", lambda m: b"0." + (b"1" if m[1] != b"1" else b"2"), c, count=1
                ),
            )
        ),
    ),
    ("golden.json damaged", _content(_bytes("golden.json", lambda c: c[:-3]))),
    ("golden.json missing", _content(_without("golden.json"))),
):
    # which phones do not read: it is for people, and the tests of engineers; its hash is compared
    _case(
        f"content: {name}",
        "DAMAGED",
        "golden.json",
        prepare=prepare,
        current=...,
        on_phone="accepted",
    )
_case(
    "content: halves of another model",
    "DAMAGED",
    "the halves in model.json are damaged",
    prepare=_content(_halves),
    current=...,
    on_phone="accepted",  # they score the whole model; a half's hash is compared
)
_case(
    "content: a file more, listed",
    "accepted",
    prepare=_content(lambda folder: (folder / "notes.txt").write_text("hello")),
)
_case(
    "content: in a folder, listed",
    "accepted",
    prepare=_content(
        lambda f: (
            (f / "docs").mkdir(),
            (f / "docs" / "a+b (1).txt".replace("(1)", "1")).write_text("x"),
        )
    ),
)

# Folders


def _letter(name: str):
    def before(folder, server):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text("dear")

    return before


for name in ("letter.txt", "downloads/letter.txt", "versions/v1/letter.txt", "current", ".lock"):
    _case(
        f"folder: of somebody who has {name}",
        "FOLDER",
        "is not empty",
        before=_letter(name),
        current=... if name == "current" else None,
    )
_case("folder: empty", "accepted", before=lambda folder, _: folder.mkdir())


def _behind_a_link(folder, _):
    deep = folder.with_name(f"{folder.name}-deep") / "a" / "b"
    deep.mkdir(parents=True)
    folder.symlink_to(os.path.relpath(deep, folder.parent))


_case("folder: behind a link", "accepted", before=_behind_a_link)
PARTS = {
    "versions": "folder",
    "downloads": "folder",
    "current": "",
    "previous": "",
    ".workbench-bundles": "file",
}


def _part(name: str, kind: str):
    def between(server, scratch, folder):
        part, outside = folder / name, folder.with_name(f"{folder.name}-outside")
        if part.is_symlink() or part.is_file():
            part.unlink()
        elif part.is_dir():
            shutil.rmtree(part)
        outside.mkdir(exist_ok=True)
        (outside / f"v1-{'0' * 64}").mkdir(exist_ok=True)
        {
            "link": lambda: part.symlink_to(os.path.relpath(outside, folder)),
            "file": lambda: part.write_text("dear"),
            "fifo": lambda: os.mkfifo(part),
            "folder": part.mkdir,
        }[kind]()

    return between


for name, usual in PARTS.items():
    for kind in ("link", "file", "fifo", "folder"):
        if kind != usual:
            for call in ("install", "rollback"):
                _case(
                    f"folder: {kind} as {name}, {call}",
                    "FOLDER",
                    f"{re.escape(name)} (is|leads)",
                    calls=("install", call),
                    between=(_part(name, kind),),
                    current=... if name in ("versions", "current") else "v1",
                )


def _as_download(kind: str):
    def between(server, scratch, folder):
        said = server.descriptor
        zipped = folder / "downloads" / f"{said['version']}-{said['sha256']}.zip"
        letter = folder.with_name(f"{folder.name}-letter")
        letter.write_text("dear")
        zipped.unlink()
        {
            "fifo": lambda: os.mkfifo(zipped),
            "link": lambda: zipped.symlink_to(os.path.relpath(letter, zipped.parent)),
            "hard link": lambda: zipped.hardlink_to(letter),
            "folder": zipped.mkdir,
            "socket": lambda: os.mknod(zipped, stat.S_IFSOCK | 0o600),
        }[kind]()
        server.answers = {}

    return between


for kind in ("fifo", "link", "hard link", "folder", "socket"):
    _case(
        f"folder: {kind} as a download",
        "FOLDER",
        "zip is no plain file: move it away",
        prepare=_cut(1000),
        calls=("install",) * 2,
        between=(_as_download(kind),),
    )

# One after the other


def _second(server, scratch, folder):
    """A second version with the same models."""
    made = scratch / "v2"
    if not made.exists():
        shutil.copytree(server.unpacked, made)
        (made / "notes.txt").write_text("v2")
        said = json.loads((made / "model.json").read_text()) | {"version": "v2"}
        said["sha256"]["notes.txt"] = files.sha256(made / "notes.txt")
        (made / "model.json").write_text(json.dumps(said))
    server.publish(made, "v2")


def _first(server, scratch, folder):
    server.reset()


def _same(server, scratch, folder):
    pass


def _damage(which: str, file: str = "model.mnn"):
    def between(server, scratch, folder):
        (folder / which / file).write_bytes(b"cut short")

    return between


for name, verdict, said, calls, between, current in (
    ("twice", "accepted", "", ("install", "install"), (_same,), "v1"),
    ("a second", "accepted", "", ("install", "install"), (_second,), "v2"),
    ("an older", "accepted", "", ("install",) * 3, (_second, _first), "v1"),
    ("back", "accepted", "", ("install", "install", "rollback"), (_second, _same), "v1"),
    (
        "back and forth",
        "accepted",
        "",
        ("install", "install", "rollback", "rollback"),
        (_second, _same, _same),
        "v2",
    ),
    (
        "back with nothing before",
        "FOLDER",
        "no version before",
        ("install", "rollback"),
        (_same,),
        "v1",
    ),
    ("back with nothing", "FOLDER", "nothing is installed in", ("rollback",), (), None),
    (
        "back to what is damaged",
        "DAMAGED",
        "model.mnn is not the file",
        ("install", "install", "rollback"),
        (_second, _damage("previous")),
        "v2",
    ),
    ("repair", "accepted", "", ("install", "install"), (_damage("current"),), "v1"),
    (
        "repair, back",
        "accepted",
        "",
        ("install",) * 3 + ("rollback",),
        (_second, _damage("current"), _same),
        "v1",
    ),
    (
        "the app refuses the second",
        "error",
        "does not like it",
        ("install", "switch"),
        (_second,),
        "v1",
    ),
    ("the app refuses the first", "error", "does not like it", ("switch",), (), None),
    (
        "the app refuses, then back",
        "accepted",
        "",
        ("install", "install", "switch", "rollback"),
        (_second, _first, _same),
        "v1",
    ),
    (
        "a wrong one after a right one",
        "DAMAGED",
        "its sha256 differs",
        ("install", "install"),
        (lambda s, *_: (_second(s, *_), s.descriptor.update(sha256="0" * 64)),),
        "v1",
    ),
):
    _case(f"then: {name}", verdict, said, calls=calls, between=between, current=current)


# Clients

Verdict = tuple[str, str]


class Python:
    """The reference."""

    name = "python"

    def __init__(self, folder: Path):
        self.folder = folder

    def call(self, call: str, folder: Path, url: str = "", case: Case | None = None) -> Verdict:
        case = case or Case("")
        before = fetch.TIMEOUT_SECONDS, fetch.SLOWEST
        fetch.TIMEOUT_SECONDS, fetch.SLOWEST = case.patience
        try:
            if call == "rollback":
                client.rollback(folder)
                return "accepted", ""
            switch = {"switch": _refuse}.get(call)
            return "accepted", client.install(
                url, folder, runtimes=dict(case.runtimes), switch=switch
            ).version
        except DamagedFile as error:
            return "DAMAGED", str(error)
        except BadInput as error:
            said = str(error)
            if said.startswith("cannot fetch"):
                return "FETCH", said
            return ("RUNTIME" if said.startswith("the bundle needs") else "FOLDER"), said
        except RuntimeError as error:
            return "error", str(error)
        finally:
            fetch.TIMEOUT_SECONDS, fetch.SLOWEST = before


def _refuse(folder):
    raise RuntimeError("the app does not like it")


class Process:
    """A client in a process that takes a call a line and answers with a line.

    Parameters
    ----------
    folder : where installations are made.
    seen : that folder as the process sees it.
    """

    def __init__(self, name: str, command: list, folder: Path, seen: Path):
        self.name, self.folder, self._seen, self._command = name, folder, seen, command
        self.process = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def close(self) -> None:
        self.process.communicate()

    def seen(self, folder: Path) -> Path:
        return self._seen / folder.relative_to(self.folder)

    def ask(self, *words) -> list[str]:
        self.send(*words)
        return self.answer()

    def send(self, *words) -> None:
        self.process.stdin.write("\t".join(map(str, words)) + "\n")

    def answer(self) -> list[str]:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} has ended with {self.process.wait()}")
        return line.rstrip("\n").split("\t")

    def call(self, call: str, folder: Path, url: str = "", case: Case | None = None) -> Verdict:
        case = case or Case("")
        runtimes = (f"{name}={version}" for name, version in case.runtimes)
        kind, *said = self.ask(call, self.seen(folder), url, *case.patience, *runtimes)
        return kind, " ".join(said)


def tree(folder: Path) -> dict[str, object]:
    """What is in a folder: links by where they lead, files by their bytes, others by their kind."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else stat.S_IFMT(mode)
    return found


def meet(
    case: Case, server: Server, folder: Path, scratch: Path, said: Callable[..., Verdict]
) -> Verdict:
    """What a client says to the last call of a case.

    Parameters
    ----------
    folder : of the installation, not there yet.
    scratch : for what the case makes.
    said : the client's `call`.
    """
    server.reset()
    case.prepare(server, scratch)
    if case.before:
        case.before(folder, server)
    verdict = ("", "")
    try:
        for call, between in zip(case.calls, (None, *case.between), strict=True):
            if between:
                between(server, scratch, folder)
            verdict = said(call, folder, server.url, case)
    finally:
        server.ended.set()
    return verdict
