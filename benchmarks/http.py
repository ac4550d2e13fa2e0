"""A client that costs little, so that what it measures is the server: one connection, a request at a time."""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

OnBody = Callable[[bytes], None]


class Refused(Exception):
    """The server did not answer with 200 or 202."""


class Connection(asyncio.Protocol):
    """To a port of 127.0.0.1. `ask` sends a request and waits until the whole answer is in."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_body: OnBody | None = None
        self._body = b""

    async def ask(
        self, method: str, path: str, *, body: bytes = b"", token: str = "", on_body: OnBody | None = None
    ) -> bytes:
        """The body of the answer, which `on_body` gets piece by piece as it comes. Raises Refused, ConnectionError."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1",
            *([f"Authorization: Bearer {token}"] if token else []),
            *(["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []),
        ]
        self._answered = asyncio.get_running_loop().create_future()
        self._on_body, self._body = on_body, b""
        self._parser = httptools.HttpResponseParser(self)
        transport = await self._opened()
        transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        await self._answered
        if self._parser.get_status_code() not in (200, 202):
            raise Refused(f"{method} {path}: {self._parser.get_status_code()} {self._body.decode()[:500]}")
        return self._body

    async def _opened(self) -> asyncio.Transport:
        """The transport; a new one where the server has closed a connection that was idle."""
        if self._transport is None or self._transport.is_closing():
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)
        assert self._transport
        return self._transport

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    # What asyncio and the parser call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(ConnectionError("the server closed the connection"))

    def on_body(self, data: bytes) -> None:
        self._body += data
        if self._on_body:
            self._on_body(data)

    def on_message_complete(self) -> None:
        self._answered.set_result(None)
