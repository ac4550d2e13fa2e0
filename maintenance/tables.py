"""The values that the tables at the end of settings.py are made of. Nothing here needs Django to be ready."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Queue(StrEnum):
    """Where jobs wait, by urgency."""

    HIGH = "high"
    DEFAULT = "default"
    LOW = "low"


class Drain(StrEnum):
    """What a stopping worker does with the job in hand."""

    FINISH = "finish"
    HAND_BACK = "hand_back"  # the job goes back to its queue and resumes elsewhere


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Named workers that serve the same queues, strictly in this order.

    `timeout` bounds that of every job of these queues which a stop lets finish. A process over `memory_mb` is ended.
    With `balance` the number of workers moves between `min_processes` and `processes` with the load.
    """

    queues: Sequence[Queue]
    processes: int
    timeout: timedelta
    memory_mb: int
    balance: bool = False
    min_processes: int = 1


class Overlap(StrEnum):
    """What happens to a slot of a task whose last job has not ended."""

    SKIP = "skip"
    ALLOW = "allow"


class Missed(StrEnum):
    """What happens to the slots of a time in which nobody looked at the schedule."""

    SKIP = "skip"
    RUN_ONCE = "run_once"  # for the newest of them, as soon as somebody looks again


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job that is enqueued by the clock.

    `cron` has five fields and speaks of the wall clock in `time_zone`. `job` is the name of a declared job function,
    or its dotted path; it is called without arguments.
    """

    name: str
    cron: str
    time_zone: str
    job: str
    overlap: Overlap
    missed: Missed


def redis_parts(url: str) -> dict[str, Any]:
    """What django-rq's queue settings call the parts of a Redis URL; its own `URL` key drops the client options.

    Raises ValueError for a URL that is not redis:// or rediss://.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss"}:
        raise ValueError(f"REDIS_URL must start with redis:// or rediss://, not {parts.scheme}://")
    database = parts.path.strip("/") or parse_qs(parts.query).get("db", ["0"])[0]
    return {
        "HOST": parts.hostname or "127.0.0.1",
        "PORT": parts.port or 6379,
        "DB": int(database),
        "USERNAME": unquote(parts.username) if parts.username else None,
        "PASSWORD": unquote(parts.password) if parts.password else None,
        "SSL": parts.scheme == "rediss",
    }
