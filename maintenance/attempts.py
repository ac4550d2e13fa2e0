"""An execution's life in the ledger: claimed, renewed, and ended by whoever still holds its lease.

Every change is one conditional update on the lease token, so of two that want to end an execution one wins, and
a process that lost its lease changes nothing.
"""

import hashlib
import logging
import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from maintenance import direct, ledger, outbox
from maintenance.ledger import Failure
from maintenance.models import Attempt, Job
from maintenance.reactions import Event, JobNews, announce

logger = logging.getLogger(__name__)

Status = Job.Status
Outcome = Attempt.Outcome

CANCELLED = Failure("cancelled", "It was asked to stop.", permanent=True)
WORKER_LOST = Failure("worker_lost", "The worker died.")


@dataclass(frozen=True)
class Execution:
    """A claimed job: this process, and no other, may run it while the lease holds."""

    job: Job
    lease_token: str


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What became of an execution. `failure` is None where it succeeded."""

    outcome: Outcome
    failure: Failure | None = None
    exception_class: str = ""
    detail: str = ""
    traceback: str = ""
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None


def lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)


def claim(job_id: str, dispatch: int, *, lease_token: str, worker: str) -> Execution | None:
    """Take exactly this dispatch of the job. None where it was taken, cancelled or pushed again: nothing to do."""
    now = timezone.now()
    begun = {"status": Status.RUNNING, "lease_token": lease_token, "lease_expires_at": lease_end(), "started_at": now}
    with transaction.atomic():
        queued = Job.objects.filter(pk=job_id, dispatch=dispatch, status=Status.QUEUED)
        if queued.update(starts=F("starts") + 1, **begun):
            job = Job.objects.get(pk=job_id)
        else:
            adopted = direct.adopt(job_id, dispatch, {**begun, "starts": 1})
            if adopted is None:
                return None
            job = adopted
        Attempt.objects.create(
            job=job,
            number=job.starts,
            worker=worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            lease_token=lease_token,
            started_at=now,
            wait_seconds=(now - (job.pushed_at or job.created_at)).total_seconds(),
        )
    return Execution(job, lease_token)


def renew(execution: Execution) -> bool:
    """Keep the lease. False where it is gone: somebody else decides about the job now."""
    held = Job.objects.filter(pk=execution.job.pk, lease_token=execution.lease_token, status=Status.RUNNING)
    return bool(held.update(lease_expires_at=lease_end()))


def finish(execution: Execution, ending: Ending) -> bool:
    """End the execution as its own process saw it. False where the lease was lost: nothing is written then."""
    if ending.outcome == Outcome.SUCCEEDED:
        return _succeed(execution, ending)
    return _end(execution.job.pk, execution.lease_token, ending)


@transaction.atomic
def _succeed(execution: Execution, ending: Ending) -> bool:
    held = Job.objects.filter(pk=execution.job.pk, lease_token=execution.lease_token, status=Status.RUNNING)
    changes = {"status": Status.COMPLETED, "finished_at": timezone.now(), "lease_token": "", "lease_expires_at": None}
    if not held.update(**changes):
        return False
    _close_attempt(execution.job, execution.lease_token, ending)
    ledger.ended([execution.job], Status.COMPLETED)
    return True


def lose(job_id: str, lease_token: str, ending: Ending) -> bool:
    """End an execution whose process died or was killed. Safe to call from several places at once."""
    return _end(job_id, lease_token, ending)


@transaction.atomic
def _end(job_id: str, lease_token: str, ending: Ending) -> bool:
    job = Job.objects.select_for_update().filter(pk=job_id, lease_token=lease_token, status=Status.RUNNING).first()
    if job is None:
        return False
    _close_attempt(job, lease_token, ending)
    if ending.outcome == Outcome.LOST:
        return _after_loss(job, lease_token, ending)
    if ending.outcome == Outcome.HANDED_BACK:
        return _queue_again(job, timedelta(0), ending)
    return _after_error(job, ending)


def _close_attempt(job: Job, lease_token: str, ending: Ending) -> None:
    now = timezone.now()
    Attempt.objects.filter(lease_token=lease_token).update(
        finished_at=now,
        outcome=ending.outcome,
        exception_class=ending.exception_class[:200],
        message=ending.detail[:10_000],
        traceback=ending.traceback[-50_000:],
        run_seconds=(now - job.started_at).total_seconds() if job.started_at else None,
        cpu_seconds=ending.cpu_seconds,
        peak_memory_bytes=ending.peak_memory_bytes,
    )


def _after_loss(job: Job, lease_token: str, ending: Ending) -> bool:
    """Ask the job function what a death of its worker means; a job that killed its last one is not started again."""
    job.recoveries += 1
    _announce(Event.WORKER_LOST, job, ending.failure or WORKER_LOST)
    function = ledger.function_named(job.name)
    if job.recoveries >= job.max_recoveries:
        poison = Failure("poison", f"Its worker died {job.recoveries} times.", permanent=True)
        _announce(Event.POISON, job, poison)
        return _fail(job, poison, ending)
    failure = function.on_lost(lease_token=lease_token, **job.arguments) if function and function.on_lost else None
    if failure:
        return _fail(job, failure, ending)
    return _queue_again(job, timedelta(0), ending)


def _after_error(job: Job, ending: Ending) -> bool:
    failure = ending.failure or Failure("job_failed", "The job failed.")
    job.attempts += 1
    if job.attempts >= job.max_attempts or failure.permanent:
        return _fail(job, failure, ending)
    function = ledger.function_named(job.name)
    _queue_again(job, function.pause(job.attempts) if function else outbox.back_off(job.attempts), ending)
    if job.status != Status.CANCELLED:
        _announce(Event.JOB_RETRYING, job, failure)
    return True


def _fail(job: Job, failure: Failure, ending: Ending) -> bool:
    where = ending.traceback.strip().splitlines()[-3:-1] or [ending.detail]
    fingerprint = hashlib.sha256(f"{job.name} {ending.exception_class} {where}".encode()).hexdigest()[:16]
    job.error = f"{failure.code}: {failure.message}"[:500]
    job.error_fingerprint = fingerprint
    job.status = Status.CANCELLED if failure.code == "cancelled" else Status.FAILED
    job.finished_at = timezone.now()
    _save(job)
    if job.status == Status.FAILED:
        _announce(Event.JOB_FAILED, job, failure)
    _tell(job, failure)
    ledger.ended([job], job.status)
    return True


def _tell(job: Job, failure: Failure) -> None:
    """Let the job function say what its failure means. One that raises must not keep the job from ending."""
    function = ledger.function_named(job.name)
    if function is None or function.on_failure is None:
        return
    try:
        with transaction.atomic():
            function.on_failure(failure, **job.arguments)
    except Exception:
        logger.exception("what the failure of job %s means could not be said", job.pk)


def _queue_again(job: Job, delay: timedelta, ending: Ending) -> bool:
    if job.cancel_requested_at:
        return _fail(job, CANCELLED, ending)
    job.status = Status.SCHEDULED if delay else Status.PENDING
    job.not_before = timezone.now() + delay if delay else None
    if job.concurrency_key or not delay:
        ledger.push_on_commit(job)  # the job, or the next of its key
    return _save(job)


def _announce(event: Event, job: Job, failure: Failure) -> None:
    announce(
        JobNews(
            event=event,
            job_id=job.pk,
            name=job.name,
            queue=job.queue,
            arguments=job.arguments,
            tags=job.tags,
            attempts=job.attempts,
            recoveries=job.recoveries,
            code=failure.code,
            message=failure.message,
            not_before=job.not_before if event == Event.JOB_RETRYING else None,
        )
    )


def _save(job: Job) -> bool:
    job.lease_token, job.lease_expires_at = "", None
    job.save(
        update_fields=[
            "status", "attempts", "recoveries", "not_before", "finished_at", "error", "error_fingerprint",
            "lease_token", "lease_expires_at",
        ]
    )  # fmt: skip
    return True
