"""What the dashboard changes: through the ledger's verbs where it has one, else refused with the place to go to.

RQ's own requeue, delete and empty act on Redis alone; the ledger, which is the truth, would not know and would
push the job again. All of this answers to POST only.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render

from chinese_worker.rq_dashboard import reading
from chinese_worker.rq_dashboard.answers import context, refused
from maintenance.console import verbs

Page = Callable[..., HttpResponse]
SELECTED_MAX = 100
ACTIONS = {"requeue": verbs.RETRY, "stop": verbs.TERMINATE}


def _post(permission: str) -> Callable[[Page], Page]:
    """Let through only a POST by somebody with the permission."""

    def decorate(page: Page) -> Page:
        @wraps(page)
        def answer(request: HttpRequest, **arguments: Any) -> HttpResponse:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return page(request, **arguments)

        return answer

    return decorate


@_post(verbs.RETRY)
def requeue(request: HttpRequest, queue_index: int, job_id: str) -> HttpResponse:
    reading.queue_at(queue_index)
    done = verbs.retry(request, reading.ledger_id(job_id))
    done.tell(request)
    return redirect("admin:maintenance_job_change", done.job_id)


@_post(verbs.TERMINATE)
def stop(request: HttpRequest, queue_index: int, job_id: str) -> HttpResponse:
    reading.queue_at(queue_index)
    done = verbs.cancel(request, reading.ledger_id(job_id), permission=verbs.TERMINATE)
    done.tell(request)
    return redirect("admin:maintenance_job_change", done.job_id)


def _selected(request: HttpRequest, field: str) -> tuple[str, list[str]]:
    """The action and the RQ ids it is for. Raises PermissionDenied, BadRequest."""
    action = request.POST.get("action", "")
    permission = ACTIONS.get(action, "maintenance.delete_job")
    if not request.user.has_perm(permission):
        raise PermissionDenied
    ids = request.POST.getlist(field)
    if len(ids) > SELECTED_MAX:
        raise BadRequest("Too many jobs at once.")
    return action, ids


@_post(reading.QUEUES_PERMISSION)
def confirm(request: HttpRequest, queue_index: int) -> HttpResponse:
    """Ask before acting on the selected jobs."""
    found = reading.queue_at(queue_index)
    action, ids = _selected(request, "_selected_action")
    if action not in ACTIONS:
        return _no_delete(request)
    if not ids:
        messages.warning(request, "Select the jobs first.")
        return redirect("admin:django_rq_queue_details", queue_index)
    shown = context(
        request,
        title="Are you sure?",
        queue=found,
        queue_index=queue_index,
        action=action,
        jobs=reading.jobs(found, ids),
    )
    return render(request, "django_rq/confirm_action.html", shown)


@_post(reading.QUEUES_PERMISSION)
def act(request: HttpRequest, queue_index: int) -> HttpResponse:
    """Do what was confirmed. Where the form says to go afterwards is not looked at."""
    reading.queue_at(queue_index)
    action, ids = _selected(request, "job_ids")
    if action not in ACTIONS:
        return _no_delete(request)
    job_ids = [reading.ledger_id(rq_id) for rq_id in ids]
    if action == "requeue":
        verbs.retry_all(request, job_ids)
    else:
        verbs.cancel_all(request, job_ids, permission=verbs.TERMINATE)
    return redirect("admin:django_rq_queue_details", queue_index)


def _no_delete(request: HttpRequest) -> HttpResponse:
    why = (
        "Deleting from Redis would not end the job: the ledger would push it again. "
        "A waiting or running job is ended by cancelling it in the ledger; what has ended leaves Redis by itself."
    )
    return refused(request, why, instead="Jobs in the ledger")


@_post("maintenance.delete_job")
def no_delete(request: HttpRequest, **_: Any) -> HttpResponse:
    return _no_delete(request)


@_post("maintenance.configure_console")
def no_clear(request: HttpRequest, queue_index: int) -> HttpResponse:
    name = reading.queue_at(queue_index).name
    why = "Emptying the queue in Redis would not end its jobs: the ledger would push them again. Cancel them there."
    return refused(request, why, instead=f"Waiting jobs of {name}", query=f"status__exact=queued&queue={name}")


@_post(verbs.RETRY)
def no_requeue_all(request: HttpRequest, queue_index: int) -> HttpResponse:
    name = reading.queue_at(queue_index).name
    why = "Redis does not know every failed job. Select them in the ledger and retry them there."
    return refused(request, why, instead=f"Failed jobs of {name}", query=f"status__exact=failed&queue={name}")


@_post(verbs.RETRY)
def no_enqueue(request: HttpRequest, **_: Any) -> HttpResponse:
    why = "A job is put into its queue by the ledger alone, or it could run twice. Retry it there once it has ended."
    return refused(request, why, instead="Jobs in the ledger")
