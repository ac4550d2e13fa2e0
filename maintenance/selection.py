"""Which jobs are meant: the same filters for command line, console and API."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from maintenance import broker
from maintenance.errors import Invalid
from maintenance.models import Attempt, Job

COUNT_MAX = 10_000


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a job must be like; what is empty does not matter. Raises Invalid for a status or queue that there is not.

    `exception` is the class of its last error, with or without its module, or the code of its failure such as
    `timeout`. `since` is when it ended or, if it has not ended, was made.
    """

    status: str = ""
    queue: str = ""
    name: str = ""
    tag: str = ""
    exception: str = ""
    since: datetime | None = None

    def __post_init__(self) -> None:
        _refuse_unknown("status", self.status, Job.Status.values)
        _refuse_unknown("queue", self.queue, broker.queue_names())

    def rows(self) -> "QuerySet[Job]":
        """The jobs, newest first."""
        exact = {"status": self.status, "queue": self.queue, "name": self.name, "tag_rows__tag": self.tag}
        rows = Job.objects.filter(**{field: value for field, value in exact.items() if value}).order_by("-pk")
        if self.exception:
            rows = rows.filter(_ended_by(self.exception))
        if self.since:
            rows = rows.filter(Q(finished_at__gte=self.since) | Q(finished_at=None, created_at__gte=self.since))
        return rows

    def stated(self) -> dict[str, str]:
        """The filters that are set, in words."""
        return {name: str(value) for name, value in vars(self).items() if value}


@dataclass(frozen=True)
class Count:
    """How many there are. `capped`: at least that many; nobody counted on."""

    number: int
    capped: bool

    def __str__(self) -> str:
        return f"{self.number:,}{'+' if self.capped else ''}"


def count(rows: "QuerySet[Any]", at_most: int = COUNT_MAX) -> Count:
    """Count no further than is worth waiting for."""
    found = rows.order_by()[: at_most + 1].count()
    return Count(min(found, at_most), found > at_most)


def _ended_by(exception: str) -> Q:
    last: QuerySet[Model] = Attempt.objects.filter(job=OuterRef("pk"), number=OuterRef("starts"))
    named = Q(exception_class=exception) | Q(exception_class__endswith=f".{exception}")
    return Exists(last.filter(named)) | Q(error__startswith=f"{exception}: ")


def _refuse_unknown(field: str, value: str, known: list[str]) -> None:
    if value and value not in known:
        rule = f"One of {', '.join(known)}."
        raise Invalid(f"There is no {field} {value!r}. {rule}", errors={field: [rule]})
