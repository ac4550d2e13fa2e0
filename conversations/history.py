"""The messages a run's model gets to see, as values for a backend."""

from collections.abc import Sequence

from django.db.models import Prefetch, Q, QuerySet

from conversations.models import Message, Run, ToolCall
from models_registry.backends.base import ChatMessage, RequestedCall


def of_run(run: Run) -> list[Message]:
    """Everything up to the run's user message, then what its own earlier turns said. Two queries, whatever the length.

    What a failed run said of which there is a retry is left out, but for its tool calls with their answers: the retry
    goes on from there.
    """
    seen = Q(run=run)
    seen |= Q(position__lte=run.user_message.position) if run.user_message.position is not None else Q()
    if run.retry_of_id:
        # Tools that a failed run has called are not called again by its retry: their answers are there.
        calls = ToolCall.objects.filter(run__in=_retried(run))
        seen |= Q(pk__in=calls.values("message")) | Q(run__in=calls.values("run"), role=Message.Role.TOOL)
    superseded = Run.objects.filter(conversation=run.conversation_id, retry_of__isnull=False).values("retry_of")
    messages: QuerySet[Message] = (
        Message.objects.filter(seen, conversation=run.conversation_id, position__isnull=False)
        .exclude(Q(status=Message.Status.INCOMPLETE) & Q(run__in=superseded))
        .order_by("position")
        .prefetch_related(Prefetch("tool_calls", queryset=ToolCall.objects.order_by("position")))
    )
    return list(messages)


def _retried(run: Run) -> list[int]:
    """The runs that this one is the retry of, one after another."""
    found: list[int] = []
    older = run.retry_of_id
    while older:
        found.append(older)
        older = Run.objects.filter(pk=older).values_list("retry_of", flat=True).first()
    return found


def as_values(messages: Sequence[Message]) -> list[ChatMessage]:
    """For a backend: without empty assistant messages, which several providers refuse."""
    return [_value(message) for message in messages if _says_something(message)]


def _says_something(message: Message) -> bool:
    return message.role != Message.Role.ASSISTANT or bool(message.content or message.tool_calls.all())


def _value(message: Message) -> ChatMessage:
    return ChatMessage(
        role=message.role,
        content=message.content,
        thinking=message.thinking,
        name=message.name,
        tool_call_id=message.tool_call_id,
        tool_calls=[
            RequestedCall(provider_id=call.call_id, name=call.name, arguments=call.arguments)
            for call in message.tool_calls.all()
        ],
        provider_data=message.provider_data,
    )
