"""The limits of one call to a server, and its end from another thread at any moment.

`requests` alone limits only the wait for each single read, and a read that blocks cannot be ended from outside. So
every exchange keeps a duplicate of its socket, and a guard thread that shuts the socket down when a limit is over or
when the caller cancels. Whatever blocks on it, connecting, handshake, headers or body, then returns at once.
"""

import os
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from models_registry.backends.base import Cancellation, Timeouts
from models_registry.errors import BackendTimeout, Cancelled

SHUT_AGAIN_SECONDS = 0.05
_current = threading.local()


def current() -> "Exchange | None":
    """The exchange that this thread is in."""
    found: Exchange | None = getattr(_current, "exchange", None)
    return found


class Exchange:
    """The limits of one call and the way to end it. A context manager; used by one thread, ended by any.

    The first-byte limit holds until `began` is called, then the idle limit from each `progressed` to the next; the
    total limit holds throughout. After `finishing`, an end of the wait is no error.
    """

    def __init__(self, backend: str, timeouts: Timeouts, cancellation: Cancellation) -> None:
        self.timeouts = timeouts
        self.on_used_connection = False
        self._backend = backend
        self._cancellation = cancellation
        self._changed = threading.Condition()
        self._end_at = time.monotonic() + timeouts.total
        self._limit = timeouts.first_byte
        self._phase = "first_byte"
        self._deadline = self._guarded_until = self._until(timeouts.first_byte)
        self._socket: socket.socket | None = None
        self._ended_by = ""
        self._over = False
        self._guard = threading.Thread(target=self._watch, name="backend-guard", daemon=True)

    def __enter__(self) -> Self:
        _current.exchange = self
        self._guard.start()
        self._cancellation.on_cancel(lambda: self._end("cancelled"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cancellation.on_cancel(None)
        _current.exchange = None
        with self._changed:
            self._over = True
            self._changed.notify()
            if self._socket:
                self._socket.close()
        self._guard.join()

    @property
    def ended_by(self) -> str:
        """What ended it from this side: cancelled, first_byte, idle, total or finished; empty while nothing did."""
        return self._ended_by

    def attach(self, connected: socket.socket) -> None:
        """Take the socket that this exchange goes over. Raises OSError where the exchange has ended."""
        # A duplicate, because TLS hides the socket while it shakes hands, and closing the connection its number.
        duplicate = socket.socket(fileno=os.dup(connected.fileno()))
        with self._changed:
            previous, self._socket = self._socket, duplicate
            if previous:
                previous.close()
            if self._ended_by:
                raise ConnectionAbortedError("the exchange has ended")

    def began(self) -> None:
        self._phase, self._limit = "idle", self.timeouts.idle
        self.progressed()

    def progressed(self) -> None:
        if self._phase == "first_byte":
            return
        self._deadline = self._until(self._limit)
        if self._deadline < self._guarded_until:
            with self._changed:
                self._changed.notify()

    def allow(self, seconds: float) -> None:
        """From now on, wait at most so long from each progress to the next."""
        self._limit = seconds
        self.progressed()

    def finishing(self, seconds: float) -> None:
        """All that matters has come; wait at most `seconds` more for what may still follow."""
        self._phase, self._limit = "finished", seconds
        self.progressed()

    def check(self) -> None:
        """Raise what ended the exchange from this side: Cancelled or BackendTimeout."""
        reason = self._ended_by
        if reason == "cancelled" or self._cancellation.cancelled:
            raise Cancelled
        if reason and reason != "finished":
            raise BackendTimeout(self._timeout_message(reason))

    def _timeout_message(self, reason: str) -> str:
        if reason == "first_byte":
            return f"{self._backend} did not begin to answer within {self.timeouts.first_byte:g} s."
        if reason == "idle":
            return f"{self._backend} went silent for {self.timeouts.idle:g} s in the middle of its answer."
        return f"{self._backend} did not finish its answer within {self.timeouts.total:g} s."

    def _until(self, seconds: float) -> float:
        return min(time.monotonic() + seconds, self._end_at)

    def _end(self, reason: str) -> None:
        with self._changed:
            self._ended_by = self._ended_by or reason
            self._shut()
            self._changed.notify()

    def _shut(self) -> None:
        if self._socket and not self._over:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _watch(self) -> None:
        with self._changed:
            while not self._over and not self._ended_by:
                self._guarded_until = self._deadline
                remaining = self._guarded_until - time.monotonic()
                if remaining > 0:
                    self._changed.wait(remaining)
                else:
                    self._ended_by = self._expired()
            while not self._over:
                # Again and again: a socket that is shut down just before it connects would connect all the same.
                self._shut()
                self._changed.wait(SHUT_AGAIN_SECONDS)

    def _expired(self) -> str:
        return "total" if self._phase != "finished" and self._deadline >= self._end_at else self._phase
