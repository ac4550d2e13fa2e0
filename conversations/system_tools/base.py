"""What a system tool is, what it is told, and how it says that it could not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from maintenance import outbound
from models_registry.backends.base import Cancellation
from models_registry.errors import Cancelled


@dataclass(frozen=True, kw_only=True)
class Caller:
    """On whose behalf a tool runs. `cancellation` ends what it waits for when the run is stopped."""

    conversation_id: int
    user_id: int
    cancellation: Cancellation


def fetch(caller: Caller, method: str, url: str, **terms: Any) -> outbound.Answer:
    """`maintenance.outbound.send` for a tool: it ends when the run is stopped. Raises ToolFailed, Cancelled."""
    try:
        return outbound.send(method, url, ending=caller.cancellation.on_cancel, **terms)
    except (outbound.OutboundRefused, outbound.OutboundFailed) as error:
        if caller.cancellation.cancelled:
            raise Cancelled from error
        raise ToolFailed(error.message) from error
    finally:
        caller.cancellation.on_cancel(None)


class ToolFailed(Exception):
    """The tool could not do it. The text goes to the model, and so to the user: nothing secret, and what to do."""


@dataclass(frozen=True, kw_only=True)
class SystemTool:
    """A tool that runs here. `call` is given checked arguments and answers with text for the model.

    `parameters` is a JSON Schema object. `is_idempotent`: to do it twice is as good as once, so that a call of which
    nobody knows whether it was finished is made again.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[[Caller, Mapping[str, Any]], str]
    is_idempotent: bool = False
    is_configured: Callable[[], bool] = lambda: True


def schema(*required: str, **properties: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": {name: dict(value) for name, value in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }
