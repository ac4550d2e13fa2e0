"""Times as people type them: `90s`, `10m`, `2h`, `1d`, or a moment such as `2026-11-24T08:00`."""

import re
from datetime import datetime, timedelta

from django.utils import timezone

from maintenance.errors import Invalid

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_WRITTEN = re.compile(r"([0-9]{1,5})\s*([smhd])")
HINT = "such as 90s, 10m, 2h or 1d"


def parse(text: str) -> timedelta:
    """`10m` is ten minutes. Raises Invalid."""
    found = _WRITTEN.fullmatch(text.strip().lower())
    if not found:
        raise Invalid(f"{text!r} is no duration, {HINT}.")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def moment(text: str) -> datetime:
    """`2h` is two hours ago; anything else is a date or time in ISO 8601, in the server's zone. Raises Invalid."""
    if _WRITTEN.fullmatch(text.strip().lower()):
        return timezone.now() - parse(text)
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Invalid(f"{text!r} is neither a duration, {HINT}, nor a time such as 2026-11-24T08:00.") from None
    return found if found.tzinfo else timezone.make_aware(found)
