"""Declaring job functions, and what a declaration can be varied by. `maintenance.ledger` shows how."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from maintenance import direct, outbox, tags
from maintenance.models import Job, new_job_id
from maintenance.tables import Drain, Queue

P = ParamSpec("P")
Status = Job.Status
MAX_RECOVERIES = 3


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


@dataclass(frozen=True)
class Call:
    """A call of a job function that is not in the ledger yet: what a batch is made of."""

    function: "JobFunction[Any]"
    arguments: Mapping[str, Any]

    def row(self) -> Job:
        """The job, not saved."""
        return self.function.row(self.arguments)


@dataclass(frozen=True, kw_only=True)
class JobFunction(Generic[P]):
    """A function with its terms. Call it to run in place; `enqueue` puts a call of it into the ledger.

    `max_recoveries` deaths of its worker end it; before that it is run again, unless `on_lost` says otherwise.
    `on_failure(failure, **arguments)` runs in the transaction that fails the job for good.
    `on_lost(lease_token, **arguments)` runs in the transaction that ends an execution whose worker died, and returns
    None to have the job queued again or a Failure to end it.
    `on_retry(**arguments)` may return another job that is the retry; `on_cancel(**arguments)` runs when somebody
    cancels it, waiting or running. `drain` is what a stopping worker does with it. `back_off` are the seconds before
    the second attempt, the third and so on, the last for all that follow; without it the pause doubles.
    """

    function: Callable[P, None]
    name: str
    queue: Queue
    timeout: timedelta
    max_attempts: int
    max_recoveries: int = MAX_RECOVERIES
    on_failure: Callable[..., None] | None = None
    on_lost: Callable[..., Failure | None] | None = None
    on_retry: Callable[..., Job | None] | None = None
    on_cancel: Callable[..., None] | None = None
    drain: Drain = Drain.FINISH
    back_off: tuple[int, ...] = ()
    delay: timedelta = timedelta(0)
    moment: datetime | None = None
    tags: tuple[str, ...] = ()
    unique_key: str = ""
    concurrency_key: str = ""
    concurrency_limit: int = 1
    created_by: User | None = None
    job_id: str = ""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        self.function(*args, **kwargs)

    def on(self, queue: Queue) -> "JobFunction[P]":
        return replace(self, queue=queue)

    def after(self, delay: timedelta) -> "JobFunction[P]":
        """Not before so long after the call is enqueued."""
        return replace(self, delay=delay, moment=None)

    def at(self, moment: datetime) -> "JobFunction[P]":
        """Not before this moment; one that has passed means at once. Raises ValueError where it has no time zone."""
        if timezone.is_naive(moment):
            raise ValueError("the moment needs a time zone")
        return replace(self, moment=moment, delay=timedelta(0))

    def tagged(self, *words: str) -> "JobFunction[P]":
        """Words that the job is found by, such as `conversation:7`. Raises ValueError for one that is no tag."""
        return replace(self, tags=(*self.tags, *tags.checked(words)))

    def keyed(self, unique_key: str) -> "JobFunction[P]":
        """At most one unfinished job has this key; enqueueing a second one answers with the first."""
        return replace(self, unique_key=unique_key)

    def limited(self, concurrency_key: str, limit: int) -> "JobFunction[P]":
        """At most so many jobs with this key are queued or running at a time; the others wait, the oldest first."""
        if not concurrency_key or limit < 1:
            raise ValueError("a concurrency limit needs a key and is at least one")
        return replace(self, concurrency_key=concurrency_key, concurrency_limit=limit)

    def by(self, user: User | None) -> "JobFunction[P]":
        return replace(self, created_by=user)

    def identified(self, job_id: str) -> "JobFunction[P]":
        """Use an id that was made before, so that another row of the same transaction can name the job."""
        return replace(self, job_id=job_id)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """A call of it, as a value."""
        return Call(self, _named_only(self.name, args, kwargs))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Write the row in the caller's transaction and push it when that commits.

        With the driver `redis` a plain job has no row until a worker claims it: the answer is not saved then.
        """
        row = self.row(_named_only(self.name, args, kwargs))
        if direct.suits(row):
            direct.send_on_commit(row)
            return row
        pushing = outbox.dispatch(row)
        try:
            with transaction.atomic(savepoint=bool(self.unique_key)):
                row.save(force_insert=True)
                tags.write([row])
        except IntegrityError:
            if not self.unique_key:
                raise
            return Job.objects.get(unique_key=self.unique_key, status__in=Job.UNFINISHED)
        if pushing:
            outbox.carry_on_commit(row)
        elif row.status == Status.PENDING:
            outbox.push_on_commit(row)
        return row

    def row(self, arguments: Mapping[str, Any]) -> Job:
        """The row of a call with these arguments, not saved."""
        now = timezone.now()
        not_before = self.moment or now + self.delay
        return Job(
            pk=self.job_id or new_job_id(),
            name=self.name,
            queue=self.queue.value,
            arguments=dict(arguments),
            tags=list(dict.fromkeys(self.tags)),
            status=Status.SCHEDULED if not_before > now else Status.PENDING,
            not_before=not_before if not_before > now else None,
            max_attempts=self.max_attempts,
            max_recoveries=self.max_recoveries,
            timeout_seconds=int(self.timeout.total_seconds()),
            unique_key=self.unique_key,
            concurrency_key=self.concurrency_key,
            concurrency_limit=self.concurrency_limit,
            created_by=self.created_by,
        )

    def pause(self, attempts: int) -> timedelta:
        """How long a job waits after so many attempts that ended by its own error."""
        if not self.back_off:
            return outbox.back_off(attempts)
        return timedelta(seconds=self.back_off[min(attempts, len(self.back_off)) - 1])


def _named_only(name: str, args: Sequence[object], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    if args:
        raise TypeError(f"{name} takes named arguments only")
    return kwargs


_functions: dict[str, JobFunction[Any]] = {}


def job(
    *,
    queue: Queue,
    timeout: timedelta,
    max_attempts: int,
    max_recoveries: int = MAX_RECOVERIES,
    on_failure: Callable[..., None] | None = None,
    on_lost: Callable[..., Failure | None] | None = None,
    on_retry: Callable[..., Job | None] | None = None,
    on_cancel: Callable[..., None] | None = None,
    drain: Drain = Drain.FINISH,
    back_off: Sequence[int] = (),
) -> Callable[[Callable[P, None]], JobFunction[P]]:
    """Declare a job function. Every term is stated: contradictory ones fail at import."""
    if timeout < timedelta(seconds=1) or max_attempts < 1 or max_recoveries < 1:
        raise ValueError("a job needs at least one second and one attempt, and the first death of a worker may end it")
    if any(seconds < 0 for seconds in back_off) or (back_off and max_attempts == 1):
        raise ValueError("pauses are not negative, and lie between attempts: one attempt has none")

    def declare(function: Callable[P, None]) -> JobFunction[P]:
        declared = JobFunction(
            function=function,
            name=function.__name__,
            queue=queue,
            timeout=timeout,
            max_attempts=max_attempts,
            max_recoveries=max_recoveries,
            on_failure=on_failure,
            on_lost=on_lost,
            on_retry=on_retry,
            on_cancel=on_cancel,
            drain=drain,
            back_off=tuple(back_off),
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
