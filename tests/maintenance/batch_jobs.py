"""Job functions for the tests of batches."""

from datetime import timedelta

from maintenance.ledger import job
from maintenance.tables import Queue

TERMS = {"queue": Queue.DEFAULT, "timeout": timedelta(seconds=30)}


@job(**TERMS, max_attempts=2, back_off=[0])
def batch_step(*, number: int) -> None:
    """One of many."""


@job(**TERMS, max_attempts=1)
def all_succeeded(*, batch_id: str, to: str = "") -> None:
    """For `then`."""


@job(**TERMS, max_attempts=1)
def first_failed(*, batch_id: str) -> None:
    """For `catch`."""


@job(**TERMS, max_attempts=1)
def last_ended(*, batch_id: str) -> None:
    """For `finally_`."""


cancelled: list[int] = []


def note_cancel(*, number: int) -> None:
    cancelled.append(number)


@job(**TERMS, max_attempts=1, on_cancel=note_cancel)
def minds_cancelling(*, number: int) -> None:
    """Does something when it is cancelled."""


@job(**TERMS, max_attempts=1, on_retry=lambda number: batch_step.enqueue(number=number))
def is_replaced(*, number: int) -> None:
    """Another job is its retry."""
