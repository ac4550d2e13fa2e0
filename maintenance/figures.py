"""How the queues are: the numbers of `queue_status`, the console's queues page and the alerts.

What waits and what runs is asked of the ledger, so it is right without Redis too. Only with the driver `redis` do calls
wait in Redis alone.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from django.conf import settings
from django.db.models import Count, Min, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from redis.exceptions import RedisError

from maintenance import broker, leadership, masters, pauses, queues, roster
from maintenance.masters import Master, State
from maintenance.models import Job, QueuePause
from maintenance.queues import Backlog
from maintenance.roster import Worker
from maintenance.tables import Queue

Status = Job.Status
WAITING = (Status.PENDING, Status.QUEUED)
FAILURES_WITHIN = timedelta(minutes=15)


class Verdict(IntEnum):
    """What is wrong, as an exit code."""

    OK = 0
    PAUSED = 1
    NO_WORKERS = 2
    LATE = 3
    FAILING = 4
    NO_LEADER = 5


@dataclass(frozen=True, kw_only=True)
class QueueFigures:
    """One queue. `scheduled` are not due yet; `workers` is None where Redis does not say."""

    name: str
    waiting: int
    scheduled: int
    running: int
    oldest_seconds: float | None
    wait_max_seconds: int
    workers: int | None
    pause: QueuePause | None

    @property
    def late(self) -> bool:
        return self.oldest_seconds is not None and self.oldest_seconds > self.wait_max_seconds


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The whole at one moment. Where Redis does not answer, `redis_seconds`, `workers` and `masters` are None."""

    redis_seconds: float | None
    workers: list[Worker] | None
    masters: list[Master] | None
    leader: str
    failures: int
    queues: list[QueueFigures]

    @property
    def verdict(self) -> Verdict:
        """The first that applies: without workers nothing else matters much. The driver `sync` needs none."""
        manned = settings.QUEUE_CONNECTION != "sync"
        findings = {
            Verdict.NO_WORKERS: manned and not self.workers,
            Verdict.NO_LEADER: manned and not self.leader,
            Verdict.PAUSED: any(queue.pause for queue in self.queues) or self.workers_paused,
            Verdict.LATE: any(queue.late for queue in self.queues),
            Verdict.FAILING: self.failures > settings.FAILURES_MAX,
        }
        return next((verdict for verdict, found in findings.items() if found), Verdict.OK)

    @property
    def workers_paused(self) -> bool:
        return any(master.state is State.PAUSED for master in self.masters or [])


def now() -> Figures:
    """Take all the numbers. Needs the database; does without Redis."""
    latency, workers, running = _redis()
    return Figures(
        redis_seconds=latency,
        workers=workers,
        masters=running,
        leader=leadership.leader(),
        failures=failures(),
        queues=of_queues(workers),
    )


def of_queues(workers: list[Worker] | None) -> list[QueueFigures]:
    """Each queue, the most urgent first."""
    counts, carried, paused = _counts(), _carried(), pauses.paused()
    since = _waiting_since(carried)
    served = None if workers is None else roster.by_queue(workers)
    moment = timezone.now()
    return [
        QueueFigures(
            name=queue.value,
            waiting=_number(queue.value, counts, carried),
            scheduled=counts.get((queue.value, Status.SCHEDULED), 0),
            running=counts.get((queue.value, Status.RUNNING), 0),
            oldest_seconds=(moment - since[queue.value]).total_seconds() if queue.value in since else None,
            wait_max_seconds=settings.QUEUE_WAIT_MAX_SECONDS[queue],
            workers=None if served is None else served[queue.value],
            pause=paused.get(queue.value),
        )
        for queue in Queue
    ]


def waiting() -> dict[str, int]:
    """How many jobs wait in each queue."""
    counts, carried = _counts(), _carried()
    return {name: _number(name, counts, carried) for name in broker.queue_names()}


def waiting_since() -> dict[str, datetime]:
    """Since when the oldest job of each queue waits; a queue without one is missing."""
    return _waiting_since(_carried())


def failures() -> int:
    """How many jobs failed lately."""
    return Job.objects.filter(status=Status.FAILED, finished_at__gte=timezone.now() - FAILURES_WITHIN).count()


def _redis() -> tuple[float | None, list[Worker] | None, list[Master] | None]:
    if settings.QUEUE_CONNECTION == "sync":
        return None, None, None
    try:
        broker.quick().ping()  # connects, which is not what a command to Redis costs
        began = time.perf_counter()
        broker.quick().ping()
        return time.perf_counter() - began, roster.alive(), masters.everyone()
    except RedisError:
        return None, None, None


def _carried() -> dict[str, Backlog]:
    """What waits in Redis, where that may be more than the ledger knows."""
    if settings.QUEUE_CONNECTION == "redis":
        with suppress(RedisError):
            return queues.backlog()
    return {}


def _number(name: str, counts: Mapping[tuple[str, str], int], carried: Mapping[str, Backlog]) -> int:
    queued = max(counts.get((name, Status.QUEUED), 0), carried[name].size if carried else 0)
    return counts.get((name, Status.PENDING), 0) + queued


def _counts() -> dict[tuple[str, str], int]:
    unfinished = Job.objects.filter(status__in=Job.UNFINISHED).order_by().values_list("queue", "status")
    return {(queue, status): number for queue, status, number in unfinished.annotate(number=Count("pk"))}


def _waiting_since(carried: Mapping[str, Backlog]) -> dict[str, datetime]:
    # Who waits for a slot of its own key waits for no worker. Counted from the push, as an attempt's `wait_seconds`
    # is: a job that is tried again did not wait since it was made.
    for_slots = Q(status=Status.PENDING) & ~Q(concurrency_key="")
    rows = Job.objects.filter(~for_slots, status__in=WAITING).order_by().values_list("queue")
    since = dict(rows.annotate(since=Min(Coalesce("pushed_at", "created_at"))))
    first = {name: backlog.since for name, backlog in carried.items() if backlog.since}
    return {name: min(filter(None, (since.get(name), first.get(name)))) for name in {*since, *first}}
