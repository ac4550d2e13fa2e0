"""Tools of users in the console: a list, a form, and a panel to try one."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from conversations import owned_tools
from conversations.console import trying
from conversations.console.owned import OwnedAdmin
from conversations.console.tool_form import ToolForm, stored_secrets
from conversations.models import Tool
from maintenance.templatetags import console

AGENTS_NAMED = 3
CHANGE = "conversations.change_tool"


class ToolAdmin(OwnedAdmin):
    form = ToolForm
    change_form_template = "console/tool_form.html"
    prepopulated_fields = {}
    list_display = ("name", "user", "kind", "request_line", "used_by", "changed")
    list_filter = ("kind",)
    search_fields = ("name", "user__username")
    search_help_text = "Name or owner."

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Tool]":
        return Tool.objects.defer("parameters", "description").prefetch_related("agents")

    @admin.display(description="request")
    def request_line(self, tool: Tool) -> str:
        return f"{tool.method} {tool.url}" if tool.kind == Tool.Kind.USER else console.NOTHING

    @admin.display(description="used by")
    def used_by(self, tool: Tool) -> str:
        names = [agent.name for agent in tool.agents.all()]
        more = f" and {len(names) - AGENTS_NAMED} more" if len(names) > AGENTS_NAMED else ""
        return ", ".join(names[:AGENTS_NAMED]) + more or console.NOTHING

    @admin.display(description="secret headers")
    def stored_secrets(self, tool: Tool) -> str:
        return stored_secrets(tool)

    def get_fieldsets(self, request: HttpRequest, obj: Tool | None = None) -> Any:
        may_edit = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        stored = bool(obj and owned_tools.secret_names(obj))
        shown = ("secret_headers", "remove_headers") if stored else ("secret_headers",)
        secrets = shown if may_edit else ("stored_secrets",)
        return (
            (None, {"fields": ("name", "description", "kind", "parameters")}),
            ("Request", {"fields": ("method", "url", "headers", *secrets)}),
            ("Terms", {"fields": ("timeout_seconds", "is_idempotent")}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Tool | None = None) -> tuple[str, ...]:
        return ("stored_secrets",)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/preview/", view(require_POST(self.preview_view)), name="conversations_tool_preview"),
            path("<int:pk>/try/", view(require_POST(self.try_view)), name="conversations_tool_try"),
            *super().get_urls(),
        ]

    @method_decorator(sensitive_post_parameters("secret_headers"))
    @method_decorator(sensitive_variables())
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        tool = self.get_object(request, object_id) if object_id else None
        more = {
            "warnings": owned_tools.warnings(tool) if tool else (),
            "using": list(tool.agents.order_by("name")[:50]) if tool else (),
            "example": trying.example(tool) if tool else "",
            "may_try": request.user.has_perm(CHANGE),
        }
        return super().changeform_view(request, object_id, form_url, {**more, **(extra_context or {})})

    @sensitive_variables()
    def save_model(self, request: HttpRequest, obj: Tool, form: "ModelForm[Any]", change: bool) -> None:
        if not change:
            obj.user = form.owner  # type: ignore[attr-defined]
        owned_tools.update(obj, {"secret_headers": form.secret_changes})  # type: ignore[attr-defined]

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """With the agents that lose it."""
        named = [_with_agents(tool) for tool in objs]
        return named, {"tools": len(objs)}, set(), []

    def delete_model(self, request: HttpRequest, obj: Tool) -> None:
        owned_tools.delete(obj, force=True)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Tool]") -> None:
        for tool in queryset:
            owned_tools.delete(tool, force=True)

    def preview_view(self, request: HttpRequest, pk: int) -> JsonResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return JsonResponse(trying.preview(get_object_or_404(Tool, pk=pk), request.POST.get("arguments", "")))

    def try_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not request.user.has_perm(CHANGE):
            raise PermissionDenied
        return JsonResponse(trying.call(request, get_object_or_404(Tool, pk=pk), request.POST.get("arguments", "")))


def _with_agents(tool: Tool) -> str:
    names = ", ".join(tool.agents.order_by("name").values_list("name", flat=True))
    return f"{tool}, which is taken from: {names}" if names else f"{tool}, which no agent uses"
