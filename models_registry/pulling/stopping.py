"""Whether a server has stopped a download after its client hung up.

A hang-up is all that the protocol has, and a server may miss it. So it is asked: the same model is pulled again for a
moment, and what is there by then is compared with what was there at the hang-up. A download that stopped has grown by
no more than it does in `NOISE_SECONDS`. That second client hangs up too, which stops a download that missed the first.
"""

import threading
import time
from enum import StrEnum

from django.conf import settings

from models_registry.backends.base import Cancellation, ModelManager, PullProgress, Timeouts
from models_registry.errors import BackendError, Cancelled
from models_registry.pulling.progress import Progress

PHASE = "seeing whether the server stopped"
ROUNDS = 3
GAP_SECONDS = 2.0  # left alone for so long, a download that goes on has grown by far more than noise
HOLD_SECONDS = 0.3  # of looking on, which tells how fast it is
LOOK_SECONDS = 5.0
# Between the last line that was heard and the hang-up, and until the first line of who comes back.
NOISE_SECONDS = 0.5


class Verdict(StrEnum):
    STOPPED = ""
    GOES_ON = "still_downloading"
    UNKNOWN = "stop_not_verified"
    THERE = "there"  # all of it had come: there was nothing left to stop


WORDS = {
    Verdict.GOES_ON: "{backend} still downloads the model: it did not notice, or somebody else there waits for it.",
    Verdict.UNKNOWN: "{backend} was told to stop, but did not say whether it did.",
}


def words(verdict: Verdict, backend: str) -> str:
    """For whoever cancelled; nothing where all is well."""
    return WORDS.get(verdict, "").format(backend=backend)


def verify(manager: ModelManager, model: str, progress: Progress) -> Verdict:
    """Ask the server, up to `ROUNDS` times. `progress` is how far the pull was when it hung up."""
    known, speed = progress.completed if progress.layer else None, float(progress.speed or 0)
    for _ in range(ROUNDS):
        time.sleep(GAP_SECONDS)
        seen = Look(manager, model)
        if seen.verdict is not None:
            return seen.verdict
        speed = max(speed, seen.speed)
        if known is not None and seen.first - known <= speed * NOISE_SECONDS:
            return Verdict.STOPPED
        known = seen.last
    return Verdict.GOES_ON


class Look:
    """A pull that is left again as soon as it has told how far the download is: `first` and `last` are bytes.

    `verdict` is there where the server's answer is one; None: it is for whoever compares.
    """

    def __init__(self, manager: ModelManager, model: str) -> None:
        self.first = 0
        self._begun_at: float | None = None
        self._progress = Progress()
        self._cancellation = Cancellation()
        self._timer = threading.Timer(HOLD_SECONDS, self._cancellation.cancel)
        self.verdict = self._looked(manager, model)
        self._over_at = time.monotonic()

    @property
    def last(self) -> int:
        return self._progress.completed

    @property
    def speed(self) -> float:
        """Bytes per second while it looked on."""
        seconds = self._over_at - (self._begun_at or self._over_at)
        return (self.last - self.first) / seconds if seconds else 0.0

    def _looked(self, manager: ModelManager, model: str) -> Verdict | None:
        connect = float(settings.BACKEND_CONNECT_TIMEOUT_SECONDS)
        limits = Timeouts(connect=connect, first_byte=LOOK_SECONDS, idle=LOOK_SECONDS, total=LOOK_SECONDS)
        try:
            manager.pull(model, self._take, self._cancellation, limits)
            return Verdict.THERE
        except Cancelled:
            return None
        except BackendError as error:
            # A server that refuses for good downloads nothing.
            return None if self._begun_at else Verdict.STOPPED if error.permanent else Verdict.UNKNOWN
        finally:
            self._timer.cancel()

    def _take(self, line: PullProgress) -> None:
        self._progress.take(line, time.monotonic())
        under_way = line.digest and not (line.total and (line.completed or 0) >= line.total)
        if under_way and self._begun_at is None:
            self._begun_at, self.first = time.monotonic(), self._progress.completed
            self._timer.start()
