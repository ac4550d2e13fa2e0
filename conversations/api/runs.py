"""Runs over the API: looking at them, and trying one again."""

from typing import Any

from django.db.models import Prefetch, QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations import runs, status
from conversations.api.lookup import conversation_of, runs_of
from conversations.api.messages import AcceptedSerializer, accepted
from conversations.models import Message, Run
from conversations.shapes import MadeCallSerializer
from maintenance.access.idempotency import idempotent
from maintenance.http import RunThrottle, UserThrottle

WAITING_FOR = ("none", "approval", "tool_result")


class UsageSerializer(serializers.Serializer[Any]):
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    estimated = serializers.BooleanField()


class TimingsSerializer(serializers.Serializer[Any]):
    queue_wait_seconds = serializers.FloatField(allow_null=True)
    first_token_seconds = serializers.FloatField(allow_null=True)
    run_seconds = serializers.FloatField(allow_null=True)


class TurnSerializer(serializers.Serializer[Any]):
    """One answer of the model, with the tools it asked for."""

    turn = serializers.IntegerField()
    message_id = serializers.IntegerField()
    status = serializers.ChoiceField(Message.Status.choices)
    token_count = serializers.IntegerField(allow_null=True)
    tool_calls = MadeCallSerializer(many=True)


class RunSerializer(serializers.ModelSerializer[Run]):
    replay_of_id = serializers.IntegerField(allow_null=True, help_text="the snapshot that it replays")
    waiting_for = serializers.SerializerMethodField()
    warnings = serializers.ListField(child=serializers.DictField(), help_text="`{code, message, turn}`")
    usage = serializers.SerializerMethodField()
    timings = serializers.SerializerMethodField()
    turns = serializers.SerializerMethodField()
    snapshot_id = serializers.SerializerMethodField()
    job_ids = serializers.SerializerMethodField()

    class Meta:
        model = Run
        fields = [
            "id", "conversation_id", "user_message_id", "retry_of_id", "replay_of_id", "status", "waiting_for",
            "reason", "error", "error_code", "turn_count", "max_turns", "turns", "usage", "timings", "context_trimmed",
            "warnings", "snapshot_id", "job_ids", "created_at", "queued_at", "started_at", "first_token_at",
            "finished_at", "expires_at",
        ]  # fmt: skip

    @extend_schema_field(serializers.ChoiceField(WAITING_FOR))
    def get_waiting_for(self, run: Run) -> str:
        return run.waiting_for or "none"

    @extend_schema_field(UsageSerializer)
    def get_usage(self, run: Run) -> dict[str, Any]:
        return status.usage(run)

    @extend_schema_field(TimingsSerializer)
    def get_timings(self, run: Run) -> dict[str, float | None]:
        return status.timings(run)

    @extend_schema_field(TurnSerializer(many=True))
    def get_turns(self, run: Run) -> Any:
        answers: list[Message] = getattr(run, "answers", [])
        return [
            {
                "turn": number,
                "message_id": message.pk,
                "status": message.status,
                "token_count": message.token_count,
                "tool_calls": MadeCallSerializer(message.tool_calls.all(), many=True).data,
            }
            for number, message in enumerate(answers, start=1)
        ]

    def get_snapshot_id(self, run: Run) -> int | None:
        return run.snapshot.pk if hasattr(run, "snapshot") else None

    def get_job_ids(self, run: Run) -> list[str]:
        return [run.job_id] if run.job_id else []


def _detailed(rows: QuerySet[Run]) -> QuerySet[Run]:
    """With snapshot, answers and tool calls: three queries for any number of rows."""
    answers = Message.objects.filter(role=Message.Role.ASSISTANT).prefetch_related("tool_calls")
    return rows.select_related("snapshot").prefetch_related(Prefetch("messages", answers, to_attr="answers"))


class ConversationRunsView(generics.ListAPIView[Run]):
    """A conversation's runs, newest first."""

    serializer_class = RunSerializer
    queryset = Run.objects.none()

    def get_queryset(self) -> QuerySet[Run]:
        conversation = conversation_of(self.request, self.kwargs["pk"])
        return _detailed(conversation.runs.order_by("-id"))


class RunView(generics.RetrieveAPIView[Run]):
    serializer_class = RunSerializer
    queryset = Run.objects.none()

    def get_queryset(self) -> QuerySet[Run]:
        return _detailed(runs_of(self.request))


class RetryView(APIView):
    throttle_classes = [UserThrottle, RunThrottle]

    @extend_schema(request=None, responses={202: AcceptedSerializer})
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Answer the same message again, in a new run that goes on from what is stored."""
        return accepted(runs.retry(get_object_or_404(runs_of(request), pk=pk)))


class RegenerateView(APIView):
    throttle_classes = [UserThrottle, RunThrottle]

    @extend_schema(request=None, responses={202: AcceptedSerializer})
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Answer anew what the newest run has answered, in a new run that sees nothing of the old answer."""
        return accepted(runs.regenerate(get_object_or_404(runs_of(request), pk=pk)))
