"""Models that are brought into memory before they are called, by a job: no worker's turn waits for minutes.

Whoever needs a model that is not there enqueues the one job that loads it, and jobs of his own that carry its tags and
wait. They are woken when the load has ended, either way, and look again after `LOOK_AGAIN` in any case.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings

from maintenance import executor, ledger
from maintenance.errors import Refusal
from maintenance.ledger import Failure, JobError, job
from maintenance.models import Job
from maintenance.tables import Drain, Queue
from models_registry import catalog
from models_registry.backends.base import Cancellation, ModelConfig, Timeouts
from models_registry.catalog import Resolved
from models_registry.errors import BackendError, Cancelled

LOOK_AGAIN = timedelta(seconds=30)
BELIEVED_SECONDS = 5.0  # that a model is in memory: a turn that follows another one does not ask
CLOSING_SECONDS = 15
UNLIMITED_SECONDS = 24 * 3600.0
KEY_MAX_CHARACTERS = 100
_loaded_until: dict[tuple[str, str, int | None], float] = {}


def key(backend: str, model: str) -> str:
    """What the load of this model is known by: its unique key, and a tag of those who wait for it."""
    plain = f"load:{backend}:{model}"
    if len(plain) <= KEY_MAX_CHARACTERS and plain.strip() == plain:
        return plain
    return f"load:{hashlib.sha256(plain.encode()).hexdigest()}"


def is_needed(resolved: Resolved) -> bool:
    """Whether the server says that a call would have to wait for its model. One that says nothing is called."""
    if resolved.manager is None or settings.QUEUE_CONNECTION == "sync":
        return False
    config, now = resolved.config, time.monotonic()
    asked = (resolved.name, config.model, config.context_length)
    if _loaded_until.get(asked, 0.0) > now:
        return False
    try:
        loaded = resolved.manager.is_loaded(config.model, config)
    except BackendError:
        return False  # the call will say what is wrong
    if loaded:
        _loaded_until[asked] = now + BELIEVED_SECONDS
    return not loaded


def begin(resolved: Resolved) -> Job:
    """The job that loads the model, made now or under way. It does not end before the caller's transaction does."""
    backend, config = resolved.name, resolved.config
    declared = load_model.limited(f"loads:{backend}", 1).keyed(key(backend, config.model)).tagged(f"backend:{backend}")
    while True:
        try:
            made = declared.enqueue(backend=backend, model=config.model, context_length=config.context_length)
        except Job.DoesNotExist:
            continue  # the one under way has just ended
        unfinished = Job.objects.select_for_update().filter(pk=made.pk, status__in=Job.UNFINISHED)
        if found := unfinished.first():
            return found


def tags(load: Job) -> tuple[str, str]:
    """For a job that waits for this load: to be woken by, and to know it by."""
    return load.unique_key, f"awaits:{load.pk}"


def awaited(waiting: Job) -> Job | None:
    """The load that this job has waited for."""
    ids = [tag.removeprefix("awaits:") for tag in waiting.tags if tag.startswith("awaits:")]
    return Job.objects.filter(pk__in=ids).first()


def under_way_for(job_id: str | None) -> Job | None:
    """The load that the job of this id waits for, while it has not ended."""
    waiting = Job.objects.filter(pk=job_id, status__in=Job.WAITING).first() if job_id else None
    load = awaited(waiting) if waiting else None
    return load if load and load.status in Job.UNFINISHED else None


def check(load: Job) -> bool:
    """Whether it is under way still. Raises JobError with its own words where it failed."""
    if load.status == Job.Status.CANCELLED:
        raise JobError("The load of the model was cancelled.", code="load_cancelled", permanent=True)
    if load.status == Job.Status.FAILED:
        code, _, message = load.error.partition(": ")
        # A load that killed its workers is poison; to whoever waits for it, a worker was lost.
        raise JobError(message, code="worker_lost" if code == "poison" else code, permanent=True)
    return load.status in Job.UNFINISHED


def tell_waiting(failure: Failure, *, backend: str, model: str, context_length: int | None) -> None:
    """The load has failed: those who wait for it are woken, to fail with its words."""
    ledger.wake(key(backend, model))


def tell_waiting_of_cancel(*, backend: str, model: str, context_length: int | None) -> None:
    """An operator cancelled it: likewise. Where it runs, they look again, and are woken once more when it has ended."""
    ledger.wake(key(backend, model))


@job(
    queue=Queue.DEFAULT,
    timeout=timedelta(minutes=20),
    max_attempts=1,
    on_failure=tell_waiting,
    on_cancel=tell_waiting_of_cancel,
    drain=Drain.HAND_BACK,
)
def load_model(*, backend: str, model: str, context_length: int | None) -> None:
    """Have a backend's server bring a model into memory, with the window that a call will ask for. Raises JobError."""
    config, cancellation = ModelConfig(model=model, context_length=context_length), Cancellation()
    try:
        with _heeding(cancellation):
            catalog.manager(backend).load(model, config, cancellation, _timeouts())
    except Cancelled:
        raise JobError("It was cancelled.", code="cancelled", permanent=True) from None
    except BackendError as error:
        raise JobError(error.message, code=error.code, permanent=True) from error
    except Refusal as refusal:
        raise JobError(refusal.message, code=refusal.code, permanent=True) from refusal
    ledger.wake(key(backend, model))


@contextmanager
def _heeding(cancellation: Cancellation) -> Iterator[None]:
    """Inside, `cancellation` is used soon after somebody cancelled the job: it looks with each of its heartbeats."""
    current = executor.current()
    if current is None:
        yield
        return
    cancelled = Job.objects.filter(pk=current.execution.job.pk, cancel_requested_at__isnull=False)

    def look() -> bool:
        if cancelled.all().exists():
            cancellation.cancel()
        return True

    current.heartbeat.also(look)
    try:
        yield
    finally:
        current.heartbeat.no_longer(look)


def _timeouts() -> Timeouts:
    current = executor.current()
    left = current.seconds_left(UNLIMITED_SECONDS) if current else UNLIMITED_SECONDS
    total = max(1.0, left - CLOSING_SECONDS)
    return Timeouts(connect=settings.BACKEND_CONNECT_TIMEOUT_SECONDS, first_byte=total, idle=total, total=total)
