"""What an operator opened in words that nobody understands, and limits that let nothing through."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from maintenance.outbound import allowed

LIMITS = ("OUTBOUND_TIMEOUT_SECONDS", "OUTBOUND_MAX_BYTES")
HINT = (
    "OUTBOUND_ALLOWED is a list such as intranet.example, 10.1.2.3:8080, [fd12::1]:8080, 10.0.0.0/8 (a network's first "
    "address, and no port), OUTBOUND_PORTS one such as 80,443."
)


@register
def outbound(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E014: OUTBOUND_ALLOWED or OUTBOUND_PORTS cannot be read. maintenance.E015: a limit of nothing."""
    found: list[CheckMessage] = [
        Error(f"Outbound requests: {fault}.", hint=HINT, id="maintenance.E014") for fault in allowed.faults()
    ]
    return found + [
        Error(f"{name} is {getattr(settings, name)}.", hint="Give it a number above zero.", id="maintenance.E015")
        for name in LIMITS
        if getattr(settings, name) <= 0
    ]
