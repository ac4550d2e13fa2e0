"""What is configured for one backend, as a plain value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class BackendSettings:
    """One backend. `model` is its default model, empty where it has none.

    `options` are its own values for the fields of a `ModelConfig`, between the driver's and the agent's.
    `context_length` is a window in tokens that no agent can widen, 0 where the server does not fix one.
    `extensions`: its server takes options beyond those of the provider that the driver is named after.
    `vision`: its server may have models that take images.
    `tool_mode`, native or json_schema, is how tools are offered where an agent does not say.
    `fault` says why it cannot be called at all, safe to show; empty where it can.
    """

    name: str
    driver: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    model: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    context_length: int = 0
    extensions: bool = False
    function_calling: bool = True
    vision: bool = True
    tool_mode: str = "native"
    fault: str = ""
