"""Posting a message, asking how its run stands, and stopping it."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations import pictures, runs, status
from conversations.api.lookup import conversation_of, path_of
from conversations.models import OnBusy, Run, ToolCall
from conversations.shapes import MessageSerializer, last_answer
from conversations.status import WIRE
from maintenance.access.idempotency import idempotent
from maintenance.http import RunThrottle, UserThrottle
from maintenance.http.serializers import Body, JSONObject


class ToolRequestSerializer(serializers.ModelSerializer[ToolCall]):
    arguments = JSONObject()

    class Meta:
        model = ToolCall
        fields = ["call_id", "name", "arguments"]


class MessageBody(Body):
    content = serializers.CharField(
        trim_whitespace=False, allow_blank=True, help_text="may be empty where there are images"
    )
    # Old clients send an empty list with every message.
    images = serializers.ListField(
        child=serializers.CharField(trim_whitespace=False),
        required=False,
        help_text="PNG, JPEG, GIF or WebP, each in standard base64 or as a data URL",
    )
    on_busy = serializers.ChoiceField(OnBusy.choices, required=False)


class AcceptedSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["processing"])
    conversation_id = serializers.IntegerField()
    run_id = serializers.IntegerField()
    message_id = serializers.IntegerField()
    check_url = serializers.CharField()
    stream_url = serializers.CharField()


def accepted(run: Run) -> Response:
    """202: the run will happen, and where to follow it."""
    return Response(
        {
            "status": status.wire(run),
            "conversation_id": run.conversation_id,
            "run_id": run.pk,
            "message_id": run.steered_by or run.user_message_id,
            "check_url": path_of(run.conversation_id, "status"),
            "stream_url": path_of(run.conversation_id, "stream"),
        },
        status=202,
    )


class MessagesView(APIView):
    throttle_classes = [UserThrottle, RunThrottle]

    @extend_schema(request=MessageBody, responses={202: AcceptedSerializer})
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Say something; a run answers it. While another run is open, `on_busy` decides.

        With `steer`, `run_id` is the run that is open: it sees the message before its next model call.
        """
        conversation = conversation_of(request, pk)
        body = MessageBody(data=request.data)
        body.is_valid(raise_exception=True)
        values = body.validated_data
        images = pictures.take(values.get("images", ()))
        return accepted(runs.start(conversation, values["content"], on_busy=values.get("on_busy"), images=images))


class StatsSerializer(serializers.Serializer[Any]):
    turns = serializers.IntegerField()
    tokens = serializers.IntegerField()


class StatusSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(WIRE)
    conversation_id = serializers.IntegerField()
    run_id = serializers.IntegerField(allow_null=True)
    stats = StatsSerializer()
    reason = serializers.CharField(required=False)
    error = serializers.CharField(required=False)
    error_code = serializers.CharField(required=False)
    tool_request = ToolRequestSerializer(
        required=False, help_text="the first of the calls that its client is to answer"
    )
    tool_requests = ToolRequestSerializer(many=True, required=False)
    submit_url = serializers.CharField(required=False, help_text="where their results go")
    approvals = ToolRequestSerializer(many=True, required=False, help_text="calls to be allowed: `runs/{id}/approve`")
    messages = MessageSerializer(many=True, required=False, help_text="the answer, once the run is completed")


class StatusView(APIView):
    """How the newest run stands. Not counted by the throttle: clients poll it."""

    throttle_classes = []

    @extend_schema(responses=StatusSerializer)
    def get(self, request: Request, pk: int) -> Response:
        body = status.payload(conversation_of(request, pk))
        if body["status"] == "completed" and body["run_id"]:
            body["messages"] = last_answer(body["run_id"])
        return Response(body)


class StoppedSerializer(serializers.Serializer[Any]):
    status = serializers.CharField()
    conversation_id = serializers.IntegerField(required=False)
    message = serializers.CharField(required=False)


class StopView(APIView):
    @extend_schema(request=None, responses=StoppedSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Cancel the open run. Again, or too late, it does nothing and says so."""
        conversation = conversation_of(request, pk)
        if runs.cancel(conversation):
            return Response({"status": "cancelled", "conversation_id": conversation.pk})
        now = status.wire(status.current_run(conversation))
        return Response({"status": now, "conversation_id": conversation.pk, "message": "Nothing was running."})
