"""Acting on every job that a selection means, part by part: to be watched, stopped half way, and begun again.

Only jobs that failed or were cancelled are meant, whatever else the selection lets through.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from django.db.models import QuerySet

from maintenance import ledger, removal
from maintenance.errors import Refusal
from maintenance.models import Job
from maintenance.selection import Selection

AT_ONCE = 200
ENDED = (Job.Status.FAILED, Job.Status.CANCELLED)
# An operator confirmed each of these once. Run again among others, they would delete or retry what nobody looked at.
CONFIRMED = ("retry_matching", "forget_matching")


@dataclass
class Report:
    """How far it is, in jobs. `refused` counts those that were left as they are, by reason."""

    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def seen(self) -> int:
        return self.done + self.refused.total()

    def in_words(self, what: str) -> str:
        """One line, as `1,200 queued again, 3 refused: There is no such job.`"""
        line = f"{self.done:,} {what}"
        if self.refused:
            reasons = " ".join(reason for reason, _ in self.refused.most_common())
            line += f", {self.refused.total():,} refused: {reasons}"
        return line


Tell = Callable[[Report], object]


def jobs(selection: Selection) -> "QuerySet[Job]":
    """The jobs that may be acted on, newest first."""
    return selection.rows().filter(status__in=ENDED)


def retry(selection: Selection, tell: Tell) -> Report:
    """Run them again, each in a transaction of its own. `tell` hears of every part, and may raise to stop."""
    return _through(selection, _retry, tell)


def forget(selection: Selection, tell: Tell) -> Report:
    """Delete them, with their attempts. `tell` hears of every part, and may raise to stop."""
    return _through(selection, _forget, tell)


def _through(selection: Selection, act: Callable[[Sequence[Job], Report], None], tell: Tell) -> Report:
    report = Report()
    for part in _parts(selection):
        act(part, report)
        tell(report)
    return report


def _parts(selection: Selection) -> Iterator[list[Job]]:
    """Oldest first, one status after the other, so that each part is a walk along the index of statuses."""
    for status in ENDED:
        rows = selection.rows().filter(status=status).only("pk", "name").order_by("pk")
        last = ""
        while part := list(rows.filter(pk__gt=last)[:AT_ONCE]):
            yield part
            last = part[-1].pk


def _retry(part: Sequence[Job], report: Report) -> None:
    for row in part:
        try:
            _retry_one(row)
            report.done += 1
        except Refusal as refusal:
            report.refused[refusal.message] += 1


def _retry_one(row: Job) -> None:
    if row.name in CONFIRMED:
        raise Refusal(f"{row.name} is retried by itself only, on its own page.", code="confirmed_once")
    ledger.retry(row.pk)


def _forget(part: Sequence[Job], report: Report) -> None:
    gone = removal.forget_failed([row.pk for row in part])
    report.done += gone
    if gone < len(part):
        report.refused["Somebody else was faster."] += len(part) - gone
