"""The jobs that keep the server tidy."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from maintenance import cleanup, executor, progress
from maintenance.cleanup import Section
from maintenance.errors import Refusal
from maintenance.ledger import JobError, job
from maintenance.tables import Queue

# So long before its time is over a job stops by itself, with a report; what is left waits for the next night.
SPARE_SECONDS = 15.0


@job(queue=Queue.LOW, timeout=timedelta(minutes=2), max_attempts=3)
def clean_temporary_files() -> None:
    """Remove uploads that nothing came of, old logs, and rows that have expired. Its report is in its progress."""
    _clean(cleanup.TEMPORARY)


@job(queue=Queue.LOW, timeout=timedelta(minutes=2), max_attempts=3)
def prune_history() -> None:
    """Remove jobs that ended long ago, with their attempts and tags, and old slots of the schedule."""
    _clean(cleanup.HISTORY)


def _clean(sections: Sequence[Section]) -> None:
    """Raises JobError, which has it tried again, where a whole section could not be cleaned."""
    current = executor.current()
    left = current.seconds_left(math.inf) if current else math.inf
    try:
        report = cleanup.clean(sections, seconds=left - SPARE_SECONDS, tell=progress.report)
    except Refusal as refusal:
        raise JobError(refusal.message, code=refusal.code) from None
    progress.report(len(sections), len(sections), in_words(report), result=report)
    if report["broken"]:
        raise JobError(f"Not cleaned: {', '.join(report['broken'])}.", code="incomplete")


def in_words(report: dict[str, Any]) -> str:
    """One line, as `12 removed, 4096 bytes, 1 could not be removed`."""
    words = [f"{report['removed']} {'would be ' if report['dry_run'] else ''}removed", f"{report['bytes']} bytes"]
    words += [f"{report['kept']} kept"] if report["kept"] else []
    words += [f"{report['errors']} could not be removed"] if report["errors"] else []
    words += ["more is left for the next time"] if report["unfinished"] else []
    return ", ".join(words)
