"""Answering once more: here, in a conversation that begins as this one did, or with the snapshot as it was."""

from django.http import HttpRequest
from django.urls import reverse

from conversations import forks, replays, runs
from conversations.console.talking import SEND, Done, act
from conversations.models import Conversation, Run
from maintenance.errors import Invalid

PAGE = "admin:conversations_conversation_change"


def fork(request: HttpRequest, conversation: Conversation) -> Done:
    """A new conversation of the same user, up to the message at `position`."""
    position = request.POST.get("position", "")
    return act(request, "conversation.fork", conversation, SEND, lambda: _fork(conversation, position))


def regenerate(request: HttpRequest, run: Run) -> Done:
    """The newest message is answered anew."""
    return act(request, "run.regenerate", run.conversation, SEND, lambda: _regenerate(run), run_id=run.pk)


def replay(request: HttpRequest, run: Run) -> Done:
    """With the run's snapshot in a new conversation, on `backend` and `model` where they are given."""
    backend, model = request.POST.get("backend", "").strip(), request.POST.get("model", "").strip()
    detail = {"run_id": run.pk, "backend": backend[:100], "model": model[:255]}
    return act(request, "run.replay", run.conversation, SEND, lambda: _replay(run, backend, model), **detail)


def _fork(conversation: Conversation, position: str) -> Done:
    if not position.isdecimal() or len(position) > 9:
        raise Invalid("The position is a number.")
    return _moved("The conversation was forked.", forks.fork(conversation, int(position)).pk)


def _regenerate(run: Run) -> Done:
    again = runs.regenerate(run)
    return Done(True, f"What run {run.pk} answered is answered anew by run {again.pk}.", 202)


def _replay(run: Run, backend: str, model: str) -> Done:
    taken = getattr(run, "snapshot", None)
    if taken is None:
        raise Invalid(f"Run {run.pk} has no snapshot: it never came to its first turn.")
    again = replays.replay(taken, backend=backend, model=model)
    return _moved(f"Run {run.pk} is replayed as run {again.pk}.", again.conversation_id)


def _moved(text: str, conversation_id: int) -> Done:
    return Done(True, text, 201, {"url": reverse(PAGE, args=[conversation_id])})
