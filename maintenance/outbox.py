"""From the ledger to Redis: pushing rows that are committed, and pushing again what Redis lost."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, F, Max, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from maintenance import inline, queues
from maintenance.commits import after_commit
from maintenance.models import Job

logger = logging.getLogger(__name__)

Status = Job.Status
# A row that young is still being pushed by the process that committed it.
PUSH_GRACE = timedelta(seconds=2)
# A dispatch that old and still neither claimed nor in Redis is lost.
LOST_AFTER = timedelta(seconds=10)
BATCH = 500
LOOKED_AT = 10_000
AT_WORK = (Status.QUEUED, Status.RUNNING)


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
    if not Job.objects.filter(_due(now), pk__in=job_ids, concurrency_key="").update(**_pushed_at(now)):
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
    of_key = _limited().filter(concurrency_key=key)
    # Sorted by an expression: else PostgreSQL walks the primary key through all that ever ended.
    due = of_key.filter(_due(now)).order_by(Coalesce("pk", Value("")))
    oldest = list(due.values_list("pk", "concurrency_limit")[:BATCH])
    limit = oldest[0][1] if oldest else 0
    room = limit - of_key.filter(status__in=AT_WORK).count()
    if room <= 0:
        return []
    taken = [pk for pk, _ in oldest[:room]]
    # Some may have been cancelled meanwhile.
    Job.objects.filter(_due(now), pk__in=taken).update(**_pushed_at(now))
    return list(Job.objects.filter(pk__in=taken, status=Status.QUEUED, pushed_at=now).order_by("pk"))


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


def dispatch(row: Job) -> bool:
    """Give a row that is about to be inserted its first dispatch number. False for one that must wait.

    It is in the ledger as queued before it is in Redis. Whatever happens between the two, `recover_lost` sees it.
    """
    if row.status != Status.PENDING or row.concurrency_key:
        return False
    row.status, row.dispatch, row.pushed_at = Status.QUEUED, 1, timezone.now()
    return True


def carry_on_commit(row: Job) -> None:
    """Carry a job that was inserted with its dispatch number, when the caller's transaction commits."""
    after_commit(_carry, [row])


def push_next_on_commit(*concurrency_keys: str) -> None:
    """A slot of these keys may be free when the caller's transaction commits."""
    for key in dict.fromkeys(concurrency_keys):
        after_commit(push_next, key)


def _limited() -> QuerySet[Job]:
    """Unfinished jobs with a concurrency key. Its conditions are those of their index."""
    return Job.objects.filter(status__in=Job.UNFINISHED).exclude(concurrency_key="").order_by()


def _due(now: datetime) -> Q:
    return Q(status=Status.PENDING) | Q(status=Status.SCHEDULED, not_before__lte=now)


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
    overdue = Q(status=Status.PENDING, created_at__lte=now - PUSH_GRACE) | Q(
        status=Status.SCHEDULED, not_before__lte=now
    )
    plain = Job.objects.filter(overdue, concurrency_key="").order_by("pk").values_list("pk", flat=True)
    steps = [partial(push, *plain[:BATCH]), *(partial(push_next, key) for key in _keys_with_room(overdue))]
    return _all(steps).count


def _keys_with_room(overdue: Q) -> QuerySet[Job, str]:
    """However many wait for one key, it is one of these: so none keeps the others waiting."""
    keys = (
        _limited()
        .values("concurrency_key")
        .annotate(
            overdue=Count("pk", filter=overdue),
            at_work=Count("pk", filter=Q(status__in=AT_WORK)),
            limit=Max("concurrency_limit"),
        )
    )
    return keys.filter(overdue__gt=0, at_work__lt=F("limit")).values_list("concurrency_key", flat=True)


def _all(steps: Iterable[Callable[[], Pushed]]) -> Pushed:
    """Take these steps, until one finds Redis away."""
    pushed = Pushed()
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
    pushed = Job.objects.filter(status=Status.QUEUED, pushed_at__lte=timezone.now() - LOST_AFTER).order_by("pushed_at")
    stale: dict[str, dict[str, str]] = {}
    # Not queue by queue: SQLite would take the index of the queue, and read all that ever ended in it.
    for pk, dispatch, queue in pushed.values_list("pk", "dispatch", "queue")[:LOOKED_AT]:
        stale.setdefault(queue, {})[queues.rq_id(pk, dispatch)] = pk
    lost = [pk for queue, dispatches in stale.items() for pk in _missing(queue, dispatches)]
    return sum(map(_dispatch_again, Job.objects.filter(pk__in=lost[:BATCH]).order_by("pk")))


def _missing(queue: str, dispatches: Mapping[str, str]) -> list[str]:
    present = queues.waiting_ids(queue)
    return [job_id for rq_id, job_id in dispatches.items() if rq_id not in present]


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
