"""Headers of a tool that are sent and never shown: one encrypted value that holds names and values."""

import json
from collections.abc import Mapping

from conversations.models import Tool
from maintenance import encryption

Unreadable = encryption.Unreadable


def headers(tool: Tool) -> dict[str, str]:
    """Names and values. Raises Unreadable where they were stored under another SECRET_KEY."""
    stored = encryption.decrypt(tool.encrypted_headers)
    return dict(json.loads(stored)) if stored else {}


def change(tool: Tool, given: Mapping[str, str | None]) -> dict[str, str]:
    """Set the headers that are given, remove those that are None, leave the others; all of them as they are now.

    Those that cannot be read any more are dropped: whoever sets one anew sets all.
    """
    try:
        kept = headers(tool)
    except Unreadable:
        kept = {}
    renamed = {name.lower() for name in given}
    kept = {name: value for name, value in kept.items() if name.lower() not in renamed}
    kept |= {name: value for name, value in given.items() if value is not None}
    tool.encrypted_headers = encryption.encrypt(json.dumps(kept)) if kept else ""
    return kept
