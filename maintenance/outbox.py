"""From the ledger to Redis: pushing rows that are committed, and pushing again what Redis lost."""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from maintenance import queues
from maintenance.models import Job
from maintenance.tables import Queue

logger = logging.getLogger(__name__)

Status = Job.Status
# A row that young is still being pushed by the process that committed it.
PUSH_GRACE = timedelta(seconds=2)
# A dispatch that old and still neither claimed nor in Redis is lost.
LOST_AFTER = timedelta(seconds=10)
BATCH = 500


def push(job_id: str) -> bool:
    """Give a waiting job its next dispatch number and carry it to Redis.

    False where there was nothing to push, or Redis refused: then the row stays pending and the relay tries again.
    """
    now = timezone.now()
    due = Q(status=Status.PENDING) | Q(status=Status.SCHEDULED, not_before__lte=now)
    won = Job.objects.filter(due, pk=job_id).update(
        status=Status.QUEUED, dispatch=F("dispatch") + 1, pushed_at=now, not_before=None
    )
    return bool(won) and _carry(Job.objects.get(pk=job_id))


def _carry(job: Job) -> bool:
    try:
        queues.carry(job)
    except TimeoutError:
        # It may be there. If it is not, `recover_lost` sees that.
        logger.warning("no answer from Redis to the push of job %s", job.pk)
        return False
    except RedisError as error:
        logger.warning("Redis is away (%s); job %s stays pending", type(error).__name__, job.pk)
        _put_back(job)
        if not isinstance(error, ConnectionError):
            raise
        return False
    return True


def _put_back(job: Job) -> None:
    Job.objects.filter(pk=job.pk, status=Status.QUEUED, dispatch=job.dispatch).update(
        status=Status.PENDING, pushed_at=None
    )


def relay() -> int:
    """Push what is due and was not pushed: Redis was away, or the process died between commit and push."""
    now = timezone.now()
    overdue = Q(status=Status.PENDING, created_at__lte=now - PUSH_GRACE)
    due = Q(status=Status.SCHEDULED, not_before__lte=now)
    pushed = 0
    for job_id in Job.objects.filter(overdue | due).order_by("pk").values_list("pk", flat=True)[:BATCH]:
        if not push(job_id):
            break
        pushed += 1
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
    return _carry(job)


def back_off(attempts: int) -> timedelta:
    """How long a job waits after its own error: 10 s, 20 s, 40 s … at most an hour."""
    return timedelta(seconds=min(3600, settings.JOB_RETRY_SECONDS * 2 ** max(0, attempts - 1)))
