"""Counting the jobs of a batch, and what follows from the count: its status, and what it calls back.

All of it happens in the transaction that ends the job, which thus counts once and completely or not at all. The row of
the batch is the last that such a transaction locks, so that two of them cannot wait for each other.
"""

import logging

from django.db import transaction
from django.db.models import Count, F, Q
from django.utils import timezone

from maintenance import callbacks
from maintenance.models import Batch, Job

logger = logging.getLogger(__name__)

Status = Batch.Status
_FOLLOWING = ["status", "caught", "finished_at", "then_call", "catch_call", "finally_call"]


def count(batch_id: str, *, ended: int, failed: int = 0) -> bool:
    """So many jobs have ended for good, so many of them failed. True: what has not started must be cancelled now."""
    batch = Batch.objects.filter(pk=batch_id, pending__gte=ended)
    if not batch.update(pending=F("pending") - ended, failed=F("failed") + failed):
        logger.error("batch %s has fewer jobs pending than ended; it will be counted anew", batch_id)
        return False
    # Until this transaction ends, nobody else changes the row: of two last jobs, one sees zero.
    return _follow(Batch.objects.get(pk=batch_id), failing=failed > 0)


def reopen(batch_id: str, *, failed: bool) -> None:
    """A job that had ended, failed or cancelled, runs again. What the batch has called back is not called again."""
    Batch.objects.filter(pk=batch_id, failed__gte=int(failed)).update(
        pending=F("pending") + 1, failed=F("failed") - int(failed), status=Status.RUNNING, finished_at=None
    )


@transaction.atomic
def recount(batch_id: str) -> bool:
    """Bring the counters in line with the rows. False where they were right."""
    # Who ends a job meanwhile is either in the rows already, or waits for the batch and counts on from here.
    batch = Batch.objects.select_for_update().get(pk=batch_id)
    rows = Job.objects.filter(batch=batch).aggregate(
        pending=Count("pk", filter=Q(status__in=Job.UNFINISHED)), failed=Count("pk", filter=Q(status=Job.Status.FAILED))
    )
    if (batch.pending, batch.failed) == (rows["pending"], rows["failed"]):
        return False
    logger.warning("batch %s said %s pending, %s failed; it has %s", batch_id, batch.pending, batch.failed, rows)
    failing = rows["failed"] > batch.failed
    batch.pending, batch.failed = rows["pending"], rows["failed"]
    batch.save(update_fields=["pending", "failed"])
    _follow(batch, failing=failing)
    return True


def disagreeing() -> list[str]:
    """Unfinished batches whose counters may not be those of their rows; `recount` looks again."""
    unfinished = Count("jobs", filter=Q(jobs__status__in=Job.UNFINISHED))
    failed = Count("jobs", filter=Q(jobs__status=Job.Status.FAILED))
    counted = Batch.objects.filter(finished_at=None).order_by().annotate(unfinished=unfinished, failures=failed)
    return list(counted.exclude(pending=F("unfinished"), failed=F("failures")).values_list("pk", flat=True))


def _follow(batch: Batch, *, failing: bool) -> bool:
    stops = failing and not batch.allow_failures and batch.status == Status.RUNNING
    ends = batch.pending == 0 and batch.finished_at is None
    if not failing and not ends:
        return False
    if failing and not batch.caught:
        batch.caught = True
        callbacks.make(batch, "catch")
    if stops:
        batch.status = Status.FAILED
    if ends:
        _finish(batch)
    batch.save(update_fields=_FOLLOWING)
    return stops and not ends


def _finish(batch: Batch) -> None:
    batch.finished_at = timezone.now()
    if batch.status == Status.RUNNING:
        batch.status = _outcome(batch)
    if batch.status == Status.COMPLETED:
        callbacks.make(batch, "then")
    callbacks.make(batch, "finally")


def _outcome(batch: Batch) -> Status:
    if batch.allow_failures:
        return Status.COMPLETED
    if batch.failed:
        return Status.FAILED
    cancelled = Job.objects.filter(batch=batch, status=Job.Status.CANCELLED).exists()
    return Status.CANCELLED if cancelled else Status.COMPLETED
