"""Limits of event streams that would let nobody read."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

LIMITS = (
    "STREAM_HEARTBEAT_SECONDS", "STREAM_KEPT_SECONDS", "STREAM_MAX_EVENTS", "STREAM_READER_MAX_EVENTS", "STREAMS_MAX",
    "STREAMS_PER_USER",
)  # fmt: skip


@register
def stream_limits(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E012: a limit on event streams that is not above zero."""
    return [
        Error(f"{name} is {getattr(settings, name)}.", hint="Give it a number above zero.", id="maintenance.E012")
        for name in LIMITS
        if getattr(settings, name) <= 0
    ]
