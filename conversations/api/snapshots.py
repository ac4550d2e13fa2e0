"""Snapshots over the API: what runs were made with."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations.api.messages import AcceptedSerializer, accepted
from conversations.comparison import differences, summary
from conversations.models import Run, Snapshot
from conversations.replays import replay
from maintenance.access.authentication import user_of
from maintenance.access.idempotency import idempotent
from maintenance.http import RunThrottle, UserThrottle
from maintenance.http.serializers import Body, JSONObject


class SnapshotSerializer(serializers.ModelSerializer[Snapshot]):
    conversation_id = serializers.IntegerField(source="run.conversation_id")
    variables = JSONObject()
    tools = serializers.ListField(child=serializers.DictField())
    config = JSONObject()
    warnings = serializers.ListField(child=serializers.DictField())

    class Meta:
        model = Snapshot
        fields = [
            "id", "run_id", "conversation_id", "agent_name", "system_prompt", "variables", "tools", "tool_mode",
            "config", "warnings", "backend", "model", "model_digest", "created_at",
        ]  # fmt: skip


class RunSummarySerializer(serializers.Serializer[Any]):
    run_id = serializers.IntegerField()
    conversation_id = serializers.IntegerField()
    status = serializers.ChoiceField(Run.Status.choices)
    reason = serializers.CharField()
    turn_count = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    run_seconds = serializers.FloatField(allow_null=True)


class DifferencesSerializer(serializers.Serializer[Any]):
    snapshot_id = serializers.IntegerField()
    other_id = serializers.IntegerField()
    same = serializers.BooleanField(help_text="snapshots and answers")
    changes = serializers.SerializerMethodField(
        help_text="per field `{from, to}`, or `{diff, added, removed}` for texts; `answer` is what the runs said"
    )
    runs = RunSummarySerializer(many=True, help_text="of the one, then of the other")

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_changes(self, pair: dict[str, Any]) -> Any:
        return pair["changes"]


def _snapshots_of(request: Request) -> QuerySet[Snapshot]:
    return Snapshot.objects.filter(run__conversation__user=user_of(request)).select_related("run")


class SnapshotView(generics.RetrieveAPIView[Snapshot]):
    serializer_class = SnapshotSerializer
    queryset = Snapshot.objects.none()

    def get_queryset(self) -> QuerySet[Snapshot]:
        return _snapshots_of(self.request)


class DifferencesView(APIView):
    @extend_schema(responses=DifferencesSerializer)
    def get(self, request: Request, pk: int, other: int) -> Response:
        """What differs, read from the first to the other."""
        one = get_object_or_404(_snapshots_of(request), pk=pk)
        two = get_object_or_404(_snapshots_of(request), pk=other)
        changes = differences(one, two)
        told = {"snapshot_id": one.pk, "other_id": two.pk, "same": not changes, "changes": changes}
        return Response({**told, "runs": [summary(one), summary(two)]})


class ReplayBody(Body):
    """Nothing is required. `model_config` is laid over the snapshot's; on another model it is normalised anew."""

    backend = serializers.CharField(max_length=100, required=False)
    model = serializers.CharField(max_length=255, required=False)
    model_config = JSONObject(required=False)


class ReplayView(APIView):
    throttle_classes = [UserThrottle, RunThrottle]

    @extend_schema(request=ReplayBody, responses={202: AcceptedSerializer})
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Ask the same again, in a new conversation, with this very snapshot or on another backend or model."""
        snapshot = get_object_or_404(_snapshots_of(request), pk=pk)
        body = ReplayBody(data=request.data)
        body.is_valid(raise_exception=True)
        return accepted(replay(snapshot, **body.validated_data))
