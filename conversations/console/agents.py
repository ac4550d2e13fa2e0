"""Agents and system prompts in the console."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from conversations import agents, removal, toolbox
from conversations.console import previews
from conversations.console.forms import AgentForm, AgentPromptForm, SystemPromptForm
from conversations.console.owned import OwnedAdmin
from conversations.console.talking import SEND, open_with
from conversations.models import Agent, AgentPrompt, Conversation
from maintenance.errors import Invalid
from maintenance.templatetags import console
from models_registry import catalog
from models_registry.errors import BackendError

AGENTS_OFFERED = 100


class AgentPromptInline(admin.TabularInline):  # type: ignore[type-arg]
    model = AgentPrompt
    form = AgentPromptForm
    extra = 0
    autocomplete_fields = ("system_prompt",)
    verbose_name = "prompt"
    verbose_name_plural = "system prompts, in the order they are joined"


class AgentAdmin(OwnedAdmin):
    form = AgentForm
    inlines = (AgentPromptInline,)
    change_form_template = "console/agent_form.html"
    list_display = ("name", "state", "slug", "backend", "model_name", "user", "changed")
    list_filter = ("status",)
    search_fields = ("name", "slug")
    fieldsets = (
        (None, {"fields": ("name", "slug", "description", "status")}),
        ("Model", {"fields": ("ai_backend", "model_config")}),
        ("Tools", {"fields": ("tools", "every_system_tool", "system_tools", "approvals", "tool_mode")}),
        ("Runs", {"fields": ("max_turns", "on_busy")}),
        ("Variables", {"fields": ("context_variables",)}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Agent | None = None) -> Any:
        """Who may only look sees the columns."""
        if self.has_change_permission(request, obj) if obj else self.has_add_permission(request):
            return self.fieldsets
        tools = ("Tools", {"fields": ("tools", "system_tools", "approvals", "tool_mode")})
        return [tools if title == "Tools" else (title, terms) for title, terms in self.fieldsets]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """A tool made from here would be the operator's own, not the agent's owner's."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "tools" and field is not None:
            field.widget.can_add_related = False
        return field

    @admin.display(description="status")
    def state(self, agent: Agent) -> str:
        return console.badge(agent.status)

    @admin.display(description="backend")
    def backend(self, agent: Agent) -> str:
        return agent.ai_backend or "default"

    @admin.display(description="model")
    def model_name(self, agent: Agent) -> str:
        return str(agent.model_config.get("model") or "default")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("preview/", view(require_POST(self.preview_view)), name="conversations_agent_preview"),
            path("<int:pk>/talk/", view(require_POST(self.talk_view)), name="conversations_agent_talk"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        agent = self.get_object(request, object_id)
        more = {
            "warnings": agents.warnings(agent) if agent else (),
            "offered": _offered(agent) if agent else (),
            "may_talk": agent is not None and request.user.has_perm(SEND),
        }
        return super().change_view(request, object_id, form_url, {**more, **(extra_context or {})})

    def preview_view(self, request: HttpRequest) -> JsonResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return previews.of_agent(request)

    def talk_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Open a conversation of the operator's own with this agent."""
        if not request.user.has_perm(SEND):
            raise PermissionDenied
        conversation = open_with(get_object_or_404(Agent, pk=pk), request)
        return redirect("admin:conversations_conversation_change", conversation.pk)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Conversations go with their agent. They are counted, not listed: it may have a million messages."""
        conversations = Conversation.objects.filter(agent__in=objs).count()
        return [str(agent) for agent in objs], {"agents": len(objs), "conversations": conversations}, set(), []

    def delete_model(self, request: HttpRequest, obj: Agent) -> None:
        removal.delete_agent(obj)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Agent]") -> None:
        for agent in queryset:
            removal.delete_agent(agent)


def _offered(agent: Agent) -> list[toolbox.Offered]:
    """Nothing where the agent could not run: the warnings say why."""
    try:
        resolved = catalog.resolve(agent.ai_backend, agent.model_config, agent.tool_mode)
    except (Invalid, BackendError):
        return []
    return toolbox.offered(agent, Conversation(agent=agent), resolved)


class SystemPromptAdmin(OwnedAdmin):
    form = SystemPromptForm
    change_form_template = "console/prompt_form.html"
    list_display = ("name", "slug", "is_active", "is_shared", "user", "changed")
    list_filter = ("is_active", "is_shared")
    search_fields = ("name", "slug")
    fieldsets = (
        (None, {"fields": ("name", "slug", "template")}),
        ("Variables", {"fields": ("required_variables", "default_values")}),
        ("Use", {"fields": ("is_active", "is_shared")}),
    )

    def get_urls(self) -> list[URLPattern]:
        preview = self.admin_site.admin_view(require_POST(self.preview_view))
        return [path("preview/", preview, name="conversations_systemprompt_preview"), *super().get_urls()]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        offered = Agent.objects.order_by("name", "id").only("id", "name")[:AGENTS_OFFERED]
        return super().changeform_view(request, object_id, form_url, {"agents": offered, **(extra_context or {})})

    def preview_view(self, request: HttpRequest) -> JsonResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return previews.of_prompt(request)
