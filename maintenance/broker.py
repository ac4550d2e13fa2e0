"""Connections to Redis. Web processes fail fast, workers wait long: a request must not hang, a job must not be lost."""

from functools import lru_cache
from typing import Any, cast

import redis
import redis.asyncio
from django.conf import settings
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from maintenance import inprocess
from maintenance.tables import Queue, redis_parts


def _options() -> dict[str, Any]:
    parts = redis_parts(settings.REDIS_URL)
    return {name.lower(): value for name, value in parts.items()}


@lru_cache(maxsize=1)
def quick() -> "redis.Redis":
    """For whoever must not wait: refuses after about 0.1 s when nothing listens, after 4 s when it hangs."""
    if settings.QUEUE_CONNECTION == "sync":
        return cast(redis.Redis, inprocess.Client(inprocess.STORE))
    return redis.Redis(
        **_options(),
        socket_connect_timeout=0.5,
        socket_timeout=2,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.05), 1),
        health_check_interval=30,
    )


@lru_cache(maxsize=1)
def patient() -> "redis.Redis":
    """For workers: rides out an outage of about two minutes inside a single call."""
    return redis.Redis(
        **_options(),
        socket_connect_timeout=2,
        socket_timeout=30,
        retry=Retry(ExponentialBackoff(cap=2, base=0.05), 60),
        health_check_interval=30,
    )


def asynchronous() -> "redis.asyncio.Redis":
    """A new client for one event loop. No read timeout: an XREAD that blocks is at rest, not stuck."""
    if settings.QUEUE_CONNECTION == "sync":
        return cast(redis.asyncio.Redis, inprocess.AsyncClient(inprocess.STORE))
    return redis.asyncio.Redis(**_options(), socket_connect_timeout=2, socket_timeout=None, max_connections=100)


def forget() -> None:
    """Drop the cached clients, after a fork or when the address changed."""
    quick.cache_clear()
    patient.cache_clear()


def queue_names() -> list[str]:
    return [queue.value for queue in Queue]
