"""One reader that may block: what the hub does for many, for a command."""

from typing import Any

from django.conf import settings
from redis.exceptions import RedisError

from maintenance import broker
from maintenance.streams.entries import Away, Entry, parse


def span(key: str, start: str = "-", end: str = "+", *, count: int, newest_first: bool = False) -> list[Entry]:
    """Entries between two ids, both included; `(id` leaves that one out. Raises Away."""
    client = _client()
    try:
        if newest_first:
            return parse(client.xrevrange(key, end, start, count=count))
        return parse(client.xrange(key, start, end, count=count))
    except RedisError as error:
        raise Away(type(error).__name__) from error


def wait(key: str, after: str, *, seconds: float, count: int = 500) -> list[Entry]:
    """Entries after that id; waits for the first, at most a second or two. Empty when none came. Raises Away."""
    try:
        answer = _client().xread({key: after}, count=count, block=int(seconds * 1000))
    except RedisError as error:
        raise Away(type(error).__name__) from error
    return parse(answer[0][1]) if answer else []


def _client() -> Any:
    if settings.QUEUE_CONNECTION == "sync":
        raise Away("events stay inside the process that has them")
    return broker.quick()
