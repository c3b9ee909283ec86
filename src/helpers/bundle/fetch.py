"""Fetch a descriptor and its zip: from a server that may be slow, wrong or hostile, going on where it stopped."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from helpers import files
from helpers.bundle import archive
from helpers.errors import BadInput, DamagedFile, WorkbenchError

TIMEOUT_SECONDS = 30.0
SLOWEST = 8 << 10
"""Bytes a second: a slower download is given up after a while, and goes on where it stopped when it is tried again."""
_BLOCK = 1 << 16
_MOST_DESCRIPTOR = 1 << 16
_SCHEMES = ("http", "https", "file")
_NO_SUCH_RANGE = 416
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
        raise BadInput(f"there is no file {path}: give bundle.json, which announces a bundle, or the zip beside it")
    return path.as_uri()


def zip_place(place: str, descriptor: archive.Descriptor) -> str:
    """The zip's URL, from the descriptor's."""
    kind = _scheme(descriptor.modelUrl, DamagedFile)
    if kind == "file" and _scheme(place, BadInput) != "file":
        raise DamagedFile(f"the descriptor from {place} names a file of this machine, {descriptor.modelUrl}")
    return urllib.parse.urljoin(place, descriptor.modelUrl)


def _scheme(url: str, error: type[WorkbenchError]) -> str:
    try:
        return urllib.parse.urlsplit(url).scheme
    except ValueError as reason:
        raise error(f"{url!r} is no URL: {reason}") from reason


def small(place: str) -> bytes:
    """The descriptor's bytes; BadInput if it cannot be fetched, DamagedFile if it is too large to be one."""
    content, deadline = b"", time.monotonic() + TIMEOUT_SECONDS
    with _opened(place) as answer:
        while part := _read(answer, place, _BLOCK, deadline):
            content += part
            if len(content) > _MOST_DESCRIPTOR:
                raise DamagedFile(f"{place} is no descriptor: it is larger than {_MOST_DESCRIPTOR:,} bytes")
    return content


class _Redirected(urllib.request.HTTPRedirectHandler):
    """Follows redirections to http and https only."""

    def redirect_request(self, request, answer, code, message, headers, url):
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise urllib.error.URLError(f"it redirects to {url}, which is neither http nor https")
        return super().redirect_request(request, answer, code, message, headers, url)


@contextmanager
def _opened(url: str, headers: Mapping[str, str] | None = None) -> Iterator:
    if _scheme(url, DamagedFile) not in _SCHEMES:
        raise DamagedFile(f"{url} is neither http, https nor a file")
    with _fetching(url):
        request = urllib.request.Request(urllib.parse.quote(url, safe=_PLAIN), headers=headers or {})
        answer = urllib.request.build_opener(_Redirected).open(request, timeout=TIMEOUT_SECONDS)
    with answer:
        yield answer


def _read(answer, url: str, most: int, deadline: float) -> bytes:
    """What has arrived, at most that many bytes; nothing at the end."""
    if time.monotonic() > deadline:
        raise BadInput(f"cannot fetch {url}: the server sends too slowly, try again later")
    with _fetching(url):
        return answer.read1(most)


@contextmanager
def _fetching(url: str) -> Iterator[None]:
    """Say which URL it was that could not be fetched, and why; only calls that fetch may stand below it."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise BadInput(f"cannot fetch {url}: {' '.join(str(reason).split())}") from error


def download(url: str, zipped: Path, descriptor: archive.Descriptor) -> None:
    """Fetch what is missing of a zip, never more than was announced, and check it."""
    have = zipped.stat().st_size if zipped.exists() else 0
    if have > descriptor.size:
        zipped.unlink()
        have = 0
    if have < descriptor.size:
        try:
            _continue(url, zipped, descriptor.size, have)
        except BadInput as error:
            if not have or getattr(error.__cause__, "code", None) != _NO_SUCH_RANGE:
                raise
            _continue(url, zipped, descriptor.size, 0)
    try:
        archive.check_bytes(zipped, descriptor)
    except DamagedFile:
        if zipped.stat().st_size >= descriptor.size:  # continuing would not make it right
            zipped.unlink()
        raise


def _continue(url: str, zipped: Path, size: int, have: int) -> None:
    """Fetch a zip from byte `have` on, to at most one byte more than its size."""
    from tqdm import tqdm

    deadline = time.monotonic() + TIMEOUT_SECONDS + (size - have) / SLOWEST
    with files.writing(zipped), _opened(url, {"Range": f"bytes={have}-"} if have else {}) as answer:
        resumed = have and getattr(answer, "status", None) == 206
        have = have if resumed else 0
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
        with bar, open(zipped, "ab" if resumed else "wb") as target:
            while have <= size and (part := _read(answer, url, min(_BLOCK, size + 1 - have), deadline)):
                target.write(part)
                have += len(part)
                bar.update(len(part))
