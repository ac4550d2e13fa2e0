"""A run's changes of state, each one conditional update: of two that want one, one wins, and an end is for good.

docs/turn.md shows the table of states; a test compares it with this file.
"""

from collections.abc import Iterable
from typing import Any

from django.db import connection
from django.db.models import F, Max
from django.db.models.functions import Coalesce
from django.utils import timezone

from conversations import calls, status, stream
from conversations.models import Conversation, Message, Run
from maintenance.commits import after_commit
from maintenance.models import new_job_id

Status = Run.Status

TRANSITIONS: dict[str, tuple[str, ...]] = {
    Status.PENDING: (Status.QUEUED, Status.CANCELLED),
    Status.QUEUED: (Status.RUNNING, Status.CANCELLED, Status.FAILED),
    Status.RUNNING: (
        Status.WAITING_FOR_TOOL,
        Status.QUEUED,
        Status.COMPLETED,
        Status.INCOMPLETE,
        Status.FAILED,
        Status.CANCELLING,
    ),
    Status.WAITING_FOR_TOOL: (Status.QUEUED, Status.COMPLETED, Status.CANCELLED, Status.EXPIRED),
    Status.CANCELLING: (Status.CANCELLED, Status.COMPLETED, Status.INCOMPLETE),
    **dict.fromkeys(Run.TERMINAL, ()),
}


def move(run: Run, to: Status, *, held_by: str | None = None, origin: Iterable[str] = (), **changes: Any) -> bool:
    """Change the run's state where the table allows it from the state it is in. False where somebody was faster.

    `held_by`, a lease token, refuses a writer that no longer holds the run. `changes` are further columns. On success
    `run` and its conversation's status follow.
    """
    allowed = [state for state, targets in TRANSITIONS.items() if to in targets]
    rows = Run.objects.filter(pk=run.pk, status__in=set(allowed) & set(origin) if origin else allowed)
    if held_by is not None:
        rows = rows.filter(lease_token=held_by)
    if not rows.update(status=to, **changes):
        return False
    run.status = to
    for name, value in changes.items():
        setattr(run, name, value)
    if to != Status.RUNNING:  # it was queued, which is the same to its conversation
        follow(run)
    return True


def follow(run: Run) -> None:
    """Give the conversation the status that goes with this run's."""
    now = timezone.now()
    changes: dict[str, Any] = {"status": status.of_conversation(run.status), "last_activity_at": now, "updated_at": now}
    if run.status in Run.TERMINAL:
        changes["completed_at"] = now
    else:
        changes |= {"completed_at": None, "started_at": Coalesce(F("started_at"), now)}
    Conversation.objects.filter(pk=run.conversation_id).update(**changes)


def end(
    run: Run,
    to: Status,
    *,
    held_by: str | None = None,
    origin: Iterable[str] = (),
    said: Message | None = None,
    **changes: Any,
) -> Run | None:
    """Make the run terminal and promote the next one, which is returned for the caller to enqueue.

    `said` is its answer, where the caller has it: the database is not asked for it then. Call it inside a transaction.
    Raises AlreadyMoved where the run was not in a state that may end so. Its terminal event follows the commit.
    """
    lock(run.conversation_id)
    ended = {
        "finished_at": timezone.now(),
        "lease_token": "",
        "lease_expires_at": None,
        "waiting_for": Run.WaitingFor.NOBODY,
        "expires_at": None,
        "last_seq": run.last_seq + 1,
        **changes,
    }
    if not move(run, to, held_by=held_by, origin=origin, **ended):
        raise AlreadyMoved(run)
    if to not in (Status.COMPLETED, Status.INCOMPLETE):
        _close_messages(run)
    if said is None:  # an answer at hand asks for no tool
        calls.close(run)
    if said is None or to != Status.COMPLETED:  # who completes with an answer has looked under this lock
        _release_steered(run)
    after_commit(stream.announce_end, run, said)
    return promote(run.conversation_id)


def _close_messages(run: Run) -> None:
    """Half an answer stays, marked as one; a question that was never asked no longer waits."""
    Message.objects.filter(run=run, status=Message.Status.STREAMING).update(status=Message.Status.INCOMPLETE)
    Message.objects.filter(pk=run.user_message_id, status=Message.Status.QUEUED).update(status=Message.Status.COMPLETE)


def _release_steered(run: Run) -> None:
    """What was said to steer the run and came too late for it is answered by runs of its own, in order."""
    for message in steered(run):
        message.run = None
        message.save(update_fields=["run"])
        Run.objects.create(
            conversation_id=run.conversation_id,
            user_message=message,
            status=Status.PENDING,
            max_turns=run.max_turns,
        )


def steered(run: Run) -> list[Message]:
    """User messages that wait to be added to this run before its next model call, in the order in which they came."""
    waiting = Message.objects.filter(run=run, role=Message.Role.USER, position=None)
    return list(waiting.order_by("pk"))


class AlreadyMoved(Exception):
    """Somebody else changed the run's state first; there is nothing left to do."""


def lock(conversation_id: int) -> None:
    """Serialise decisions about one conversation. On SQLite BEGIN IMMEDIATE has locked already.

    It comes before any lock on one of its runs, or two who decide would wait for each other. Who only adds a message,
    and so refers to the conversation, is not kept waiting: a worker does so while it holds its run.
    """
    if connection.features.has_select_for_update:
        Conversation.objects.select_for_update(no_key=True).only("pk").filter(pk=conversation_id).first()


def promote(conversation_id: int) -> Run | None:
    """Let the oldest pending run become queued where no run is open. Call it inside a transaction, under `lock`."""
    unfinished = Run.objects.filter(conversation=conversation_id, status__in=(*Run.OPEN, Status.PENDING))
    states = dict(unfinished.order_by().values_list("pk", "status"))
    if not states or any(state in Run.OPEN for state in states.values()):
        return None
    oldest = Run.objects.get(pk=min(states))
    if not move(oldest, Status.QUEUED, queued_at=timezone.now(), job_id=new_job_id()):
        return None
    place(oldest)
    return oldest


def place(run: Run) -> None:
    """Give the run's user message its position: from now on it is part of the history."""
    Message.objects.filter(pk=run.user_message_id, position=None).update(
        position=next_position(run.conversation_id), status=Message.Status.COMPLETE
    )


def next_position(conversation_id: int) -> int:
    last = Message.objects.filter(conversation=conversation_id).aggregate(last=Max("position"))
    return (last["last"] or 0) + 1
