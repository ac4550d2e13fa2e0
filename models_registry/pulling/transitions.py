"""How a pull changes its state: always by one conditional update, so that of two who try one wins.

    queued ─► running ─► completed | failed | cancelled
       ▲         │ ╲
       ╰─────────╯  ╰─► cancelling ─► cancelled

docs/models.md says when. While a job moves it, the row names the lease of that execution, and only it may write.
"""

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import DateTimeField, F, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from maintenance.commits import after_commit
from models_registry.models import Pull
from models_registry.pulling import events

Status = Pull.Status
WAITING = "waiting for a worker"


def claim(pull_id: str, lease_token: str) -> Pull | None:
    """Take the pull for this execution of its job; None where it has ended, is to be cancelled, or is gone.

    One that an execution held which is over, and could not say so, is taken too: the ledger runs a job once at a time.
    """
    open_ones = Pull.objects.filter(pk=pull_id, status__in=(Status.QUEUED, Status.RUNNING))
    now = timezone.now()
    begun = Coalesce("started_at", Value(now), output_field=DateTimeField())
    if not open_ones.update(status=Status.RUNNING, lease_token=lease_token, started_at=begun):
        return None
    return Pull.objects.get(pk=pull_id)


def held(pull: Pull) -> Any:
    """The row, as long as this execution may write it."""
    return Pull.objects.filter(pk=pull.pk, lease_token=pull.lease_token, status__in=(Status.RUNNING, Status.CANCELLING))


def release(pull_id: str, lease_token: str) -> bool:
    """Back to the queue: its job is to be taken up by another worker."""
    running = Pull.objects.filter(pk=pull_id, status=Status.RUNNING, lease_token=lease_token)
    return bool(
        running.update(
            status=Status.QUEUED,
            phase=WAITING,
            speed_bytes_per_second=None,
            eta_seconds=None,
            lease_token="",
            last_seq=F("last_seq") + 1,
        )
    )


def ask_to_stop(pull_id: str) -> bool:
    """The worker that holds it looks for this several times a second."""
    running = Pull.objects.filter(pk=pull_id, status=Status.RUNNING)
    return bool(running.update(status=Status.CANCELLING, phase="cancelling"))


@transaction.atomic
def end(pull_id: str, status: str, *, origin: Sequence[str], held_by: str | None = None, **changes: Any) -> bool:
    """End it for good, and tell its readers when that is committed. False where it was not in a state of `origin`.

    `held_by` is the lease of the execution that says so; None: whoever holds it has lost it.
    """
    rows = Pull.objects.filter(pk=pull_id, status__in=origin)
    if held_by is not None:
        rows = rows.filter(lease_token=held_by)
    ended = rows.update(
        status=status,
        finished_at=timezone.now(),
        lease_token="",
        phase="",
        speed_bytes_per_second=None,
        eta_seconds=None,
        last_seq=F("last_seq") + 1,
        **changes,
    )
    if ended:
        after_commit(events.announce_end, Pull.objects.get(pk=pull_id))
    return bool(ended)
