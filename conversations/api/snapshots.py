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

from conversations.comparison import differences
from conversations.models import Snapshot
from maintenance.access.authentication import user_of
from maintenance.http.serializers import JSONObject


class SnapshotSerializer(serializers.ModelSerializer[Snapshot]):
    conversation_id = serializers.IntegerField(source="run.conversation_id")
    variables = JSONObject()
    tools = serializers.ListField(child=serializers.DictField())
    config = JSONObject()
    warnings = serializers.ListField(child=serializers.DictField())

    class Meta:
        model = Snapshot
        fields = [
            "id", "run_id", "conversation_id", "agent_name", "system_prompt", "variables", "tools", "config",
            "warnings", "backend", "model", "model_digest", "created_at",
        ]  # fmt: skip


class DifferencesSerializer(serializers.Serializer[Any]):
    snapshot_id = serializers.IntegerField()
    other_id = serializers.IntegerField()
    same = serializers.BooleanField()
    changes = serializers.SerializerMethodField(help_text="per field `{from, to}`, or `{diff: [line]}` for texts")

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
        return Response({"snapshot_id": one.pk, "other_id": two.pk, "same": not changes, "changes": changes})
