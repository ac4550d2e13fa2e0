"""The reconciler's part on runs: whatever happened to jobs and workers, no run stays unfinished without one."""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from conversations import jobs, transitions
from conversations.models import Conversation, Run
from maintenance import leftovers
from maintenance.ledger import Failure
from maintenance.models import Job, new_job_id

logger = logging.getLogger(__name__)

Status = Run.Status
# A transaction under way elsewhere may be about to write the job.
SETTLED = timedelta(seconds=15)
BATCH = 200


def reconcile() -> None:
    revive_queued()
    end_orphaned()
    expire_waits()
    promote_missed()


def expire_waits() -> int:
    """Runs that nobody answered in time."""
    overdue = Run.objects.filter(status=Status.WAITING_FOR_TOOL, expires_at__lt=timezone.now())
    return sum(_expire(run) for run in overdue[:BATCH])


@transaction.atomic
def _expire(run: Run) -> bool:
    whom = "approval" if run.waiting_for == Run.WaitingFor.APPROVAL else "tool result"
    try:
        promoted = transitions.end(
            run,
            Status.EXPIRED,
            origin=(Status.WAITING_FOR_TOOL,),
            error_code="expired",
            error=f"No {whom} came in time.",
        )
    except transitions.AlreadyMoved:
        return False
    if promoted:
        jobs.enqueue(promoted)
    return True


def revive_queued() -> int:
    """Queued runs whose job is gone or over: the job is written again, or its failure applied."""
    stranded = Run.objects.filter(status=Status.QUEUED, queued_at__lt=timezone.now() - SETTLED).exclude(
        job__status__in=Job.UNFINISHED
    )
    return sum(_revive(run) for run in stranded.select_related("conversation")[:BATCH])


@transaction.atomic
def _revive(run: Run) -> bool:
    job = Job.objects.filter(pk=run.job_id).first()
    if job is None and settings.QUEUE_CONNECTION == "redis":
        return _end_if_lost(run)
    if job and job.status in (Job.Status.FAILED, Job.Status.CANCELLED):
        jobs.fail_run(_failure_of(job), run_id=run.pk)
        return True
    new_id = new_job_id()
    if not Run.objects.filter(pk=run.pk, status=Status.QUEUED, job_id=run.job_id).update(job_id=new_id):
        return False
    logger.warning("run %s had no job; it gets a new one", run.pk)
    run.job_id = new_id
    jobs.enqueue(run)
    return True


def _end_if_lost(run: Run) -> bool:
    """With the driver `redis` a job has no row before it starts: it waits in Redis, or went with Redis's data."""
    gone = leftovers.lost(str(run.job_id))
    if gone:
        jobs.fail_run(Failure("job_lost", "Redis lost the job before it started."), run_id=run.pk)
    return gone


def _failure_of(job: Job) -> Failure:
    if job.status == Job.Status.CANCELLED:
        return Failure("cancelled", "Stopped.")
    code, _, message = job.error.partition(": ")
    return Failure(code or "job_failed", message or "The job failed.")


def end_orphaned() -> int:
    """Runs that a worker held whose lease ran out, while their job is not running any more."""
    orphaned = Run.objects.filter(
        status__in=(Status.RUNNING, Status.CANCELLING), lease_expires_at__lt=timezone.now() - SETTLED
    ).exclude(job__status=Job.Status.RUNNING)
    lost = Failure("worker_lost", "The worker that ran this died.")
    found = list(orphaned.values_list("pk", flat=True)[:BATCH])
    for pk in found:
        with transaction.atomic():
            jobs.fail_run(lost, run_id=pk)
    return len(found)


def promote_missed() -> int:
    """Conversations where a run waits although none is open."""
    pending = Run.objects.filter(conversation=OuterRef("pk"), status=Status.PENDING)
    is_open = Run.objects.filter(conversation=OuterRef("pk"), status__in=Run.OPEN)
    missed = Conversation.objects.filter(Exists(pending), ~Exists(is_open), status=Conversation.Status.ACTIVE)
    return sum(_promote(pk) for pk in missed.values_list("pk", flat=True)[:BATCH])


@transaction.atomic
def _promote(conversation_id: int) -> bool:
    transitions.lock(conversation_id)
    promoted = transitions.promote(conversation_id)
    if promoted:
        jobs.enqueue(promoted)
    return promoted is not None
