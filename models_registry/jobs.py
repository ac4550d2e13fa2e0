"""The jobs of the registry."""

import math
import secrets
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from maintenance import executor, progress
from maintenance.errors import Refusal
from maintenance.ledger import Failure, JobError, job
from maintenance.models import Job, new_job_id
from maintenance.tables import Drain, Queue
from models_registry import catalog, sync
from models_registry.errors import BackendError
from models_registry.loading import load_model
from models_registry.models import Pull
from models_registry.pulling import execution, transitions

__all__ = ["begin_pull", "enqueue_pull", "load_model", "pull_model", "sync_models"]

# As long as one backend may take to list its models: with less left the rest waits for the next time.
SPARE_SECONDS = 40.0


@job(queue=Queue.LOW, timeout=timedelta(minutes=2), max_attempts=3)
def sync_models(*, backend: str = "") -> None:
    """Store which models a backend has, or every backend, one after the other.

    Of all of them, one that does not answer is reported in the progress and fails nothing: its rows stay, and its
    health says what is wrong. Asked about by name, it fails the job.
    """
    if backend:
        progress.report(1, 1, _in_words(_synced(backend)))
        return
    names = list(catalog.configured())
    reports: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        reports[name] = _attempted(name)
        progress.report(number, len(names), f"{name}: {reports[name]}", result=reports)


def _attempted(name: str) -> str:
    current = executor.current()
    if current and current.seconds_left(math.inf) < SPARE_SECONDS:
        return "not asked: the time was over"
    try:
        return _in_words(_synced(name))
    except JobError as error:
        return error.failure.message


def _synced(name: str) -> sync.Counts:
    """Raises JobError."""
    try:
        return sync.sync(name)
    except Refusal as refusal:
        raise JobError(refusal.message, code=refusal.code, permanent=True) from refusal
    except BackendError as error:
        raise JobError(error.message, code=error.code, permanent=error.permanent) from error


def _in_words(counts: sync.Counts) -> str:
    return f"{counts.models} models, {counts.added} new, {counts.removed} gone"


def fail_pull(failure: Failure, *, pull_id: str) -> None:
    """The job failed for good, so the pull does, in the same transaction; one that was to be cancelled is cancelled."""
    if failure.code == "cancelled":
        transitions.end(pull_id, Pull.Status.CANCELLED, origin=Pull.UNFINISHED)
        return
    transitions.end(pull_id, Pull.Status.CANCELLED, origin=(Pull.Status.CANCELLING,))
    # A job that killed its workers is poison; for whoever pulls, a worker was lost.
    code = "worker_lost" if failure.code == "poison" else failure.code
    words = {"error_code": code, "error": failure.message[:500]}
    transitions.end(pull_id, Pull.Status.FAILED, origin=(Pull.Status.QUEUED, Pull.Status.RUNNING), **words)


def recover_pull(*, lease_token: str, pull_id: str) -> Failure | None:
    """The worker died. None: the pull goes on elsewhere, with what its server has kept."""
    if Pull.objects.filter(pk=pull_id, status=Pull.Status.CANCELLING).exists():
        return Failure("cancelled", "It was cancelled.", permanent=True)
    transitions.release(pull_id, lease_token)
    return None


def retry_pull(*, pull_id: str) -> Job | None:
    """An operator retries the job: a new pull of the same model, or the one that is under way. Raises Refusal."""
    pull = Pull.objects.filter(pk=pull_id).first()
    if pull is None:
        raise Refusal("This pull was forgotten; start a new one.", code="pull_deleted")
    again, _created = begin_pull(pull.backend, pull.model, pull.created_by)
    return Job.objects.get(pk=again.job_id)


def cancel_pull(*, pull_id: str) -> None:
    """Its job was cancelled: the worker that has it is asked to stop; without one it ends here."""
    pull = Pull.objects.filter(pk=pull_id).first()
    if pull and not Job.objects.filter(pk=pull.job_id, status=Job.Status.RUNNING).exists():
        transitions.end(pull_id, Pull.Status.CANCELLED, origin=Pull.UNFINISHED)
    elif pull and not transitions.ask_to_stop(pull_id):
        transitions.end(pull_id, Pull.Status.CANCELLED, origin=(Pull.Status.QUEUED,))


@job(
    queue=Queue.DEFAULT,
    timeout=timedelta(hours=2),
    max_attempts=1,
    max_recoveries=4,  # continued three times
    on_failure=fail_pull,
    on_lost=recover_pull,
    on_retry=retry_pull,
    on_cancel=cancel_pull,
    drain=Drain.HAND_BACK,
)
def pull_model(*, pull_id: str) -> None:
    """Have a backend's server download a model, and tell how far it is."""
    pull = execution.claim(pull_id, execution.lease_token(secrets.token_hex(16)))
    if pull is None:
        return
    # Longer than the job may take, so that it is the job's own limit that ends it.
    execution.run(pull, execution.seconds_left(7200) + 60)
    # A key of its own: a sync that is under way may have asked before the model was there.
    sync_models.tagged(f"backend:{pull.backend}").keyed(f"sync_models:{pull.pk}").enqueue(backend=pull.backend)


def begin_pull(backend: str, model: str, by: User | None) -> tuple[Pull, bool]:
    """The row of a pull with its job, or the one under way of the same model, and whether it was made.

    Names as the backend knows them. Of two that begin at once, one makes it.
    """
    same = Pull.objects.filter(backend=backend, model=model, status__in=Pull.UNFINISHED)
    found = same.first()
    while found is None:
        try:
            with transaction.atomic():
                pull = Pull.objects.create(backend=backend, model=model, job_id=new_job_id(), created_by=by)
                enqueue_pull(pull)
            return pull, True
        except IntegrityError:
            found = same.first()  # None: it has ended in the meantime
    return found, False


def enqueue_pull(pull: Pull) -> Job:
    """Put the job of a queued pull into the ledger, under the id that the pull names."""
    tags = ["model-pull", f"pull:{pull.pk}", f"backend:{pull.backend}"]
    tags += [f"user:{pull.created_by_id}"] if pull.created_by_id else []
    limited = pull_model.limited("pulls", settings.MODEL_PULL_CONCURRENCY)
    return limited.identified(pull.job_id).tagged(*tags).by(pull.created_by).enqueue(pull_id=pull.pk)
