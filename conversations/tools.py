"""Tool calls of a reply. Every call gets an answer; nothing a model asks for is dropped silently."""

import json
from collections.abc import Sequence

from django.utils import timezone

from conversations.models import Message, Run, ToolCall
from conversations.stream import Publisher
from models_registry.backends.base import RequestedCall


def process(run: Run, message: Message, calls: Sequence[RequestedCall], publish: Publisher) -> bool:
    """Store and answer the calls of one reply, in order. True where the run has to wait for somebody.

    No tool is offered yet, so each call is answered with an error, which the model sees on the next turn.
    """
    for position, requested in enumerate(calls):
        call = _store(run, message, position, requested)
        publish.event("tool_executing", tool={"call_id": call.call_id, "name": call.name, "arguments": call.arguments})
        _answer(run, message, call)
        publish.event("tool_completed", call_id=call.call_id, name=call.name, success=False, content=call.result)
    return False


def _store(run: Run, message: Message, position: int, requested: RequestedCall) -> ToolCall:
    return ToolCall.objects.create(
        message=message,
        run=run,
        # Providers number calls anew in each reply, or not at all: the id is ours, theirs stands beside it.
        call_id=f"call_{message.pk}_{position}",
        provider_id=requested.provider_id[:255],
        position=position,
        name=requested.name[:128],
        kind=ToolCall.Kind.UNKNOWN,
        arguments=dict(requested.arguments or {}),
        started_at=timezone.now(),
    )


def _answer(run: Run, message: Message, call: ToolCall) -> None:
    call.status, call.is_error = ToolCall.Status.FAILED, True
    call.result = f"Error: there is no tool named {json.dumps(call.name)}."
    call.finished_at, call.answered_by = timezone.now(), "server"
    call.save(update_fields=["status", "is_error", "result", "finished_at", "answered_by"])
    Message.objects.create(
        conversation_id=run.conversation_id,
        run=run,
        position=(message.position or 0) + call.position + 1,
        role=Message.Role.TOOL,
        name=call.name,
        content=call.result,
        tool_call_id=call.call_id,
    )
