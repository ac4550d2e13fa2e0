"""Reading back what was published."""

import json
from typing import Any

from conversations import stream
from maintenance import broker

TERMINAL = ("completed", "failed", "cancelled")


def published(conversation_id: int) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of every event in the conversation's stream, in order."""
    entries = broker.quick().xrange(stream.key(conversation_id))
    return [(fields[b"event"].decode(), json.loads(fields[b"data"])) for _, fields in entries]


def names(conversation_id: int) -> list[str]:
    return [name for name, _ in published(conversation_id)]


def text_of(conversation_id: int, run_id: int, kind: str = "content") -> str:
    """All chunks of one run and type, joined."""
    chunks = [d for n, d in published(conversation_id) if n == "text_chunk" and d["run_id"] == run_id]
    return "".join(chunk["chunk"] for chunk in chunks if chunk["type"] == kind)
