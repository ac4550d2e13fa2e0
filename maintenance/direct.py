"""The driver `redis`: a plain job goes straight to Redis, and the worker writes its row when it claims it.

Fastest, and honest about its price: a job that was not started when Redis loses its data is lost. What must not be
lost, or must be counted before it runs, is written first all the same: jobs with a key, a limit, a delay or a batch.
"""

import logging
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from redis.exceptions import ConnectionError, TimeoutError

from maintenance import queues, tags
from maintenance.commits import after_commit
from maintenance.models import Job

logger = logging.getLogger(__name__)

Status = Job.Status
CARRIED = (
    "name", "queue", "arguments", "tags", "max_attempts", "max_recoveries", "timeout_seconds", "created_by_id",
)  # fmt: skip


def suits(row: Job) -> bool:
    """Whether this call may go to Redis without a row."""
    kept = row.unique_key or row.concurrency_key or row.batch_id or row.status == Status.SCHEDULED
    return settings.QUEUE_CONNECTION == "redis" and not kept


def send_on_commit(row: Job) -> None:
    """Send it when the caller's transaction commits."""
    after_commit(send, row)


def send(row: Job) -> None:
    """Send the whole call to Redis. Where that failed, or it is not known whether it did, the row is written."""
    row.status, row.dispatch, row.pushed_at = Status.QUEUED, 1, timezone.now()
    try:
        queues.carry(row, whole=_carried(row))
    except TimeoutError:
        logger.warning("no answer from Redis to the push of job %s; its row is written", row.pk)
        _write(row)
    except ConnectionError as error:
        logger.warning("Redis is away (%s); job %s is written and waits", type(error).__name__, row.pk)
        row.status, row.dispatch, row.pushed_at = Status.PENDING, 0, None
        _write(row)


def _carried(row: Job) -> dict[str, Any]:
    pushed_at = row.pushed_at.isoformat() if row.pushed_at else ""
    return {**{name: getattr(row, name) for name in CARRIED}, "pushed_at": pushed_at}


@transaction.atomic
def _write(row: Job) -> None:
    row.save(force_insert=True)
    tags.write([row])


def adopt(job_id: str, dispatch: int, changes: dict[str, Any]) -> Job | None:
    """Write the row of a dispatch that has none, as claimed. None where there is one, or Redis does not know the call.

    The row's primary key lets one of two copies win. Call it inside a transaction.
    """
    if settings.QUEUE_CONNECTION != "redis" or dispatch != 1:
        return None
    carried = queues.whole_call(queues.rq_id(job_id, dispatch))
    if carried is None:
        return None
    terms = {name: carried.get(name) for name in CARRIED}
    row = Job(pk=job_id, dispatch=1, pushed_at=parse_datetime(str(carried.get("pushed_at"))), **{**terms, **changes})
    try:
        with transaction.atomic():
            _write(row)
    except IntegrityError:
        return None
    return row
