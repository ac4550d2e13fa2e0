"""The ledger: declaring job functions, and the verbs on their rows: enqueue, retry, cancel.

@job(queue=Queue.LOW, timeout=timedelta(minutes=2), max_attempts=3, back_off=[10, 60])
def clean(*, folder_id: int) -> None: ...

clean.enqueue(folder_id=7)                              # the row now, the push on commit
clean.on(Queue.HIGH).after(timedelta(hours=1)).tagged("folder:7").enqueue(folder_id=7)
clean.limited("disk", 2).enqueue(folder_id=7)           # not more than two at a time
"""

from collections import Counter
from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from maintenance import tally
from maintenance.commits import after_commit
from maintenance.declarations import Call, Failure, JobError, JobFunction, function_named, functions, job, names
from maintenance.errors import Refusal
from maintenance.models import Job
from maintenance.outbox import push_next_on_commit, push_on_commit
from maintenance.tags import jobs_tagged

__all__ = [
    "Call", "Failure", "JobError", "JobFunction", "cancel", "cancel_waiting", "ended", "function_named", "functions",
    "job", "names", "push_next_on_commit", "push_on_commit", "retry", "wake",
]  # fmt: skip

Status = Job.Status
# What the error of a job says that its batch took with it.
BATCH_FAILED = "batch_failed: Another job of the batch failed."
BATCH_CANCELLED = "batch_cancelled: The batch was cancelled."
CANCELLED_AT_ONCE = 500


def retry(job_id: str, *, by: User | None = None) -> Job:
    """Run a failed or cancelled job again. Answers with the job that does it, which may be a new one.

    Raises Refusal where the job is unknown, not ended, or its function refuses.
    """
    with transaction.atomic():
        row = _known(job_id)
        declared = function_named(row.name)
        if declared is None:
            raise Refusal(f"There is no job function {row.name} any more.", code="unknown_function")
        if row.status not in (Status.FAILED, Status.CANCELLED):
            raise Refusal(f"The job is {row.status}; only a failed or cancelled one can be retried.", code="not_ended")
        replacement = declared.on_retry(**row.arguments) if declared.on_retry else None
        if row.batch_id:
            _reopen_batch(row, replacement)
        return replacement or _again(row)


def _again(row: Job) -> Job:
    Job.objects.filter(pk=row.pk, status=row.status).update(
        status=Status.PENDING, attempts=0, recoveries=0, error="", error_fingerprint="", finished_at=None,
        cancel_requested_at=None, created_at=timezone.now(),
    )  # fmt: skip
    push_on_commit(row)
    row.refresh_from_db()
    return row


def _reopen_batch(row: Job, replacement: Job | None) -> None:
    """The retry takes the job's place in its batch."""
    if replacement:
        unfinished = Job.objects.filter(pk=replacement.pk, batch=None, status__in=Job.UNFINISHED)
        if not unfinished.update(batch=row.batch_id):
            return  # it is another batch's, or has ended
        Job.objects.filter(pk=row.pk).update(batch=None)
    tally.reopen(str(row.batch_id), failed=row.status == Status.FAILED)


def cancel(job_id: str, *, by: User | None = None) -> bool:
    """Cancel a job: at once where it waits; where it runs, ask it to stop. False where it has ended already."""
    now = timezone.now()
    with transaction.atomic():
        row = _known(job_id)
        waiting = Job.objects.filter(pk=job_id, status__in=Job.WAITING).update(
            status=Status.CANCELLED, finished_at=now, cancel_requested_at=now
        )
        running = not waiting and Job.objects.filter(pk=job_id, status=Status.RUNNING).update(cancel_requested_at=now)
        if waiting or running:
            _react_to_cancel(row)
        if waiting:
            ended([row], Status.CANCELLED)
    return bool(waiting or running)


def cancel_waiting(batch_id: str, reason: str) -> int:
    """Cancel what has not started of a batch; `reason` becomes the error of each. How many it were.

    A job that somebody else is changing at this moment is left out.
    """
    waiting = Job.objects.filter(batch=batch_id, status__in=Job.WAITING).order_by("pk")
    # What a function does about it may take locks of its own: one transaction for each of these jobs.
    reacting = Q(name__in=[function.name for function in functions() if function.on_cancel])
    cancelled = 0
    for rows, at_once in ((waiting.filter(reacting), 1), (waiting.exclude(reacting), CANCELLED_AT_ONCE)):
        while part := _cancel_part(rows, at_once, reason):
            cancelled += part
    return cancelled


@transaction.atomic
def _cancel_part(waiting: QuerySet[Job], at_most: int, reason: str) -> int:
    now = timezone.now()
    rows = list(waiting.select_for_update(skip_locked=True)[:at_most])
    Job.objects.filter(pk__in=[row.pk for row in rows], status__in=Job.WAITING).update(
        status=Status.CANCELLED, finished_at=now, cancel_requested_at=now, error=reason
    )
    for row in rows:
        _react_to_cancel(row)
    ended(rows, Status.CANCELLED)
    return len(rows)


def wake(tag: str) -> int:
    """Let the jobs with this tag that wait for their time be due now. How many they were."""
    due = timezone.now()
    with transaction.atomic():
        rows = list(jobs_tagged(tag).filter(status=Status.SCHEDULED))
        Job.objects.filter(pk__in=[row.pk for row in rows], status=Status.SCHEDULED).update(not_before=due)
        push_on_commit(*rows)
    return len(rows)


def _react_to_cancel(row: Job) -> None:
    declared = function_named(row.name)
    if declared and declared.on_cancel:
        declared.on_cancel(**row.arguments)


def ended(jobs: Sequence[Job], status: str) -> None:
    """What follows in the transaction that ends jobs for good: others get their slots, and their batches count."""
    push_next_on_commit(*(job.concurrency_key for job in jobs if job.concurrency_key))
    batches = Counter(job.batch_id for job in jobs if job.batch_id)
    for batch_id, number in sorted(batches.items()):
        if tally.count(batch_id, ended=number, failed=number if status == Status.FAILED else 0):
            after_commit(cancel_waiting, batch_id, BATCH_FAILED)


def _known(job_id: str) -> Job:
    row = Job.objects.select_for_update().filter(pk=job_id).first()
    if row is None:
        raise Refusal("There is no such job.", code="not_found", status_code=404)
    return row
