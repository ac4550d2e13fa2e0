"""What was sent to the model, over the API."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations import rebuild
from conversations.api.lookup import runs_of
from maintenance.http.serializers import JSONObject


class WindowSerializer(serializers.Serializer[Any]):
    trimmed = serializers.IntegerField(help_text="older messages that were left out")
    shortened = serializers.DictField(
        child=serializers.IntegerField(), help_text="by a message's position, the bytes that were sent of it"
    )
    without = serializers.DictField(
        child=serializers.CharField(), help_text="by a message's position, why its images were left out"
    )
    images = serializers.IntegerField(help_text="how many were sent")
    estimated = serializers.IntegerField(help_text="tokens, by our rule of thumb")
    scale = serializers.FloatField(help_text="what the estimate was multiplied with")
    counted = serializers.IntegerField(allow_null=True, help_text="tokens, by the backend's count")


class TurnRequestSerializer(serializers.Serializer[Any]):
    run_id = serializers.IntegerField()
    turn = serializers.IntegerField()
    message_id = serializers.IntegerField()
    snapshot_id = serializers.IntegerField()
    backend = serializers.CharField()
    model = serializers.CharField()
    tool_mode = serializers.CharField()
    request = JSONObject(help_text="messages, tools and configuration as they were sent")
    sha256 = serializers.CharField(help_text="of the request, noted when it was sent")
    exact = serializers.BooleanField(help_text="whether what is shown fits it")
    window = WindowSerializer()


class TurnRequestView(APIView):
    @extend_schema(responses=TurnRequestSerializer)
    def get(self, request: Request, pk: int, turn: int) -> Response:
        """What was sent to the model for the run's answer of this number; 1 is the first."""
        return Response(rebuild.shown(get_object_or_404(runs_of(request).select_related("snapshot"), pk=pk), turn))
