"""What a run was made with, beside what its agent would be given now."""

import json
from typing import Any

from conversations import comparison, prompts, turns
from conversations.models import Run, Snapshot
from maintenance.errors import Invalid
from models_registry import catalog
from models_registry.errors import BackendError

SHOWN = ("agent_name", "backend", "model", "tool_mode", "system_prompt", "config", "tools", "variables", "warnings")


def describe(run: Run) -> dict[str, Any]:
    """`snapshot`, with the `changes` since or, where the agent as it is could not run at all, with the `problem`;
    and the `backends` on which it could be replayed.

    `{"snapshot": None}` where the run never came to its first turn.
    """
    taken = getattr(run, "snapshot", None)
    if taken is None:
        return {"snapshot": None}
    shown = {name: getattr(taken, name) for name in SHOWN}
    found = {"snapshot": shown, "backends": list(catalog.configured())}
    try:
        return {**found, "changes": _changes_since(taken)}
    except (Invalid, BackendError) as error:
        return {**found, "problem": error.message}


def _changes_since(taken: Snapshot) -> dict[str, Any]:
    """The differences to what the same run would be made with now, but for the time of day."""
    agent = taken.run.conversation.agent
    resolved = catalog.resolve(agent.ai_backend, agent.model_config, agent.tool_mode)
    counts = [values["message_count"] for values in taken.variables.values() if "message_count" in values]
    now = turns.made_with(taken.run, resolved, counts[0] if counts else 1)
    now.model_digest = taken.model_digest
    # As the database would give them back: tuples are lists there.
    now.config, now.warnings, now.tools = json.loads(json.dumps([now.config, now.warnings, now.tools]))
    for slug, values in now.variables.items():
        before = taken.variables.get(slug, {})
        values.update({name: before[name] for name in prompts.system_variables() if name in before})
    return comparison.differences(taken, now)
