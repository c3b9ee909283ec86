"""Feature stores: bytes by key, in one SQLite file or in Redis."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol

from helpers.errors import BadInput, WorkbenchError

_PART = 10_000
"""Keys that are sent at a time."""
_WAIT_SECONDS = 2.0
"""How long a writer waits for another one (SQLite), and an answer is waited for (Redis)."""
_REST_SECONDS = 1.0
"""How long a Redis that did not answer is left alone, so that nobody waits for it."""

Contents = list[bytes | None]


class Unavailable(WorkbenchError):
    """The store does not answer now."""


class Store(Protocol):
    """Bytes by key. Every method raises `Unavailable` where the store does not answer."""

    def get(self, keys: Sequence[str]) -> Contents:
        """Read many keys, in their order; None where there is nothing."""

    def put(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Write many keys; not as one step where they are more than a few."""

    def change(self, keys: Sequence[str], work: Callable[[Contents], Mapping[str, bytes]]) -> None:
        """Read keys and write what `work` makes of them as one step: nobody writes in between, and
        a process that is killed has written all of it or nothing.

        `work` may be called again, where somebody else wrote first.
        """

    def close(self) -> None: ...


def opened(where: str, file: Path) -> Store:
    """Open ``sqlite`` in `file`, or a ``redis://`` URL."""
    if where == "sqlite":
        return SQLite(file)
    if where.startswith(("redis://", "rediss://", "unix://")):
        return Redis(where)
    raise BadInput(f"features are kept in sqlite or at a redis:// URL, not {where!r}")


class SQLite:
    """One file. A rating is one transaction of its write-ahead log; threads and processes share."""

    def __init__(self, file: Path):
        self.file = file
        self._local, self._open = threading.local(), []
        with self._failing():
            self._connection()

    def get(self, keys: Sequence[str]) -> Contents:
        with self._failing() as connection:
            return self._read(connection, keys)

    def put(self, contents: Iterable[tuple[str, bytes]]) -> None:
        with self._failing() as connection, self._writing(connection):
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", contents)

    def change(self, keys: Sequence[str], work: Callable[[Contents], Mapping[str, bytes]]) -> None:
        with self._failing() as connection, self._writing(connection):
            changed = work(self._read(connection, keys))
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", changed.items())

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self._local = threading.local()

    @staticmethod
    def _read(connection: sqlite3.Connection, keys: Sequence[str]) -> Contents:
        # as one row: between two rows Python would let other threads in, and wait for them
        found: dict[str, bytes] = {}
        for part in _parts(keys):
            places = ",".join("?" * len(part))
            query = (
                "SELECT group_concat(key || '=' || hex(content)) FROM features "
                f"WHERE key IN ({places})"
            )
            (joined,) = connection.execute(query, part).fetchone()
            for item in joined.split(",") if joined else ():
                key, _, content = item.partition("=")
                found[key] = bytes.fromhex(content)
        return [found.get(key) for key in keys]

    @staticmethod
    @contextmanager
    def _writing(connection: sqlite3.Connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.rollback()
            raise
        connection.commit()

    @contextmanager
    def _failing(self):
        try:
            yield self._connection()
        except sqlite3.Error as error:
            self._local.connection = None  # opened anew when it is asked again
            raise Unavailable(f"{self.file.name} does not answer: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.file, _WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, content BLOB NOT NULL)"
                " WITHOUT ROWID"
            )
            self._open.append(connection)
            self._local.connection = connection
        return connection


class Redis:
    """A Redis server. A rating is one MULTI, watched, so that of two writers one begins anew."""

    def __init__(self, url: str):
        try:
            import redis
        except ImportError as error:
            raise BadInput("features in Redis need its client: pip install redis") from error
        self._redis = redis
        self._client = redis.Redis.from_url(
            url, socket_timeout=_WAIT_SECONDS, socket_connect_timeout=_WAIT_SECONDS / 4
        )
        self._rests_until = 0.0

    def get(self, keys: Sequence[str]) -> Contents:
        with self._failing():
            pipeline = self._client.pipeline(transaction=False)
            for part in _parts(keys):
                pipeline.mget(part)
            return [content for part in pipeline.execute() for content in part]

    def put(self, contents: Iterable[tuple[str, bytes]]) -> None:
        with self._failing():
            for part in _parts(contents):
                self._client.mset(dict(part))

    def change(self, keys: Sequence[str], work: Callable[[Contents], Mapping[str, bytes]]) -> None:
        def changed(pipeline) -> None:
            contents = pipeline.mget(keys)
            pipeline.multi()
            pipeline.mset(dict(work(contents)))

        with self._failing():
            self._client.transaction(changed, *keys)

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _failing(self):
        if time.monotonic() < self._rests_until:
            raise Unavailable("Redis did not answer a moment ago")
        try:
            yield
        except (self._redis.RedisError, OSError) as error:
            self._rests_until = time.monotonic() + _REST_SECONDS
            raise Unavailable(f"Redis does not answer: {error}") from error


def _parts(items: Iterable) -> Iterator[tuple]:
    """`_PART` items at a time."""
    items = iter(items)
    while part := tuple(islice(items, _PART)):
        yield part
