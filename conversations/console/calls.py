"""Tool calls as the page of a conversation draws them: what was asked, what became of it, who answered."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import User

from conversations import status
from conversations.models import Conversation, Run, ToolCall
from maintenance.templatetags.console import span

ANSWERERS = {"server": "the server", "client": "the client"}


def described(calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    """In their order. One query for the names of all who answered."""
    rows = list(calls)
    names = _names(rows)
    return [_call(call, names) for call in rows]


def wanted(conversation: Conversation) -> list[dict[str, Any]]:
    """What the open run waits for: `[{run_id, waiting_for, expires_at, call}]`, empty where it waits for nobody."""
    run = conversation.runs.filter(status=Run.Status.WAITING_FOR_TOOL).first()
    if run is None:
        return []
    expires = run.expires_at.isoformat() if run.expires_at else ""
    asked = {"run_id": run.pk, "waiting_for": run.waiting_for, "expires_at": expires}
    return [{**asked, "call": call} for call in described(status.wanted_calls(run).select_related("message"))]


def _call(call: ToolCall, names: Mapping[str, str]) -> dict[str, Any]:
    answered = call.status not in ToolCall.UNANSWERED
    result, truncated = shown(call.result)
    return {
        "call_id": call.call_id,
        "name": call.name,
        "kind": call.kind,
        "status": call.status,
        "approval": call.approval,
        "arguments": call.arguments,
        "asked_arguments": call.asked_arguments,
        "raw_arguments": call.raw_arguments,
        "result": result if answered else None,
        "truncated": truncated,
        "is_error": call.is_error,
        "answered_by": names.get(call.answered_by, ""),
        "decided_by": names.get(call.decided_by, ""),
        "took": _took(call),
    }


def shown(text: str) -> tuple[str, bool]:
    """The beginning of a text that may be a megabyte, and whether there is more of it."""
    whole = text.encode()
    if len(whole) <= status.SHOWN_BYTES:
        return text, False
    return whole[: status.SHOWN_BYTES].decode(errors="ignore"), True


def _took(call: ToolCall) -> str:
    """How long it ran here, or how long it waited for somebody's answer."""
    if call.finished_at is None:
        return ""
    return span((call.finished_at - (call.started_at or call.message.created_at)).total_seconds())


def _names(calls: Iterable[ToolCall]) -> dict[str, str]:
    """By what stands in the calls' `answered_by` and `decided_by`, who that is."""
    named = {by for call in calls for by in (call.answered_by, call.decided_by)}
    ids = {by.removeprefix("user:") for by in named if by.startswith("user:")}
    users = User.objects.filter(pk__in=[number for number in ids if number.isdecimal()])
    return {**ANSWERERS, **{f"user:{user.pk}": user.get_username() for user in users}} if ids else ANSWERERS
