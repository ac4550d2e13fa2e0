"""Killing a part of the host at a chosen moment of a worker's life, and which moment it was, seen afterwards."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, product

from benchmarks.host import Host, Worker
from benchmarks.marks import Execution, Marks
from maintenance.models import Attempt

AIM_SECONDS = 5.0
LOOK_SECONDS = 0.0001


class Target(StrEnum):
    HORSE = "horse"
    WORKER = "worker"
    MASTER = "master"
    HOST = "host"  # all of it at once
    VALKEY = "valkey"


class Phase(StrEnum):
    """What the worker was at, of whom the aim was taken."""

    IDLE = "idle"
    POPPED = "popped, not started"
    RUNNING = "running"
    FINISHING = "finishing"  # the function has returned


@dataclass(frozen=True, order=True)
class Cell:
    target: Target
    signal: signal.Signals
    phase: Phase


@dataclass(frozen=True)
class Hand:
    """A worker at the moment of the strike: its horse, and the job that it had taken, if any."""

    horse: int
    job_id: str


@dataclass
class Strike:
    """`aimed` is the worker of whom aim was taken; `hands` are all that were struck. `at` is in seconds since 1970."""

    target: Target
    signal: signal.Signals
    at: float
    aimed: Hand
    hands: Sequence[Hand]
    recoveries: list[float] = field(default_factory=list)


def plan(kills: int, dice: random.Random) -> list[Cell]:
    """Every cell as often as the others; the targets in turn, their phases and signals in any order."""
    chosen: list[Cell] = []
    while len(chosen) < kills:
        chosen += chain.from_iterable(zip(*(_of(target, dice) for target in Target), strict=True))
    return chosen[:kills]


def _of(target: Target, dice: random.Random) -> list[Cell]:
    cells = [Cell(target, *each) for each in product((signal.SIGTERM, signal.SIGKILL), Phase)]
    dice.shuffle(cells)
    return cells


class Striker:
    """Takes aim by what processes say in their titles, and job functions in their marks."""

    def __init__(self, host: Host, marks: Marks, dice: random.Random) -> None:
        self._host, self._marks, self._dice = host, marks, dice

    def strike(self, cell: Cell) -> Strike:
        """Wait for the phase, some seconds at most, and strike."""
        workers = self._host.workers()
        worker = self._dice.choice(workers)
        struck = [worker] if cell.target in (Target.HORSE, Target.WORKER) else workers
        pids = self._pids(cell.target, worker)
        self._aim(cell.phase, worker)
        hands = [Hand(each.horse, each.job_id) for each in struck]
        aimed = hands[struck.index(worker)]
        at = time.time()
        for pid in pids:
            try:
                os.kill(pid, cell.signal)
            except ProcessLookupError:  # it died with one before
                continue
        return Strike(cell.target, cell.signal, at, aimed, hands)

    def _pids(self, target: Target, worker: Worker) -> list[int]:
        return {
            Target.HORSE: [worker.horse],
            Target.WORKER: [worker.pid],
            Target.MASTER: [self._host.master.pid],
            Target.HOST: self._host.processes(),
            Target.VALKEY: [self._host.valkey.pid],
        }[target]

    def _aim(self, phase: Phase, worker: Worker) -> None:
        if phase is Phase.IDLE:
            self._look(lambda: not worker.job_id)
            time.sleep(self._dice.uniform(0.0, 0.05))
        elif phase is Phase.RUNNING:
            self._look(lambda: self._runs(worker))
            time.sleep(self._dice.choice((0.0, self._dice.uniform(0.0, 0.5))))
        elif phase is Phase.POPPED:
            self._look(lambda: not worker.job_id)
            self._look(lambda: worker.job_id)
        else:
            self._look(lambda: self._runs(worker))
            self._look(lambda: not self._runs(worker))

    def _look(self, sees: Callable[[], object]) -> None:
        deadline = time.monotonic() + AIM_SECONDS
        while not sees() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)

    def _runs(self, worker: Worker) -> bool:
        self._marks.read()
        latest = self._marks.latest.get(worker.horse)
        return bool(latest and not latest.done)


@dataclass(frozen=True)
class Recovery:
    """Seconds from the strike until the job was in its queue again, and until it was begun again."""

    queued: float
    begun: float


class Hindsight:
    """What marks and ledger know, once all is over, of the moments of the strikes."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._claims: dict[tuple[str, int], Attempt] = {}
        self._queued: dict[str, float] = {}
        for attempt in Attempt.objects.only("job_id", "pid", "lease_token", "started_at", "wait_seconds"):
            self._claims[attempt.job_id, attempt.pid] = attempt
            self._queued[attempt.lease_token] = attempt.started_at.timestamp() - (attempt.wait_seconds or 0.0)

    def phase(self, hand: Hand, at: float) -> Phase:
        if not hand.job_id:
            return Phase.IDLE
        claim = self._claims.get((hand.job_id, hand.horse))
        execution = claim and self._execution(hand.job_id, claim.lease_token)
        if execution is None or at < execution.started:
            return Phase.POPPED
        return Phase.FINISHING if execution.done and at >= execution.done else Phase.RUNNING

    def recovery(self, hand: Hand, at: float) -> Recovery | None:
        """None where the job was not begun again in another process."""
        executions = self._marks.by_job[hand.job_id]
        later = [each for each in executions if each.started > at and each.pid != hand.horse]
        if not later:
            return None
        # It may have waited in its queue all the time: a pop that Redis forgot.
        return Recovery(max(0.0, self._queued[later[0].token] - at), later[0].started - at)

    def _execution(self, job_id: str, token: str) -> Execution | None:
        return next((each for each in self._marks.by_job[job_id] if each.token == token), None)
