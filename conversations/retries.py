"""Answering the same user message again, in a new run.

To retry a run that went wrong continues from what it had finished; to regenerate one that completed begins anew.
"""

from django.db import transaction
from django.utils import timezone

from conversations import transitions
from conversations.copies import copy_of
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
    return _made(conversation, run)


@transaction.atomic
def anew(run: Run) -> Run:
    """Make the run that answers once more what `run` has answered, queued; the caller enqueues its job.

    It sees nothing of the old answer. Raises Refusal: `run_active` while another run is open, `not_completed` for one
    that did not complete, `not_newest` where something was said since.
    """
    transitions.lock(run.conversation_id)
    conversation = Conversation.objects.select_related("agent").get(pk=run.conversation_id)
    refuse_while_open(conversation.pk)
    if run.status != Run.Status.COMPLETED:
        raise Refusal(f"The run is {run.status}; one that did not complete can be retried.", code="not_completed")
    newest = Run.objects.filter(conversation=conversation).order_by("-pk").values_list("pk", flat=True).first()
    if newest != run.pk:
        said = f"Run {newest} is newer. Fork the conversation to answer an older message again."
        raise Refusal(said, code="not_newest", extra={"newest_run_id": newest})
    return _made(conversation, run)


def _made(conversation: Conversation, run: Run) -> Run:
    made = Run.objects.create(
        conversation=conversation,
        user_message_id=run.user_message_id,
        retry_of=run,
        replay_of_id=run.replay_of_id,
        status=Run.Status.QUEUED,
        max_turns=run.max_turns if run.replay_of_id else conversation.agent.max_turns,
        queued_at=timezone.now(),
        job_id=new_job_id(),
    )
    if run.replay_of_id and hasattr(run, "snapshot"):
        # A replay is about the snapshot it was given, not about what the agent is now.
        copy_of(run.snapshot, run_id=made.pk).save()
    transitions.place(made)
    transitions.follow(made)
    return made


def refuse_while_open(conversation_id: int) -> None:
    """Raises Refusal, naming the open run, where there is one."""
    active = Run.objects.filter(conversation=conversation_id, status__in=Run.OPEN).first()
    if active:
        raise Refusal(
            f"Run {active.pk} of this conversation is {active.status}.",
            code="run_active",
            extra={"active_run": {"id": active.pk, "status": active.status}},
        )
