"""Tool calls of a reply. Every call gets an answer; nothing a model asks for is dropped silently."""

import json
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from conversations.models import Message, Run, ToolCall
from conversations.stream import Publisher
from models_registry.backends.base import RequestedCall


def store(run: Run, message: Message, requested: Sequence[RequestedCall]) -> None:
    """Write down what the model asked for, in the transaction that stores its message."""
    ToolCall.objects.bulk_create(
        ToolCall(
            message=message,
            run=run,
            # Providers number calls anew in each reply, or not at all: the id is ours, theirs stands beside it.
            call_id=f"call_{message.pk}_{position}",
            provider_id=call.provider_id[:255],
            position=position,
            name=call.name[:128],
            kind=ToolCall.Kind.UNKNOWN,
            arguments=dict(call.arguments or {}),
        )
        for position, call in enumerate(requested)
    )


def process(run: Run, message: Message, publish: Publisher) -> bool:
    """Answer the calls of one reply that have no answer yet, in order. True where the run has to wait for somebody.

    No tool is offered yet, so each call is answered with an error, which the model sees on the next turn.
    """
    for call in ToolCall.objects.filter(message=message, status__in=ToolCall.UNANSWERED):
        publish.event("tool_executing", tool={"call_id": call.call_id, "name": call.name, "arguments": call.arguments})
        answer(call, f"Error: there is no tool named {json.dumps(call.name)}.", is_error=True)
        publish.event("tool_completed", call_id=call.call_id, name=call.name, success=False, content=call.result)
    return False


@transaction.atomic
def answer(call: ToolCall, result: str, *, is_error: bool) -> None:
    """Store the call's one answer, and the message that carries it to the model."""
    call.status = ToolCall.Status.FAILED if is_error else ToolCall.Status.SUCCEEDED
    call.result, call.is_error = result, is_error
    call.finished_at, call.answered_by = timezone.now(), "server"
    call.save(update_fields=["status", "is_error", "result", "finished_at", "answered_by"])
    Message.objects.create(
        conversation_id=call.message.conversation_id,
        run_id=call.run_id,
        position=(call.message.position or 0) + call.position + 1,
        role=Message.Role.TOOL,
        name=call.name,
        content=result,
        tool_call_id=call.call_id,
    )
