"""What a turn writes while it happens, so that after a crash it is known how far it came.

Every write says whether the writer still holds the run: one whose lease is gone writes nothing and must stop.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from django.db import transaction
from django.utils import timezone

from conversations.models import Message, Run
from models_registry.backends.base import DeltaType

Status = Run.Status


class Standing(Enum):
    """Where a worker stands with its run."""

    HELD = "held"
    CANCELLING = "cancelling"
    LOST = "lost"


@dataclass
class Draft:
    """The assistant message that is being streamed. Offsets count the characters of the run's earlier turns.

    `request` is the note of what was sent for it.
    """

    position: int
    content_before: int = 0
    thinking_before: int = 0
    message_id: int | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    unsaved: bool = False
    first_at: datetime | None = None
    _pieces: dict[DeltaType, list[str]] = field(default_factory=lambda: {kind: [] for kind in DeltaType})

    def add(self, kind: DeltaType, chunk: str) -> None:
        self._pieces[kind].append(chunk)
        self.unsaved = True
        self.first_at = self.first_at or timezone.now()

    @property
    def stored(self) -> bool:
        return self.message_id is not None

    def take(self) -> tuple[str, str]:
        """Content and thinking so far, as what is saved now. Not to be called while another thread adds."""
        self.unsaved = False
        return self._joined(DeltaType.CONTENT), self._joined(DeltaType.THINKING)

    def _joined(self, kind: DeltaType) -> str:
        # One piece again after each save, so that a long answer is not joined from its first delta every time.
        self._pieces[kind] = ["".join(self._pieces[kind])]
        return self._pieces[kind][0]


def standing(run: Run) -> Standing:
    """Ask the database whether this worker still holds the run."""
    found = Run.objects.filter(pk=run.pk, lease_token=run.lease_token).values_list("status", flat=True).first()
    return _standing(found)


def _standing(status: str | None) -> Standing:
    if status == Status.RUNNING:
        return Standing.HELD
    return Standing.CANCELLING if status == Status.CANCELLING else Standing.LOST


def save(run: Run, draft: Draft, content: str, thinking: str, seq: int) -> Standing:
    """Store the text so far. The first call makes the message; until then nobody has seen a word of it.

    LOST where the run is held no more, and then nothing is stored; else HELD, also where it is to be cancelled.
    """
    with transaction.atomic():
        run.first_token_at = run.first_token_at or draft.first_at
        held = Run.objects.filter(pk=run.pk, lease_token=run.lease_token)
        # First of all: it locks the run, so that nobody takes the lease before the text is stored.
        if not held.update(last_seq=seq, first_token_at=run.first_token_at, first_event_id=run.first_event_id):
            return Standing.LOST
        if draft.message_id is None:
            draft.message_id = _begin(run, draft, content, thinking)
        else:
            Message.objects.filter(pk=draft.message_id).update(content=content, thinking=thinking)
    return Standing.HELD


def _begin(run: Run, draft: Draft, content: str, thinking: str) -> int:
    return Message.objects.create(
        conversation_id=run.conversation_id,
        run=run,
        position=draft.position,
        role=Message.Role.ASSISTANT,
        content=content,
        thinking=thinking,
        status=Message.Status.STREAMING,
        request=dict(draft.request),
    ).pk


def note_first_event(run: Run) -> None:
    """Remember where the run's events begin, so that a reader need not look through older ones."""
    Run.objects.filter(pk=run.pk, first_event_id="").update(first_event_id=run.first_event_id)
