"""One step while it is taken."""

import tempfile
import time
from collections.abc import Sequence

from maintenance.stack.errors import StackError
from maintenance.stack.launch import Launcher, end, how_it_ended
from maintenance.stack.logfiles import LogFile
from maintenance.stack.part import Step
from maintenance.stack.signals import StopSignals

_STOP_SECONDS = 3.0


class Taking:
    """The process of a step, from its start on."""

    def __init__(self, step: Step, launcher: Launcher, log: LogFile) -> None:
        self.step = step
        self._began = time.monotonic()
        self._log = log
        self._shown = tempfile.TemporaryFile()  # noqa: SIM115
        with log.open() as file:
            self._process = launcher.start(step.command, self._shown if step.shown else file, file)

    @property
    def over(self) -> bool:
        return self._process.poll() is not None

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def outcome(self) -> Sequence[str]:
        """The lines it has for the operator. Raises StackError with the end of its log when it failed."""
        if self._process.returncode:
            lines = [f"{self.step.name} failed ({how_it_ended(self._process)}):", *self._log.since_opened()]
            raise StackError("\n".join(lines))
        with self._shown:
            self._shown.seek(0)
            return self._shown.read().decode(errors="replace").splitlines()

    def abandon(self, signals: StopSignals) -> None:
        """End it, finished or not."""
        end(self._process, _STOP_SECONDS, signals)
