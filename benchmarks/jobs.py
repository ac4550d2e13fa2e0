"""Job functions to try the queues with."""

import time
from datetime import timedelta

from benchmarks import marks
from maintenance.ledger import job
from maintenance.tables import Queue

BEAT_SECONDS = 0.05


@job(queue=Queue.DEFAULT, timeout=timedelta(seconds=60), max_attempts=1)
def marked(*, seconds: float) -> None:
    """Takes so long, and says so in the file of marks."""
    marks.write(marks.START)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, BEAT_SECONDS))
        marks.write(marks.BEAT)
    marks.write(marks.DONE)


@job(queue=Queue.DEFAULT, timeout=timedelta(seconds=60), max_attempts=1)
def nothing() -> None:
    """Costs what the queue costs."""


@job(queue=Queue.DEFAULT, timeout=timedelta(minutes=5), max_attempts=1)
def sleeps(*, seconds: float) -> None:
    """Keeps a worker busy without using its processor."""
    time.sleep(seconds)
