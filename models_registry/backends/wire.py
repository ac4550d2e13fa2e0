"""One HTTP exchange with a backend: pooled connections, hard limits, and an end from another thread at any moment.

`requests` alone limits only the wait for each single read, and a read that blocks cannot be ended from outside. So
every exchange keeps a duplicate of its socket, and a guard thread that shuts the socket down when a limit is over or
when the caller cancels. Whatever blocks on it, connecting, handshake, headers or body, then returns at once.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.poolmanager import PoolManager

from models_registry.backends.base import Cancellation, Timeouts
from models_registry.errors import BackendError, BackendTimeout, Cancelled

READ_BYTES = 65536
SHUT_AGAIN_SECONDS = 0.05
_current = threading.local()
_sessions: dict[tuple[int, str], requests.Session] = {}


class Broken(Exception):
    """The connection ended in the middle of a response."""


class Exchange:
    """The limits of one call and the way to end it. A context manager; used by one thread, ended by any.

    The first-byte limit holds until `began` is called, then the idle limit from each `progressed` to the next; the
    total limit holds throughout. After `finishing`, an end of the wait is no error.
    """

    def __init__(self, backend: str, timeouts: Timeouts, cancellation: Cancellation) -> None:
        self.timeouts = timeouts
        self._backend = backend
        self._cancellation = cancellation
        self._changed = threading.Condition()
        self._end_at = time.monotonic() + timeouts.total
        self._limit = timeouts.first_byte
        self._phase = "first_byte"
        self._deadline = self._guarded_until = self._until(timeouts.first_byte)
        self._socket: socket.socket | None = None
        self._ended_by = ""
        self._over = False
        self._guard = threading.Thread(target=self._watch, name="backend-guard", daemon=True)

    def __enter__(self) -> Self:
        _current.exchange = self
        self._guard.start()
        self._cancellation.on_cancel(lambda: self._end("cancelled"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cancellation.on_cancel(None)
        _current.exchange = None
        with self._changed:
            self._over = True
            self._changed.notify()
            if self._socket:
                self._socket.close()
        self._guard.join()

    def attach(self, connected: socket.socket) -> None:
        """Take the socket that this exchange goes over. Raises OSError where the exchange has ended."""
        # A duplicate, because TLS hides the socket while it shakes hands, and closing the connection its number.
        duplicate = socket.socket(fileno=os.dup(connected.fileno()))
        with self._changed:
            previous, self._socket = self._socket, duplicate
            if previous:
                previous.close()
            if self._ended_by:
                raise ConnectionAbortedError("the exchange has ended")

    def began(self) -> None:
        self._phase, self._limit = "idle", self.timeouts.idle
        self.progressed()

    def progressed(self) -> None:
        if self._phase == "first_byte":
            return
        self._deadline = self._until(self._limit)
        if self._deadline < self._guarded_until:
            with self._changed:
                self._changed.notify()

    def finishing(self, seconds: float) -> None:
        """All that matters has come; wait at most `seconds` more for what may still follow."""
        self._phase, self._limit = "finished", seconds
        self.progressed()

    def check(self) -> None:
        """Raise what ended the exchange from this side: Cancelled or BackendTimeout."""
        reason = self._ended_by
        if reason == "cancelled" or self._cancellation.cancelled:
            raise Cancelled
        if reason and reason != "finished":
            raise BackendTimeout(self._timeout_message(reason))

    def _timeout_message(self, reason: str) -> str:
        if reason == "first_byte":
            return f"{self._backend} did not begin to answer within {self.timeouts.first_byte:g} s."
        if reason == "idle":
            return f"{self._backend} went silent for {self.timeouts.idle:g} s in the middle of its answer."
        return f"{self._backend} did not finish its answer within {self.timeouts.total:g} s."

    def _until(self, seconds: float) -> float:
        return min(time.monotonic() + seconds, self._end_at)

    def _end(self, reason: str) -> None:
        with self._changed:
            self._ended_by = self._ended_by or reason
            self._shut()
            self._changed.notify()

    def _shut(self) -> None:
        if self._socket and not self._over:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _watch(self) -> None:
        with self._changed:
            while not self._over and not self._ended_by:
                self._guarded_until = self._deadline
                remaining = self._guarded_until - time.monotonic()
                if remaining > 0:
                    self._changed.wait(remaining)
                else:
                    self._ended_by = self._expired()
            while not self._over:
                # Again and again: a socket that is shut down just before it connects would connect all the same.
                self._shut()
                self._changed.wait(SHUT_AGAIN_SECONDS)

    def _expired(self) -> str:
        return "total" if self._phase != "finished" and self._deadline >= self._end_at else self._phase


class _WatchedConnection(HTTPConnection):
    """Gives its socket to the exchange that uses it: before it connects, and again when it is used anew."""

    def _new_conn(self) -> socket.socket:
        failure: OSError | None = None
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NewConnectionError(self, f"the name {self.host} could not be resolved: {error}") from error
        for family, kind, protocol, _, address in addresses:
            connected = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    connected.setsockopt(*option)
                connected.settimeout(self.timeout)
                _attach(connected)
                connected.connect(address)
                return connected
            except OSError as error:
                connected.close()
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection to {self.host} within {self.timeout} s") from failure
        raise NewConnectionError(self, f"no connection: {failure}") from failure

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _attach(self.sock)
        super().request(*args, **kwargs)


class _WatchedTLSConnection(_WatchedConnection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTLSConnection


class _Adapter(HTTPAdapter):
    """Connections of ours, directly or through a proxy. Never tries twice."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        _use_pools(manager)
        return manager


def _use_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


def _attach(connected: socket.socket) -> None:
    exchange: Exchange | None = getattr(_current, "exchange", None)
    if exchange:
        exchange.attach(connected)


def session(base_url: str) -> requests.Session:
    """This process's session for a server. Its connections stay open between calls; a fork gets its own."""
    key = (os.getpid(), base_url)
    known = _sessions.get(key)
    return known or _sessions.setdefault(key, _new_session(base_url))


def _new_session(base_url: str) -> requests.Session:
    made = requests.Session()
    # The environment is read here, once: per request it costs time, and ~/.netrc would replace our key.
    made.trust_env = False
    made.proxies = get_environ_proxies(base_url)
    made.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    made.headers.clear()
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter())
    return made


def send(
    exchange: Exchange, base_url: str, method: str, url: str, headers: Mapping[str, str], body: bytes | None
) -> requests.Response:
    """Send the request and return the response, its body still unread. Raises `requests` exceptions.

    No redirect is followed: it would carry the key elsewhere.
    """
    return session(base_url).request(
        method,
        url,
        data=body,
        headers=dict(headers),
        stream=True,
        allow_redirects=False,
        timeout=(exchange.timeouts.connect, None),
    )


def pieces(exchange: Exchange, response: requests.Response, max_bytes: int) -> Iterator[bytes]:
    """The body as it comes. Raises Broken where the connection ends early, and BackendError over `max_bytes`."""
    size = 0
    while True:
        try:
            piece = response.raw.read1(READ_BYTES, decode_content=True)
        except (HTTPError, OSError) as error:
            raise Broken(str(error)) from error
        if not piece:
            return
        size += len(piece)
        if size > max_bytes:
            raise BackendError(f"The answer is longer than {max_bytes} bytes.")
        exchange.progressed()
        yield piece


def beginning(exchange: Exchange, response: requests.Response, max_bytes: int) -> str:
    """The first `max_bytes` of a body as text, or less where the connection ends early."""
    read = b""
    with suppress(Broken, BackendError):
        for piece in pieces(exchange, response, max_bytes):
            read += piece
    return read.decode("utf-8", "replace")
