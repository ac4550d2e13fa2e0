"""Every run that waits for somebody: for an approval, or for its client's results."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST, require_safe

from conversations.console import talking
from conversations.models import Conversation, Run, ToolCall
from maintenance.console.guarding import guarded
from maintenance.console.lists import COUNT_MAX

VIEW = "conversations.view_run"
SHOWN = 100
KINDS = {Run.WaitingFor.APPROVAL: "Approval", Run.WaitingFor.TOOL_RESULT: "Client"}


@dataclass(frozen=True)
class Line:
    """A run, the calls that it wants answered, and since when."""

    run: Run
    calls: Sequence[ToolCall]
    since: datetime | None

    @property
    def waits_for(self) -> str:
        approval = self.run.waiting_for == Run.WaitingFor.APPROVAL
        return "an approval" if approval else self.run.conversation.client_type or "its client"


def urls(site: AdminSite) -> list[URLPattern]:
    return [
        path("waiting/", guarded(site, page, VIEW), name="waiting"),
        path("waiting/<int:run_id>/stop/", guarded(site, stop, talking.SEND), name="waiting_stop"),
    ]


def runs() -> QuerySet[Run]:
    """All that wait now. Their conversations are paused, and those an index finds among millions."""
    paused = Conversation.Status.PAUSED
    return Run.objects.filter(status=Run.Status.WAITING_FOR_TOOL, conversation__status=paused)


def count(maximum: int = COUNT_MAX) -> int:
    """How many wait; counting ends behind `maximum`."""
    return runs().order_by()[: maximum + 1].count()


@require_safe
def page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """What expires first comes first. `for` is a kind of wait."""
    chosen = request.GET.get("for", "")
    rows = runs().filter(waiting_for=chosen) if chosen in KINDS else runs()
    shown = {
        **site.each_context(request),
        "title": "Waiting",
        "lines": lines(rows),
        "shown_at_most": SHOWN,
        "waiting": count(),
        "kinds": [(str(value), label) for value, label in KINDS.items()],
        "chosen": chosen if chosen in KINDS else "",
        "may_answer": request.user.has_perm(talking.SEND),
    }
    return render(request, "console/waiting.html", shown)


def lines(rows: QuerySet[Run]) -> list[Line]:
    """Two queries, whatever their number."""
    pending = ToolCall.objects.filter(status=ToolCall.Status.PENDING).select_related("message")
    calls = Prefetch("tool_calls", pending.order_by("message__position", "position"), to_attr="unanswered")
    found = rows.select_related("conversation__agent", "conversation__user").prefetch_related(calls)
    return [_line(run) for run in found.order_by("expires_at", "pk")[:SHOWN]]


def _line(run: Run) -> Line:
    calls: list[ToolCall] = run.unanswered  # type: ignore[attr-defined]
    if run.waiting_for == Run.WaitingFor.APPROVAL:
        calls = [call for call in calls if call.approval == ToolCall.Approval.WANTED]
    return Line(run, calls, calls[0].message.created_at if calls else None)


@require_POST
def stop(request: HttpRequest, site: AdminSite, run_id: int) -> HttpResponse:
    run = get_object_or_404(Run.objects.select_related("conversation"), pk=run_id)
    done = talking.end_wait(request, run)
    messages.add_message(request, messages.SUCCESS if done.ok else messages.ERROR, done.text)
    return redirect("admin:waiting")
