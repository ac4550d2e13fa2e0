"""The queues: what waits in each and who serves it; pausing, resuming and clearing them."""

from collections.abc import Callable
from datetime import datetime

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from redis.exceptions import RedisError

from maintenance import broker, durations, figures, jobs, pauses, removal, roster
from maintenance.access import audit
from maintenance.console.guarding import guarded
from maintenance.console.operators import operator
from maintenance.errors import Refusal
from maintenance.roster import Worker

VIEW = "maintenance.view_operations"
PAUSE = "maintenance.pause_queue"
CLEAR = "maintenance.configure_console"
CLEARED_AT_ONCE = 500


def urls(site: AdminSite) -> list[URLPattern]:
    """The addresses below `queues/`."""
    return [
        path("queues/", guarded(site, page, VIEW), name="queues"),
        path("queues/<str:queue>/pause/", guarded(site, pause, PAUSE), name="queue_pause"),
        path("queues/<str:queue>/resume/", guarded(site, resume, PAUSE), name="queue_resume"),
        path("queues/<str:queue>/clear/", guarded(site, clear, CLEAR), name="queue_clear"),
    ]


@require_safe
def page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    workers = _workers()
    shown = {
        **site.each_context(request),
        "title": "Queues",
        "queues": figures.of_queues(workers),
        "workers": workers,
        "redis_away": workers is None and settings.QUEUE_CONNECTION != "sync",
        "may_pause": request.user.has_perm(PAUSE),
        "may_clear": request.user.has_perm(CLEAR),
    }
    return render(request, "console/queues.html", shown)


@require_POST
def pause(request: HttpRequest, site: AdminSite, queue: str) -> HttpResponse:
    """`reason` says why; `until` is a duration such as 2h, or empty: until somebody resumes it."""
    reason, span = request.POST.get("reason", ""), request.POST.get("until", "").strip()

    def act() -> str:
        until: datetime | None = timezone.now() + durations.parse(span) if span else None
        at_once = pauses.pause(queue, operator(request), reason, until)
        later = "" if at_once else " Redis does not answer: the pause begins within seconds of its return."
        return f"The queue {queue} is paused. What is running goes on.{later}"

    return _carry_out(request, "queue.pause", queue, act, reason=reason[:500], until=span)


@require_POST
def resume(request: HttpRequest, site: AdminSite, queue: str) -> HttpResponse:
    def act() -> str:
        was_paused = pauses.resume(queue, operator(request))
        return f"Workers take from {queue} again." if was_paused else f"The queue {queue} was not paused."

    return _carry_out(request, "queue.resume", queue, act)


def clear(request: HttpRequest, site: AdminSite, queue: str) -> HttpResponse:
    """GET asks for the name of the queue to be typed, POST cancels what waits in it. Raises Http404."""
    found = next((one for one in figures.of_queues(None) if one.name == queue), None)
    if found is None:
        raise Http404("There is no such queue.")
    if request.method == "POST" and request.POST.get("confirmation", "").strip() == queue:
        return _carry_out(request, "queue.clear", queue, lambda: _cleared(request, queue))
    if request.method == "POST":
        messages.error(request, f"Nothing was cancelled. To clear the queue, type its name: {queue}.")
    shown = {"title": f"Clear {queue}", "queue": found, "number": found.waiting + found.scheduled}
    return render(request, "console/queue_clear.html", {**site.each_context(request), **shown})


def _cleared(request: HttpRequest, queue: str) -> str:
    """Cancel as many as a request has time for; a job cancels the rest."""
    now = timezone.now()
    number = removal.clear(queue, lambda _done: None, before=now, at_most=CLEARED_AT_ONCE)
    said = f"{number:,} job{'' if number == 1 else 's'} of {queue} cancelled."
    if number < CLEARED_AT_ONCE:
        return said
    rest = jobs.clear_queue.by(operator(request)).enqueue(queue=queue, before=now.isoformat())
    return f"{said} The rest is being cancelled by the job {rest.pk}."


def _carry_out(request: HttpRequest, verb: str, queue: str, act: Callable[[], str], **detail: str) -> HttpResponse:
    """Do it, note it in the audit and say how it went."""
    if queue not in broker.queue_names():
        raise Http404("There is no such queue.")
    try:
        said, result = act(), "ok"
        messages.success(request, said)
    except Refusal as refusal:
        result = refusal.message
        messages.error(request, refusal.message)
    who, address = operator(request), audit.address_of(request)
    audit.record(verb, f"queue:{queue}", actor=who, address=address, result=result, detail=detail)
    return redirect("admin:queues")


def _workers() -> list[Worker] | None:
    if settings.QUEUE_CONNECTION == "sync":
        return None
    try:
        return roster.alive()
    except RedisError:
        return None
