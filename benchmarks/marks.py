"""What job functions say of themselves, apart from the ledger: a line at the start, while they work, and at the end.

The lines of all processes are in one file in the order in which they were written, so no clock is needed to see
whether two executions of a job overlapped.
"""

import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from maintenance import executor

START, BEAT, DONE = "start", "beat", "done"


def path() -> Path:
    return Path(settings.DATA_DIR) / "marks"


def write(kind: str) -> None:
    """To be called in a job function. One write to a file that only grows: whole, and in order."""
    running = executor.current()
    assert running is not None
    execution = running.execution
    line = f"{execution.job.pk} {execution.lease_token} {kind} {os.getpid()} {time.time():.6f}\n"
    file = os.open(path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@dataclass
class Execution:
    """What one execution said. Times are seconds since 1970, lines are numbers of lines; `done` is 0 until it ended."""

    job_id: str
    token: str
    pid: int
    started: float
    first_line: int
    last_line: int
    done: float = 0.0


@dataclass
class Marks:
    """All that was said so far, read anew by `read`."""

    by_job: dict[str, list[Execution]] = field(default_factory=lambda: defaultdict(list))
    latest: dict[int, Execution] = field(default_factory=dict)  # by process
    _lines: int = 0
    _file: BinaryIO | None = None
    _rest: bytes = b""

    def read(self) -> None:
        if self._file is None:
            if not path().exists():
                return
            self._file = path().open("rb")
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            self._lines += 1
            self._note(*line.decode().split())

    def _note(self, job_id: str, token: str, kind: str, pid: str, at: str) -> None:
        executions = self.by_job[job_id]
        if kind == START:
            executions.append(Execution(job_id, token, int(pid), float(at), self._lines, self._lines))
            self.latest[int(pid)] = executions[-1]
            return
        execution = next(each for each in executions if each.token == token)
        execution.last_line = self._lines
        if kind == DONE:
            execution.done = float(at)
