"""Asking a part whether it is up."""

import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import redis

_TIMEOUT_SECONDS = 1.0


def is_up(address: str) -> bool:
    """Whether the address answers: `tcp://` accepts, `http://` says 200, `redis://` says PONG, `file:` exists.

    Raises KeyError for another scheme.
    """
    parts = urlsplit(address)
    try:
        return _PROBES[parts.scheme](parts)
    except (OSError, HTTPException, redis.RedisError):
        return False


def _tcp(parts: SplitResult) -> bool:
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_TIMEOUT_SECONDS):
        return True


def _http(parts: SplitResult) -> bool:
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    finally:
        connection.close()


def _redis(parts: SplitResult) -> bool:
    client = redis.Redis.from_url(
        parts.geturl(), socket_connect_timeout=_TIMEOUT_SECONDS, socket_timeout=_TIMEOUT_SECONDS
    )
    with client:
        return bool(client.ping())


def _file(parts: SplitResult) -> bool:
    return Path(parts.path).exists()


_PROBES: dict[str, Callable[[SplitResult], bool]] = {
    "tcp": _tcp,
    "http": _http,
    "redis": _redis,
    "rediss": _redis,
    "file": _file,
}
