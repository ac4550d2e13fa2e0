"""Batches: jobs that are made together, counted together, and followed by others.

batches.create(
    "import",
    [read.call(folder_id=1), read.on(Queue.LOW).call(folder_id=2)],
    then=Call(report, {"to": "alice"}),     # all succeeded: report(to="alice", batch_id=…)
    catch=Call(warn, {}),                   # on the first failure
    finally_=Call(tidy, {}),                # the last has ended
    by=alice,
)
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import transaction
from django.db.models import Q

from maintenance import callbacks, ledger, tags, tally
from maintenance.declarations import Call
from maintenance.errors import Invalid, Refusal
from maintenance.models import Batch, Job, new_job_id

logger = logging.getLogger(__name__)

Status = Batch.Status
RECOUNT_SECONDS = 60
ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class Progress:
    """How far a batch is, in jobs. `ended` are all that will not run again by themselves, `failed` some of them."""

    total: int
    pending: int
    failed: int

    @property
    def ended(self) -> int:
        return self.total - self.pending

    @property
    def percent(self) -> int:
        return 100 * self.ended // self.total


@transaction.atomic
def create(
    name: str,
    calls: Iterable[Call],
    *,
    then: Call | None = None,
    catch: Call | None = None,
    finally_: Call | None = None,
    allow_failures: bool = False,
    by: User | None = None,
) -> Batch:
    """Make a batch and its jobs in the caller's transaction. They are pushed in the order of the calls.

    Without `allow_failures` the first failure cancels what has not started. `then` follows when all succeeded, or
    with `allow_failures` when all ended; `catch` the first failure; `finally_` the end of the last job. Each is
    enqueued once, with its own arguments and `batch_id`, also if jobs are retried later. Raises Invalid.
    """
    rows = _rows(calls, by)
    batch = Batch.objects.create(
        name=name,
        total=len(rows),
        pending=len(rows),
        allow_failures=allow_failures,
        then_call=callbacks.kept(then),
        catch_call=callbacks.kept(catch),
        finally_call=callbacks.kept(finally_),
        created_by=by,
    )
    for row in rows:
        row.batch = batch
    Job.objects.bulk_create(rows, batch_size=ROWS_AT_ONCE)
    tags.write(rows)
    ledger.push_on_commit(*(row for row in rows if row.status == Job.Status.PENDING))
    return batch


def _rows(calls: Iterable[Call], by: User | None) -> Sequence[Job]:
    rows = [call.row() for call in calls]
    if not rows:
        raise Invalid("A batch has at least one job.")
    # Ids of one millisecond have no order of their own.
    for row, job_id in zip(rows, sorted(new_job_id() for _ in rows), strict=True):
        if row.unique_key:
            raise Invalid("A job of a batch has no unique key: the job that has it already is not of the batch.")
        row.pk = job_id
        row.created_by = row.created_by or by
    return rows


def progress(batch: Batch) -> Progress:
    return Progress(batch.total, batch.pending, batch.failed)


def cancel(batch_id: str, *, by: User | None = None) -> bool:
    """Cancel what has not started, and ask what runs to stop. False where the batch has ended or is cancelled already.

    Inside a transaction that happens when it commits. Raises Refusal where there is no such batch.
    """
    _known(batch_id)
    going = Batch.objects.filter(pk=batch_id, finished_at=None, status__in=(Status.RUNNING, Status.FAILED))
    if not going.update(status=Status.CANCELLED):
        return False
    transaction.on_commit(partial(_stop, batch_id))
    return True


def _stop(batch_id: str) -> None:
    ledger.cancel_waiting(batch_id, ledger.BATCH_CANCELLED)
    running = Job.objects.filter(batch=batch_id, status=Job.Status.RUNNING, cancel_requested_at=None)
    for job_id in list(running.values_list("pk", flat=True)):
        ledger.cancel(job_id)


def retry_failed(batch_id: str, *, by: User | None = None) -> int:
    """Run again what failed, and what was cancelled because of that. How many jobs it were.

    Each has a transaction of its own, so this is not to be called inside one. Raises Refusal where there is no such
    batch. A job that cannot be retried is left as it is.
    """
    _known(batch_id)
    taken_along = Q(status=Job.Status.CANCELLED, error=ledger.BATCH_FAILED)
    rows = Job.objects.filter(Q(status=Job.Status.FAILED) | taken_along, batch=batch_id).order_by("pk")
    return sum(_retried(job_id, by) for job_id in list(rows.values_list("pk", flat=True)))


def _retried(job_id: str, by: User | None) -> bool:
    try:
        ledger.retry(job_id, by=by)
    except Refusal as refusal:
        logger.warning("job %s was not retried with its batch: %s", job_id, refusal.message)
        return False
    return True


def reconcile() -> None:
    """What the leader does for batches: finish what a process that died has left, and once a minute count."""
    finish_stops()
    if cache.add("batches:counted", True, timeout=RECOUNT_SECONDS):
        recount()


def finish_stops() -> None:
    """Stop the jobs of batches that failed or were cancelled: a process died doing it, or a job came back to wait."""
    ending = Batch.objects.filter(finished_at=None)
    for batch_id in ending.filter(status=Status.FAILED).values_list("pk", flat=True):
        ledger.cancel_waiting(batch_id, ledger.BATCH_FAILED)
    for batch_id in ending.filter(status=Status.CANCELLED).values_list("pk", flat=True):
        _stop(batch_id)


def recount() -> int:
    """Count batches anew whose counters are not those of their rows. How many it were."""
    return sum(map(tally.recount, tally.disagreeing()))


def _known(batch_id: str) -> None:
    if not Batch.objects.filter(pk=batch_id).exists():
        raise Refusal("There is no such batch.", code="not_found", status_code=404)
