"""Removing jobs: forgetting those that ended, and clearing a queue of those that wait."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from redis.exceptions import RedisError

from maintenance import direct, ledger, queues
from maintenance.errors import Refusal
from maintenance.models import Job

BATCH = 200
Progress = Callable[[int], object]


@transaction.atomic
def forget(job_id: str) -> None:
    """Delete a job that ended, with its attempts. Raises Refusal where it is unknown or has not ended."""
    row = Job.objects.select_for_update().filter(pk=job_id).first()
    if row is None:
        raise Refusal("There is no such job.", code="not_found", status_code=404)
    if row.status in Job.UNFINISHED:
        raise Refusal(f"The job is {row.status}; only one that ended can be forgotten.", code="not_ended")
    row.delete()


@transaction.atomic
def forget_failed(job_ids: Sequence[str]) -> int:
    """Delete those of these jobs that failed or were cancelled, with their attempts; how many it were."""
    still = Job.objects.select_for_update().filter(pk__in=job_ids, status__in=(Job.Status.FAILED, Job.Status.CANCELLED))
    return Job.objects.filter(pk__in=[row.pk for row in still]).delete()[1].get(Job._meta.label, 0)


def flush(before: datetime, progress: Progress) -> int:
    """Delete the jobs that failed before this moment; how many. `progress` is told now and then how many so far."""
    failed = Job.objects.filter(status=Job.Status.FAILED, finished_at__lt=before)
    return _in_parts(list(failed.order_by("pk").values_list("pk", flat=True)), _delete_failed, progress)


@transaction.atomic
def _delete_failed(job_ids: list[str]) -> int:
    still = Job.objects.select_for_update().filter(pk__in=job_ids, status=Job.Status.FAILED)
    return Job.objects.filter(pk__in=[row.pk for row in still]).delete()[1].get(Job._meta.label, 0)


def clear(queue: str, progress: Progress, *, before: datetime | None = None, at_most: int | None = None) -> int:
    """Cancel the jobs that wait in this queue, also those that are not due yet; how many it were.

    What is running goes on, and what comes meanwhile, or was made after `before`, stays.
    """
    if settings.QUEUE_CONNECTION == "redis":
        with suppress(RedisError):
            _write_calls(queue)
    waiting = Job.objects.filter(queue=queue, status__in=Job.WAITING, created_at__lt=before or timezone.now())
    return _in_parts(list(waiting.order_by("pk").values_list("pk", flat=True)[:at_most]), _cancel_waiting, progress)


def _write_calls(queue: str) -> None:
    """Give calls that wait in Redis alone a row, so that they are cancelled like any other. Raises RedisError."""
    for rq_job_id in queues.waiting_ids(queue):
        with suppress(ValueError):  # of an id that is not ours
            job_id, dispatch = queues.parse_rq_id(rq_job_id)
            direct.adopt(job_id, dispatch, {"status": Job.Status.QUEUED})


def _cancel_waiting(job_ids: list[str]) -> int:
    cancelled = [row for row in map(_cancel_one, job_ids) if row]
    if settings.QUEUE_CONNECTION == "sync":  # which carries nothing to Redis
        return len(cancelled)
    with suppress(RedisError):  # a worker that comes upon one of them finds it cancelled, and takes the next
        queues.withdraw(cancelled)
    return len(cancelled)


@transaction.atomic
def _cancel_one(job_id: str) -> Job | None:
    """The row as it was, or None where a worker was faster: what runs is not stopped by clearing its queue."""
    row = Job.objects.select_for_update().filter(pk=job_id, status__in=Job.WAITING).first()
    return row if row and ledger.cancel(job_id) else None


def _in_parts(job_ids: list[str], act: Callable[[list[str]], int], progress: Progress) -> int:
    done = 0
    for part in _parts(job_ids):
        done += act(part)
        progress(done)
    return done


def _parts(job_ids: list[str]) -> Iterator[list[str]]:
    return (job_ids[first : first + BATCH] for first in range(0, len(job_ids), BATCH))
