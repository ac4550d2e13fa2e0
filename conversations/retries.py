"""Answering the same user message again: a new run, which continues from what the old one had finished."""

from django.db import transaction
from django.utils import timezone

from conversations import transitions
from conversations.models import Conversation, Run
from maintenance.errors import Refusal
from maintenance.models import new_job_id

RETRYABLE = (Run.Status.FAILED, Run.Status.CANCELLED, Run.Status.INCOMPLETE, Run.Status.EXPIRED)


@transaction.atomic
def again(run: Run) -> Run:
    """Make the run that retries `run`, queued; the caller enqueues its job.

    Raises Refusal: `run_active` while another run is open, `not_retryable` for one that did not go wrong,
    `already_retried` for one of which there is a retry: that one is to be retried then.
    """
    transitions.lock(run.conversation_id)
    conversation = Conversation.objects.select_related("agent").get(pk=run.conversation_id)
    if run.status not in RETRYABLE:
        raise Refusal(f"The run is {run.status}; only one that did not complete can be retried.", code="not_retryable")
    refuse_while_open(conversation.pk)
    newer = run.retries.order_by("-id").first()
    if newer:
        raise Refusal(f"Run {newer.pk} is its retry already.", code="already_retried", extra={"retry_id": newer.pk})
    retry = Run.objects.create(
        conversation=conversation,
        user_message_id=run.user_message_id,
        retry_of=run,
        status=Run.Status.QUEUED,
        max_turns=conversation.agent.max_turns,
        queued_at=timezone.now(),
        job_id=new_job_id(),
    )
    transitions.place(retry)
    transitions.follow(retry)
    return retry


def refuse_while_open(conversation_id: int) -> None:
    """Raises Refusal, naming the open run, where there is one."""
    active = Run.objects.filter(conversation=conversation_id, status__in=Run.OPEN).first()
    if active:
        raise Refusal(
            f"Run {active.pk} of this conversation is {active.status}.",
            code="run_active",
            extra={"active_run": {"id": active.pk, "status": active.status}},
        )
