"""A conversation as its page draws it: one JSON value, the same when the page is made and when it asks again."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Max
from django.urls import reverse

from conversations import status
from conversations.console import calls
from conversations.console.explanations import next_step
from conversations.models import Conversation, Message, Run, TodoItem
from conversations.shapes import MessageSerializer, images
from maintenance.templatetags.console import span

MESSAGES_SHOWN = 100
RUNS_SHOWN = 20


def describe(conversation: Conversation, *, before: int | None = None) -> dict[str, Any]:
    """The newest messages, or those before a position, with the newest runs."""
    # Runs first: the page reads again when an open run ends, so nothing may be older than what the runs say.
    runs = list(conversation.runs.order_by("-id")[:RUNS_SHOWN])
    messages, earlier = _messages(conversation, before)
    conversation.refresh_from_db(fields=["status", "turn_count", "prompt_tokens", "completion_tokens"])
    return {
        "status": conversation.status,
        "turns": conversation.turn_count,
        "tokens": conversation.prompt_tokens + conversation.completion_tokens,
        "messages": messages,
        "earlier": earlier,
        "runs": [_run(run) for run in runs],
        "open": any(run.status not in Run.TERMINAL for run in runs),
        "asks": calls.wanted(conversation),
        "todo": [_todo(item) for item in conversation.todo_items.all()],
    }


def _messages(conversation: Conversation, before: int | None) -> tuple[list[dict[str, Any]], int | None]:
    """Messages in order, and the position before which there are more, if there are."""
    rows = Message.objects.filter(conversation=conversation).prefetch_related("tool_calls")
    placed = rows.filter(position__isnull=False)
    if before is not None:
        placed = placed.filter(position__lt=before)
    newest = list(placed.order_by("-position")[: MESSAGES_SHOWN + 1])
    more = len(newest) > MESSAGES_SHOWN
    shown = newest[:MESSAGES_SHOWN][::-1]
    waiting = list(rows.filter(position=None).order_by("id")[:MESSAGES_SHOWN]) if before is None else []
    rows_of = _calls((*shown, *waiting))
    drawn = [_message(message, rows_of.get(message.pk)) for message in (*shown, *waiting)]
    return drawn, shown[0].position if more else None


def _calls(messages: Iterable[Message]) -> dict[int, list[dict[str, Any]]]:
    """By message, what it asks for."""
    rows = [call for message in messages for call in message.tool_calls.all()]
    found: dict[int, list[dict[str, Any]]] = {}
    for row, described in zip(rows, calls.described(rows), strict=True):
        found.setdefault(row.message_id, []).append(described)
    return found


def _message(message: Message, tool_calls: list[dict[str, Any]] | None) -> dict[str, Any]:
    content = calls.shown(message.content)[0] if message.role == Message.Role.TOOL else message.content
    shown = images(message, "admin:conversations_conversation_image")
    return {
        **MessageSerializer(message).data,
        "content": content,
        "tool_calls": tool_calls,
        "run_id": message.run_id,
        "images": shown,
    }


def _todo(item: TodoItem) -> dict[str, Any]:
    return {"id": item.pk, "item": item.item, "priority": item.priority, "done": item.completed_at is not None}


def _run(run: Run) -> dict[str, Any]:
    return {
        "id": run.pk,
        "status": run.status,
        "ended": run.status in Run.TERMINAL,
        "created_at": run.created_at.isoformat(),
        "facts": [{"name": name, "value": value} for name, value in _facts(run).items() if value],
        "error": _error(run),
        "next_step": next_step(run),
        "warnings": [warning["message"] for warning in run.warnings],
        "retry_of": run.retry_of_id,
        "job_url": reverse("admin:maintenance_job_change", args=[run.job_id]) if run.job_id else "",
    }


def _facts(run: Run) -> Mapping[str, str]:
    """What the run cost, in words; empty where it is not known yet."""
    timings = {name: span(value) if value is not None else "" for name, value in status.timings(run).items()}
    about = "≈ " if run.usage_estimated else ""
    return {
        "Waited": timings["queue_wait_seconds"],
        "First token": timings["first_token_seconds"],
        "Took": timings["run_seconds"],
        "Turns": str(run.turn_count or ""),
        "Prompt": f"{about}{run.prompt_tokens:,}" if run.prompt_tokens else "",
        "Answer": f"{about}{run.completion_tokens:,}" if run.completion_tokens else "",
        "Speed": _speed(run),
        "Left out or shortened": f"{run.context_trimmed} messages" if run.context_trimmed else "",
        "Warning": " ".join(warning["message"] for warning in run.warnings),
    }


def _speed(run: Run) -> str:
    if not (run.first_token_at and run.finished_at and run.completion_tokens):
        return ""
    seconds = (run.finished_at - run.first_token_at).total_seconds()
    return f"{run.completion_tokens / seconds:,.0f} tokens/s" if seconds > 0.05 else ""


def _error(run: Run) -> str:
    if run.status in (Run.Status.FAILED, Run.Status.EXPIRED):
        return f"{run.error or 'The run failed.'} ({run.error_code or run.status})"
    return f"Ended early: {run.reason.replace('_', ' ')}" if run.status == Run.Status.INCOMPLETE else ""


def last_errors(conversation_ids: list[int]) -> dict[int, str]:
    """By conversation, the error of its newest run where that one failed. One query."""
    newest = (
        Run.objects.filter(conversation__in=conversation_ids)
        .order_by()
        .values("conversation")
        .annotate(newest=Max("pk"))
        .values("newest")
    )
    return dict(Run.objects.filter(pk__in=newest).exclude(error="").values_list("conversation", "error"))
