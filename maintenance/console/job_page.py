"""What a job's page shows, ready for its template."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import reverse

from maintenance import broker, queues
from maintenance.console import links
from maintenance.console.links import TagLink
from maintenance.console.masking import masked
from maintenance.models import Attempt, Job

ATTEMPTS_SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """`arguments` are pairs of a name and its JSON. `rq_url` is empty while Redis cannot have the job."""

    job: Job
    arguments: Sequence[tuple[str, str]]
    tags: Sequence[TagLink]
    attempts: Sequence[Attempt]
    progress: int | None
    rq_url: str


def describe(job: Job) -> JobPage:
    newest = job.executions.order_by("-number")[:ATTEMPTS_SHOWN]
    return JobPage(
        job=job,
        arguments=[(name, _json(value)) for name, value in masked(job.arguments).items()],
        tags=[links.of_tag(str(tag)) for tag in job.tags],
        attempts=list(newest),
        progress=_percentage(job),
        rq_url=_rq_url(job),
    )


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _percentage(job: Job) -> int | None:
    """0 to 100, where the job tells how far it is."""
    done, total = job.progress.get("done"), job.progress.get("total")
    if not isinstance(done, int | float) or not isinstance(total, int | float) or total <= 0:
        return None
    return max(0, min(100, int(100 * done / total)))


def _rq_url(job: Job) -> str:
    """RQ keeps what waits, runs or failed; django-rq numbers queues in the order of their names."""
    kept = job.status in (Job.Status.QUEUED, Job.Status.RUNNING, Job.Status.FAILED)
    if not kept or not job.dispatch or job.queue not in broker.queue_names():
        return ""
    index = sorted(broker.queue_names()).index(job.queue)
    return reverse("admin:django_rq_job_detail", args=[index, queues.rq_id(job.pk, job.dispatch)])
