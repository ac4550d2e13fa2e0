"""What an operator does in conversations: open one, say something, stop, try again. Each leaves a row in the audit."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils import timezone

from conversations import runs, status
from conversations.models import Agent, Conversation, Run
from maintenance.access import audit
from maintenance.console.operators import operator
from maintenance.errors import Refusal

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


def send(request: HttpRequest, conversation: Conversation, content: str) -> Done:
    return _act(request, "conversation.send", conversation, SEND, lambda: _send(conversation, content))


def stop(request: HttpRequest, conversation: Conversation) -> Done:
    return _act(request, "conversation.stop", conversation, SEND, lambda: _stop(conversation))


def retry(request: HttpRequest, run: Run) -> Done:
    return _act(request, "run.retry", run.conversation, RETRY, lambda: _retry(run))


def _act(request: HttpRequest, verb: str, conversation: Conversation, permission: str, act: Callable[[], Done]) -> Done:
    if not request.user.has_perm(permission):
        raise PermissionDenied
    try:
        done = act()
    except Refusal as refusal:
        done = Done(False, refusal.message, refusal.status_code)
    _audit(request, verb, f"conversation:{conversation.pk}", "ok" if done.ok else done.text)
    return done


def _audit(request: HttpRequest, verb: str, target: str, result: str) -> None:
    audit.record(verb, target, actor=operator(request), address=audit.address_of(request), result=result)


def _send(conversation: Conversation, content: str) -> Done:
    run = runs.start(conversation, content)
    waits = run.status == Run.Status.PENDING
    text = "The message waits until the run under way has ended." if waits else "The message was sent."
    return Done(True, text, 202, _of(run))


def _stop(conversation: Conversation) -> Done:
    stopped = runs.cancel(conversation)
    if stopped is None:
        return Done(False, "Nothing runs; there is nothing to stop.", 409)
    return Done(True, "The run was stopped." if stopped.status in Run.TERMINAL else "The run is being stopped.")


def _retry(run: Run) -> Done:
    again = runs.retry(run)
    return Done(True, f"Run {run.pk} is tried again as run {again.pk}.", 202, _of(again))


def _of(run: Run) -> dict[str, Any]:
    return {"run_id": run.pk, "message_id": run.user_message_id, "run_status": run.status, "status": status.wire(run)}
