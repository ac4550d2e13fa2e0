"""One part as it lives: started, up, ended, started again after a pause."""

import time
from enum import StrEnum

from maintenance.process import title_of
from maintenance.stack.launch import Launcher, Process, how_it_ended
from maintenance.stack.logfiles import LogFile
from maintenance.stack.part import IfItFails, Part
from maintenance.stack.probes import is_up

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
_ALIVE_SECONDS = 1.0


class Change(StrEnum):
    """What became of a part since it was last looked at."""

    NONE = "none"
    UP = "up"
    ENDED = "ended"
    STARTED = "started"


class Running:
    """A part and its current process, if it has one."""

    def __init__(self, part: Part, launcher: Launcher, log: LogFile) -> None:
        self.part = part
        self.log = log
        self.process: Process | None = None
        self.up = False
        self.ever_up = False
        self.ending = ""
        """How its last process ended; empty: none has."""
        self.pause = self._next_pause = FIRST_PAUSE_SECONDS
        self._launcher = launcher
        self._started_at = self._start_again_at = 0.0

    @property
    def age(self) -> float:
        """Seconds since its process was started."""
        return time.monotonic() - self._started_at

    @property
    def settled(self) -> bool:
        """It came up once, or it has shown that the stack must go on without it."""
        return self.ever_up or (bool(self.ending) and self.part.if_it_fails is IfItFails.GO_ON)

    def start(self) -> None:
        with self.log.open() as out:
            self.process = self._launcher.start(self.part.command, out)
        self._started_at = time.monotonic()

    def look(self) -> Change:
        """See what it does; start it again when its pause is over."""
        if self.process is None:
            return self._start_when_due()
        if self.process.poll() is not None:
            return self._ended(self.process)
        if not self.up and self._answers(self.process):
            self.up = self.ever_up = True
            return Change.UP
        return Change.NONE

    def _start_when_due(self) -> Change:
        if time.monotonic() < self._start_again_at:
            return Change.NONE
        self.start()
        return Change.STARTED

    def _answers(self, process: Process) -> bool:
        if self.part.titled:
            return title_of(process.pid).startswith(self.part.titled)
        return is_up(self.part.up) if self.part.up else self.age > _ALIVE_SECONDS

    def _ended(self, process: Process) -> Change:
        if self.age > LONGEST_PAUSE_SECONDS:
            self._next_pause = FIRST_PAUSE_SECONDS
        self.pause = self._next_pause
        self._next_pause = min(self.pause * 2, LONGEST_PAUSE_SECONDS)
        self._start_again_at = time.monotonic() + self.pause
        self.ending = how_it_ended(process)
        self.process, self.up = None, False
        return Change.ENDED
