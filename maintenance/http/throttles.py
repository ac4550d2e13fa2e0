"""How often somebody may ask. Rates are settings like `600/min`; over them the answer is 429 with `Retry-After`.

A window opens with the first request of its key and lasts for the rate's period.
"""

import hashlib
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from django.db import transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

from maintenance.models import CacheEntry

PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Window:
    """Requests so far, this one included, and how long until counting starts anew."""

    count: int
    seconds_left: float


class Counter(Protocol):
    def hit(self, key: str, seconds: int) -> Window: ...


class MemoryCounter:
    """Counts in this process's memory: costs nothing, and each web process counts for itself."""

    KEYS_MAX = 10_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[int, float]] = {}

    def hit(self, key: str, seconds: int) -> Window:
        now = time.monotonic()
        with self._lock:
            if len(self._windows) >= self.KEYS_MAX:
                self._forget_ended(now)
            count, ends = self._windows.get(key, (0, 0.0))
            if ends <= now:
                count, ends = 0, now + seconds
            self._windows[key] = (count + 1, ends)
        return Window(count + 1, ends - now)

    def clear(self) -> None:
        with self._lock:
            self._windows.clear()

    def _forget_ended(self, now: float) -> None:
        self._windows = {key: window for key, window in self._windows.items() if window[1] > now}


class SharedCounter:
    """Counts in the shared cache's table, for all processes; two hits at once are counted as two."""

    def hit(self, key: str, seconds: int) -> Window:
        now = timezone.now()
        with transaction.atomic():
            entry, new = CacheEntry.objects.select_for_update().get_or_create(
                key=key, defaults={"value": 0, "expires_at": now + timedelta(seconds=seconds)}
            )
            if new:
                CacheEntry.objects.filter(expires_at__lte=now).delete()
            if entry.expires_at is None or entry.expires_at <= now:
                entry.value, entry.expires_at = 0, now + timedelta(seconds=seconds)
            count = entry.value = int(entry.value or 0) + 1
            entry.save()
        return Window(count, (entry.expires_at - now).total_seconds())


def parse_rate(rate: str) -> tuple[int, int]:
    """Requests and seconds: `"5/min"` → `(5, 60)`. Raises ValueError for anything else."""
    number, _, period = rate.partition("/")
    if period[:1] not in PERIODS:
        raise ValueError(f"a rate looks like 5/min, not {rate!r}")
    return int(number), PERIODS[period[0]]


class _Throttle(BaseThrottle):
    """Counts each of a request's keys; the fullest one decides."""

    scope: str
    counter: Counter

    def keys(self, request: Request) -> Iterable[str]:
        return [str(request.user.pk) if request.user else self.get_ident(request)]

    def allow_request(self, request: Request, view: Any) -> bool:
        self.seconds_left = 0.0
        limit, seconds = parse_rate(str(api_settings.DEFAULT_THROTTLE_RATES[self.scope]))
        for key in self.keys(request):
            window = self.counter.hit(f"throttle:{self.scope}:{key}", seconds)
            if window.count > limit:
                self.seconds_left = max(self.seconds_left, window.seconds_left)
        return not self.seconds_left

    def wait(self) -> float:
        return self.seconds_left


class UserThrottle(_Throttle):
    """All requests of a user; of an address where nobody is signed in."""

    scope = "user"
    counter = MemoryCounter()


class RunThrottle(_Throttle):
    """New runs of a user."""

    scope = "runs"
    counter = SharedCounter()


class LoginThrottle(_Throttle):
    """Attempts from an address, and attempts at an account, whether or not it exists."""

    scope = "login"
    counter = SharedCounter()

    def keys(self, request: Request) -> Iterable[str]:
        yield f"address:{self.get_ident(request)}"
        email = request.data.get("email") if isinstance(request.data, dict) else None
        if isinstance(email, str) and email:
            # The digest keeps addresses out of the table, and keys short.
            yield f"account:{hashlib.sha256(email.strip().lower().encode(errors='replace')).hexdigest()}"
