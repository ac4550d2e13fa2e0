"""The workers that live, on all hosts, as they say themselves in Redis.

RQ's sets of workers keep the names of those that were killed; whoever has not beaten lately is left out here. Nothing
is read through RQ's own classes: those clean up after others as they count.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from django.utils import timezone
from rq.worker_registration import REDIS_WORKER_KEYS

from maintenance import broker

# A worker beats every five seconds; it may be late by one pass of the reconciler, which it makes itself.
ALIVE_FOR = timedelta(seconds=30)
_FIELDS = ("hostname", "pid", "queues", "last_heartbeat")


@dataclass(frozen=True)
class Worker:
    """One worker, a parent with its horse."""

    host: str
    pid: int
    queues: tuple[str, ...]
    beat_at: datetime


def alive() -> list[Worker]:
    """The workers that live, by host and pid. Raises RedisError."""
    keys = sorted(cast("set[bytes]", broker.quick().smembers(REDIS_WORKER_KEYS)))
    with broker.quick().pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hmget(key.decode(), _FIELDS)
        found = [_worker(fields) for fields in pipeline.execute() if all(fields)]
    since = timezone.now() - ALIVE_FOR
    return sorted((one for one in found if one.beat_at > since), key=lambda one: (one.host, one.pid))


def by_queue(workers: Iterable[Worker]) -> Counter[str]:
    """How many of them serve each queue."""
    return Counter(queue for worker in workers for queue in worker.queues)


def _worker(fields: list[bytes]) -> Worker:
    host, pid, queues, beat = (field.decode() for field in fields)
    beat_at = datetime.strptime(beat, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return Worker(host, int(pid), tuple(queues.split(",")), beat_at)
