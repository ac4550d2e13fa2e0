"""Job functions to try the queues with."""

import time
from datetime import timedelta

from benchmarks import marks, notes
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


@job(queue=Queue.DEFAULT, timeout=timedelta(minutes=5), max_attempts=1)
def note(*, path: str) -> None:
    """Note when it began."""
    notes.note(path=path)


@job(queue=Queue.DEFAULT, timeout=timedelta(minutes=5), max_attempts=1)
def hold(*, path: str, until: str) -> None:
    """Note when it began, and wait for a file."""
    notes.hold(path=path, until=until)
