"""What a driver does with the fields of a configuration, as a plain value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DriverOptions:
    """What a driver does with the fields. `defaults` hold at least `max_tokens` and `context_length`.

    `ranges` are narrower than the general ones; `refusal(field, value, model)` says why a field is not sent, or "";
    `conflict(field, values)` says why it is not sent beside the others, as they are in the end, or "";
    `stop_sequences` is how many are sent at most.
    """

    defaults: Mapping[str, Any]
    refusal: Callable[[str, Any, str], str]
    conflict: Callable[[str, Mapping[str, Any]], str] = lambda field, values: ""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    stop_sequences: int = 16
