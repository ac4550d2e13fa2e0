"""Takes the steps, starts the parts, starts again what ends, and stops everything in the opposite order."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from maintenance.stack.addresses import keep
from maintenance.stack.errors import StackError, StopRequested
from maintenance.stack.launch import Launcher, end
from maintenance.stack.logfiles import LogFile
from maintenance.stack.part import IfItFails, Part, Step
from maintenance.stack.report import Report
from maintenance.stack.running import Change, Running
from maintenance.stack.signals import StopSignals
from maintenance.stack.taking import Taking

_LOOK_SECONDS = 0.05
_IDLE_SECONDS = 1.0
_TRIM_SECONDS = 60.0


class Supervisor:
    """Runs one stack. For the main thread only: the kernel ends the parts when the thread that forked them ends."""

    def __init__(
        self,
        launcher: Launcher,
        signals: StopSignals,
        report: Report,
        logs: Path,
        changed: Callable[[Mapping[str, int]], None],
    ) -> None:
        """`changed` gets the pid of each part that runs, whenever one starts or ends."""
        self.running: list[Running] = []
        self._launcher = launcher
        self._signals = signals
        self._report = report
        self._logs = logs
        self._changed = changed
        self._taking: list[Taking] = []
        self._kept: dict[str, socket.socket] = {}
        self._trim_at = time.monotonic() + _TRIM_SECONDS

    def run(self, stack: Sequence[Step | Part], ready: Callable[[], None]) -> None:
        """Until a signal says stop. `ready` is called when every part came up once.

        Raises StackError when a step fails or a part that must start does not; then nothing is left running.
        """
        try:
            self._kept = {part.name: keep(part) for part in stack if isinstance(part, Part) and part.port_variable}
            for entry in stack:
                self._begin(entry)
            self._watch(until=self._settled)
            ready()
            self._watch(until=lambda: False)
        except StopRequested:
            self._report.headline("Stopping")
        finally:
            self._stop()

    def _begin(self, entry: Step | Part) -> None:
        if isinstance(entry, Step):
            self._watch(until=self._settled)
            self._take(entry)
        else:
            for taking in list(self._taking):
                self._finish(taking)
            self._start(entry)

    def _take(self, step: Step) -> None:
        taking = Taking(step, self._launcher, LogFile(self._logs, step.name))
        self._taking.append(taking)
        if not step.beside:
            self._finish(taking)

    def _finish(self, taking: Taking) -> None:
        self._watch(until=lambda: taking.over)
        lines = taking.outcome()
        self._taking.remove(taking)
        self._report.good(taking.step.name, "done", seconds=taking.age)
        for line in lines:
            self._report.text(line)

    def _start(self, part: Part) -> None:
        if part.missing:
            self._report.warn(part.name, "left out", f"not installed: {', '.join(part.missing)}")
            return
        if kept := self._kept.pop(part.name, None):
            kept.close()
        running = Running(part, self._launcher, LogFile(self._logs, part.name))
        running.start()
        self.running.append(running)
        self._tell_pids()

    def _settled(self) -> bool:
        return all(running.settled for running in self.running)

    def _watch(self, until: Callable[[], bool]) -> None:
        while True:
            if self._signals.stop:
                raise StopRequested
            for running in self.running:
                self._react(running, running.look())
            self._trim()
            if until():
                return
            self._signals.wait(_IDLE_SECONDS if all(running.up for running in self.running) else _LOOK_SECONDS)

    def _react(self, running: Running, change: Change) -> None:
        if change is Change.UP:
            self._report.good(running.part.name, "up", running.part.shown_as, running.age)
        elif change is Change.ENDED:
            self._ended(running)
        if change is not Change.NONE:
            self._tell_pids()

    def _ended(self, running: Running) -> None:
        part = running.part
        if not running.settled and part.if_it_fails is IfItFails.STOP:
            self._mend(running)
        self._report.warn(part.name, "ended", f"{running.ending}, starts again in {running.pause:.0f} s")

    def _mend(self, running: Running) -> None:
        said = running.log.since_opened()
        mended = running.part.mend(said)
        if not mended:
            lines = [f"{running.part.name} did not start ({running.ending}). The end of {running.log.path}:", *said]
            raise StackError("\n".join(lines))
        self._report.warn(running.part.name, "mended", mended)

    def _tell_pids(self) -> None:
        self._changed({item.part.name: item.process.pid for item in self.running if item.process})

    def _trim(self) -> None:
        if time.monotonic() > self._trim_at:
            self._trim_at = time.monotonic() + _TRIM_SECONDS
            for running in self.running:
                running.log.trim()

    def _stop(self) -> None:
        for taking in self._taking:
            taking.abandon(self._signals)
        for running in reversed(self.running):
            if running.process:
                began = time.monotonic()
                end(running.process, running.part.stop_seconds, self._signals)
                self._report.good(running.part.name, "stopped", seconds=time.monotonic() - began)
