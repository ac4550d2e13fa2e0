"""One execution of a pull: from claim to end, with what may come between."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import DatabaseError
from django.db.models import F
from redis.exceptions import RedisError

from maintenance import executor, streams
from maintenance.errors import Refusal
from maintenance.executor import HandedBack
from maintenance.ledger import JobError
from maintenance.logs import log_context
from models_registry import catalog
from models_registry.backends.base import Cancellation, Timeouts
from models_registry.errors import BackendError, Cancelled
from models_registry.models import Pull
from models_registry.pulling import events, stopping, transitions
from models_registry.pulling.publisher import Publisher

logger = logging.getLogger(__name__)

Status = Pull.Status


def claim(pull_id: str, lease_token: str) -> Pull | None:
    """The pull, to be gone on with where its last execution was. None where there is nothing to do."""
    pull = transitions.claim(pull_id, lease_token)
    if pull is None:
        transitions.end(pull_id, Status.CANCELLED, origin=(Status.CANCELLING,))
        return None
    last = events.newest(pull_id)
    if last:
        # Its last execution may have died before it saved what it had told.
        pull.last_seq = max(pull.last_seq, last.data["seq"])
        pull.percentage = max(pull.percentage, last.data.get("percentage", 0))
    return pull


def run(pull: Pull, seconds: float) -> None:
    """Have the server pull the model within so many seconds, and end the pull as completed. Raises JobError."""
    cancellation = Cancellation()
    with _meaning(pull):
        with Publisher(pull, cancellation) as tell:
            pulled = _pulled(pull, tell, cancellation, seconds)
        if pulled or _cancelled_too_late(pull, tell):
            _complete(pull, tell)


def _pulled(pull: Pull, tell: Publisher, cancellation: Cancellation, seconds: float) -> bool:
    """False where somebody cancelled it."""
    try:
        catalog.manager(pull.backend).pull(pull.model, tell, cancellation, _timeouts(seconds))
    except Cancelled:
        if tell.fenced:
            raise _lease_lost() from None
        if tell.broken:
            raise JobError("How far it is could not be stored.", code="not_stored", permanent=True) from None
        return False
    return True


def _cancelled_too_late(pull: Pull, tell: Publisher) -> bool:
    """End it as cancelled once its server was asked whether it stopped, and raise so; True: the model is there."""
    seen = {"phase": stopping.PHASE, "speed_bytes_per_second": None, "eta_seconds": None, "last_seq": F("last_seq") + 1}
    if transitions.held(pull).update(**seen):
        _tell(pull)
    verdict = stopping.verify(catalog.manager(pull.backend), pull.model, tell.progress)
    if verdict is stopping.Verdict.THERE:
        return True
    found = {"error_code": verdict.value, "error": stopping.words(verdict, pull.backend)}
    transitions.end(pull.pk, Status.CANCELLED, origin=(Status.CANCELLING,), held_by=pull.lease_token, **found)
    raise JobError("It was cancelled.", code="cancelled", permanent=True)


def _complete(pull: Pull, tell: Publisher) -> None:
    tell.progress.finish()
    columns = {name: tell.columns()[name] for name in ("percentage", "layers", "completed_bytes", "total_bytes")}
    # Cancelled too late: the model is there.
    open_ones = (Status.RUNNING, Status.CANCELLING)
    if not transitions.end(pull.pk, Status.COMPLETED, origin=open_ones, held_by=pull.lease_token, **columns):
        raise _lease_lost()
    logger.info("%s is there", pull.model)


def _timeouts(seconds: float) -> Timeouts:
    stall = float(settings.MODEL_PULL_STALL_SECONDS)
    return Timeouts(
        connect=float(settings.BACKEND_CONNECT_TIMEOUT_SECONDS), first_byte=stall, idle=stall, total=seconds
    )


def _lease_lost() -> JobError:
    return JobError("Another execution has the pull.", code="lease_lost", permanent=True)


@contextmanager
def _meaning(pull: Pull) -> Iterator[None]:
    """Turn what can go wrong into the job's ending, and let go of the pull when the worker is told to stop."""
    log_context.set({**log_context.get(), "pull": pull.pk})
    try:
        yield
    except HandedBack:
        _let_go(pull)
        raise
    except BackendError as error:
        raise JobError(error.message, code=error.code, permanent=True) from error
    except Refusal as refusal:
        raise JobError(refusal.message, code=refusal.code, permanent=True) from refusal


def _let_go(pull: Pull) -> None:
    """Its readers see it wait. The ledger queues the job again, whether they do or not."""
    try:
        if transitions.release(pull.pk, pull.lease_token):
            logger.info("handed back at %s %%", int(_tell(pull).percentage))
    except DatabaseError:
        logger.warning("the pull could not be let go; whoever has its job next takes it all the same", exc_info=True)


def _tell(pull: Pull) -> Pull:
    """Tell readers how the pull is in the database."""
    row = Pull.objects.get(pk=pull.pk)
    try:
        streams.append(events.key(pull.pk), [events.state(row)])
    except RedisError as error:
        logger.warning("the state of pull %s is not in its stream (%s)", pull.pk, type(error).__name__)
    return row


def lease_token(default: str) -> str:
    """That of the execution which is under way; `default` where the job function is called directly."""
    current = executor.current()
    return current.execution.lease_token if current else default


def seconds_left(default: float) -> float:
    current = executor.current()
    return current.seconds_left(default) if current else default
