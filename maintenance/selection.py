"""Which jobs are meant: the same filters for command line, console and API."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from maintenance import broker
from maintenance.errors import Invalid
from maintenance.models import Attempt, Job

COUNT_MAX = 10_000
# Errors have no index: their words are looked for in no more than the newest jobs.
SEARCHED_MAX = 100_000
MOMENTS = ("since", "before")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a job must be like; what is empty does not matter. Raises Invalid for a status or queue that there is not.

    `exception` is the class of its last error, with or without its module, or the code of its failure such as
    `timeout`. `since` is when it ended or, if it has not ended, was made; `before` is when it ended. `fingerprint` is
    that of its error. `words` stand in its error, and are looked for in the newest `SEARCHED_MAX` jobs.
    """

    status: str = ""
    queue: str = ""
    name: str = ""
    tag: str = ""
    exception: str = ""
    since: datetime | None = None
    before: datetime | None = None
    fingerprint: str = ""
    words: str = ""

    @classmethod
    def restored(cls, stated: Mapping[str, str]) -> Self:
        """The selection that `stated` described. Raises Invalid, and TypeError for a filter that there is not."""
        values: dict[str, Any] = dict(stated)
        for name in MOMENTS:
            if name in values:
                values[name] = datetime.fromisoformat(values[name])
        return cls(**values)

    def __post_init__(self) -> None:
        _refuse_unknown("status", self.status, Job.Status.values)
        _refuse_unknown("queue", self.queue, broker.queue_names())

    def rows(self) -> "QuerySet[Job]":
        """The jobs, newest first."""
        exact = {"status": self.status, "queue": self.queue, "name": self.name, "tag_rows__tag": self.tag}
        rows = Job.objects.filter(**{field: value for field, value in exact.items() if value}).order_by("-pk")
        if self.fingerprint:
            rows = with_fingerprint(rows, self.fingerprint)
        if self.exception:
            rows = rows.filter(_ended_by(self.exception))
        if self.since:
            rows = rows.filter(Q(finished_at__gte=self.since) | Q(finished_at=None, created_at__gte=self.since))
        if self.before:
            rows = rows.filter(finished_at__lt=self.before)
        return newest(rows).filter(error__icontains=self.words) if self.words else rows

    def stated(self) -> dict[str, str]:
        """The filters that are set, in words that `restored` understands."""
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


def with_fingerprint(rows: "QuerySet[Job]", fingerprint: str) -> "QuerySet[Job]":
    """Those with this fingerprint. The index leaves out the empty one, so only who says so too has the use of it."""
    return rows.filter(error_fingerprint=fingerprint).exclude(error_fingerprint="")


def newest(rows: "QuerySet[Job]") -> "QuerySet[Job]":
    """Those of the rows that are among the newest `SEARCHED_MAX` jobs."""
    keys = Job.objects.order_by("-pk").values_list("pk", flat=True)
    oldest = next(iter(keys[SEARCHED_MAX - 1 : SEARCHED_MAX]), None)
    return rows.filter(pk__gte=oldest) if oldest else rows


def _ended_by(exception: str) -> Q:
    last: QuerySet[Model] = Attempt.objects.filter(job=OuterRef("pk"), number=OuterRef("starts"))
    named = Q(exception_class=exception) | Q(exception_class__endswith=f".{exception}")
    return Exists(last.filter(named)) | Q(error__startswith=f"{exception}: ")


def _refuse_unknown(field: str, value: str, known: list[str]) -> None:
    if value and value not in known:
        rule = f"One of {', '.join(known)}."
        raise Invalid(f"There is no {field} {value!r}. {rule}", errors={field: [rule]})
