"""From the ledger to Redis: pushing rows that are committed, and pushing again what Redis lost."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, F, Max, Q, QuerySet
from django.utils import timezone
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from maintenance import inline, queues
from maintenance.commits import after_commit
from maintenance.models import Job
from maintenance.tables import Queue

logger = logging.getLogger(__name__)

Status = Job.Status
# A row that young is still being pushed by the process that committed it.
PUSH_GRACE = timedelta(seconds=2)
# A dispatch that old and still neither claimed nor in Redis is lost.
LOST_AFTER = timedelta(seconds=10)
BATCH = 500


@dataclass(frozen=True)
class Pushed:
    """What became of a push: how many jobs are in Redis now, and whether Redis was away."""

    count: int = 0
    away: bool = False


def push(*job_ids: str) -> Pushed:
    """Give each of these waiting jobs its next dispatch number and carry it to Redis.

    Redis away: they stay pending, and the relay tries again. Those with a concurrency key are left to `push_next`.
    """
    now = timezone.now()
    if not _due(now).filter(pk__in=job_ids, concurrency_key="").update(**_pushed_at(now)):
        return Pushed()
    # The time of the push tells those that were taken here from those that somebody else has pushed.
    return _carry(Job.objects.filter(pk__in=job_ids, status=Status.QUEUED, pushed_at=now).order_by("pk"))


def push_next(concurrency_key: str) -> Pushed:
    """Push the jobs of a key that are due, the oldest first, while fewer than its limit are queued or running."""
    return _carry(_take_slots(concurrency_key))


@transaction.atomic
def _take_slots(key: str) -> list[Job]:
    _lock(key)
    now = timezone.now()
    occupied = Job.objects.filter(concurrency_key=key, status__in=(Status.QUEUED, Status.RUNNING)).count()
    taken = []
    for job in _due(now).filter(concurrency_key=key).order_by("pk")[:BATCH]:
        if occupied >= job.concurrency_limit:
            break
        # False: it was cancelled meanwhile.
        if _due(now).filter(pk=job.pk).update(**_pushed_at(now)):
            job.refresh_from_db()
            taken.append(job)
            occupied += 1
    return taken


def _lock(key: str) -> None:
    """Until the transaction ends, nobody else takes slots of this key. On SQLite a transaction alone does that."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])


def push_on_commit(*jobs: Job) -> None:
    """Push jobs of the caller's transaction when that commits."""
    plain = [job.pk for job in jobs if not job.concurrency_key]
    for start in range(0, len(plain), BATCH):
        after_commit(push, *plain[start : start + BATCH])
    push_next_on_commit(*(job.concurrency_key for job in jobs if job.concurrency_key))


def push_next_on_commit(*concurrency_keys: str) -> None:
    """A slot of these keys may be free when the caller's transaction commits."""
    for key in dict.fromkeys(concurrency_keys):
        after_commit(push_next, key)


def _due(now: datetime) -> QuerySet[Job]:
    return Job.objects.filter(Q(status=Status.PENDING) | Q(status=Status.SCHEDULED, not_before__lte=now))


def _pushed_at(now: datetime) -> dict[str, Any]:
    return {"status": Status.QUEUED, "dispatch": F("dispatch") + 1, "pushed_at": now, "not_before": None}


def _carry(jobs: Iterable[Job]) -> Pushed:
    """Carry them in order. Raises RedisError where Redis is there and refuses."""
    jobs = list(jobs)
    for count, job in enumerate(jobs):
        try:
            _transport(job)
        except TimeoutError:
            # It may be there. If it is not, `recover_lost` sees that.
            logger.warning("no answer from Redis to the push of job %s", job.pk)
            _put_back(jobs[count + 1 :])
            return Pushed(count, away=True)
        except RedisError as error:
            logger.warning("Redis is away (%s); job %s stays pending", type(error).__name__, job.pk)
            _put_back(jobs[count:])
            if not isinstance(error, ConnectionError):
                raise
            return Pushed(count, away=True)
    return Pushed(len(jobs))


def _transport(job: Job) -> None:
    if settings.QUEUE_CONNECTION == "sync":
        inline.run(job.pk, job.dispatch)
    else:
        queues.carry(job)


def _put_back(jobs: Sequence[Job]) -> None:
    for job in jobs:
        Job.objects.filter(pk=job.pk, status=Status.QUEUED, dispatch=job.dispatch).update(
            status=Status.PENDING, pushed_at=None
        )


def relay() -> int:
    """Push what is due and was not pushed: Redis was away, or the process died between commit and push."""
    now = timezone.now()
    overdue = Job.objects.filter(
        Q(status=Status.PENDING, created_at__lte=now - PUSH_GRACE) | Q(status=Status.SCHEDULED, not_before__lte=now)
    )
    plain = list(overdue.filter(concurrency_key="").order_by("pk").values_list("pk", flat=True)[:BATCH])
    steps = [partial(push, *plain)] if plain else []
    return _all(Pushed(), [*steps, *(partial(push_next, key) for key in _keys_with_room(overdue))]).count


def _keys_with_room(overdue: QuerySet[Job]) -> list[str]:
    """However many wait for one key, it is one of these: so none keeps the others waiting."""
    keys = overdue.exclude(concurrency_key="").order_by().values_list("concurrency_key", flat=True).distinct()
    at_work = Count("pk", filter=Q(status__in=(Status.QUEUED, Status.RUNNING)))
    unfinished = Job.objects.filter(concurrency_key__in=list(keys[:BATCH]), status__in=Job.UNFINISHED).order_by()
    counted = unfinished.values("concurrency_key").annotate(at_work=at_work, limit=Max("concurrency_limit"))
    return list(counted.filter(at_work__lt=F("limit")).values_list("concurrency_key", flat=True))


def _all(pushed: Pushed, steps: Iterable[Callable[[], Pushed]]) -> Pushed:
    """Take these steps, until one finds Redis away."""
    for step in steps:
        if pushed.away:
            break
        more = step()
        pushed = Pushed(pushed.count + more.count, more.away)
    return pushed


def recover_lost() -> int:
    """Push again what the ledger holds as queued and Redis has not: flushed, restarted, or popped by a dying worker.

    The new dispatch number makes the old copy, wherever it may still be, unable to start.
    """
    since = timezone.now() - LOST_AFTER
    return sum(_recover_queue(queue.value, since) for queue in Queue)


def _recover_queue(name: str, since: datetime) -> int:
    stale = list(Job.objects.filter(status=Status.QUEUED, queue=name, pushed_at__lte=since).order_by("pk")[:BATCH])
    if not stale:
        return 0
    present = queues.waiting_ids(name)
    lost = [job for job in stale if queues.rq_id(job.pk, job.dispatch) not in present]
    return sum(_dispatch_again(job) for job in lost)


def _dispatch_again(job: Job) -> bool:
    queues.drop(job)
    won = Job.objects.filter(pk=job.pk, status=Status.QUEUED, dispatch=job.dispatch).update(
        dispatch=F("dispatch") + 1, pushed_at=timezone.now()
    )
    if not won:
        return False
    logger.warning("dispatch %s of job %s was lost; pushing it again", job.dispatch, job.pk)
    job.refresh_from_db()
    return _carry([job]).count == 1


def back_off(attempts: int) -> timedelta:
    """How long a job waits after its own error: 10 s, 20 s, 40 s … at most an hour."""
    return timedelta(seconds=min(3600, settings.JOB_RETRY_SECONDS * 2 ** max(0, attempts - 1)))
