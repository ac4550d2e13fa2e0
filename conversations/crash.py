"""What the death of a worker means for the run it held. The rules, and why, are in docs/turn.md."""

from django.conf import settings

from conversations import transitions
from conversations.models import Message, Run
from maintenance.ledger import Failure

Status = Run.Status
LOST = Failure("worker_lost", "The worker that ran this died while the answer was being streamed.", permanent=True)


def recover(run_id: int, lease_token: str) -> Failure | None:
    """Put the run back into the queue, or say why it must end. Runs in the transaction that ends the execution.

    - deleted, not started, or ended already: the job may go on; it will find nothing to do, or the run waiting for it
    - asked to stop: cancelled
    - no word received: the turn is taken again
    - half a text shown: failed, or taken again from the beginning where `TURN_CRASH_POLICY` is `retry`
    - the reply stored: the turn is taken again and finds it, so the model is not asked a second time
    """
    for conversation_id in Run.objects.filter(pk=run_id).values_list("conversation", flat=True):
        transitions.lock(conversation_id)
    run = Run.objects.select_for_update().filter(pk=run_id).first()
    if run is None or run.lease_token != lease_token:
        return None
    if run.status == Status.CANCELLING:
        return Failure("cancelled", "Stopped.", permanent=True)
    half = Message.objects.filter(run=run, status=Message.Status.STREAMING)
    if half.exists():
        if settings.TURN_CRASH_POLICY != "retry":
            return LOST
        half.delete()
    requeue(run)
    return None


def requeue(run: Run) -> None:
    """Back to `queued`, as if the turn had not begun; the next attempt has the next number."""
    Run.objects.filter(pk=run.pk, status=Status.RUNNING, lease_token=run.lease_token).update(
        status=Status.QUEUED,
        attempt=run.attempt + 1,
        turn_count=max(0, run.turn_count - 1),
        lease_token="",
        lease_expires_at=None,
    )
