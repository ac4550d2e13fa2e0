"""HTTP with a backend: pooled connections that belong to an exchange while it lasts, and bodies as they come."""

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.poolmanager import PoolManager

from models_registry.backends.exchange import Exchange, current
from models_registry.errors import BackendError

READ_BYTES = 65536
STALE_SECONDS = 1.0
_sessions: dict[tuple[int, str], requests.Session] = {}


class Broken(Exception):
    """The connection ended in the middle of a response."""


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
        if exchange := current():
            exchange.on_used_connection = self.sock is not None
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
    if exchange := current():
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

    No redirect is followed: it would carry the key elsewhere. Nothing is sent twice, but for one case: a connection
    that was used before and that the server closes at once, without a word, was closed before the request came.
    """

    def once() -> requests.Response:
        return session(base_url).request(
            method,
            url,
            data=body,
            headers=dict(headers),
            stream=True,
            allow_redirects=False,
            timeout=(exchange.timeouts.connect, None),
        )

    began = time.monotonic()
    try:
        return once()
    except requests.ConnectionError:
        exchange.check()
        if not exchange.on_used_connection or time.monotonic() - began > STALE_SECONDS:
            raise
        _sessions.pop((os.getpid(), base_url), None)  # the others it keeps may be closed as well
        return once()


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
