"""The pages that show what Redis holds. None of them changes anything."""

from functools import partial
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django_rq.utils import paginate
from rq import Queue as RQQueue
from rq.job import Job as RQJob

from chinese_worker.rq_dashboard import reading
from chinese_worker.rq_dashboard.answers import context
from maintenance import broker

PER_PAGE = 100
# What may be done to selected jobs of a kind: the action's name and its label.
ACTIONS = {"failed": ("requeue", "Retry through the ledger"), "started": ("stop", "Stop")}


def _lines() -> list[dict[str, Any]]:
    names = sorted(broker.queue_names())
    return [{"name": name, "index": i, **reading.counts(reading.queue_at(i))} for i, name in enumerate(names)]


def home(request: HttpRequest) -> HttpResponse:
    return render(request, "django_rq/stats.html", context(request, title="Queues", queues=_lines()))


def numbers(request: HttpRequest, **_: Any) -> HttpResponse:
    """The counts of `home` as JSON. A token in the address is not looked at: the session decides."""
    return JsonResponse({"queues": _lines()})


def queue(request: HttpRequest, queue_index: int) -> HttpResponse:
    """One queue: its counts, its connection without the password, its first and last job."""
    found = reading.queue_at(queue_index)
    numbers = reading.counts(found)
    ends = [*found.get_job_ids(0, 1), *found.get_job_ids(-1, 1)]
    first_and_last = reading.jobs(found, ends)
    options = found.connection.connection_pool.connection_kwargs
    shown = context(
        request,
        queue=found,
        queue_index=queue_index,
        connection_kwargs={name: options.get(name) for name in ("host", "port", "db", "username")},
        queue_config={
            name: settings.RQ_QUEUES[found.name].get(name) for name in ("SERIALIZER", "DEFAULT_TIMEOUT", "ASYNC")
        },
        num_jobs=numbers["queued"],
        num_workers=numbers["workers"],
        scheduler_pid=False,
        oldest_queued_job=first_and_last[0] if first_and_last else None,
        newest_queued_job=first_and_last[-1] if first_and_last else None,
        **{f"num_{kind}": numbers[kind] for kind in reading.REGISTRIES},
    )
    return render(request, "django_rq/queue_detail.html", shown)


def _listing(request: HttpRequest, queue_index: int, *, kind: str) -> HttpResponse:
    found = reading.queue_at(queue_index)
    number = reading.counts(found)[kind]
    page, page_range, offset = paginate(request, number, PER_PAGE)
    jobs = reading.jobs(found, reading.job_ids(found, kind, offset, PER_PAGE))
    action, label = ACTIONS.get(kind, ("", ""))
    shown = context(
        request,
        title=f"{kind.capitalize()} jobs in {found.name}",
        queue=found,
        queue_index=queue_index,
        rows=_rows(found, kind, jobs, offset),
        num_jobs=number,
        page=page,
        page_range=page_range,
        action=action,
        action_label=label,
    )
    return render(request, "django_rq/jobs.html", shown)


def _rows(queue: RQQueue, kind: str, jobs: list[RQJob], offset: int) -> list[dict[str, Any]]:
    """Each job with the ledger's id and, while it runs, when its worker was last heard."""
    ids = reading.ledger_ids(jobs)
    beats = {}
    if kind == "started":
        beats = {one.job_id: one.last_heartbeat for one in reading.executions_of(queue, offset, PER_PAGE)}
    return [{"job": job, "ledger_id": ids.get(job.id, ""), "heard_at": beats.get(job.id)} for job in jobs]


waiting = partial(_listing, kind="queued")
started = partial(_listing, kind="started")
finished = partial(_listing, kind="finished")
failed = partial(_listing, kind="failed")
scheduled = partial(_listing, kind="scheduled")
deferred = partial(_listing, kind="deferred")


def job(request: HttpRequest, queue_index: int, job_id: str) -> HttpResponse:
    """What Redis holds of one dispatch, with the way to its job in the ledger."""
    found = reading.queue_at(queue_index)
    rq_job = reading.job_of(found, job_id)
    shown = context(
        request,
        title=f"RQ job {job_id}",
        queue=found,
        queue_index=queue_index,
        job=rq_job,
        ledger_id=reading.ledger_ids([rq_job]).get(job_id, ""),
        results=rq_job.results(),
    )
    return render(request, "django_rq/job_detail.html", shown)


def result(request: HttpRequest, queue_index: int, job_id: str, result_id: str) -> HttpResponse:
    found = reading.queue_at(queue_index)
    rq_job = reading.job_of(found, job_id)
    one = next((one for one in rq_job.results() if one.id == result_id), None)
    if one is None:
        raise Http404("Redis has no such result.")
    shown = context(request, title=f"Result {result_id}", queue=found, queue_index=queue_index, job=rq_job, result=one)
    return render(request, "django_rq/result_detail.html", shown)


def workers(request: HttpRequest, queue_index: int) -> HttpResponse:
    found = reading.queue_at(queue_index)
    shown = context(
        request,
        title=f"Workers on {found.name}",
        queue=found,
        queue_index=queue_index,
        workers=reading.workers_of(found),
    )
    return render(request, "django_rq/workers.html", shown)


def worker(request: HttpRequest, queue_index: int, key: str) -> HttpResponse:
    found = reading.queue_at(queue_index)
    one = reading.worker_at(found, key)
    shown = context(request, title=f"Worker {one.name}", queue=found, queue_index=queue_index, worker=one)
    return render(request, "django_rq/worker_details.html", shown)


def unused(request: HttpRequest, **_: Any) -> HttpResponse:
    """RQ's schedulers and its metrics: this server has its own."""
    raise Http404("This part of django-rq is not used here.")
