"""Failed jobs, as commands show them."""

from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from maintenance.models import Attempt, Job
from maintenance.output import table
from maintenance.templatetags.console import relative

_LAST = Attempt.objects.filter(job=OuterRef("pk")).order_by("-number").values("exception_class")[:1]


def newest(rows: "QuerySet[Job]", limit: int) -> list[Job]:
    """The newest jobs, each with its last attempt's `exception_class`."""
    return list(rows.defer("arguments", "progress").annotate(exception_class=Subquery(_LAST))[:limit])


def values(job: Job) -> dict[str, Any]:
    """A job without its arguments."""
    return {
        "id": job.pk,
        "name": job.name,
        "queue": job.queue,
        "tags": job.tags,
        "status": job.status,
        "starts": job.starts,
        "max_attempts": job.max_attempts,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
        "error": job.error,
        "exception_class": getattr(job, "exception_class", None) or "",
    }


def lines(jobs: list[Job]) -> list[str]:
    """A table of jobs."""
    headings = ("id", "failed", "queue", "job", "starts", "error")
    return table(headings, [(j.pk, _when(j), j.queue, j.name, j.starts, j.error) for j in jobs])


def _when(job: Job) -> str:
    return relative(job.finished_at) if job.finished_at else ""
