"""Fetch a descriptor and its zip: from a server that may be slow, wrong or hostile, going on where
it stopped.

A socket's timeout is for one read, and a server that sends a byte now and then (of headers, of the
handshake, of a chunk's size) never meets it. So a thread fetches, and whoever waits for it has one
deadline over all: `TIMEOUT_SECONDS`, and as long as what has arrived takes at the slowest rate.
"""

from __future__ import annotations

import http.client
import os
import queue
import string
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from helpers import files
from helpers.bundle import archive
from helpers.errors import BadInput, DamagedFile, WorkbenchError

TIMEOUT_SECONDS = 30.0
SLOWEST = 8 << 10
"""Bytes a second: a slower download is given up after a while, and goes on where it stopped when it
is tried again.
"""
_STEP_SECONDS = 0.1
"""How long is waited without looking whether an interruption has come: one may fail to wake who
waits.
"""
_TOO_SLOWLY = "the server sends too slowly, try again later"
_BLOCK = 1 << 16
_MOST_DESCRIPTOR = 1 << 16
_SCHEMES = ("http", "https", "file")
_PARTIAL_CONTENT, _NO_SUCH_RANGE = 206, 416
_REDIRECTED, _MOST_REDIRECTIONS = (301, 302, 303, 307, 308), 10
_PLAIN = "%/:=&?~#+!$,;'@()*[]"
"""What a URL may hold besides letters, digits and ``_.-``; blanks and the like are quoted."""


def descriptor_place(source: str) -> str:
    """The descriptor's URL."""
    kind = _scheme(source, BadInput)
    if kind not in _SCHEMES and "://" in source:
        raise BadInput(f"{source} is neither http, https, a file nor a path")
    named = source.removesuffix(".zip") + ".json" if source.endswith(".zip") else source
    if kind in _SCHEMES:
        return named
    path = Path(os.path.realpath(named))
    if not path.is_file():
        raise BadInput(
            f"there is no file {path}: give bundle.json, which announces a bundle, or the zip "
            "beside it"
        )
    return path.as_uri()


def zip_place(place: str, descriptor: archive.Descriptor) -> str:
    """The zip's URL, from the descriptor's."""
    kind = _scheme(descriptor.modelUrl, DamagedFile)
    if kind == "file" and _scheme(place, BadInput) != "file":
        raise DamagedFile(
            f"the descriptor from {place} names a file of this machine, {descriptor.modelUrl}"
        )
    return urllib.parse.urljoin(place, descriptor.modelUrl)


def _scheme(url: str, error: type[WorkbenchError]) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port  # which is looked at only then
        return parts.scheme
    except ValueError as reason:
        raise error(f"{url!r} is no URL: {reason}") from reason


def small(place: str) -> bytes:
    """The descriptor's bytes; BadInput if it cannot be fetched, DamagedFile if it is too large to
    be one.
    """
    content = b""
    with _Answer(place, _MOST_DESCRIPTOR + 1) as answer:
        for part in answer:
            content += part
    if len(content) > _MOST_DESCRIPTOR:
        raise DamagedFile(f"{place} is no descriptor: it is larger than {_MOST_DESCRIPTOR:,} bytes")
    return content


class _Answer:
    """What is at a URL, at most `most` bytes of it: iterate over it once, in a `with`.

    The thread ends soon after it is given up; one that the server keeps busy within a read, with
    the process.

    Raises
    ------
    BadInput : it cannot be fetched, or comes too slowly.
    """

    def __init__(self, url: str, most: int, headers: Mapping[str, str] | None = None):
        if _scheme(url, DamagedFile) not in _SCHEMES:
            raise DamagedFile(f"{url} is neither http, https nor a file")
        self._url, self._started, self._received = url, time.monotonic(), 0
        self._parts: queue.Queue = queue.Queue(maxsize=16)
        self._given_up = threading.Event()
        threading.Thread(target=self._fetch, args=(most, dict(headers or {})), daemon=True).start()

    def __enter__(self) -> _Answer:
        try:
            self.status = self._next()
        except BaseException:
            self._given_up.set()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._given_up.set()

    def __iter__(self) -> Iterator[bytes]:
        while part := self._next():
            self._received += len(part)
            yield part

    def _next(self):
        """What the thread hands over next: the status, parts of the content, an empty one at the
        end.
        """
        until = self._started + TIMEOUT_SECONDS + self._received / SLOWEST
        while True:
            left = until - time.monotonic()
            try:
                part = self._parts.get(timeout=min(_STEP_SECONDS, max(0.0, left)))
                break
            except queue.Empty:
                if left <= 0:
                    raise BadInput(f"cannot fetch {self._url}: {_TOO_SLOWLY}") from None
        if isinstance(part, BaseException):
            raise part
        return part

    def _fetch(self, most: int, headers: dict[str, str]) -> None:
        try:
            with _opened(self._url, headers) as answer:
                announced, left = getattr(answer, "length", None), most
                self._hand_over(getattr(answer, "status", None))
                while left and not self._given_up.is_set():
                    with _fetching(self._url):
                        part = answer.read1(min(_BLOCK, left))
                        left -= len(part)
                        if not part and announced is not None and most - left < announced:
                            raise http.client.HTTPException(
                                f"the connection was cut after {most - left:,} of {announced:,} "
                                "bytes: try again, a zip goes on there"
                            )
                    self._hand_over(part)
                    if not part:
                        return
                self._hand_over(b"")
        except BaseException as error:  # whoever waits raises it
            self._hand_over(error)

    def _hand_over(self, part) -> None:
        while not self._given_up.is_set():
            with suppress(queue.Full):
                return self._parts.put(part, timeout=1.0)


class _Unfollowed(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the library's own reads all of what comes with one, be it endless."""

    def http_error_302(self, *_) -> None:
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


@contextmanager
def _opened(url: str, headers: dict[str, str]) -> Iterator:
    """The answer at the end of all redirections."""
    with _fetching(url):
        answer = _final(url, {"Accept-Encoding": "identity", **headers})
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity":
            answer.close()
            raise http.client.HTTPException(
                f"the server sends it compressed ({encoding}), which was not asked for"
            )
    with answer:
        yield answer


def _final(url: str, headers: dict[str, str]):
    opener, place = urllib.request.build_opener(_Unfollowed), urllib.parse.quote(url, safe=_PLAIN)
    for _ in range(_MOST_REDIRECTIONS + 1):
        request = urllib.request.Request(place, headers=headers)
        try:
            return opener.open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as answer:
            target = answer.headers.get("Location")
            if answer.code not in _REDIRECTED or target is None:
                raise
            answer.close()
            place = _redirected(place, target)
    raise urllib.error.URLError(f"more than {_MOST_REDIRECTIONS} redirections")


def _redirected(place: str, target: str) -> str:
    """Where a redirection leads: to http and https only, and from https to https."""
    quoted = urllib.parse.quote(target, encoding="latin-1", safe=string.punctuation)
    url = urllib.parse.urljoin(place, quoted)
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise urllib.error.URLError(f"it redirects to {target}, which is neither http nor https")
    if urllib.parse.urlsplit(place).scheme == "https" and scheme != "https":
        raise urllib.error.URLError(
            f"it redirects from https to {target}, where anybody on the way can change it"
        )
    return url


@contextmanager
def _fetching(url: str) -> Iterator[None]:
    """Say which URL it was that could not be fetched, and why; only calls that fetch may stand
    below it.
    """
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        said = str(reason) or type(reason).__name__
        if isinstance(
            reason, TimeoutError
        ):  # the socket's clock and the deadline's run out together
            said = _TOO_SLOWLY
        raise BadInput(f"cannot fetch {url}: {' '.join(said.split())}") from error


def download(url: str, zipped: Path, descriptor: archive.Descriptor) -> None:
    """Fetch what is missing of a zip, never more than was announced, and check it.

    Raises
    ------
    BadInput : it cannot be fetched; what has arrived stays. `zipped` is no plain file.
    DamagedFile : it is not what was announced.
    """
    with files.writing(zipped), files.open_plain(zipped) as target:
        have = os.fstat(target.fileno()).st_size
        if have != descriptor.size:
            have = have if have < descriptor.size else 0
            try:
                _continue(url, target, descriptor.size, have)
            except BadInput as error:
                if not have or getattr(error.__cause__, "code", None) != _NO_SUCH_RANGE:
                    raise
                _continue(url, target, descriptor.size, 0)
    try:
        archive.check_bytes(zipped, descriptor)
    except DamagedFile:
        if zipped.stat().st_size >= descriptor.size:  # continuing would not make it right
            zipped.unlink()
        raise


def _continue(url: str, target: BinaryIO, size: int, have: int) -> None:
    """Fetch a zip from byte `have` on, to at most one byte more than its size."""
    from tqdm import tqdm

    with _Answer(url, size + 1, {"Range": f"bytes={have}-"} if have else {}) as answer:
        have = have if answer.status == _PARTIAL_CONTENT else 0
        target.seek(have)
        target.truncate()
        bar = tqdm(
            total=size,
            initial=have,
            desc="downloading",
            unit="B",
            unit_scale=True,
            delay=1,
            leave=False,
            disable=None,
        )
        with bar:
            for part in answer:
                have += target.write(part[: size + 1 - have])
                bar.update(len(part))
                if have > size:
                    break
