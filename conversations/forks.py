"""A new conversation that begins as another one did, up to one of its messages."""

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from conversations import calls, history, picture_files, transitions
from conversations.copies import copy_of
from conversations.models import Conversation, Message, TodoItem, ToolCall
from maintenance.errors import Invalid

# What a copied answer keeps of its note: how our estimate differed from the backend's count.
_LEARNT = ("model", "estimated", "counted", "suspect", "images")


@transaction.atomic
def fork(conversation: Conversation, position: int) -> Conversation:
    """Copy the conversation up to the message at this position, as that message's run saw it.

    An answer with tool calls is copied with the answers to all of them. The new conversation is idle; the other one
    may be running. Raises Invalid where no message has this position, where it is still being written, and where a
    tool call has no answer yet.
    """
    transitions.lock(conversation.pk)  # so that it is not deleted while it is copied
    return begin(conversation, _up_to(conversation, position), position)


def begin(original: Conversation, messages: Sequence[Message], position: int) -> Conversation:
    """A conversation like the original with copies of these messages. Call it inside a transaction."""
    begun = Conversation.objects.create(
        user_id=original.user_id,
        agent_id=original.agent_id,
        title=original.title,
        client_type=original.client_type,
        client_tool_schemas=original.client_tool_schemas,
        metadata=original.metadata,
        forked_from=original,
        forked_at=position,
        last_activity_at=timezone.now(),
    )
    _copy_messages(begun, messages)
    items = TodoItem.objects.filter(conversation=original)
    TodoItem.objects.bulk_create([copy_of(item, conversation_id=begun.pk) for item in items])
    return begun


def _up_to(conversation: Conversation, position: int) -> list[Message]:
    message = conversation.messages.filter(position=position).select_related("run__user_message").first()
    if message is None:
        raise _impossible("There is no message at this position.")
    if message.status == Message.Status.STREAMING:
        raise _impossible("This message is still being written.")
    rows = history.of_run(message.run) if message.run else history.up_to(conversation.pk, position)
    end = _end_of_block(rows, position)
    taken = [row for row in rows if row.position is not None and row.position <= end]
    _refuse_open_calls(taken)
    return taken


def _end_of_block(rows: Sequence[Message], position: int) -> int:
    """The position of the last answer to the calls of the reply that is at this position, or that it belongs to."""
    before = [row for row in rows if row.position is not None and row.position <= position]
    asking = next((row for row in reversed(before) if row.role != Message.Role.TOOL), None)
    return max(position, (asking.position or 0) + len(asking.tool_calls.all())) if asking else position


def _refuse_open_calls(messages: Sequence[Message]) -> None:
    answered = {message.tool_call_id for message in messages}
    for message in messages:
        for call in message.tool_calls.all():
            if call.call_id not in answered:
                raise _impossible(f"The tool call {call.call_id} has no answer yet.")


def _impossible(reason: str) -> Invalid:
    return Invalid(reason, errors={"position": [reason]})


def _copy_messages(begun: Conversation, messages: Sequence[Message]) -> None:
    copies = [_copy(message, begun, place) for place, message in enumerate(messages, start=1)]
    Message.objects.bulk_create(copies)
    copied: dict[str, ToolCall] = {}
    for message, copy in zip(messages, copies, strict=True):
        for call in message.tool_calls.all():
            own_id = calls.identity(copy.pk, call.position)
            copied[call.call_id] = copy_of(call, message_id=copy.pk, run_id=None, call_id=own_id)
    ToolCall.objects.bulk_create(copied.values())
    answers = [copy for copy in copies if copy.tool_call_id]
    for answer in answers:
        answer.tool_call_id = copied[answer.tool_call_id].call_id
    Message.objects.bulk_update(answers, ["tool_call_id"], batch_size=200)


def _copy(message: Message, begun: Conversation, position: int) -> Message:
    learnt = {name: message.request[name] for name in _LEARNT if name in message.request}
    images = picture_files.copied(message.images, begun.pk)
    return copy_of(message, conversation_id=begun.pk, run_id=None, position=position, request=learnt, images=images)
