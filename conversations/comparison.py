"""What differs between two snapshots, and between the answers of their runs."""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from conversations.models import Message, Run, Snapshot

PLAIN = ("agent_name", "backend", "model", "model_digest", "tool_mode")
# Beyond, to find what two texts have in common can take minutes.
LINES_COMPARED = 2000
STRUCTURED = ("variables", "tools", "config", "warnings")


def differences(one: Snapshot, other: Snapshot) -> dict[str, Any]:
    """By field: `{from, to}` for plain values, `{diff, added, removed}` for texts and structures.

    `diff` are lines in unified form, `added` and `removed` count those that begin with + and -. `answer` is what the
    two runs said. Two queries.
    """
    changes: dict[str, Any] = {}
    for name in PLAIN:
        if getattr(one, name) != getattr(other, name):
            changes[name] = {"from": getattr(one, name), "to": getattr(other, name)}
    pairs = {name: (_pretty(getattr(one, name)), _pretty(getattr(other, name))) for name in STRUCTURED}
    pairs["system_prompt"] = (one.system_prompt, other.system_prompt)
    pairs["answer"] = (_answer(one.run_id), _answer(other.run_id))
    for name, (before, after) in pairs.items():
        if before != after:
            changes[name] = _unified(before, after)
    return changes


def summary(snapshot: Snapshot) -> dict[str, Any]:
    """How the snapshot's run went, in numbers."""
    run: Run = snapshot.run
    seconds = (run.finished_at - run.started_at).total_seconds() if run.started_at and run.finished_at else None
    return {
        "run_id": run.pk,
        "conversation_id": run.conversation_id,
        "status": run.status,
        "reason": run.reason,
        "turn_count": run.turn_count,
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "run_seconds": seconds,
    }


def _answer(run_id: int) -> str:
    """All that the run said, turn by turn."""
    said = Message.objects.filter(run=run_id, role=Message.Role.ASSISTANT).order_by("position")
    return "\n\n".join(text for text in said.values_list("content", flat=True) if text)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def _unified(before: str, after: str) -> dict[str, Any]:
    # With their ends: two texts that differ in a last line break do differ.
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = [line.rstrip("\n") for line in _lines(old, new)]
    changed = lines[2:]
    added, removed = (sum(line.startswith(sign) for line in changed) for sign in "+-")
    return {"diff": lines, "added": added, "removed": removed}


def _lines(old: Sequence[str], new: Sequence[str]) -> Iterable[str]:
    """The difference; of two texts that are too long for that, all of the one and all of the other."""
    if max(len(old), len(new)) <= LINES_COMPARED:
        return difflib.unified_diff(old, new, "from", "to", lineterm="")
    head = ["--- from", "+++ to", f"@@ -1,{len(old)} +1,{len(new)} @@"]
    return [*head, *(f"-{line}" for line in old), *(f"+{line}" for line in new)]
