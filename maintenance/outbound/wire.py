"""One exchange with one server, at an address that was judged, until a deadline that holds for all of it."""

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.response import HTTPResponse as Response

from maintenance.outbound.deadline import STEP_SECONDS, Deadline
from maintenance.outbound.errors import OutboundFailed
from maintenance.outbound.resolving import Route
from maintenance.outbound.targets import Target

READ_BYTES = 65536
CONNECT_SECONDS = 10.0  # for each address of a host, so that a dead one leaves time for the next


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said. The names of `headers` are in lower case; `url` is the one that was asked last.

    `body` is decompressed, and cut off where `truncated`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool
    url: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is sent to a target. `max_bytes` of the answer's body are read."""

    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes | None
    max_bytes: int


class Door:
    """Opens the connection to one of the routes, and shuts it when the deadline is over.

    A limit on each read would not do: a server that sends a byte now and then keeps every such limit.
    """

    def __init__(self, routes: Sequence[Route], deadline: Deadline) -> None:
        self._routes = routes
        self._deadline = deadline
        self._guard: threading.Timer | None = None
        self._socket: socket.socket | None = None

    def open(self) -> socket.socket:
        """A connected socket. Raises the error of the last route where none leads anywhere."""
        failure: Exception = OSError("no address")
        for route in self._routes:
            self._deadline.left()
            connected = socket.socket(route.family, socket.SOCK_STREAM)
            try:
                self._connect(connected, route)
            except (OSError, OutboundFailed) as error:
                connected.close()
                failure = error
            else:
                self._watch(connected)
                return connected
        raise failure

    def _connect(self, unconnected: socket.socket, route: Route) -> None:
        # In steps: the end of the deadline is to be seen, and nothing wakes a thread that is blocked in `connect`.
        unconnected.setblocking(False)
        with suppress(BlockingIOError):
            unconnected.connect(route.place)
        until = time.monotonic() + CONNECT_SECONDS
        ready = select.poll()
        ready.register(unconnected, select.POLLOUT)
        while not ready.poll(STEP_SECONDS * 1000):
            self._deadline.left()
            if time.monotonic() > until:
                raise TimeoutError("it did not answer")
        if code := unconnected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))

    def _watch(self, connected: socket.socket) -> None:
        # A duplicate, because TLS takes the socket's number over.
        self._socket = connected.dup()
        self._deadline.shut = self.shut
        self._guard = threading.Timer(max(0.0, self._deadline.remaining()), self.shut)
        self._guard.daemon = True
        self._guard.start()
        connected.settimeout(self._deadline.seconds)

    def shut(self) -> None:
        if self._socket:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._deadline.shut = None
        if self._guard:
            self._guard.cancel()
            self._guard.join()
        if self._socket:
            self._socket.close()


class _Connection(HTTPConnection):
    """Goes through its door. It does not resolve its host's name, which is for TLS and the Host header only."""

    door: Door
    raw: HTTPResponse | None = None

    def _new_conn(self) -> socket.socket:
        try:
            return self.door.open()
        except OSError as error:
            raise NewConnectionError(self, f"no connection: {error}") from error

    def response_class(self, *values: Any, **more: Any) -> HTTPResponse:  # type: ignore[override]
        # urllib3 loses the response, and with it the socket, where it refuses its headers.
        self.raw = HTTPResponse(*values, **more)
        return self.raw


class _TLSConnection(_Connection, HTTPSConnection):
    pass


def exchange(message: Message, routes: Sequence[Route], deadline: Deadline) -> Answer:
    """Send the message to the first route that takes it, and read the answer. Raises OutboundFailed."""
    connection = _connection(message.target, deadline)
    connection.door = door = Door(routes, deadline)
    try:
        connection.request(
            message.method,
            message.target.path,
            body=message.body,
            headers=message.headers,
            preload_content=False,
        )
        answer = _answer(message, connection.getresponse())
        deadline.left()  # a body that goes on until the connection ends looks whole when the door is shut
        return answer
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        deadline.left()
        raise _failure(message.target, error) from error
    finally:
        connection.close()
        if connection.raw:
            connection.raw.close()
        door.close()


def _connection(target: Target, deadline: Deadline) -> _Connection:
    limits: dict[str, Any] = {"timeout": deadline.left()}
    if target.scheme == "http":
        return _Connection(target.host, target.port, **limits)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    return _TLSConnection(target.host, target.port, cert_reqs="CERT_REQUIRED", ca_certs=bundle, **limits)


def _answer(message: Message, response: Response) -> Answer:
    body = bytearray()
    while len(body) <= message.max_bytes and (piece := response.read1(READ_BYTES, decode_content=True)):
        body += piece
    return Answer(
        status=response.status,
        headers={name.lower(): response.headers[name] for name in response.headers},
        body=bytes(body[: message.max_bytes]),
        truncated=len(body) > message.max_bytes,
        url=message.target.url,
    )


def _failure(target: Target, error: Exception) -> OutboundFailed:
    if isinstance(error, ssl.SSLError):
        text = f"{target.host} could not be reached: its certificate or encryption was refused."
        return OutboundFailed(text, code="outbound_unreachable", permanent=True)
    if isinstance(error, NewConnectionError):
        return OutboundFailed(f"{target.host} could not be reached.", code="outbound_unreachable")
    return OutboundFailed(f"{target.host} sent an answer that broke off or cannot be read.", code="outbound_broken")
