"""Keeping leases alive while a job runs, from a thread of the process that runs it."""

import logging
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

from django.conf import settings
from django.db import Error, connection

logger = logging.getLogger(__name__)

Renewal = Callable[[], bool]
FENCED_OFF = 75  # exit code of a horse that found its lease gone
LOOK_SECONDS = 1.0


class Heartbeat:
    """Calls every renewal each `LEASE_RENEWAL_SECONDS`. A renewal that answers False ends the process at once.

    Ending it is the only safe answer: somebody else has decided about the job, and whatever this process still did
    would be done twice. A database that is away is no answer: the lease may still be held, so it tries again.

    Its thread is started by another that stays, for a job that is still there when that one looks: to start and to end
    a thread takes longer than most jobs do.
    """

    def __init__(self, *renewals: Renewal) -> None:
        self._renewals = list(renewals)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def also(self, renewal: Renewal) -> None:
        self._renewals.append(renewal)

    def no_longer(self, renewal: Renewal) -> None:
        self._renewals.remove(renewal)

    def __enter__(self) -> "Heartbeat":
        _look_after(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _young.discard(self)
        with self._lock:
            self._stop.set()
        if self._thread:
            self._thread.join()

    def begin(self) -> None:
        """Beat from now on, unless it is over already."""
        with self._lock:
            if not self._stop.is_set():
                self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
                self._thread.start()

    def _beat(self) -> None:
        try:
            while not self._stop.wait(settings.LEASE_RENEWAL_SECONDS):
                self._renew_all()
        finally:
            connection.close()

    def _renew_all(self) -> None:
        for renewal in list(self._renewals):
            try:
                held = renewal()
            except Error:
                logger.warning("the lease could not be renewed; trying again", exc_info=True)
                connection.close()  # it may never work again: the next renewal opens another
                continue
            if not held and renewal in self._renewals and not self._stop.is_set():
                logger.error("the lease is gone; this process ends")
                os._exit(FENCED_OFF)


_young: set[Heartbeat] = set()
_watch = threading.Thread()
_watch_lock = threading.Lock()


def _look_after(heartbeat: Heartbeat) -> None:
    global _watch
    _young.add(heartbeat)
    with _watch_lock:
        if not _watch.is_alive():  # the first job of this process
            _watch = threading.Thread(target=_look, name="heartbeats", daemon=True)
            _watch.start()


def _look() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        for heartbeat in list(_young):
            _young.discard(heartbeat)
            heartbeat.begin()
