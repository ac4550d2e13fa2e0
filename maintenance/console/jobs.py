"""The ledger in the console: a list to find jobs in, and a page for each."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_POST

from maintenance.console import failures, job_page, matching, searching, verbs
from maintenance.console.filters import FingerprintFilter, NameFilter, QueueFilter
from maintenance.console.lists import RecordAdmin
from maintenance.models import Job
from maintenance.templatetags import console

READING = ("GET", "HEAD")


class JobAdmin(RecordAdmin):
    list_display = ("state", "name", "queue", "tried", "age", "took", "error")
    list_display_links = ("name",)
    list_filter = ("status", QueueFilter, NameFilter, FingerprintFilter)
    search_fields = ("pk",)  # shows the box; `get_search_results` does the work
    search_help_text = searching.HELP
    ordering = ("-id",)
    actions = ("retry_selected", "cancel_selected", "forget_selected")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Job]":
        return Job.objects.defer("arguments", "tags", "progress").order_by("-id")

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Job]", search_term: str
    ) -> "tuple[QuerySet[Job], bool]":
        text = search_term.strip()
        return (searching.search(queryset, text) if text else queryset), False

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(verbs.RETRY)

    def has_forget_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(verbs.DELETE)

    @admin.display(description="status")
    def state(self, job: Job) -> str:
        return console.badge(job.status)

    @admin.display(description="attempts")
    def tried(self, job: Job) -> str:
        return f"{job.starts} of {job.max_attempts}"

    @admin.display(description="age")
    def age(self, job: Job) -> str:
        return console.ago(job.created_at)

    @admin.display(description="duration")
    def took(self, job: Job) -> str:
        """From its last start to its end, or until now."""
        if job.started_at is None:
            return console.NOTHING
        end = timezone.now() if job.status == Job.Status.RUNNING else job.finished_at
        return console.duration(end - job.started_at if end and end >= job.started_at else None)

    @admin.action(description="Retry the selected jobs", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        verbs.retry_all(request, _selected(queryset))

    @admin.action(description="Cancel the selected jobs", permissions=["retry"])
    def cancel_selected(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        verbs.cancel_all(request, _selected(queryset))

    @admin.action(description="Forget the selected jobs", permissions=["forget"])
    def forget_selected(self, request: HttpRequest, queryset: "QuerySet[Job]") -> None:
        verbs.forget_all(request, _selected(queryset))

    def get_urls(self) -> list[URLPattern]:
        site = self.admin_site
        return [
            path("failed/", site.admin_view(self.failed_view), name="maintenance_job_failed"),
            path("failed/flush/", site.admin_view(self.flush_view), name="maintenance_job_flush"),
            *(
                path(f"all/{verb}/", site.admin_view(self.matching_view), {"verb": verb}, f"maintenance_job_all_{verb}")
                for verb in matching.VERBS
            ),
            path("<str:job_id>/retry/", site.admin_view(require_POST(self.retry_view)), name="maintenance_job_retry"),
            path(
                "<str:job_id>/cancel/", site.admin_view(require_POST(self.cancel_view)), name="maintenance_job_cancel"
            ),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The job's page. There is no form: a row of the ledger is read, and changed by verbs."""
        job = Job.objects.select_related("created_by").filter(pk=object_id).first()
        if job is None:
            raise Http404("The ledger has no such job.")
        if not self.has_view_permission(request, job):
            raise PermissionDenied
        if request.method not in READING:
            return HttpResponseNotAllowed(READING)
        may_act = self.has_retry_permission(request)
        context = {
            **self.admin_site.each_context(request),
            "title": job.name,
            "opts": self.opts,
            "page": job_page.describe(job),
            "may_retry": may_act and job.status in (Job.Status.FAILED, Job.Status.CANCELLED),
            "may_cancel": may_act and job.status in Job.UNFINISHED,
        }
        return render(request, "console/job.html", context)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        allowed = [verb.name for verb in matching.VERBS.values() if request.user.has_perm(verb.permission)]
        context = {"all_verbs": allowed if matching.is_offered(request.GET) else [], **(extra_context or {})}
        return super().changelist_view(request, context)

    def matching_view(self, request: HttpRequest, verb: str) -> HttpResponse:
        return matching.view(request, verb, self.admin_site.each_context(request))

    def failed_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return failures.page(request, self.admin_site.each_context(request))

    def flush_view(self, request: HttpRequest) -> HttpResponse:
        return failures.flush(request, self.admin_site.each_context(request))

    def retry_view(self, request: HttpRequest, job_id: str) -> HttpResponse:
        return _carry_out(request, verbs.retry(request, job_id))

    def cancel_view(self, request: HttpRequest, job_id: str) -> HttpResponse:
        return _carry_out(request, verbs.cancel(request, job_id))


def _carry_out(request: HttpRequest, done: verbs.Done) -> HttpResponse:
    done.tell(request)
    return redirect("admin:maintenance_job_change", done.job_id)


def _selected(rows: "QuerySet[Job]") -> list[str]:
    """The ids that were ticked: one page's at most, also for a form that says "all pages"."""
    return list(rows.values_list("pk", flat=True)[: JobAdmin.list_per_page])
