"""Telling how far a pull is: to its stream, to the database and to the log, from a thread of its own.

The download only notes what the server said. So neither Redis nor the database can slow it down or break it: what
could not be told is told later, and what is told is how things are then.
"""

import logging
import threading
import time
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self

from django.db import DatabaseError, connection
from django.template.defaultfilters import filesizeformat
from redis.exceptions import RedisError

from maintenance import progress as job_progress
from maintenance import streams
from models_registry.backends.base import Cancellation, PullProgress
from models_registry.models import Pull
from models_registry.pulling import events, transitions
from models_registry.pulling.progress import Progress

logger = logging.getLogger(__name__)

SEND_SECONDS = 0.25
SAVE_SECONDS = 1.0
LOG_SECONDS = 60.0
LOG_PERCENT = 10


class Publisher:
    """Call it with each line of the server. Leaving it tells what is left, and ends the thread.

    `cancellation` is used when somebody cancelled the pull, when another execution has it (`fenced` is True then, and
    nothing more is written), and when something unforeseen ended the thread (`broken`).
    """

    def __init__(self, pull: Pull, cancellation: Cancellation) -> None:
        self.fenced = self.broken = False
        self.progress = Progress(pull.layers, pull.percentage)
        self._pull = pull
        self._cancellation = cancellation
        self._seq = pull.last_seq
        self._changed = threading.Condition()
        self._closing = False
        self._unsent = self._unsaved = False
        self._told_layers: list[dict[str, Any]] | None = None
        self._saved_phase: tuple[str, str] | None = None
        self._saved_at = self._logged_at = 0.0
        self._logged = -LOG_PERCENT
        self._thread = threading.Thread(target=copy_context().run, args=[self._work], name="pull", daemon=True)

    def __call__(self, line: PullProgress) -> None:
        with self._changed:
            self.progress.take(line, time.monotonic())
            self._unsent = self._unsaved = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            self._tell_beginning()
            closing = False
            while not closing and not self.fenced:
                with self._changed:
                    if not self._closing:
                        self._changed.wait(SEND_SECONDS)
                    closing = self._closing
                self._step(closing)
        except Exception:
            logger.exception("how far the pull is could not be told")
            self.broken = True
            self._cancellation.cancel()
        finally:
            connection.close()

    def _step(self, closing: bool) -> None:
        try:
            self._save(closing)
            self._look()
        except DatabaseError:
            logger.warning("the database does not answer; the pull goes on", exc_info=True)
            connection.close()
        if self._unsent and not self.fenced:
            self._send()
        self._log()

    def _tell_beginning(self) -> None:
        if not self._pull.layers and not self._seq:
            self._seq += 1
            self._append(events.started(self._pull, self._seq))

    def _save(self, closing: bool) -> None:
        """Once a second, and whenever the server does something else: then readers who come now see it."""
        with self._changed:
            phase = (self.progress.phase, self.progress.digest)
            due = closing or phase != self._saved_phase or time.monotonic() - self._saved_at >= SAVE_SECONDS
            if not self._unsaved or not due:
                return
            columns, self._unsaved = self._columns(), False
        try:
            self.fenced = not transitions.held(self._pull).update(**columns)
        except DatabaseError:
            self._unsaved = True
            raise
        self._saved_phase, self._saved_at = phase, time.monotonic()
        job_progress.report(int(columns["percentage"]), 100, columns["phase"])

    def columns(self) -> dict[str, Any]:
        """How far it is, as the row has it."""
        with self._changed:
            return self._columns()

    def _columns(self) -> dict[str, Any]:
        shown = self.progress
        return {
            "phase": shown.phase,
            "completed_bytes": shown.completed,
            "total_bytes": shown.total,
            "percentage": shown.percentage,
            "speed_bytes_per_second": shown.speed,
            "eta_seconds": shown.eta,
            "layers": shown.layers,
            "last_seq": self._seq + (1 if self._unsent else 0),
        }

    def _look(self) -> None:
        """Whether somebody wants it to stop."""
        row = Pull.objects.filter(pk=self._pull.pk).values_list("status", "lease_token").first()
        self.fenced = row is None or row[1] != self._pull.lease_token
        if row is None or self.fenced or row[0] == Pull.Status.CANCELLING:
            self._cancellation.cancel()

    def _send(self) -> None:
        with self._changed:
            self._seq += 1
            event, layers = self._event()
            self._unsent = False
        if self._append(event):
            self._told_layers = layers
        else:
            self._unsent = True

    def _event(self) -> tuple[streams.Event, list[dict[str, Any]]]:
        """With every layer where another than the present one has changed since: what came in between was left out."""
        shown = self.progress
        layers, layer = shown.layers, shown.layer
        others = [one for one in layers if one["digest"] != shown.digest]
        told = self._told_layers is not None and others == [
            one for one in self._told_layers if one["digest"] != shown.digest
        ]
        data = {
            "status": shown.phase,
            "digest": layer.digest if layer else None,
            "total": layer.total if layer and layer.total else None,
            "completed": layer.completed if layer else None,
            "percentage": round(shown.percentage, 1),
            "completed_bytes": shown.completed,
            "total_bytes": shown.total,
            "speed_bytes_per_second": shown.speed,
            "eta_seconds": shown.eta,
            "layers": None if told else layers,
        }
        return ("progress", {**events.present(data), **events.envelope(self._pull.pk, self._seq)}), layers

    def _append(self, event: streams.Event) -> bool:
        try:
            streams.append(events.key(self._pull.pk), [event])
        except RedisError:
            return False
        return True

    def _log(self) -> None:
        with self._changed:
            shown = self.progress
            percentage, completed, speed = int(shown.percentage), shown.completed, shown.speed
        now = time.monotonic()
        if percentage < self._logged + LOG_PERCENT and now - self._logged_at < LOG_SECONDS:
            return
        self._logged, self._logged_at = percentage - percentage % LOG_PERCENT, now
        pace = f", {filesizeformat(speed)}/s" if speed else ""
        logger.info("%s %% of %s: %s%s", percentage, self._pull.model, filesizeformat(completed), pace)
