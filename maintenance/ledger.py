"""Declaring job functions, and the verbs on their rows: enqueue, retry, cancel.

@job(queue=Queue.LOW, timeout=timedelta(minutes=2), max_attempts=3)
def clean(*, folder_id: int) -> None: ...

clean.enqueue(folder_id=7)                              # the row now, the push on commit
clean.on(Queue.HIGH).after(timedelta(hours=1)).tagged("folder:7").enqueue(folder_id=7)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Generic, ParamSpec

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from maintenance import outbox
from maintenance.errors import Refusal
from maintenance.models import Job, new_job_id
from maintenance.tables import Drain, Queue

P = ParamSpec("P")
Status = Job.Status


@dataclass(frozen=True)
class Failure:
    """Why a job ended. `message` is safe to show; the detail is in the attempt."""

    code: str
    message: str
    permanent: bool = False


class JobError(Exception):
    """Raised by a job function that knows what its failure means. `permanent`: another attempt cannot help."""

    def __init__(self, message: str, *, code: str = "job_failed", permanent: bool = False) -> None:
        super().__init__(message)
        self.failure = Failure(code, message, permanent)


@dataclass(frozen=True, kw_only=True)
class JobFunction(Generic[P]):
    """A function with its terms. Call it to run in place; `enqueue` puts a call of it into the ledger.

    `on_failure(failure, **arguments)` runs in the transaction that fails the job for good.
    `on_lost(lease_token, **arguments)` runs in the transaction that ends an execution whose worker died, and returns
    None to have the job queued again or a Failure to end it.
    `on_retry(**arguments)` may return another job that is the retry; `on_cancel(**arguments)` runs when somebody
    cancels it, waiting or running. `drain` is what a stopping worker does with it.
    """

    function: Callable[P, None]
    name: str
    queue: Queue
    timeout: timedelta
    max_attempts: int
    on_failure: Callable[..., None] | None = None
    on_lost: Callable[..., Failure | None] | None = None
    on_retry: Callable[..., Job | None] | None = None
    on_cancel: Callable[..., None] | None = None
    drain: Drain = Drain.FINISH
    delay: timedelta = timedelta(0)
    tags: tuple[str, ...] = ()
    unique_key: str = ""
    created_by: User | None = None
    job_id: str = ""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        self.function(*args, **kwargs)

    def on(self, queue: Queue) -> "JobFunction[P]":
        return replace(self, queue=queue)

    def after(self, delay: timedelta) -> "JobFunction[P]":
        return replace(self, delay=delay)

    def tagged(self, *tags: str) -> "JobFunction[P]":
        return replace(self, tags=(*self.tags, *tags))

    def keyed(self, unique_key: str) -> "JobFunction[P]":
        """At most one unfinished job has this key; enqueueing a second one answers with the first."""
        return replace(self, unique_key=unique_key)

    def by(self, user: User | None) -> "JobFunction[P]":
        return replace(self, created_by=user)

    def identified(self, job_id: str) -> "JobFunction[P]":
        """Use an id that was made before, so that another row of the same transaction can name the job."""
        return replace(self, job_id=job_id)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Write the row in the caller's transaction and push it when that commits."""
        if args:
            raise TypeError(f"{self.name} takes named arguments only")
        row = self._row(kwargs)
        try:
            with transaction.atomic(savepoint=bool(self.unique_key)):
                row.save(force_insert=True)
        except IntegrityError:
            if not self.unique_key:
                raise
            return Job.objects.get(unique_key=self.unique_key, status__in=Job.UNFINISHED)
        if not self.delay:
            push_on_commit(row)
        return row

    def _row(self, arguments: dict[str, Any]) -> Job:
        return Job(
            pk=self.job_id or new_job_id(),
            name=self.name,
            queue=self.queue.value,
            arguments=arguments,
            tags=list(self.tags),
            status=Status.SCHEDULED if self.delay else Status.PENDING,
            not_before=timezone.now() + self.delay if self.delay else None,
            max_attempts=self.max_attempts,
            timeout_seconds=int(self.timeout.total_seconds()),
            unique_key=self.unique_key,
            created_by=self.created_by,
        )


_functions: dict[str, JobFunction[Any]] = {}


def job(
    *,
    queue: Queue,
    timeout: timedelta,
    max_attempts: int,
    on_failure: Callable[..., None] | None = None,
    on_lost: Callable[..., Failure | None] | None = None,
    on_retry: Callable[..., Job | None] | None = None,
    on_cancel: Callable[..., None] | None = None,
    drain: Drain = Drain.FINISH,
) -> Callable[[Callable[P, None]], JobFunction[P]]:
    """Declare a job function. Every term is stated: contradictory ones fail at import."""
    if timeout < timedelta(seconds=1) or max_attempts < 1:
        raise ValueError("a job needs at least one second and one attempt")

    def declare(function: Callable[P, None]) -> JobFunction[P]:
        declared = JobFunction(
            function=function,
            name=function.__name__,
            queue=queue,
            timeout=timeout,
            max_attempts=max_attempts,
            on_failure=on_failure,
            on_lost=on_lost,
            on_retry=on_retry,
            on_cancel=on_cancel,
            drain=drain,
        )
        if _functions.setdefault(declared.name, declared) is not declared:
            raise ValueError(f"two job functions are called {declared.name}")
        return declared

    return declare


def function_named(name: str) -> JobFunction[Any] | None:
    """The declaration of a row's function, or None where the code does not have it any more."""
    return _functions.get(name)


def functions() -> list[JobFunction[Any]]:
    """Every declared job function, by name."""
    return [_functions[name] for name in names()]


def names() -> list[str]:
    """Every declared job function, in order."""
    return sorted(_functions)


def push_on_commit(row: Job) -> None:
    transaction.on_commit(partial(outbox.push, row.pk), robust=True)


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
        return replacement or _again(row)


def _again(row: Job) -> Job:
    Job.objects.filter(pk=row.pk, status=row.status).update(
        status=Status.PENDING, attempts=0, recoveries=0, error="", error_fingerprint="", finished_at=None,
        cancel_requested_at=None, created_at=timezone.now(),
    )  # fmt: skip
    push_on_commit(row)
    row.refresh_from_db()
    return row


def cancel(job_id: str, *, by: User | None = None) -> bool:
    """Cancel a job: at once where it waits; where it runs, ask it to stop. False where it has ended already."""
    now = timezone.now()
    with transaction.atomic():
        row = _known(job_id)
        waiting = Job.objects.filter(pk=job_id, status__in=Job.WAITING).update(
            status=Status.CANCELLED, finished_at=now, cancel_requested_at=now
        )
        running = not waiting and Job.objects.filter(pk=job_id, status=Status.RUNNING).update(cancel_requested_at=now)
        declared = function_named(row.name)
        if (waiting or running) and declared and declared.on_cancel:
            declared.on_cancel(**row.arguments)
    return bool(waiting or running)


def _known(job_id: str) -> Job:
    row = Job.objects.select_for_update().filter(pk=job_id).first()
    if row is None:
        raise Refusal("There is no such job.", code="not_found", status_code=404)
    return row
