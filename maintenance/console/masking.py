"""Arguments as a person may see them: what looks like a secret by its name is covered."""

import re
from collections.abc import Mapping
from typing import Any

COVER = "••••••"
SECRET = re.compile(r"key|token|secret|passw|authorization|credential|cookie", re.IGNORECASE)


def masked(value: Any) -> Any:
    """The value with every secret in it covered, at any depth. Numbers are no secrets: `max_tokens` stays."""
    if isinstance(value, Mapping):
        return {name: _one(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    return value


def _one(name: str, value: Any) -> Any:
    plain = value is None or isinstance(value, bool | int | float)
    return COVER if SECRET.search(name) and not plain else masked(value)
