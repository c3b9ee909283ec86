"""Who may ask, how much, and how slowly."""

from __future__ import annotations

import asyncio
import hmac
import json
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_BYTES, MOST_BYTES_TOGETHER = 4 << 20, 64 << 20
"""Largest body of a request that is read, and of all large ones that are held at a time."""
LARGE_BYTES = 1 << 16
"""A body is large from here on; small ones are served also while others hold all there is."""
BODY_SECONDS, HEAD_SECONDS = 10.0, 10.0
"""How long a client may take to send a body, and to send the lines before it."""


class Guard:
    """ASGI application around another: token, name of the host, size and pace of bodies.

    Parameters
    ----------
    token : every request must have ``Authorization: Bearer TOKEN``; None for no token.
    hosts : names that a request may call the service by; default any. A page of another site whose
        name was made to point here would be let in otherwise (DNS rebinding).
    """

    def __init__(self, app, *, token: str | None = None, hosts: tuple[str, ...] = ()):
        self._app, self._hosts = app, {host.encode() for host in hosts}
        self._token = None if token is None else f"Bearer {token}".encode()
        self._held = 0  # bytes of large bodies, until they are answered

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._hosts and _name(headers.get(b"host", b"")) not in self._hosts:
            await _refuse(send, 421, "this service is called by another name")
        elif self._token and not hmac.compare_digest(
            headers.get(b"authorization", b""), self._token
        ):
            await _refuse(send, 401, "a token is needed: Authorization: Bearer TOKEN")
        else:
            await self._bounded(scope, receive, send)

    async def _bounded(self, scope, receive, send) -> None:
        """Read the whole body, if it is not too large or too slow, and pass it on."""
        length = dict(scope["headers"]).get(b"content-length", b"0")
        body, more, counted, whole = bytearray(), True, 0, None
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more and len(body) <= MOST_BYTES and int(length) <= MOST_BYTES:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > LARGE_BYTES:
                        self._held += len(body) - counted
                        counted = len(body)
                    if self._held > MOST_BYTES_TOGETHER and counted:
                        await _refuse(send, 503, "too many large bodies at once")
                        return
            if more or len(body) > MOST_BYTES:
                await _refuse(send, 413, f"a body has at most {MOST_BYTES:,} bytes")
                return
            whole = [{"type": "http.request", "body": bytes(body), "more_body": False}]
            del body

            async def received():
                return whole.pop() if whole else await receive()

            await self._app(scope, received, send)
        except TimeoutError:
            if whole is not None:
                raise
            await _refuse(send, 408, f"the body did not come within {BODY_SECONDS:g} seconds")
        finally:
            self._held -= counted


def _name(host: bytes) -> bytes:
    """A Host header without its port."""
    return host.split(b"]")[0] + b"]" if host.startswith(b"[") else host.split(b":")[0]


async def _refuse(send, status: int, said: str) -> None:
    """Answer without reading on."""
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": said}).encode()})


class Protocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, which answers at once, and hangs up on a client that does not
    finish the lines before the body; uvicorn itself waits for ever.
    """

    _deadline = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        if self.limit_concurrency and len(self.connections) >= self.limit_concurrency:
            transport.abort()  # uvicorn lets it in, runs out of files, and serves nobody
            return
        # asyncio leaves this out where a bound socket does not name its protocol; a body would
        # then wait 40 ms for the client's word that it has the head
        if (connection := transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
