"""Conversations over the API."""

from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations import removal, toolbox
from conversations.api.lookup import conversation_of, conversations_of
from conversations.api.messages import ToolRequestSerializer
from conversations.api.schemas import ClientTools
from conversations.models import Agent, Conversation, Message, Run, ToolCall
from conversations.shapes import MessageSerializer
from maintenance.access.authentication import user_of
from maintenance.access.idempotency import idempotent
from maintenance.http.serializers import Body, JSONObject, Number

WAITING_FOR = ("none", "tool_result")


class AgentBriefSerializer(serializers.ModelSerializer[Agent]):
    class Meta:
        model = Agent
        fields = ["id", "name", "slug", "description", "ai_backend", "status"]


class OpenRunSerializer(serializers.ModelSerializer[Run]):
    class Meta:
        model = Run
        fields = ["id", "status", "turn_count", "max_turns", "created_at", "started_at"]


class TokenUsageSerializer(serializers.Serializer[Any]):
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    context_limit = serializers.IntegerField(allow_null=True)
    usage_percentage = serializers.FloatField(allow_null=True, help_text="of the window, by the newest run")


class ConversationSerializer(serializers.ModelSerializer[Conversation]):
    """Of rows from `detailed`: what they need of runs and agents is loaded with them."""

    agent = AgentBriefSerializer()
    waiting_for = serializers.SerializerMethodField()
    pending_tool_request = serializers.SerializerMethodField()
    approvals = serializers.SerializerMethodField(help_text="calls that wait until somebody allows or forbids them")
    total_tokens = serializers.SerializerMethodField()
    token_usage = serializers.SerializerMethodField()
    active_run = serializers.SerializerMethodField()
    client_tool_schemas = serializers.ListField(child=serializers.DictField())
    metadata = JSONObject()

    class Meta:
        model = Conversation
        fields = [
            "id", "agent_id", "user_id", "agent", "title", "status", "waiting_for", "pending_tool_request",
            "approvals", "metadata", "turn_count", "total_tokens", "token_usage", "active_run", "client_type",
            "client_tool_schemas", "forked_from_id", "forked_at",
            "started_at", "last_activity_at", "completed_at", "created_at", "updated_at",
        ]  # fmt: skip

    @extend_schema_field(serializers.ChoiceField(WAITING_FOR))
    def get_waiting_for(self, conversation: Conversation) -> str:
        return "tool_result" if _waiting(conversation, approval=False) else "none"

    @extend_schema_field(ToolRequestSerializer(allow_null=True))
    def get_pending_tool_request(self, conversation: Conversation) -> Any:
        run = _waiting(conversation, approval=False)
        calls: list[ToolCall] = getattr(run, "unanswered", [])
        return ToolRequestSerializer(calls[0]).data if calls else None

    @extend_schema_field(ToolRequestSerializer(many=True))
    def get_approvals(self, conversation: Conversation) -> Any:
        run = _waiting(conversation, approval=True)
        calls: list[ToolCall] = getattr(run, "unanswered", [])
        wanted = [call for call in calls if call.approval == ToolCall.Approval.WANTED]
        return ToolRequestSerializer(wanted, many=True).data

    def get_total_tokens(self, conversation: Conversation) -> int:
        return conversation.prompt_tokens + conversation.completion_tokens

    @extend_schema_field(TokenUsageSerializer)
    def get_token_usage(self, conversation: Conversation) -> dict[str, float | None]:
        limit = conversation.context_limit
        size: int = getattr(conversation, "window_tokens", None) or 0
        return {
            "prompt_tokens": conversation.prompt_tokens,
            "completion_tokens": conversation.completion_tokens,
            "total_tokens": self.get_total_tokens(conversation),
            "context_limit": limit,
            "usage_percentage": round(min(100.0, 100 * size / limit), 1) if limit else None,
        }

    @extend_schema_field(OpenRunSerializer(allow_null=True))
    def get_active_run(self, conversation: Conversation) -> Any:
        run = _open_run(conversation)
        return OpenRunSerializer(run).data if run else None


def _open_run(conversation: Conversation) -> Run | None:
    runs: list[Run] = getattr(conversation, "open_runs", [])
    return runs[0] if runs else None


def _waiting(conversation: Conversation, *, approval: bool) -> Run | None:
    """The open run, where it waits for an approval, or for its client."""
    run = _open_run(conversation)
    if run is None or run.status != Run.Status.WAITING_FOR_TOOL:
        return None
    return run if (run.waiting_for == Run.WaitingFor.APPROVAL) == approval else None


class ListedConversationSerializer(ConversationSerializer):
    """In lists, `message_count` stands for the messages."""

    message_count = serializers.IntegerField()

    class Meta(ConversationSerializer.Meta):
        fields = [*ConversationSerializer.Meta.fields, "message_count"]


class WholeConversationSerializer(ConversationSerializer):
    messages = MessageSerializer(many=True)

    class Meta(ConversationSerializer.Meta):
        fields = [*ConversationSerializer.Meta.fields, "messages"]


def detailed(conversations: QuerySet[Conversation]) -> QuerySet[Conversation]:
    """With agent, open run and unanswered calls: three queries for any number of rows."""
    unanswered = ToolCall.objects.filter(status=ToolCall.Status.PENDING)
    open_runs = Run.objects.filter(status__in=Run.OPEN).prefetch_related(
        Prefetch("tool_calls", queryset=unanswered.order_by("message", "position"), to_attr="unanswered")
    )
    return (
        conversations.select_related("agent")
        .prefetch_related(Prefetch("runs", open_runs, to_attr="open_runs"))
        .annotate(window_tokens=_tokens_of_newest_turn())
    )


def _tokens_of_newest_turn() -> Subquery:
    # A run counts the tokens of all its turns; only their mean says how full the window is.
    runs = Run.objects.filter(conversation=OuterRef("pk"), turn_count__gt=0).order_by("-id")
    return Subquery(runs.values(size=(F("prompt_tokens") + F("completion_tokens")) / F("turn_count"))[:1])


def _counted(conversations: QuerySet[Conversation]) -> QuerySet[Conversation]:
    # Not a join: grouping would read all columns of all rows, and drop the order.
    counts = Message.objects.filter(conversation=OuterRef("pk")).order_by().values("conversation")
    return conversations.annotate(message_count=Coalesce(Subquery(counts.values(n=Count("pk"))), 0))


class ConversationBody(Body):
    """`metadata` is the client's own: it is stored, given back, and means nothing here."""

    client_type = serializers.CharField(max_length=50, allow_blank=True, required=False)
    title = serializers.CharField(max_length=255, allow_blank=True, required=False)
    metadata = JSONObject(required=False)
    client_tool_schemas = ClientTools(required=False)


class ConversationChange(Body):
    title = serializers.CharField(max_length=255, allow_blank=True, required=False)
    metadata = JSONObject(required=False)


class AgentConversationsView(APIView):
    @extend_schema(request=ConversationBody, responses={201: WholeConversationSerializer})
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Open a conversation with an agent. It is idle (`completed`) until the first message."""
        agent = get_object_or_404(Agent, user=user_of(request), pk=pk)
        body = ConversationBody(data=request.data)
        body.is_valid(raise_exception=True)
        toolbox.require_free(agent, body.validated_data.get("client_tool_schemas", ()))
        conversation = Conversation.objects.create(
            user=agent.user, agent=agent, last_activity_at=timezone.now(), **body.validated_data
        )
        return Response(whole(request, conversation.pk), status=201)


class ConversationFilter(serializers.Serializer[Any]):
    agent_id = Number(required=False)
    status = serializers.ChoiceField(Conversation.Status.choices, required=False)
    search = serializers.CharField(max_length=200, required=False, help_text="in titles and messages")


class ConversationsView(generics.ListAPIView[Conversation]):
    """Newest activity first."""

    serializer_class = ListedConversationSerializer
    queryset = Conversation.objects.none()

    def get_queryset(self) -> QuerySet[Conversation]:
        wanted = ConversationFilter(data={name: text for name, text in self.request.query_params.items() if text})
        wanted.is_valid(raise_exception=True)
        values = dict(wanted.validated_data)
        search = values.pop("search", "")
        rows = conversations_of(self.request).filter(**values)
        if search:
            said = Message.objects.filter(conversation=OuterRef("pk"), content__icontains=search)
            rows = rows.filter(Q(title__icontains=search) | Exists(said))
        return _counted(detailed(rows)).order_by("-last_activity_at", "-pk")

    @extend_schema(parameters=[ConversationFilter])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


MESSAGES = OpenApiParameter("messages", enum=["none"], description="`none`: `message_count` instead of messages")
AFTER = OpenApiParameter("after", int, description="only messages after this position, and those that have none yet")


class ConversationView(APIView):
    @extend_schema(parameters=[MESSAGES, AFTER], responses=WholeConversationSerializer)
    def get(self, request: Request, pk: int) -> Response:
        if request.query_params.get("messages") == "none":
            return Response(_without_messages(request, pk))
        return Response(whole(request, pk, after=_position(request)))

    @extend_schema(request=ConversationChange, responses=ListedConversationSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        conversation = conversation_of(request, pk)
        body = ConversationChange(data=request.data)
        body.is_valid(raise_exception=True)
        # Only these columns: a run may be writing the others just now.
        Conversation.objects.filter(pk=conversation.pk).update(updated_at=timezone.now(), **body.validated_data)
        return Response(_without_messages(request, pk))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete it with all that belongs to it; a run under way is cancelled first."""
        removal.delete(conversation_of(request, pk))
        return Response(status=204)


def _position(request: Request) -> int | None:
    text = request.query_params.get("after")
    if not text:
        return None
    return int(serializers.IntegerField(min_value=0, max_value=2**31 - 1).run_validation(text))


def _without_messages(request: Request, pk: int) -> Any:
    rows = _counted(detailed(conversations_of(request)))
    return ListedConversationSerializer(get_object_or_404(rows, pk=pk)).data


def whole(request: Request, pk: int, *, after: int | None = None) -> Any:
    """A conversation of whoever asks, with its messages."""
    messages = Message.objects.prefetch_related("tool_calls")
    if after is not None:
        messages = messages.filter(Q(position__gt=after) | Q(position__isnull=True))
    rows = detailed(conversations_of(request)).prefetch_related(Prefetch("messages", messages))
    return WholeConversationSerializer(get_object_or_404(rows, pk=pk)).data
