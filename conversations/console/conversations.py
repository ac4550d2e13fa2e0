"""Conversations and runs in the console: a list to find them in, and a page that is live."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from conversations import picture_answers
from conversations.console import answering, branching, snapshots, state, talking
from conversations.models import Conversation, Message, OnBusy, Run
from maintenance.console.lists import RecordAdmin
from maintenance.templatetags import console

PAGE = branching.PAGE
READING = ("GET", "HEAD")
RunVerb = Callable[[HttpRequest, Run], talking.Done]
RUN_VERBS: dict[str, RunVerb] = {
    "retry": talking.retry,
    "regenerate": branching.regenerate,
    "replay": branching.replay,
    "decide": answering.decide,
}
# What a message does that is sent while a run is open.
BUSY = {
    OnBusy.ENQUEUE: "after this run",
    OnBusy.INTERRUPT: "stop this run",
    OnBusy.STEER: "into this run",
}


class ConversationAdmin(RecordAdmin):
    list_display = ("title_or_number", "status_badge", "agent", "user", "tokens", "last_error", "activity")
    list_display_links = ("title_or_number",)
    list_filter = ("status",)
    list_select_related = ("agent", "user")
    search_fields = ("=id", "title", "agent__name", "user__username")
    search_help_text = "Number, title, agent or user."
    ordering = ("-last_activity_at", "-id")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Conversation]":
        return Conversation.objects.defer("client_tool_schemas", "metadata")

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The errors of all rows of the page are read at once."""
        changes = super().get_changelist_instance(request)
        rows = list(changes.result_list)
        errors = state.last_errors([row.pk for row in rows])
        for row in rows:
            row.newest_error = errors.get(row.pk, "")
        changes.result_list = rows
        return changes

    @admin.display(description="conversation")
    def title_or_number(self, conversation: Conversation) -> str:
        return str(conversation)

    @admin.display(description="status")
    def status_badge(self, conversation: Conversation) -> str:
        return console.badge(conversation.status)

    @admin.display(description="tokens")
    def tokens(self, conversation: Conversation) -> str:
        return f"{conversation.prompt_tokens + conversation.completion_tokens:,}"

    @admin.display(description="last error")
    def last_error(self, conversation: Conversation) -> str:
        return getattr(conversation, "newest_error", "") or console.NOTHING

    @admin.display(description="last activity")
    def activity(self, conversation: Conversation) -> str:
        return console.ago(conversation.last_activity_at)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        name = "conversations_conversation_"
        return [
            path("<int:pk>/state/", view(never_cache(self.state_view)), name=name + "state"),
            path("<int:pk>/runs/<int:run_id>/snapshot/", view(self.snapshot_view), name=name + "snapshot"),
            path(
                "<int:pk>/messages/<int:message_id>/images/<str:image_id>/", view(self.image_view), name=name + "image"
            ),
            path("<int:pk>/send/", view(require_POST(self.send_view)), name=name + "send"),
            path("<int:pk>/stop/", view(require_POST(self.stop_view)), name=name + "stop"),
            path("<int:pk>/answer/", view(require_POST(self.answer_view)), name=name + "answer"),
            path("<int:pk>/fork/", view(require_POST(self.fork_view)), name=name + "fork"),
            *(
                path(f"<int:pk>/runs/<int:run_id>/{verb}/", self._of_run(act), name=name + verb)
                for verb, act in RUN_VERBS.items()
            ),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The live page. What it shows comes from the database; the stream only makes it move."""
        conversation = self._found(request, int(object_id) if object_id.isdecimal() else 0)
        if request.method not in READING:
            return HttpResponseNotAllowed(READING)
        context = {
            **self.admin_site.each_context(request),
            "title": str(conversation),
            "opts": self.opts,
            "conversation": conversation,
            "state": state.describe(conversation),
            "base_url": reverse("admin:conversations_conversation_changelist") + f"{conversation.pk}/",
            "stream_url": f"/api/v1/conversations/{conversation.pk}/stream",
            "on_busy": [(value.value, label) for value, label in BUSY.items()],
            "images_max": settings.IMAGES_MAX,
            "image_max_bytes": settings.IMAGE_MAX_BYTES,
            "images_max_bytes": settings.IMAGES_MAX_BYTES,
            "may_send": request.user.has_perm(talking.SEND),
            "may_retry": request.user.has_perm(talking.RETRY),
        }
        return render(request, "console/conversation.html", context)

    def _found(self, request: HttpRequest, pk: int) -> Conversation:
        """Raises PermissionDenied, Http404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(Conversation.objects.select_related("agent", "user", "forked_from"), pk=pk)

    def state_view(self, request: HttpRequest, pk: int) -> JsonResponse:
        before = request.GET.get("before", "")
        position = int(before) if before.isdecimal() and len(before) < 10 else None
        return JsonResponse(state.describe(self._found(request, pk), before=position))

    def snapshot_view(self, request: HttpRequest, pk: int, run_id: int) -> JsonResponse:
        conversation = self._found(request, pk)
        found = Run.objects.select_related("snapshot", "conversation__agent", "conversation__user")
        return JsonResponse(snapshots.describe(get_object_or_404(found, pk=run_id, conversation=conversation)))

    def image_view(self, request: HttpRequest, pk: int, message_id: int, image_id: str) -> HttpResponse:
        message = get_object_or_404(Message, pk=message_id, conversation=self._found(request, pk))
        return picture_answers.answer(message, image_id)

    def send_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        conversation = self._found(request, pk)
        return _answer(request, conversation, talking.send(request, conversation))

    def stop_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        conversation = self._found(request, pk)
        return _answer(request, conversation, talking.stop(request, conversation))

    def answer_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        conversation = self._found(request, pk)
        return _answer(request, conversation, answering.answer(request, conversation))

    def fork_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        conversation = self._found(request, pk)
        return _answer(request, conversation, branching.fork(request, conversation))

    def _of_run(self, act: RunVerb) -> Callable[..., HttpResponse]:
        """The view of what is done to one run of a conversation."""

        def view(request: HttpRequest, pk: int, run_id: int) -> HttpResponse:
            conversation = self._found(request, pk)
            found = Run.objects.select_related("snapshot", "conversation")
            run = get_object_or_404(found, pk=run_id, conversation=conversation)
            return _answer(request, conversation, act(request, run))

        return self.admin_site.admin_view(require_POST(view))


def _answer(request: HttpRequest, conversation: Conversation, done: talking.Done) -> HttpResponse:
    """JSON for the page's script; a message and the page again for a form without one."""
    if request.headers.get("Accept", "").startswith("application/json"):
        return JsonResponse({"ok": done.ok, "text": done.text, **done.more}, status=done.status_code)
    messages.add_message(request, messages.SUCCESS if done.ok else messages.ERROR, done.text)
    return redirect(done.more.get("url") or reverse(PAGE, args=[conversation.pk]))


class RunAdmin(RecordAdmin):
    """Runs of all conversations; a run's page is its conversation's."""

    list_display = ("number", "status_badge", "of", "turn_count", "tokens", "problem", "job_link", "age")
    list_display_links = ("number",)
    list_filter = ("status",)
    list_select_related = ("conversation",)
    search_fields = ("=id", "=conversation__id", "error_code")
    search_help_text = "Number of the run or of its conversation, or an error code."
    ordering = ("-id",)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = get_object_or_404(Run, pk=int(object_id) if object_id.isdecimal() else 0)
        return redirect(reverse(PAGE, args=[run.conversation_id]) + f"#run-{run.pk}")

    @admin.display(description="run")
    def number(self, run: Run) -> str:
        return f"Run {run.pk}"

    @admin.display(description="status")
    def status_badge(self, run: Run) -> str:
        return console.badge(run.status)

    @admin.display(description="conversation")
    def of(self, run: Run) -> str:
        return format_html('<a href="{}">{}</a>', reverse(PAGE, args=[run.conversation_id]), run.conversation)

    @admin.display(description="tokens")
    def tokens(self, run: Run) -> str:
        return f"{run.prompt_tokens + run.completion_tokens:,}"

    @admin.display(description="error")
    def problem(self, run: Run) -> str:
        return run.error or run.reason.replace("_", " ") or console.NOTHING

    @admin.display(description="job")
    def job_link(self, run: Run) -> str:
        if run.job_id is None:
            return console.NOTHING
        return format_html('<a href="{}">Job</a>', reverse("admin:maintenance_job_change", args=[run.job_id]))

    @admin.display(description="age")
    def age(self, run: Run) -> str:
        return console.ago(run.created_at)
