"""The same question once more, in a conversation of its own, with the very snapshot it was answered with.

What an agent has become since does not matter. On another backend or model, or with other values, the configuration is
normalised anew; prompt, tools and history stay as they were.
"""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from conversations import forks, history, jobs, picture_files, transitions
from conversations.copies import copy_of
from conversations.models import Run, Snapshot, ToolCall
from maintenance.errors import Invalid
from maintenance.models import new_job_id
from models_registry import catalog, config
from models_registry.errors import BackendError

NO_TOOLS = "This backend cannot call tools: none are offered."


@transaction.atomic
def replay(
    snapshot: Snapshot, *, backend: str = "", model: str = "", model_config: Mapping[str, Any] | None = None
) -> Run:
    """Make the run that answers the snapshot's question again, queued, in a new conversation of the same user.

    Every tool is offered as before, but one that runs here and is not idempotent wants an approval for each call:
    what it does would be done twice. What was said to steer the old run is not said again.
    Raises Invalid for a backend or a configuration that cannot be used.
    """
    old = Run.objects.select_related("conversation__agent", "user_message").get(pk=snapshot.run_id)
    transitions.lock(old.conversation_id)  # so that it is not deleted while it is copied
    question = old.user_message
    place = question.position or 0
    made_with = _made_with(snapshot, old, backend, model, model_config or {})
    earlier = [message for message in history.of_run(old) if (message.position or 0) < place]
    conversation = forks.begin(old.conversation, earlier, place - 1)
    asked = copy_of(
        question,
        conversation_id=conversation.pk,
        position=transitions.next_position(conversation.pk),
        images=picture_files.copied(question.images, conversation.pk),
    )
    asked.save()
    run = Run.objects.create(
        conversation=conversation,
        user_message=asked,
        replay_of=snapshot,
        status=Run.Status.QUEUED,
        max_turns=old.max_turns,
        queued_at=timezone.now(),
        job_id=new_job_id(),
    )
    copy_of(snapshot, run_id=run.pk, **made_with).save()
    transitions.follow(run)
    jobs.enqueue(run)
    return run


def _made_with(
    snapshot: Snapshot, old: Run, backend: str, model: str, model_config: Mapping[str, Any]
) -> dict[str, Any]:
    """The columns of the new snapshot that differ from the old one's."""
    tools = [_guarded(tool) for tool in snapshot.tools]
    if not (backend or model or model_config):
        return {"tools": tools}
    resolved = _resolved(snapshot, old, backend, model, model_config)
    warnings = list(resolved.warnings)
    if tools and not resolved.backend.capabilities.function_calling:
        tools, warnings = [], [*warnings, {"field": "tools", "message": NO_TOOLS}]
    return {
        "tools": tools,
        "tool_mode": resolved.tool_mode,
        "config": vars(resolved.config),
        "warnings": warnings,
        "backend": resolved.name,
        "model": resolved.config.model,
        "model_digest": "",
    }


def _resolved(
    snapshot: Snapshot, old: Run, backend: str, model: str, model_config: Mapping[str, Any]
) -> catalog.Resolved:
    config.validate(model_config)
    elsewhere = catalog.canonical(backend or snapshot.backend) != snapshot.backend
    values = {name: value for name, value in snapshot.config.items() if value not in (None, [])}
    if elsewhere or model not in ("", snapshot.model):
        # Another model has a window of its own; another backend, a default model.
        values = {name: value for name, value in values.items() if name not in ("model", "context_length")}
    own = {"model": model} if model else {}
    tool_mode = old.conversation.agent.tool_mode if elsewhere else snapshot.tool_mode
    try:
        return catalog.resolve(backend or snapshot.backend, {**values, **own, **model_config}, tool_mode)
    except BackendError as error:
        raise Invalid(error.message, errors={"backend": [error.message]}) from None


def _guarded(tool: Mapping[str, Any]) -> dict[str, Any]:
    harmless = tool["kind"] == ToolCall.Kind.CLIENT or tool["is_idempotent"]
    return dict(tool) if harmless else {**tool, "approval": "always"}
