"""How the dashboard says no: with what happened, why, and where to go instead."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse


def context(request: HttpRequest, **more: Any) -> dict[str, Any]:
    return {**admin.site.each_context(request), **more}


def _said(request: HttpRequest, status: int, **more: Any) -> HttpResponse:
    return render(request, "console/said.html", context(request, **more), status=status)


def refused(request: HttpRequest, why: str, *, instead: str = "", query: str = "") -> HttpResponse:
    """403. `instead` is the text of a link into the ledger's list, filtered by `query`."""
    page = reverse("admin:maintenance_job_changelist") + (f"?{query}" if query else "")
    return _said(request, 403, title="Not from here", text=why, link=page, link_text=instead)


def redis_away(request: HttpRequest) -> HttpResponse:
    return _said(
        request,
        503,
        title="Redis does not answer",
        text="These pages show what Redis holds. Jobs are safe in the ledger and are pushed when it is back.",
        link=reverse("admin:maintenance_job_changelist"),
        link_text="Jobs in the ledger",
    )
