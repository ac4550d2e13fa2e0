"""Misconfiguration is found at the start: each finding has an id, and a hint at what to do."""

from typing import Any

from django.core.checks import CheckMessage, Error, register
from rest_framework.settings import api_settings

from maintenance.http.throttles import parse_rate


@register
def throttle_rates(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E001: a rate that would make every request fail."""
    found: list[CheckMessage] = []
    for scope, rate in api_settings.DEFAULT_THROTTLE_RATES.items():
        try:
            parse_rate(str(rate))
        except ValueError:
            name, hint = f"THROTTLE_{scope.upper()}", "A rate looks like 5/min: a number, and s, min, h or d."
            found.append(Error(f"{name} is {rate!r}, which is not a rate.", hint=hint, id="maintenance.E001"))
    return found
