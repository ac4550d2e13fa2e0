"""JSON values from a server, whose types nobody promises: what is not as expected counts as nothing."""

from typing import Any

from models_registry.errors import BackendError

# Each becomes a row, a message and a turn's work; a model that asks for more has lost its way.
CALLS_MAX = 256


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def count(value: Any) -> int:
    """A whole number that is not negative."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def require_few(calls: int) -> None:
    """Raises BackendError where so many tool calls are more than one reply may ask for."""
    if calls > CALLS_MAX:
        raise BackendError(f"The model asked for more than {CALLS_MAX} tool calls at once.")
