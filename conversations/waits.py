"""A run that waits for somebody: no worker is held, and the time is limited."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from conversations import stream, transitions
from conversations.models import Run, ToolCall
from maintenance.commits import after_commit
from maintenance.models import new_job_id

Status = Run.Status
WaitingFor = Run.WaitingFor


def begin(run: Run, waiting_for: WaitingFor, *, held_by: str, **changes: Any) -> bool:
    """Let go of the run until it is answered. False where it is not this worker's any more, or is to be stopped.

    What it waits for is announced after the commit: an answer may come at once.
    """
    terms: dict[str, Any] = {
        "waiting_for": waiting_for,
        "expires_at": timezone.now() + timedelta(seconds=settings.TOOL_WAIT_SECONDS),
        "lease_token": "",
        "lease_expires_at": None,
        "last_seq": run.last_seq + 1,
    }
    if not transitions.move(run, Status.WAITING_FOR_TOOL, held_by=held_by, **{**changes, **terms}):
        return False
    after_commit(stream.announce_wait, run)
    return True


def resume(run: Run) -> bool:
    """Back to the queue where every answer that it waited for is in; the caller enqueues its job then.

    Call it inside a transaction, under `transitions.lock`.
    """
    open_calls = ToolCall.objects.filter(run=run, status__in=ToolCall.UNANSWERED)
    left = set(open_calls.values_list("approval", flat=True))
    if ToolCall.Approval.WANTED in left or (left and run.waiting_for == WaitingFor.TOOL_RESULT):
        return False
    # With calls left, which have their approvals now, the turn that they belong to is taken up again.
    turns = run.turn_count - 1 if left else run.turn_count
    nobody = WaitingFor.NOBODY
    return transitions.move(
        run, Status.QUEUED, waiting_for=nobody, expires_at=None, job_id=new_job_id(), turn_count=turns
    )
