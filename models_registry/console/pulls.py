"""Pulls in the console: a list with a form to start one, and a live page for each."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from maintenance.console.lists import RecordAdmin
from maintenance.models import Job
from maintenance.templatetags import console
from models_registry import sight
from models_registry.console import pulling
from models_registry.models import Pull
from models_registry.pulling import events

PAGE = "admin:models_registry_pull_change"
LIST = "admin:models_registry_pull_changelist"
READING = ("GET", "HEAD")


class PullAdmin(RecordAdmin):
    change_list_template = "console/pull_list.html"
    list_display = ("state", "model", "backend", "done", "by", "age", "error")
    list_display_links = ("model",)
    list_filter = ("status",)
    list_select_related = ("created_by",)
    search_fields = ("model", "backend", "=id")
    search_help_text = "Model, backend or id."
    ordering = ("-id",)

    @admin.display(description="status")
    def state(self, pull: Pull) -> str:
        return console.badge(pull.status)

    @admin.display(description="done")
    def done(self, pull: Pull) -> str:
        return f"{int(pull.percentage)}\N{NO-BREAK SPACE}%"

    @admin.display(description="started by")
    def by(self, pull: Pull) -> str:
        return pull.created_by.get_username() if pull.created_by else "the command line"

    @admin.display(description="age")
    def age(self, pull: Pull) -> str:
        return console.ago(pull.created_at)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        name = "models_registry_pull_"
        return [
            path("start/", view(require_POST(self.start_view)), name=name + "start"),
            path("<str:pk>/cancel/", view(require_POST(self.cancel_view)), name=name + "cancel"),
            path("<str:pk>/retry/", view(require_POST(self.retry_view)), name=name + "retry"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"panel": pulling.panel(request), **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The live page. What it shows comes from the database; the stream only makes it move."""
        pull = self._found(request, object_id)
        if request.method not in READING:
            return HttpResponseNotAllowed(READING)
        unfinished = pull.status in Pull.UNFINISHED
        pull.percentage = events.told_percentage(pull)  # a page that is loaded again shows no less than before
        context = {
            **self.admin_site.each_context(request),
            "title": str(pull),
            "opts": self.opts,
            "pull": pull,
            "limit": settings.MODEL_PULL_CONCURRENCY,
            "next_step": pulling.next_step(pull) if pull.error_code else "",
            "job_id": pull.job_id if Job.objects.filter(pk=pull.job_id).exists() else "",
            "may_cancel": request.user.has_perm(sight.CANCEL) and unfinished,
            "may_retry": request.user.has_perm(sight.PULL)
            and pull.status in (Pull.Status.FAILED, Pull.Status.CANCELLED),
        }
        return render(request, "console/pull.html", context)

    def _found(self, request: HttpRequest, pk: str) -> Pull:
        """Raises PermissionDenied, Http404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(Pull.objects.select_related("created_by"), pk=pk)

    def start_view(self, request: HttpRequest) -> HttpResponse:
        pull = pulling.start(request)
        return redirect(PAGE, pull.pk) if pull else redirect(LIST)

    def cancel_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        pull = self._found(request, pk)
        pulling.cancel(request, pull)
        return redirect(PAGE, pull.pk)

    def retry_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        pull = self._found(request, pk)
        again = pulling.retry(request, pull)
        return redirect(PAGE, (again or pull).pk)
