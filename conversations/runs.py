"""The verbs on runs: start, cancel, retry. View, admin and command call these; none holds a rule of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from conversations import jobs, picture_files, retries, status, stops, transitions
from conversations.models import Conversation, Message, OnBusy, Run
from conversations.pictures import Picture
from maintenance import ledger
from maintenance.errors import Invalid, Refusal
from maintenance.models import Job, new_job_id

Status = Run.Status


@dataclass(frozen=True)
class Said:
    """What a user says: a text, which may be empty beside images, and the rows of those."""

    content: str
    images: list[dict[str, Any]] = field(default_factory=list)


def start(
    conversation: Conversation, content: str, *, on_busy: str | None = None, images: Sequence[Picture] = ()
) -> Run:
    """Store a user message and make the run that answers it: queued, or pending behind the one under way.

    `on_busy` is what to do while a run is open; by default the agent's. With `steer` the open run itself is returned,
    which will see the message before its next model call. Raises Invalid for too long content, and for an empty one
    without images; Refusal `run_active` for `reject`, `waiting_for_tool` where the open run waits for an answer and is
    not to be interrupted, `too_many_pending` where too many wait already, `not_stored` where the disk is full.
    """
    _check(content, bool(images))
    kept = picture_files.keep(images, conversation.pk)
    try:
        return _start(conversation, Said(content, kept), on_busy)
    except BaseException:
        picture_files.discard(kept)
        raise


@transaction.atomic
def _start(conversation: Conversation, said: Said, on_busy: str | None) -> Run:
    transitions.lock(conversation.pk)
    unfinished = list(Run.objects.filter(conversation=conversation).exclude(status__in=Run.TERMINAL).order_by("pk"))
    if not unfinished:
        run = _make(conversation, said, Status.QUEUED)
        jobs.enqueue(run)
        return run
    if len(unfinished) > settings.RUN_PENDING_MAX:
        raise _too_many()
    active = next((run for run in unfinished if run.status in Run.OPEN), unfinished[0])
    return _while_busy(conversation, said, active, OnBusy(on_busy or conversation.agent.on_busy))


def _too_many() -> Refusal:
    return Refusal("Too many messages wait in this conversation.", code="too_many_pending", status_code=429)


def _while_busy(conversation: Conversation, said: Said, active: Run, on_busy: OnBusy) -> Run:
    if active.status == Status.WAITING_FOR_TOOL and on_busy != OnBusy.INTERRUPT:
        raise _waits(active)
    if on_busy == OnBusy.REJECT:
        retries.refuse_while_open(conversation.pk)
    if on_busy == OnBusy.STEER and active.status in (Status.QUEUED, Status.RUNNING):
        return _steer(active, said)
    run = _make(conversation, said, Status.PENDING)
    if on_busy == OnBusy.INTERRUPT:
        stop(active)
        run.refresh_from_db()
    return run


def _waits(active: Run) -> Refusal:
    """A message now would come between a call and its answer, which no provider takes."""
    wanted = status.requests(status.wanted_calls(active))
    approval = active.waiting_for == Run.WaitingFor.APPROVAL
    needed = "an approval of" if approval else "an answer to"
    return Refusal(
        f"Run {active.pk} waits for {needed} {', '.join(call['name'] for call in wanted)}.",
        code="waiting_for_tool",
        extra={
            "active_run": {"id": active.pk, "status": active.status},
            "approvals" if approval else "tool_requests": wanted,
        },
    )


def _steer(active: Run, said: Said) -> Run:
    if len(transitions.steered(active)) >= settings.RUN_PENDING_MAX:
        raise _too_many()
    message = Message.objects.create(
        conversation_id=active.conversation_id,
        run=active,
        role=Message.Role.USER,
        content=said.content,
        images=said.images,
        status=Message.Status.QUEUED,
    )
    active.steered_by = message.pk
    return active


def _check(content: str, has_images: bool) -> None:
    if not content.strip() and not has_images:
        raise Invalid("The message is empty.", errors={"content": ["This field may not be blank."]})
    if "\x00" in content:
        raise Invalid("The message has a null character.", errors={"content": ["Null characters are not allowed."]})
    if len(content.encode()) > settings.MESSAGE_MAX_BYTES:
        limit = f"The message is longer than {settings.MESSAGE_MAX_BYTES} bytes."
        raise Invalid(limit, code="too_large", status_code=413, errors={"content": [limit]})


def _make(conversation: Conversation, said: Said, state: Status) -> Run:
    queued = state == Status.QUEUED
    message = Message.objects.create(
        conversation=conversation,
        position=transitions.next_position(conversation.pk) if queued else None,
        role=Message.Role.USER,
        content=said.content,
        images=said.images,
        status=Message.Status.COMPLETE if queued else Message.Status.QUEUED,
    )
    run = Run.objects.create(
        conversation=conversation,
        user_message=message,
        status=state,
        max_turns=conversation.agent.max_turns,
        queued_at=timezone.now() if queued else None,
        job_id=new_job_id() if queued else None,
    )
    transitions.follow(run)
    return run


def cancel(conversation: Conversation) -> Run | None:
    """Stop the conversation's open run. None where nothing is open. A message that waits behind it runs next."""
    run = Run.objects.filter(conversation=conversation, status__in=Run.OPEN).first()
    return stop(run) if run else None


@transaction.atomic
def stop(run: Run) -> Run:
    """Stop one run, in whatever state it is. Doing it again, or to one that has ended, changes nothing."""
    before = run.status
    promoted = stops.stop(run)
    if before == Status.QUEUED and run.job_id:
        _withdraw(str(run.job_id))
    if promoted:
        jobs.enqueue(promoted)
    return run


def _withdraw(job_id: str) -> None:
    if Job.objects.filter(pk=job_id, status__in=Job.WAITING).exists():
        ledger.cancel(job_id)


@transaction.atomic
def retry(run: Run) -> Run:
    """Answer the same user message again with a new run. Raises Refusal `run_active` or `not_retryable`."""
    again = retries.again(run)
    jobs.enqueue(again)
    return again


@transaction.atomic
def regenerate(run: Run) -> Run:
    """Answer anew what the newest run has answered. Raises Refusal `run_active`, `not_completed` or `not_newest`."""
    again = retries.anew(run)
    jobs.enqueue(again)
    return again
