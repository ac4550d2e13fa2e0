"""Stopping a run: at once where no worker holds it, else by asking the worker that does."""

import logging

from django.db import transaction
from django.utils import timezone
from redis.exceptions import RedisError

from conversations import stream, transitions
from conversations.models import Run
from conversations.transitions import AlreadyMoved
from maintenance import broker
from maintenance.commits import after_commit

logger = logging.getLogger(__name__)

Status = Run.Status
UNHELD = (Status.PENDING, Status.QUEUED, Status.WAITING_FOR_TOOL)
SIGNAL_KEPT_SECONDS = 600


@transaction.atomic
def stop(run: Run) -> Run | None:
    """Stop the run; the promoted next one, if any, is for the caller to enqueue. Doing it twice changes nothing.

    A worker is asked by the flag in the database first, then by a signal in Redis that only makes it faster.
    """
    transitions.lock(run.conversation_id)
    _look(run)
    if run.status in UNHELD:
        try:
            return transitions.end(run, Status.CANCELLED, origin=UNHELD)
        except AlreadyMoved:
            _look(run)  # a worker has taken it just now, which needs no lock on the conversation
    if run.status == Status.RUNNING and transitions.move(run, Status.CANCELLING, cancel_requested_at=timezone.now()):
        after_commit(_signal, run.pk)
    if run.status == Status.CANCELLING and not _held(run):
        return transitions.end(run, Status.CANCELLED, origin=(Status.CANCELLING,))
    return None


def _look(run: Run) -> None:
    run.refresh_from_db(fields=["status", "lease_expires_at", "last_seq", "lease_token"])


def _held(run: Run) -> bool:
    return run.lease_expires_at is not None and run.lease_expires_at > timezone.now()


def _signal(run_id: int) -> None:
    try:
        broker.quick().set(stream.cancel_signal(run_id), 1, ex=SIGNAL_KEPT_SECONDS)
    except RedisError as error:
        logger.warning("no stop signal for run %s (%s); its worker looks at the database", run_id, type(error).__name__)
