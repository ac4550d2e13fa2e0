"""What differs between two snapshots."""

import difflib
import json
from typing import Any

from conversations.models import Snapshot

PLAIN = ("agent_name", "backend", "model", "model_digest")
STRUCTURED = ("variables", "tools", "config", "warnings")


def differences(one: Snapshot, other: Snapshot) -> dict[str, Any]:
    """`{field: {from, to}}` for plain values, `{field: {diff: [line]}}` in unified form for text and structures."""
    changes: dict[str, Any] = {}
    for name in PLAIN:
        if getattr(one, name) != getattr(other, name):
            changes[name] = {"from": getattr(one, name), "to": getattr(other, name)}
    for name in STRUCTURED:
        if lines := _unified(_pretty(getattr(one, name)), _pretty(getattr(other, name))):
            changes[name] = {"diff": lines}
    if lines := _unified(one.system_prompt, other.system_prompt):
        changes["system_prompt"] = {"diff": lines}
    return changes


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def _unified(before: str, after: str) -> list[str]:
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), "from", "to", lineterm=""))
