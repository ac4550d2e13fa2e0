"""One execution of a job, from claim to outcome: the pipeline every driver runs."""

import logging
import secrets
import socket
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from maintenance import attempts, ledger, memory
from maintenance.attempts import Ending, Execution
from maintenance.deadline import JobTimeout, deadline
from maintenance.heartbeat import Heartbeat
from maintenance.ledger import Failure, JobError
from maintenance.logs import log_context
from maintenance.models import Attempt, Job
from maintenance.tables import Drain

logger = logging.getLogger(__name__)

Outcome = Attempt.Outcome
NOT_CLAIMED = "not claimed"
INSIST_SECONDS = 60.0
INSIST_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Current:
    """What a job function may know of its own execution. `deadline` is a `time.monotonic()` value or None."""

    execution: Execution
    heartbeat: Heartbeat
    deadline: float | None

    def seconds_left(self, default: float) -> float:
        """Until the job's time limit; `default` where time limits are switched off."""
        return default if self.deadline is None else max(0.0, self.deadline - time.monotonic())


class HandedBack(BaseException):
    """The worker is stopping and this job can go on elsewhere. Not an Exception: a job must not swallow it."""


_current: ContextVar[Current | None] = ContextVar("current_execution", default=None)


def current() -> Current | None:
    """The execution that this thread is in; None when a job function is called directly."""
    return _current.get()


def perform(
    *,
    job_id: str,
    dispatch: int,
    lease_token: str = "",
    worker: str = "",
    on_claim: Callable[[float | None], None] | None = None,
) -> str:
    """Claim this dispatch and run it. Answers with the outcome, or `NOT_CLAIMED` where there was nothing to do.

    `on_claim` is told the job's time limit in seconds, or None.
    """
    token = lease_token or secrets.token_hex(16)
    execution = attempts.claim(job_id, dispatch, lease_token=token, worker=worker or socket.gethostname())
    if execution is None:
        return NOT_CLAIMED
    log_context.set({"job": job_id})
    if on_claim:
        on_claim(time_limit(execution.job))
    with Heartbeat(lambda: attempts.renew(execution)) as heartbeat:
        ending = _measured(execution, heartbeat)
    if not _finish(execution, ending):
        logger.error("the lease of job %s was lost; its outcome is not written", job_id)
    return ending.outcome.value


def _finish(execution: Execution, ending: Ending) -> bool:
    """Insist for a while: a database that is away for a moment is no reason to run a job again that is done."""
    until = time.monotonic() + INSIST_SECONDS
    while True:
        try:
            return attempts.finish(execution, ending)
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or time.monotonic() > until:
                raise
            logger.warning("the end of job %s could not be written (%s)", execution.job.pk, type(error).__name__)
            connection.close()
            time.sleep(INSIST_PAUSE_SECONDS)


def _measured(execution: Execution, heartbeat: Heartbeat) -> Ending:
    memory.forget_peak()
    before = time.process_time()
    ending = _run(execution, heartbeat)
    return Ending(
        **{**vars(ending), "cpu_seconds": time.process_time() - before, "peak_memory_bytes": memory.peak_bytes()}
    )


def _run(execution: Execution, heartbeat: Heartbeat) -> Ending:
    limit = time_limit(execution.job)
    until = None if limit is None else time.monotonic() + limit
    mark = _current.set(Current(execution, heartbeat, until))
    try:
        with deadline(limit):
            _call(execution.job)
        return Ending(outcome=Outcome.SUCCEEDED)
    except HandedBack:
        return Ending(outcome=Outcome.HANDED_BACK, detail="The worker was stopped.")
    except JobTimeout as error:
        failure = Failure("timeout", f"The job took longer than {execution.job.timeout_seconds} s.")
        return _error(error, failure, Outcome.TIMEOUT)
    except JobError as error:
        return _error(error, error.failure, Outcome.FAILED)
    except Exception as error:
        return _error(error, Failure("job_failed", "The job failed with an unexpected error."), Outcome.FAILED)
    finally:
        _current.reset(mark)


def hand_back() -> None:
    """Called from a signal handler when the worker stops: raises HandedBack in a job that resumes elsewhere."""
    running = current()
    function = ledger.function_named(running.execution.job.name) if running else None
    if function and function.drain is Drain.HAND_BACK:
        raise HandedBack


def time_limit(job: Job) -> float | None:
    """Seconds the job may take; None when `JOB_TIMEOUTS=off`."""
    return float(job.timeout_seconds) if settings.JOB_TIMEOUTS else None


def _call(job: Job) -> None:
    function = ledger.function_named(job.name)
    if function is None:
        raise JobError(f"There is no job function {job.name}.", code="unknown_function", permanent=True)
    function(**job.arguments)


def _error(error: BaseException, failure: Failure, outcome: Outcome) -> Ending:
    return Ending(
        outcome=outcome,
        failure=replace(failure, message=_storable(failure.message)),
        exception_class=f"{type(error).__module__}.{type(error).__qualname__}",
        detail=_storable(str(error)),
        traceback=_storable("".join(traceback.format_exception(error))),
    )


def _storable(text: str) -> str:
    """What a database takes: no lone surrogate, as in names of files, and no NUL, which PostgreSQL refuses."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
