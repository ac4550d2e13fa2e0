"""Making the tool calls of a reply. Every call gets an answer; nothing a model asks for is dropped silently.

In order: what cannot be called is answered with an error; the server's and the owner's tools are run, but for those
that need an approval; approvals are asked for; and when all are given, what only the client can do is asked of it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from conversations import calls, status, system_tools, toolbox, user_tools
from conversations.models import Message, Run, ToolCall
from conversations.stream import Publisher
from conversations.system_tools.base import Caller, ToolFailed
from conversations.toolbox import Offered
from maintenance.ledger import JobError
from models_registry.backends.base import Cancellation
from models_registry.errors import Cancelled

logger = logging.getLogger(__name__)

Status = ToolCall.Status
WaitingFor = Run.WaitingFor
INTERRUPTED = "it was interrupted, and may have been carried out. Look before you do it again."


def process(run: Run, message: Message, publish: Publisher, cancellation: Cancellation) -> WaitingFor:
    """Answer the calls of one reply that have no answer yet, in order. What the run has to wait for then.

    Raises Cancelled, and JobError where the run is not this worker's any more.
    """
    conversation = run.conversation
    caller = Caller(conversation_id=conversation.pk, user_id=conversation.user_id, cancellation=cancellation)
    making = _Making(run, publish, toolbox.of_snapshot(run.snapshot), caller)
    for call in calls.unanswered(message):
        if cancellation.cancelled:
            raise Cancelled
        _settle(call, making)
    return waits_for(message)


def waits_for(message: Message) -> WaitingFor:
    """What the calls of this reply still want, of whom."""
    left = list(ToolCall.objects.filter(message=message, status=Status.PENDING).values_list("approval", flat=True))
    if not left:
        return WaitingFor.NOBODY
    return WaitingFor.APPROVAL if ToolCall.Approval.WANTED in left else WaitingFor.TOOL_RESULT


@dataclass(frozen=True)
class _Making:
    """What making a call needs to know of the turn."""

    run: Run
    publish: Publisher
    offered: Mapping[str, Offered]
    caller: Caller


def _settle(call: ToolCall, making: _Making) -> None:
    tool = making.offered.get(call.name)
    if call.status == Status.RUNNING and not (tool and tool.is_idempotent):
        _refuse(call, INTERRUPTED, making)
    elif problem := _problem(call, tool, making.offered):
        _refuse(call, problem, making)
    elif tool and call.approval != ToolCall.Approval.WANTED and tool.kind != ToolCall.Kind.CLIENT:
        _make(call, tool, making)


def _problem(call: ToolCall, tool: Offered | None, offered: Mapping[str, Offered]) -> str:
    """Why this call cannot be made; empty where it can."""
    if tool is None:
        return calls.unknown(call.name, offered)
    if call.raw_arguments:
        return "the arguments are not a JSON object."
    fault = tool.fault(call.arguments)
    return f"the arguments do not fit the tool's schema: {fault}" if fault else ""


def _refuse(call: ToolCall, problem: str, making: _Making) -> None:
    _hold(calls.settle(call, making.run, Status.FAILED, calls.error(problem)))
    _executing(call, making.publish)
    _completed(call, making.publish)


def _make(call: ToolCall, tool: Offered, making: _Making) -> None:
    _hold(calls.begin(call, making.run))
    _executing(call, making.publish)
    try:
        status, result = Status.SUCCEEDED, _call(call, tool, making)
    except ToolFailed as error:
        status, result = Status.FAILED, calls.error(str(error))
    _hold(calls.settle(call, making.run, status, result))
    _completed(call, making.publish)


def _hold(held: bool) -> None:
    """Raises JobError where the run is not this worker's any more: then it is not to say anything more about it."""
    if not held:
        raise JobError("The lease on the run was lost.", code="lease_lost", permanent=True)


def _call(call: ToolCall, tool: Offered, making: _Making) -> str:
    try:
        if tool.tool_id is not None:
            return user_tools.call(tool.tool_id, call.arguments, making.caller)
        found = system_tools.find(tool.name)
        if found is None:
            raise ToolFailed(f"{tool.name} is not configured here any more.")
        return found.call(making.caller, call.arguments)
    except (ToolFailed, Cancelled):
        raise
    except Exception as error:
        logger.exception("tool call %s (%s) of run %s failed", call.call_id, call.name, making.run.pk)
        raise ToolFailed(f"the tool failed ({type(error).__name__}).") from error


def _executing(call: ToolCall, publish: Publisher) -> None:
    publish.event("tool_executing", tool={"call_id": call.call_id, "name": call.name, "arguments": call.arguments})


def _completed(call: ToolCall, publish: Publisher) -> None:
    publish.event("tool_completed", **status.completed_call(call))
