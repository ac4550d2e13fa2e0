"""Keeping leases alive while a job runs, from a thread of the process that runs it."""

import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType

from django.conf import settings
from django.db import DatabaseError, connection

logger = logging.getLogger(__name__)

Renewal = Callable[[], bool]
FENCED_OFF = 75  # exit code of a horse that found its lease gone


class Heartbeat:
    """Calls every renewal each `LEASE_RENEWAL_SECONDS`. A renewal that answers False ends the process at once.

    Ending it is the only safe answer: somebody else has decided about the job, and whatever this process still did
    would be done twice. A database that is away is no answer: the lease may still be held, so it tries again.
    """

    def __init__(self, *renewals: Renewal) -> None:
        self._renewals = list(renewals)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def also(self, renewal: Renewal) -> None:
        self._renewals.append(renewal)

    def no_longer(self, renewal: Renewal) -> None:
        self._renewals.remove(renewal)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

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
            except DatabaseError:
                logger.warning("the lease could not be renewed; trying again", exc_info=True)
                continue
            if not held and renewal in self._renewals and not self._stop.is_set():
                logger.error("the lease is gone; this process ends")
                os._exit(FENCED_OFF)
