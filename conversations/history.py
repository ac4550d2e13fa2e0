"""The messages a run's model gets to see, as values for a backend."""

from collections.abc import Mapping, Sequence

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from conversations import illustrations
from conversations.models import Message, Run, ToolCall
from models_registry.backends.base import ChatMessage, RequestedCall

Role = Message.Role
COMPLETED = Run.Status.COMPLETED


def of_run(run: Run) -> list[Message]:
    """Everything up to the run's user message, then what its own earlier turns said. Three queries, however long it is.

    A retry goes on from the tool calls that the failed run had answered. A run that answers anew what was answered
    before, which is a retry of a completed one, sees nothing of the old answer.
    """
    seen = Q(run=run)
    if run.user_message.position is not None:
        seen |= _earlier(run.conversation_id, run.user_message.position)
    if run.retry_of_id:
        seen |= _journal(_continued(run))
        older = Run.objects.filter(user_message=run.user_message_id, pk__lt=run.pk)
        seen |= Q(run__in=older, role=Role.USER)  # what was said to steer them counts for this one too
    return list(_rows(run.conversation_id).filter(seen))


def up_to(conversation_id: int, position: int) -> list[Message]:
    """What a run would see whose user message had this position. Three queries."""
    return list(_rows(conversation_id).filter(_earlier(conversation_id, position)))


def at(conversation_id: int, ranges: Sequence[Sequence[int]]) -> list[Message]:
    """The messages at these positions, ranges with both their ends. Two queries, or none."""
    if not ranges:
        return []
    rows = _rows(conversation_id).filter(position__gte=ranges[0][0], position__lte=ranges[-1][1])
    wanted = {position for first, last in ranges for position in range(first, last + 1)}
    return [message for message in rows if message.position in wanted]


def _rows(conversation_id: int) -> QuerySet[Message]:
    calls = Prefetch("tool_calls", queryset=ToolCall.objects.order_by("position"))
    placed = Message.objects.filter(conversation=conversation_id, position__isnull=False)
    return placed.order_by("position").prefetch_related(calls)


def _earlier(conversation_id: int, position: int) -> Q:
    """Up to this position, without what has been answered again since. One query."""
    return Q(position__lte=position) & ~_answered_again(conversation_id)


def _answered_again(conversation_id: int) -> Q:
    """What earlier runs said of which there is a retry.

    Of one that did not complete the tool calls with their answers stay, which its retry went on from. Of one that did
    nothing stays but its user's words, nor of those that it was itself the retry of.
    """
    # Looked up first: there are few or none, and asked for each message it takes PostgreSQL seconds.
    retried = Run.objects.filter(conversation=conversation_id, retries__isnull=False).order_by("pk")
    runs = list(retried.values_list("pk", "user_message", "status"))
    last_completed = {question: pk for pk, question, status in runs if status == COMPLETED}
    begun_anew = [pk for pk, question, _ in runs if pk <= last_completed.get(question, 0)]
    continued = [pk for pk, question, _ in runs if pk > last_completed.get(question, 0)]
    asks = Exists(ToolCall.objects.filter(message=OuterRef("pk")))
    left_out = Q(run__in=begun_anew) & ~Q(role=Role.USER)
    return left_out | Q(~asks, run__in=continued, role=Role.ASSISTANT)


def _journal(runs: Sequence[int]) -> Q:
    """The tool calls of these runs with their answers: they are not made again."""
    calls = ToolCall.objects.filter(run__in=runs)
    return Q(pk__in=calls.values("message")) | Q(run__in=calls.values("run"), role=Role.TOOL)


def _continued(run: Run) -> list[int]:
    """The runs that this one goes on from: those it is the retry of, one after another, back to one that completed."""
    found: list[int] = []
    older = run.retry_of
    while older and older.status != COMPLETED:
        found.append(older.pk)
        older = older.retry_of
    return found


def told(messages: Sequence[Message]) -> list[Message]:
    """Those that a model is told: without empty assistant messages, which several providers refuse."""
    return [message for message in messages if _says_something(message)]


def as_values(messages: Sequence[Message], without: Mapping[str, str] | None = None) -> list[ChatMessage]:
    """For a backend, of messages that it is told. Their pictures are still without bytes, see `illustrations.loaded`.

    `without` says, by position, why the pictures of a message are left out.
    """
    reasons = without or {}
    return [_value(message, reasons.get(str(message.position), "")) for message in messages]


def _says_something(message: Message) -> bool:
    return message.role != Role.ASSISTANT or bool(message.content or message.tool_calls.all())


def _value(message: Message, without: str) -> ChatMessage:
    content, images = illustrations.outlined(message, without)
    return ChatMessage(
        role=message.role,
        content=content,
        images=images,
        thinking=message.thinking,
        name=message.name,
        tool_call_id=message.tool_call_id,
        tool_calls=[
            RequestedCall(provider_id=call.call_id, name=call.name, arguments=call.arguments)
            for call in message.tool_calls.all()
        ],
        provider_data=message.provider_data,
    )
