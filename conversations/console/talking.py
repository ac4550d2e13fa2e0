"""What an operator does in conversations: open one, say something, stop, try again. Each leaves a row in the audit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.utils import timezone

from conversations import pictures, runs, status
from conversations.models import Agent, Conversation, OnBusy, Run
from maintenance.access import audit
from maintenance.console.operators import operator
from maintenance.errors import Invalid, Refusal

SEND = "conversations.change_conversation"
RETRY = "maintenance.retry_job"


@dataclass(frozen=True)
class Done:
    """How it went, in words, and what a page needs to go on with."""

    ok: bool
    text: str
    status_code: int = 200
    more: dict[str, Any] = field(default_factory=dict)


def open_with(agent: Agent, request: HttpRequest) -> Conversation:
    """A new conversation of the operator's own."""
    conversation = Conversation.objects.create(
        user=operator(request), agent=agent, client_type="console", last_activity_at=timezone.now()
    )
    _audit(request, "conversation.open", f"conversation:{conversation.pk}", "ok")
    return conversation


def send(request: HttpRequest, conversation: Conversation) -> Done:
    """`content`, the files `images`, and `on_busy`: what to do while a run is open; empty, it is the agent's choice."""
    content, on_busy = typed(request, "content"), request.POST.get("on_busy", "")
    files = request.FILES.getlist("images")
    return act(request, "conversation.send", conversation, SEND, lambda: _send(conversation, content, on_busy, files))


def stop(request: HttpRequest, conversation: Conversation) -> Done:
    return act(request, "conversation.stop", conversation, SEND, lambda: _stop(conversation))


def end_wait(request: HttpRequest, run: Run) -> Done:
    """Stop a run that waits for somebody; one that goes on already is left alone."""
    return act(request, "run.stop", run.conversation, SEND, lambda: _end_wait(run))


def retry(request: HttpRequest, run: Run) -> Done:
    return act(request, "run.retry", run.conversation, RETRY, lambda: _retry(run))


def typed(request: HttpRequest, name: str) -> str:
    """A text of the form as it was typed: forms send every end of a line as two characters."""
    return request.POST.get(name, "").replace("\r\n", "\n")


def act(
    request: HttpRequest,
    verb: str,
    conversation: Conversation,
    permission: str,
    do: Callable[[], Done],
    **detail: Any,
) -> Done:
    """Do what this operator may do, and note in the audit how it went, with `detail`. Raises PermissionDenied."""
    if not request.user.has_perm(permission):
        raise PermissionDenied
    try:
        done = do()
    except Refusal as refusal:
        done = Done(False, refusal.message, refusal.status_code)
    _audit(request, verb, f"conversation:{conversation.pk}", "ok" if done.ok else done.text, **detail)
    return done


def _audit(request: HttpRequest, verb: str, target: str, result: str, **detail: Any) -> None:
    who, address = operator(request), audit.address_of(request)
    audit.record(verb, target, actor=who, address=address, result=result, detail=detail)


def _send(conversation: Conversation, content: str, on_busy: str, files: "Sequence[UploadedFile[Any]]") -> Done:
    if on_busy and on_busy not in OnBusy.values:
        raise Invalid(f"What to do meanwhile is one of {', '.join(OnBusy.values)}.")
    pictures.require_room([file.size or 0 for file in files])
    images = pictures.check([file.read() for file in files])
    run = runs.start(conversation, content, on_busy=on_busy or None, images=images)
    text = "The message was sent."
    if run.steered_by:
        text = "The run under way sees the message before its next model call."
    elif run.status == Run.Status.PENDING:
        text = "The message waits until the run under way has ended."
    return Done(True, text, 202, _of(run))


def _stop(conversation: Conversation) -> Done:
    stopped = runs.cancel(conversation)
    if stopped is None:
        return Done(False, "Nothing runs; there is nothing to stop.", 409)
    return Done(True, "The run was stopped." if stopped.status in Run.TERMINAL else "The run is being stopped.")


def _end_wait(run: Run) -> Done:
    if run.status != Run.Status.WAITING_FOR_TOOL:
        return Done(False, f"Run {run.pk} waits for nobody any more: it is {run.get_status_display()}.", 409)
    runs.stop(run)
    return Done(True, f"Run {run.pk} was stopped.")


def _retry(run: Run) -> Done:
    again = runs.retry(run)
    return Done(True, f"Run {run.pk} is tried again as run {again.pk}.", 202, _of(again))


def _of(run: Run) -> dict[str, Any]:
    message_id = run.steered_by or run.user_message_id
    return {"run_id": run.pk, "message_id": message_id, "run_status": run.status, "status": status.wire(run)}
