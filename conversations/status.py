"""What clients are told about a run: wire status, statistics, terminal event."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from conversations.models import Conversation, Message, Run, ToolCall
from conversations.shapes import last_answer, plain_answer

Status = Run.Status
SHOWN_BYTES = 64 * 1024
# What clients are told of a run: see `wire`.
WIRE = ("processing", "waiting_for_tool", "completed", "failed", "cancelled")

_WIRE = {
    Status.WAITING_FOR_TOOL: "waiting_for_tool",
    Status.COMPLETED: "completed",
    Status.INCOMPLETE: "completed",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
    Status.CANCELLED: "cancelled",
}
_CONVERSATION = {
    Status.WAITING_FOR_TOOL: Conversation.Status.PAUSED,
    Status.COMPLETED: Conversation.Status.COMPLETED,
    Status.INCOMPLETE: Conversation.Status.COMPLETED,
    Status.FAILED: Conversation.Status.FAILED,
    Status.EXPIRED: Conversation.Status.FAILED,
    Status.CANCELLED: Conversation.Status.CANCELLED,
}


def wire(run: Run | None) -> str:
    """processing, waiting_for_tool, completed, failed or cancelled; `completed` where nothing ever ran.

    A run that waits for an approval is `processing` to its client, who has nothing to do.
    """
    if run is None:
        return "completed"
    if run.waiting_for == Run.WaitingFor.APPROVAL:
        return "processing"
    return _WIRE.get(Status(run.status), "processing")


def of_conversation(run_status: str) -> Conversation.Status:
    """The conversation's status that goes with its newest run's."""
    return _CONVERSATION.get(Status(run_status), Conversation.Status.ACTIVE)


def current_run(conversation: Conversation) -> Run | None:
    """The open run; else the oldest pending one; else the newest. One query."""
    runs = Run.objects.filter(conversation=conversation)
    unfinished = runs.exclude(status__in=Run.TERMINAL).order_by("id").first()
    return unfinished or runs.order_by("-id").first()


def stats(run: Run | None) -> dict[str, int]:
    """Turns and tokens of one run."""
    if run is None:
        return {"turns": 0, "tokens": 0}
    return {"turns": run.turn_count, "tokens": run.prompt_tokens + run.completion_tokens}


def usage(run: Run) -> dict[str, Any]:
    """Tokens of the run; `estimated` where the backend did not count."""
    return {
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "total_tokens": run.prompt_tokens + run.completion_tokens,
        "cached_tokens": run.cached_tokens,
        "reasoning_tokens": run.reasoning_tokens,
        "estimated": run.usage_estimated,
    }


def timings(run: Run) -> dict[str, float | None]:
    """Seconds: in the queue, from the start to the first token, from the start to the end."""
    return {
        "queue_wait_seconds": _between(run.queued_at, run.started_at),
        "first_token_seconds": _between(run.started_at, run.first_token_at),
        "run_seconds": _between(run.started_at, run.finished_at),
    }


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds(), 4) if start and end else None


def payload(conversation: Conversation) -> dict[str, Any]:
    """The body of `GET …/status`."""
    run = current_run(conversation)
    body: dict[str, Any] = {
        "status": wire(run),
        "conversation_id": conversation.pk,
        "run_id": run.pk if run else None,
        "stats": stats(run),
    }
    if run is None or run.status not in (*Run.TERMINAL, Status.WAITING_FOR_TOOL):
        return body
    if run.status in Run.TERMINAL:
        return body | _ending(run)
    wanted = requests(wanted_calls(run))
    return body | (asked(run, wanted) if body["status"] == "waiting_for_tool" and wanted else {"approvals": wanted})


def _ending(run: Run) -> dict[str, Any]:
    if run.status == Status.INCOMPLETE:
        return {"reason": run.reason}
    if run.status in (Status.FAILED, Status.EXPIRED):
        return {"error": run.error, "error_code": run.error_code}
    return {}


def wanted_calls(run: Run) -> QuerySet[ToolCall]:
    """The calls that a waiting run wants answered now: those to approve, and when there are none, the client's."""
    calls = ToolCall.objects.filter(run=run, status=ToolCall.Status.PENDING).order_by("message__position", "position")
    if run.waiting_for == Run.WaitingFor.APPROVAL:
        return calls.filter(approval=ToolCall.Approval.WANTED)
    return calls if run.status == Status.WAITING_FOR_TOOL else calls.none()


def requests(calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    return [{"call_id": call.call_id, "name": call.name, "arguments": call.arguments} for call in calls]


def waiting_event(run: Run, wanted: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Name and data of the event that says what a waiting run waits for."""
    if run.waiting_for == Run.WaitingFor.APPROVAL:
        return "approval_request", {"approvals": wanted}
    return "tool_request", {"status": wire(run), **asked(run, wanted), "stats": stats(run)}


def asked(run: Run, wanted: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client needs to answer its calls."""
    return {
        "tool_request": wanted[0],
        "tool_requests": wanted,
        "submit_url": reverse("conversation", args=[run.conversation_id]) + "/tool-results",
    }


def completed_call(call: ToolCall) -> dict[str, Any]:
    """The data of `tool_completed`. `content` is cut at 64 KiB; then `truncated` is true."""
    whole = call.result.encode()
    data = {"call_id": call.call_id, "name": call.name, "success": not call.is_error}
    if len(whole) <= SHOWN_BYTES:
        return {**data, "content": call.result}
    return {**data, "content": whole[:SHOWN_BYTES].decode(errors="ignore"), "truncated": True}


def terminal_event(run: Run, said: Message | None = None) -> tuple[str, dict[str, Any]]:
    """Name and data of the event that ends a run's stream. `said` is its answer; where it is not given, two queries.

    Raises ValueError for a run that has not ended.
    """
    if run.status not in Run.TERMINAL:
        raise ValueError(f"run {run.pk} is {run.status}")
    name = wire(run)
    data: dict[str, Any] = {"status": name, "stats": stats(run), **_ending(run)}
    if name == "completed":
        data |= {
            "usage": usage(run),
            "timings": timings(run),
            "messages": plain_answer(said) if said else last_answer(run.pk),
        }
    return name, data
