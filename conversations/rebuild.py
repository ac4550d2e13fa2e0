"""What was sent to a model for an answer, made again from the database, exactly."""

from typing import Any

from conversations import history, requests
from conversations.models import Message, Run
from maintenance.errors import Refusal
from models_registry.backends.base import ChatRequest, Timeouts

# They are no part of what was sent.
_NO_LIMITS = Timeouts(connect=0, first_byte=0, idle=0, total=0)
# What is told of a note, and what stands there where it says nothing.
_WINDOW: dict[str, Any] = {
    "trimmed": None, "shortened": None, "without": {}, "images": 0, "estimated": None, "scale": None, "counted": None,
}  # fmt: skip


def request_of(message: Message) -> ChatRequest:
    """The request that this answer of a run came from; its time limits are zero. Raises Refusal, 404.

    It is made of the run's snapshot and of the messages at the positions that were noted: neither changes any more,
    whatever is said later and whatever becomes of the agent.
    """
    note = message.request
    if message.run is None or "sent" not in note or not hasattr(message.run, "snapshot"):
        raise Refusal("What was sent for this answer was not noted.", code="not_noted", status_code=404)
    rows = history.at(message.conversation_id, note["sent"])
    return requests.again(message.run.snapshot, note, rows, _NO_LIMITS)


def shown(run: Run, turn: int) -> dict[str, Any]:
    """What was sent for the run's answer of this number, 1 being the first. Raises Refusal, 404.

    `exact` is whether the digest that was noted when it was sent fits what is shown.
    """
    rows = Message.objects.filter(run=run, role=Message.Role.ASSISTANT).select_related("run__snapshot")
    answers = list(rows.order_by("position"))
    if not 0 < turn <= len(answers):
        raise Refusal("The run has no answer of this number.", code="not_found", status_code=404)
    message = answers[turn - 1]
    request, note = request_of(message), message.request
    taken = run.snapshot
    return {
        "run_id": run.pk,
        "turn": turn,
        "message_id": message.pk,
        "snapshot_id": taken.pk,
        "backend": taken.backend,
        "model": taken.model,
        "tool_mode": taken.tool_mode,
        "request": requests.canonical(request),
        "sha256": note["sha256"],
        "exact": requests.digest(request) == note["sha256"],
        "window": {name: note.get(name, none) for name, none in _WINDOW.items()},
    }
