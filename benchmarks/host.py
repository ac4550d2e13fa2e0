"""A host with Valkey and the pools of workers on it, whose parts can be killed, and whose dead are started again."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from django.core.management import call_command

from benchmarks import ground
from maintenance.process import title_of

POOL = "rqworker: ai-workers/"
LOW = "rqworker: low-priority/"
HORSE = "rqworker: horse"
START_SECONDS = 60.0


@dataclass(frozen=True)
class Worker:
    """A worker and its horse, by their processes."""

    pid: int
    horse: int

    @property
    def job_id(self) -> str:
        """The job that it has in hand, as its title says; empty where it has none, or is gone."""
        return title_of(self.pid).rpartition(" ")[2].replace("idle", "")


class Host:
    """A context manager. `tend` starts what has ended, as a service manager does: call it all the time."""

    def __init__(self, workers: int, dice: random.Random) -> None:
        self._workers, self._dice = workers, dice
        self.valkey = self.master = subprocess.Popen(["true"])
        self._valkey_due = 0.0

    def __enter__(self) -> Self:
        self._start_valkey()
        call_command("migrate", verbosity=0)
        self._start_master()
        self.until(self.is_full, START_SECONDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.master.terminate()
        try:
            self.master.wait(30)
        except subprocess.TimeoutExpired:
            self.master.kill()
        self.valkey.kill()
        self.master.wait()
        self.valkey.wait()

    # What is there

    def workers(self) -> list[Worker]:
        """Those that have a horse, of the large pool first."""
        titles = {pid: title_of(pid) for pid in children(self.master.pid)}
        pids = [pid for beginning in (POOL, LOW) for pid, title in titles.items() if title.startswith(beginning)]
        return [Worker(pid, horse) for pid in pids if (horse := _horse_of(pid))]

    def is_full(self, missing: int = 0) -> bool:
        """Whether all workers are there, but for so many."""
        return len(self.workers()) >= self._workers + 1 - missing and self.valkey.poll() is None

    def processes(self) -> list[int]:
        """Master, workers, horses and Valkey."""
        workers = children(self.master.pid)
        horses = [horse for worker in workers for horse in children(worker)]
        return [self.master.pid, *workers, *horses, self.valkey.pid]

    # What is done to it

    def tend(self) -> None:
        if self.valkey.poll() is not None:
            self._valkey_due = self._valkey_due or time.monotonic() + self._dice.choice((0.0, 0.5, 3.0))
            if time.monotonic() >= self._valkey_due:
                self._start_valkey()
        if self.master.poll() is not None:
            self._start_master()

    def until(self, holds: Callable[[], object], seconds: float) -> bool:
        """Tend it until that holds. False where it still does not after so many seconds."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            self.tend()
            time.sleep(0.01)
        return True

    def wait(self, seconds: float) -> None:
        self.until(lambda: False, seconds)

    def deploy(self) -> int:
        """Have the master replace every worker. Answers with the number of workers that were stopped."""
        old = set(children(self.master.pid))
        self.master.send_signal(signal.SIGUSR1)
        self.until(lambda: not old & set(children(self.master.pid)) and self.is_full(), 4 * START_SECONDS)
        return len(old - set(children(self.master.pid)))

    def lose_data(self) -> None:
        """Valkey is killed and starts with nothing."""
        self.valkey.kill()
        self.valkey.wait()
        shutil.rmtree(ground.FOLDER / "valkey" / "appendonlydir", ignore_errors=True)

    def _start_valkey(self) -> None:
        self._valkey_due = 0.0
        self.valkey = ground.start_valkey()

    def _start_master(self) -> None:
        command = (sys.executable, "manage.py", "runworkers")
        self.master = ground.start("workers", command, AI_WORKERS_PROCESSES=str(self._workers))


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _horse_of(worker: int) -> int:
    return next((pid for pid in children(worker) if title_of(pid).startswith(HORSE)), 0)
