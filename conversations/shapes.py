"""How messages look to clients: the same in the API's answers and in the events of a stream."""

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from conversations.models import Message, ToolCall
from maintenance.http.serializers import JSONObject


class ToolCallSerializer(serializers.ModelSerializer[ToolCall]):
    """`result` is null until the call is answered."""

    function_name = serializers.CharField(source="name")
    arguments = JSONObject()
    result = serializers.SerializerMethodField()

    class Meta:
        model = ToolCall
        fields = ["id", "call_id", "name", "function_name", "arguments", "position", "status", "result", "is_error"]

    def get_result(self, call: ToolCall) -> str | None:
        unanswered = call.status in (ToolCall.Status.PENDING, ToolCall.Status.RUNNING)
        return None if unanswered else call.result


class MadeCallSerializer(ToolCallSerializer):
    """With its story. `asked_arguments` are the model's own, where an approval changed them; null where not."""

    asked_arguments = JSONObject(allow_null=True)
    run_seconds = serializers.SerializerMethodField(help_text="from its beginning to its answer")

    class Meta(ToolCallSerializer.Meta):
        fields = [
            *ToolCallSerializer.Meta.fields, "kind", "approval", "asked_arguments", "answered_by", "decided_by",
            "started_at", "finished_at", "run_seconds",
        ]  # fmt: skip

    def get_run_seconds(self, call: ToolCall) -> float | None:
        if not call.started_at or not call.finished_at:
            return None
        return round((call.finished_at - call.started_at).total_seconds(), 4)


class ImageSerializer(serializers.Serializer[Any]):
    """`media_type` is what the bytes are; `url` an absolute path without a host, under which they are served."""

    id = serializers.CharField()
    media_type = serializers.CharField()
    size_bytes = serializers.IntegerField()
    url = serializers.CharField()


class MessageSerializer(serializers.ModelSerializer[Message]):
    """What is not there is null; `tool_calls` is null too where the message asks for none."""

    name = serializers.SerializerMethodField()
    thinking = serializers.SerializerMethodField()
    tool_calls = serializers.SerializerMethodField()
    tool_call_id = serializers.SerializerMethodField()
    images = serializers.SerializerMethodField()
    attachments = serializers.SerializerMethodField()

    class Meta:
        model = Message
        fields = [
            "id", "position", "role", "name", "content", "thinking", "status", "token_count", "tool_calls",
            "tool_call_id", "images", "attachments", "created_at",
        ]  # fmt: skip

    def get_name(self, message: Message) -> str | None:
        return message.name or None

    def get_thinking(self, message: Message) -> str | None:
        return message.thinking or None

    def get_tool_call_id(self, message: Message) -> str | None:
        return message.tool_call_id or None

    @extend_schema_field(ToolCallSerializer(many=True, allow_null=True))
    def get_tool_calls(self, message: Message) -> Any:
        return [_tool_call.to_representation(call) for call in message.tool_calls.all()] or None

    @extend_schema_field(ImageSerializer(many=True))
    def get_images(self, message: Message) -> Any:
        return images(message)

    def get_attachments(self, message: Message) -> list[dict[str, Any]]:
        return []


def images(message: Message, view: str = "message-image") -> list[dict[str, Any]]:
    """The images of a message, with addresses of the view of this name."""
    return [
        {
            **{name: row[name] for name in ("id", "media_type", "size_bytes")},
            "url": reverse(view, args=[message.conversation_id, message.pk, row["id"]]),
        }
        for row in message.images
    ]


class _PlainMessageSerializer(MessageSerializer):
    """Of a message that asks for no tool: it is not looked whether it does."""

    def get_tool_calls(self, message: Message) -> Any:
        return None


# Made once: to make one takes longer than to use it.
_tool_call = ToolCallSerializer()
_message = MessageSerializer()
_plain = _PlainMessageSerializer()


def last_answer(run_id: int) -> list[Any]:
    """The newest thing the assistant said in this run, as a list of at most one message."""
    said = Message.objects.filter(run=run_id, role=Message.Role.ASSISTANT).prefetch_related("tool_calls")
    return [_message.to_representation(message) for message in said.order_by("-position")[:1]]


def plain_answer(message: Message) -> list[Any]:
    """The same of a message at hand, which asks for no tool."""
    return [_plain.to_representation(message)]
