"""What waits for whom: the caller's runs that go on when somebody answers."""

from typing import Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import generics, serializers

from conversations.api.lookup import runs_of
from conversations.api.messages import ToolRequestSerializer
from conversations.models import Run, ToolCall

WAITING_FOR = ("approval", "tool_result")


class WaitSerializer(serializers.ModelSerializer[Run]):
    run_id = serializers.IntegerField(source="id")
    conversation_title = serializers.CharField(source="conversation.title")
    agent_id = serializers.IntegerField(source="conversation.agent_id")
    agent_name = serializers.CharField(source="conversation.agent.name")
    waiting_for = serializers.SerializerMethodField()
    calls = serializers.SerializerMethodField()
    since = serializers.SerializerMethodField(help_text="when the model asked")

    class Meta:
        model = Run
        fields = [
            "run_id", "conversation_id", "conversation_title", "agent_id", "agent_name", "waiting_for", "calls",
            "since", "expires_at",
        ]  # fmt: skip

    @extend_schema_field(serializers.ChoiceField(WAITING_FOR))
    def get_waiting_for(self, run: Run) -> str:
        return run.waiting_for or Run.WaitingFor.TOOL_RESULT

    @extend_schema_field(ToolRequestSerializer(many=True))
    def get_calls(self, run: Run) -> Any:
        return ToolRequestSerializer(_wanted(run), many=True).data

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_since(self, run: Run) -> Any:
        calls = _wanted(run)
        return calls[0].message.created_at if calls else None


def _wanted(run: Run) -> list[ToolCall]:
    calls: list[ToolCall] = getattr(run, "unanswered", [])
    if run.waiting_for != Run.WaitingFor.APPROVAL:
        return calls
    return [call for call in calls if call.approval == ToolCall.Approval.WANTED]


class WaitsView(generics.ListAPIView[Run]):
    """Runs that wait for a tool's result or for an approval; what expires first comes first."""

    serializer_class = WaitSerializer
    queryset = Run.objects.none()

    def get_queryset(self) -> QuerySet[Run]:
        unanswered = ToolCall.objects.filter(status=ToolCall.Status.PENDING).select_related("message")
        calls = Prefetch("tool_calls", unanswered.order_by("message", "position"), to_attr="unanswered")
        rows = runs_of(self.request).filter(status=Run.Status.WAITING_FOR_TOOL)
        return rows.select_related("conversation__agent").prefetch_related(calls).order_by("expires_at", "pk")
