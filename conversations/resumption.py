"""What the database tells a stream's reader: where a conversation stands, and a run with its text so far."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from conversations import status
from conversations.frames import CONTENT, THINKING, Stored
from conversations.models import Conversation, Message, Run, ToolCall

Status = Run.Status


@dataclass(frozen=True)
class Opening:
    """Where a conversation stands when a reader comes. `run_id` is None where nothing ever ran.

    `has_text`: the database holds text of the run. `has_answers`: calls of its client were answered.
    """

    conversation_id: int
    status: str
    run_id: int | None = None
    under_way: bool = False
    has_text: bool = False
    waiting: bool = False
    has_answers: bool = False
    first_event_id: str = ""


def opening(conversation: Conversation) -> Opening:
    """Three queries at most."""
    run = status.current_run(conversation)
    if run is None:
        return Opening(conversation.pk, status.wire(None))
    under_way = run.status not in Run.TERMINAL
    return Opening(
        conversation.pk,
        status.wire(run),
        run.pk,
        under_way=under_way,
        has_text=run.first_token_at is not None,
        waiting=run.status == Status.WAITING_FOR_TOOL and run.waiting_for != Run.WaitingFor.APPROVAL,
        has_answers=under_way and _client_calls(run.pk).exclude(status=ToolCall.Status.PENDING).exists(),
        first_event_id=run.first_event_id,
    )


def stored(run_id: int) -> Stored | None:
    """The run and its text. None where the conversation was deleted."""
    # Run and text by one query, so that they are of one moment: text of another attempt would mislead.
    replies = list(
        Message.objects.filter(run_id=run_id, role=Message.Role.ASSISTANT).select_related("run").order_by("position")
    )
    run = replies[0].run if replies else Run.objects.filter(pk=run_id).first()
    if run is None:
        return None
    calls = list(_client_calls(run_id).order_by("message__position", "position"))
    pending = [call for call in calls if call.status == ToolCall.Status.PENDING]
    requests = status.requests(pending)
    approval = run.waiting_for == Run.WaitingFor.APPROVAL
    wanted = status.requests(status.wanted_calls(run)) if approval else requests
    return Stored(
        conversation_id=run.conversation_id,
        run_id=run.pk,
        status=status.wire(run),
        turn=run.turn_count,
        attempt=run.attempt,
        seq=run.last_seq,
        text={
            CONTENT: "".join(reply.content for reply in replies),
            THINKING: "".join(reply.thinking for reply in replies),
        },
        stats=status.stats(run),
        tool_requests=[] if approval else requests,
        told=_told(replies, calls),
        ended=status.terminal_event(run) if run.status in Run.TERMINAL else None,
        asks=status.waiting_event(run, wanted) if run.status == Status.WAITING_FOR_TOOL and wanted else None,
    )


def _client_calls(run_id: int) -> Any:
    return ToolCall.objects.filter(run_id=run_id, kind=ToolCall.Kind.CLIENT)


def _told(replies: Iterable[Message], calls: Collection[ToolCall]) -> dict[str, int] | None:
    """Length of the text up to the last reply whose client calls were all answered."""
    pending = {call.message_id for call in calls if call.status == ToolCall.Status.PENDING}
    answered = {call.message_id for call in calls} - pending
    told, lengths = None, {CONTENT: 0, THINKING: 0}
    for reply in replies:
        lengths = {CONTENT: lengths[CONTENT] + len(reply.content), THINKING: lengths[THINKING] + len(reply.thinking)}
        if reply.pk in answered:
            told = lengths
    return told


@dataclass(frozen=True)
class Changes:
    """What readers of silent streams should be told of: runs by conversation; and runs that are no more."""

    runs: list[tuple[int, int]]
    deleted: set[int]


def changes(run_ids: Collection[int], conversation_ids: Collection[int], seconds: float) -> Changes:
    """Look at the runs that readers watch, and at the conversations whose readers wait for a run. One query.

    Of the runs, those that have ended or wait for a tool count; of the conversations, what is under way, or has
    ended in the last `seconds`.
    """
    since = timezone.now() - timedelta(seconds=seconds)
    recent = ~Q(status__in=Run.TERMINAL) | Q(finished_at__gte=since)
    rows = Run.objects.filter(Q(pk__in=run_ids) | Q(conversation_id__in=conversation_ids) & recent)
    found = list(rows.order_by("pk").values_list("conversation_id", "pk", "status"))
    watched = set(run_ids)
    telling = {*Run.TERMINAL, Status.WAITING_FOR_TOOL}
    runs = [(conversation_id, pk) for conversation_id, pk, status in found if pk not in watched or status in telling]
    return Changes(runs, watched - {pk for _, pk, _ in found})
