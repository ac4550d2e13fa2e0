"""How long a request may take, all in all; somebody else may end it sooner."""

import threading
import time
from collections.abc import Callable

from maintenance.outbound.errors import OutboundFailed

# What cannot be woken waits so long at a time, and then looks whether it is over.
STEP_SECONDS = 0.05


class Deadline:
    """A moment after which nothing is waited for; `end`, called from any thread, makes it now.

    `shut` ends what waits for the network at the moment, where there is such a thing.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.shut: Callable[[], None] | None = None
        self._ends_at = time.monotonic() + seconds
        self._ended = threading.Event()

    def end(self) -> None:
        self._ends_at = time.monotonic()
        self._ended.set()
        if shut := self.shut:
            shut()

    def remaining(self) -> float:
        """Seconds; below zero where it is over."""
        return self._ends_at - time.monotonic()

    def left(self) -> float:
        """Seconds; more than none. Raises OutboundFailed where it is over."""
        if (seconds := self.remaining()) > 0:
            return seconds
        raise OutboundFailed(f"No whole answer came within {self.seconds:g} s.", code="outbound_timeout")

    def pause(self, seconds: float) -> None:
        """Wait so long. Raises OutboundFailed where it is over by then."""
        self._ended.wait(min(seconds, self.left()))
        self.left()
