"""Agents over the API."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from conversations import agents, removal
from conversations.models import Agent, AgentPrompt, OnBusy, Tool
from maintenance.access.authentication import user_of
from maintenance.access.idempotency import idempotent
from maintenance.access.permissions import MANAGED
from maintenance.http.serializers import Body, JSONObject, Number
from models_registry import records

TOOLS_MAX = 64


class UsedPromptSerializer(serializers.ModelSerializer[AgentPrompt]):
    """A prompt, with its place in the agent and the values it gets there."""

    id = serializers.IntegerField(source="system_prompt_id")
    name = serializers.CharField(source="system_prompt.name")
    slug = serializers.CharField(source="system_prompt.slug")
    template = serializers.CharField(source="system_prompt.template")
    is_active = serializers.BooleanField(source="system_prompt.is_active")
    variable_overrides = JSONObject()

    class Meta:
        model = AgentPrompt
        fields = ["id", "name", "slug", "template", "is_active", "order", "variable_overrides"]


class ToolBriefSerializer(serializers.ModelSerializer[Tool]):
    parameters = JSONObject()

    class Meta:
        model = Tool
        fields = ["id", "name", "description", "kind", "parameters"]


class AgentSerializer(serializers.ModelSerializer[Agent]):
    system_prompt_ids = serializers.SerializerMethodField()
    system_prompts = UsedPromptSerializer(source="prompt_links", many=True)
    tool_ids = serializers.SerializerMethodField()
    tools = ToolBriefSerializer(many=True, help_text="its owner's; clients bring theirs along")
    system_tools = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="null: all that are configured on the server"
    )
    approvals = JSONObject(help_text="by a tool's name: never, always or once")
    warnings = serializers.SerializerMethodField()
    model_config = JSONObject()
    context_variables = JSONObject()

    class Meta:
        model = Agent
        fields = [
            "id", "user_id", "name", "slug", "description", "ai_backend", "model_config", "context_variables",
            "system_prompt_ids", "system_prompts", "tool_ids", "tools", "system_tools", "approvals", "status",
            "max_turns", "on_busy", "tool_mode", "warnings", "created_at", "updated_at",
        ]  # fmt: skip

    def get_system_prompt_ids(self, agent: Agent) -> list[int]:
        return [link.system_prompt_id for link in agent.prompt_links.all()]

    def get_tool_ids(self, agent: Agent) -> list[int]:
        return [tool.pk for tool in agent.tools.all()]

    def get_warnings(self, agent: Agent) -> list[dict[str, Any]]:
        return [*self.context.get("warnings", ()), *agents.warnings(agent)]


class AgentBody(Body):
    ignored_fields = ("document_ids", "model", "code")
    nullable_fields = ("system_tools",)

    name = serializers.CharField(max_length=255)
    slug = serializers.SlugField(max_length=255, required=False)
    description = serializers.CharField(max_length=10_000, allow_blank=True, required=False)
    ai_backend = serializers.CharField(max_length=100, allow_blank=True, required=False)
    model_config = JSONObject(required=False)
    context_variables = JSONObject(required=False)
    system_prompt_ids = serializers.ListField(child=Number(), max_length=100, required=False)
    tool_ids = serializers.ListField(child=Number(), max_length=TOOLS_MAX, required=False)
    system_tools = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=TOOLS_MAX, required=False, allow_null=True
    )
    approvals = JSONObject(limit=16 * 1024, required=False)
    status = serializers.ChoiceField(Agent.Status.choices, required=False)
    max_turns = serializers.IntegerField(min_value=1, max_value=100, required=False)
    on_busy = serializers.ChoiceField(OnBusy.choices, required=False)
    tool_mode = serializers.ChoiceField(Agent.ToolMode.choices, required=False)


def agents_of(request: Request) -> QuerySet[Agent]:
    return Agent.objects.filter(user=user_of(request)).prefetch_related("prompt_links__system_prompt", "tools")


def _answer(request: Request, agent: Agent, body: AgentBody, status: int = 200) -> Response:
    fresh = agents_of(request).get(pk=agent.pk)
    return Response(AgentSerializer(fresh, context={"warnings": body.warnings()}).data, status=status)


class AgentsView(generics.ListAPIView[Agent]):
    serializer_class = AgentSerializer
    queryset = Agent.objects.none()
    required_scopes = MANAGED

    def get_queryset(self) -> QuerySet[Agent]:
        return agents_of(self.request)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with records.remembering():
            return super().list(request, *args, **kwargs)

    @extend_schema(request=AgentBody, responses={201: AgentSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        body = AgentBody(data=request.data)
        body.is_valid(raise_exception=True)
        agent = agents.create(user_of(request), body.validated_data)
        return _answer(request, agent, body, status=201)


class AgentView(generics.RetrieveAPIView[Agent]):
    """`PUT` and `PATCH` are the same: what is not sent stays."""

    serializer_class = AgentSerializer
    queryset = Agent.objects.none()
    required_scopes = MANAGED

    def get_queryset(self) -> QuerySet[Agent]:
        return agents_of(self.request)

    @extend_schema(request=AgentBody, responses=AgentSerializer)
    def put(self, request: Request, pk: int) -> Response:
        return self.patch(request, pk)

    @extend_schema(request=AgentBody, responses=AgentSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        agent = get_object_or_404(agents_of(request), pk=pk)
        body = AgentBody(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        return _answer(request, agents.update(agent, body.validated_data), body)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete the agent with its conversations; a run under way is cancelled first."""
        removal.delete_agent(get_object_or_404(agents_of(request), pk=pk))
        return Response(status=204)
