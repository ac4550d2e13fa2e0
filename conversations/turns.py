"""The steps of a turn. Each is one small function; `jobs.process_turn` puts them in order."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from conversations import calls, context, illustrations, journal, prompts, requests, toolbox, transitions
from conversations.models import Conversation, Message, Run, Snapshot, ToolCall
from conversations.requests import Asked
from maintenance import executor
from maintenance.ledger import JobError
from models_registry import catalog
from models_registry.backends.base import FinishReason, ModelConfig, Reply, Timeouts, Usage

logger = logging.getLogger(__name__)

Status = Run.Status
TRUNCATED = "prompt_truncated"  # the code of a run's warning
# What a turn keeps of its job's time for storing what was said.
CLOSING_SECONDS = 15
UNLIMITED_SECONDS = 24 * 3600.0
STREAM_ENDED = "stream_ended"
INCOMPLETE_REASONS = {
    FinishReason.LENGTH.value: "max_tokens",
    FinishReason.CONTENT_FILTER.value: "content_filter",
    STREAM_ENDED: STREAM_ENDED,
}


def claim(run_id: int, lease_token: str) -> Run | None:
    """Take a queued run for this worker, with all its relations. None where it is not to be had: nothing to do."""
    run = (
        Run.objects.select_related("conversation__agent", "conversation__user", "user_message", "snapshot")
        .filter(pk=run_id, status=Status.QUEUED)
        .first()
    )
    if run is None or not transitions.move(run, Status.RUNNING, held_by="", **lease(lease_token), **_start(run)):
        return None
    return run


def lease(token: str) -> dict[str, Any]:
    return {
        "lease_token": token,
        "lease_expires_at": timezone.now() + timedelta(seconds=settings.LEASE_SECONDS),
    }


def take_steered(run: Run) -> None:
    """Give what was said meanwhile to steer the run its place: the next model call sees it.

    Not while calls have no answer: those come first, and their places are kept free.
    """
    waiting = transitions.steered(run)
    if waiting and ToolCall.objects.filter(run=run, status__in=ToolCall.UNANSWERED).exists():
        return
    for message in waiting:
        position = transitions.next_position(run.conversation_id)
        Message.objects.filter(pk=message.pk, position=None).update(position=position, status=Message.Status.COMPLETE)


def _start(run: Run) -> dict[str, Any]:
    return {"started_at": run.started_at or timezone.now(), "turn_count": run.turn_count + 1}


def renew(run: Run) -> bool:
    """Keep the run's lease. False where it is gone."""
    held = Run.objects.filter(pk=run.pk, lease_token=run.lease_token)
    return bool(held.update(lease_expires_at=timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)))


def snapshot(run: Run, resolved: catalog.Resolved, messages: Sequence[Message]) -> Snapshot:
    """What the run is made with: taken on its first turn, and used on all later ones. A replay begins with one."""
    if hasattr(run, "snapshot"):
        return run.snapshot
    taken = made_with(run, resolved, len(messages))
    _note_window(run.conversation, resolved.config)
    taken.save(force_insert=True)
    return taken


def made_with(run: Run, resolved: catalog.Resolved, message_count: int) -> Snapshot:
    """What the run would be made with now; nothing is stored. Raises Invalid where a prompt cannot be rendered."""
    assembled = prompts.assemble(run, message_count)
    agent = run.conversation.agent
    tools: Any = toolbox.packed(toolbox.offered(agent, run.conversation, resolved))
    return Snapshot(
        run=run,
        agent_name=agent.name,
        system_prompt=assembled.text,
        variables=assembled.variables,
        tools=tools,
        tool_mode=resolved.tool_mode,
        config=vars(resolved.config),
        warnings=resolved.warnings,
        backend=resolved.name,
        model=resolved.config.model,
    )


def _note_window(conversation: Conversation, config: ModelConfig) -> None:
    if conversation.context_limit != config.context_length:
        Conversation.objects.filter(pk=conversation.pk).update(context_limit=config.context_length)


def resolve(run: Run) -> catalog.Resolved:
    """The backend and its normalised configuration: from the snapshot once there is one. Raises BackendError."""
    if hasattr(run, "snapshot"):
        taken = run.snapshot
        config = {name: value for name, value in taken.config.items() if value not in (None, [])}
        resolved = catalog.resolve(taken.backend, config, taken.tool_mode)
        # Not normalised anew: what is known of the model's window may have changed meanwhile.
        return replace(resolved, config=requests.config_of(taken))
    agent = run.conversation.agent
    return catalog.resolve(agent.ai_backend, agent.model_config, agent.tool_mode)


def request(run: Run, resolved: catalog.Resolved, written: journal.Draft, messages: Sequence[Message]) -> Asked:
    """What to ask the backend; the draft of the answer keeps what it was. Raises ContextTooSmall."""
    without = illustrations.left_out(run, messages, sees=resolved.vision)
    asked = requests.ask(run.snapshot, messages, timeouts(resolved.config), without)
    run.warnings = [*run.warnings, *illustrations.warnings(run, asked.note["without"], asked.lost)]
    written.request = asked.note
    return asked


def timeouts(config: ModelConfig) -> Timeouts:
    """Limits of the call, inside what is left of the job's time."""
    execution = executor.current()
    left = execution.seconds_left(UNLIMITED_SECONDS) if execution else UNLIMITED_SECONDS
    total = max(1.0, left - CLOSING_SECONDS)
    first_byte = min(total, float(config.timeout)) if config.timeout else total
    return Timeouts(
        connect=settings.BACKEND_CONNECT_TIMEOUT_SECONDS,
        first_byte=first_byte,
        idle=min(total, settings.BACKEND_IDLE_TIMEOUT_SECONDS),
        total=total,
    )


def draft(run: Run, messages: Sequence[Message]) -> journal.Draft:
    """The message this turn will write, after everything that is there."""
    own = [message for message in messages if message.run_id == run.pk and message.role == Message.Role.ASSISTANT]
    return journal.Draft(
        position=transitions.next_position(run.conversation_id),
        content_before=sum(len(message.content) for message in own),
        thinking_before=sum(len(message.thinking) for message in own),
    )


@transaction.atomic
def record(run: Run, written: journal.Draft, reply: Reply, asked: Asked) -> Message:
    """Store the assistant's message as it was said, and count what it cost. Raises JobError where the lease is gone."""
    transitions.lock(run.conversation_id)
    usage = usage_of(reply, asked)
    _look_for_truncation(run, asked, usage)
    run.first_token_at = run.first_token_at or written.first_at
    if not _count(run, usage):
        raise JobError("The lease on the run was lost.", code="lease_lost", permanent=True)
    message = Message(
        pk=written.message_id,
        conversation_id=run.conversation_id,
        run=run,
        position=written.position,
        role=Message.Role.ASSISTANT,
        content=reply.content,
        thinking=reply.thinking,
        status=Message.Status.COMPLETE if reply.whole else Message.Status.INCOMPLETE,
        finish_reason=(reply.finish_reason or "") if reply.whole else STREAM_ENDED,
        token_count=usage.completion,
        provider_data=dict(reply.provider_data),
        request=asked.note_with(usage),
        created_at=timezone.now(),
    )
    message.save(force_insert=not written.stored, force_update=written.stored)
    if asks_for_tools(reply):
        calls.store(run, message, reply.tool_calls, toolbox.of_snapshot(run.snapshot))
    written.message_id = message.pk
    return message


def _look_for_truncation(run: Run, asked: Asked, usage: Usage) -> None:
    """Some servers leave out what is too long and do not say so: their own count does."""
    if not asked.is_suspect(usage):
        return
    said = f"The backend counted {usage.prompt:,} tokens where about {asked.expected:,} were sent: it has probably "
    message = f"{said}left out the oldest. Set the model's context_length to the window that it really has."
    logger.warning("run %s, turn %s: %s", run.pk, run.turn_count, message)
    run.warnings = [*run.warnings, {"code": TRUNCATED, "message": message, "turn": run.turn_count}]


def asks_for_tools(reply: Reply) -> bool:
    """Of a reply that broke off no call is run: there may be more of it, or less than was meant."""
    return reply.whole and bool(reply.tool_calls)


def stored_reply(run: Run, messages: Sequence[Message]) -> Message | None:
    """The reply of this very turn, where a worker died after storing it: the model is not asked again."""
    own = [message for message in messages if message.run_id == run.pk and message.role == Message.Role.ASSISTANT]
    if not own:
        return None
    asked_for = list(own[-1].tool_calls.all())
    unfinished = any(call.status in ToolCall.UNANSWERED for call in asked_for) if asked_for else own[-1] is messages[-1]
    return own[-1] if unfinished else None


def conclusion(message: Message) -> tuple[Status, str]:
    """The run's final status and reason after a reply without tool calls."""
    reason = INCOMPLETE_REASONS.get(message.finish_reason, "")
    return (Status.INCOMPLETE, reason) if reason else (Status.COMPLETED, "")


def keep_text(run: Run, written: journal.Draft, seq: int) -> None:
    """Store what was said before the turn went wrong."""
    if written.unsaved:
        journal.save(run, written, *written.take(), seq)
    Run.objects.filter(pk=run.pk, lease_token=run.lease_token).update(last_seq=seq)


def _count(run: Run, usage: Usage) -> bool:
    """False where the lease is gone."""
    run.prompt_tokens += usage.prompt
    run.completion_tokens += usage.completion
    run.cached_tokens += usage.cached
    run.reasoning_tokens += usage.reasoning
    run.usage_estimated = run.usage_estimated or usage.estimated
    if not Run.objects.filter(pk=run.pk, lease_token=run.lease_token).update(**counted(run)):
        return False
    Conversation.objects.filter(pk=run.conversation_id).update(
        turn_count=F("turn_count") + 1,
        prompt_tokens=F("prompt_tokens") + usage.prompt,
        completion_tokens=F("completion_tokens") + usage.completion,
        last_activity_at=timezone.now(),
    )
    return True


def counted(run: Run) -> dict[str, Any]:
    """The columns of a run that its turns add to, as they stand now."""
    return {
        name: getattr(run, name)
        for name in (
            "prompt_tokens",
            "completion_tokens",
            "cached_tokens",
            "reasoning_tokens",
            "usage_estimated",
            "last_seq",
            "context_trimmed",
            "warnings",
            "first_token_at",
            "first_event_id",
        )
    }


def usage_of(reply: Reply, asked: Asked) -> Usage:
    """What the backend counted, or our own estimate, marked as one."""
    if reply.usage is not None:
        return reply.usage
    return Usage(
        prompt=asked.expected,
        completion=context.estimate(reply.content + reply.thinking),
        estimated=True,
    )
