"""Tool calls as rows: written down with the reply that asks for them, begun once, answered once.

An answer is two things in one transaction: the call's own, and the message that carries it to the model, at the
position that the call has kept free for it. So a history has an answer for every call, whatever became of it.
"""

import json
from collections.abc import Mapping, Sequence

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from conversations.models import Conversation, Message, Run, ToolCall
from conversations.toolbox import Offered
from models_registry.backends.base import RequestedCall
from models_registry.backends.texts import clean

Status = ToolCall.Status
Approval = ToolCall.Approval
# How the calls of a run end that nobody will answer any more.
CLOSED = {
    Run.Status.CANCELLED: (Status.CANCELLED, "The run was stopped before this call was answered."),
    Run.Status.EXPIRED: (Status.EXPIRED, "No answer to this call came in time."),
    Run.Status.COMPLETED: (Status.CANCELLED, "Another call of this reply was refused, so this one was not made."),
}
_CLOSED_OTHERWISE = (Status.CANCELLED, "The run failed before this call was answered.")


def store(
    run: Run,
    message: Message,
    requested: Sequence[RequestedCall],
    offered: Mapping[str, Offered],
) -> None:
    """Write down what the model asked for, in the transaction that stores its message."""
    ToolCall.objects.bulk_create(
        ToolCall(
            message=message,
            run=run,
            # Providers number calls anew in each reply, or not at all: the id is ours, theirs stands beside it.
            call_id=identity(message.pk, position),
            provider_id=call.provider_id[:255],
            position=position,
            name=call.name[:128],
            kind=offered[call.name].kind if call.name in offered else ToolCall.Kind.UNKNOWN,
            arguments=dict(call.arguments or {}),
            raw_arguments=call.raw_arguments if call.arguments is None else "",
            approval=_approval(call, offered, run.conversation),
        )
        for position, call in enumerate(requested)
    )


def identity(message_id: int, position: int) -> str:
    """The id of the call at this position of a message."""
    return f"call_{message_id}_{position}"


def _approval(call: RequestedCall, offered: Mapping[str, Offered], conversation: Conversation) -> str:
    """Who would be asked to approve what cannot be called anyway?"""
    tool = offered.get(call.name)
    if tool is None or call.arguments is None:
        return Approval.NOT_NEEDED
    wanted = tool.approval == "always" or (tool.approval == "once" and call.name not in conversation.approved_tools)
    return Approval.WANTED if wanted and not tool.fault(call.arguments) else Approval.NOT_NEEDED


def unanswered(message: Message) -> list[ToolCall]:
    """The calls of a reply that have no answer yet, in order."""
    rows = ToolCall.objects.filter(message=message, status__in=ToolCall.UNANSWERED)
    return list(rows.select_related("message").order_by("position"))


@transaction.atomic
def begin(call: ToolCall, run: Run) -> bool:
    """Note that the call is being made now. False where the run is not this worker's any more, or it was begun."""
    now = timezone.now()
    if not _is_held(run):
        return False
    begun = ToolCall.objects.filter(pk=call.pk, status__in=ToolCall.UNANSWERED)
    if not begun.update(status=Status.RUNNING, started_at=now):
        return False
    call.status, call.started_at = Status.RUNNING, now
    return True


@transaction.atomic
def settle(call: ToolCall, run: Run, status: Status, result: str) -> bool:
    """`answer`, by the worker that holds the run. False where it does not any more, or somebody else has answered."""
    return _is_held(run) and answer(call, status, result)


def _is_held(run: Run) -> bool:
    # Written, not read: who takes the lease away waits for this transaction, so nobody else does the same meanwhile.
    return bool(Run.objects.filter(pk=run.pk, lease_token=run.lease_token).update(lease_token=run.lease_token))


@transaction.atomic
def answer(call: ToolCall, status: Status, result: str, *, by: str = "server") -> bool:
    """Store the call's one answer. False where it has one. One over `TOOL_RESULT_MAX_BYTES` is cut, and says so."""
    result, now = fit(result), timezone.now()
    is_error = status != Status.SUCCEEDED
    changed = ToolCall.objects.filter(pk=call.pk, status__in=ToolCall.UNANSWERED).update(
        status=status, result=result, is_error=is_error, finished_at=now, answered_by=by[:64]
    )
    if not changed:
        return False
    call.status, call.result, call.is_error, call.finished_at = status, result, is_error, now
    Message.objects.create(
        conversation_id=call.message.conversation_id,
        run_id=call.run_id,
        position=(call.message.position or 0) + call.position + 1,
        role=Message.Role.TOOL,
        name=call.name,
        content=result,
        tool_call_id=call.call_id,
    )
    return True


def fail(call: ToolCall, text: str, status: Status = Status.FAILED, *, by: str = "server") -> bool:
    """Answer with an error that the model reads."""
    return answer(call, status, error(text), by=by)


def error(text: str) -> str:
    """As the model is told of it."""
    return f"Error: {text}"


def close(run: Run) -> None:
    """Answer the calls of a run that has ended without them: a history with open calls is refused by providers."""
    open_calls = ToolCall.objects.filter(run=run, status__in=ToolCall.UNANSWERED).select_related("message")
    status, text = CLOSED.get(Run.Status(run.status), _CLOSED_OTHERWISE)
    for call in open_calls:
        may_have_run = call.status == Status.RUNNING
        fail(call, f"{text} It may have been carried out." if may_have_run else text, status)


def fit(result: str) -> str:
    """Not more than `TOOL_RESULT_MAX_BYTES` of UTF-8 that can be stored; what was cut off is named."""
    result = clean(result)
    data = result.encode()
    limit = settings.TOOL_RESULT_MAX_BYTES
    if len(data) <= limit:
        return result
    return f"{data[:limit].decode(errors='ignore')}\n[cut: {len(data) - limit} of {len(data)} bytes are left out]"


def unknown(name: str, offered: Mapping[str, Offered]) -> str:
    """What to tell a model that asks for a tool which there is not."""
    there = f" There are: {', '.join(offered)}." if offered else " There are no tools."
    return f"there is no tool named {json.dumps(name)}.{there}"
