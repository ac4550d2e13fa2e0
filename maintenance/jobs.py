"""The jobs that keep the server tidy, and those that act on many jobs at once."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from maintenance import cleanup, executor, matching, progress, removal
from maintenance.cleanup import Section
from maintenance.errors import Refusal
from maintenance.ledger import JobError, job
from maintenance.models import Job
from maintenance.selection import Selection
from maintenance.tables import Drain, Queue

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


# Only one of them at a time, and one that is begun again passes over what it has done: see `before` in `Selection`.
@job(queue=Queue.LOW, timeout=timedelta(hours=1), max_attempts=3, drain=Drain.HAND_BACK)
def retry_matching(*, filters: Mapping[str, str]) -> None:
    """Run again every failed or cancelled job that the filters mean. `filters` is what `Selection.stated` answers."""
    _act(matching.retry, filters, "queued again")


@job(queue=Queue.LOW, timeout=timedelta(hours=1), max_attempts=3, drain=Drain.HAND_BACK)
def forget_matching(*, filters: Mapping[str, str]) -> None:
    """Delete every failed or cancelled job that the filters mean, with its attempts."""
    _act(matching.forget, filters, "forgotten")


@job(queue=Queue.LOW, timeout=timedelta(hours=1), max_attempts=3, drain=Drain.HAND_BACK)
def clear_queue(*, queue: str, before: str) -> None:
    """Cancel what waits in a queue since before this moment (ISO 8601): the rest of what the console was asked for."""
    moment = datetime.fromisoformat(before)
    waiting = Job.objects.filter(queue=queue, status__in=Job.WAITING, created_at__lt=moment)
    total = waiting.count()

    def tell(done: int) -> None:
        progress.report(min(done, total), total, f"{done} cancelled")
        _stop_early(f"{done} cancelled")

    removal.clear(queue, tell, before=moment)


def _act(act: Callable[[Selection, matching.Tell], matching.Report], filters: Mapping[str, str], done: str) -> None:
    selection = Selection.restored(filters)
    total = matching.jobs(selection).count()

    def tell(report: matching.Report) -> None:
        progress.report(min(report.seen, total), total, report.in_words(done))
        _stop_early(report.in_words(done))

    report = act(selection, tell)
    result = {"done": report.done, "refused": dict(report.refused)}
    progress.report(max(report.seen, 1), max(report.seen, 1), report.in_words(done), result=result)


def _stop_early(so_far: str) -> None:
    """Raises JobError where somebody cancelled the job, or its time is nearly over. What was done stays done."""
    current = executor.current()
    if current is None:
        return
    if Job.objects.filter(pk=current.execution.job.pk, cancel_requested_at__isnull=False).exists():
        raise JobError(f"Cancelled with {so_far}.", code="cancelled", permanent=True)
    if current.seconds_left(math.inf) < SPARE_SECONDS:
        raise JobError(f"The time was over with {so_far}; the rest follows.", code="incomplete")
