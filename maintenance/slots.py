"""Places for workers in a pool, and how many of them are to be filled."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from maintenance.tables import Pool

logger = logging.getLogger(__name__)

FIRST_BACK_OFF_SECONDS = 1.0
LONGEST_BACK_OFF_SECONDS = 60.0
# A worker that lived that long did not crash on start: its next death begins a new count.
HEALTHY_SECONDS = 30.0
CRASH_LOOP_DEATHS = 3


@dataclass
class Slot:
    """A place in a pool, with the worker that fills it: `pid` is 0 while it is empty.

    `wanted` is False where the balance needs no worker here; `leaving` True while its worker was told to end.
    """

    pool_name: str
    pool: Pool
    number: int
    pid: int = 0
    started: float = 0.0
    deaths: int = 0
    not_before: float = 0.0
    wanted: bool = True
    leaving: bool = False

    @property
    def label(self) -> str:
        return f"{self.pool_name}/{self.number}"

    @property
    def crash_loop(self) -> bool:
        """Whether its workers keep dying as soon as they start."""
        return self.deaths >= CRASH_LOOP_DEATHS

    def to_fill(self) -> bool:
        return self.wanted and not self.pid and time.monotonic() >= self.not_before

    def filled(self, pid: int) -> None:
        self.pid, self.started, self.leaving = pid, time.monotonic(), False

    def note_death(self, words: str) -> None:
        """Empty the slot, and wait longer before the next start each time that a worker dies young."""
        now = time.monotonic()
        if self.leaving:
            self.pid, self.leaving, self.deaths, self.not_before = 0, False, 0, now
            return
        self.deaths = 1 if now - self.started > HEALTHY_SECONDS else self.deaths + 1
        wait = min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2 ** (self.deaths - 1))
        self.pid, self.not_before = 0, now + wait
        level = logging.ERROR if self.crash_loop else logging.WARNING
        logger.log(level, "worker %s %s; death %s; a new one starts in %.0f s", self.label, words, self.deaths, wait)


@dataclass
class Balance:
    """How many workers a balanced pool has: one more while jobs wait, one fewer when none has waited for a while.

    One step per cooldown, between the pool's `min_processes` and `processes`.
    """

    pool: Pool
    wanted: int = field(init=False)
    cooldown_seconds: float = 3.0
    calm_seconds: float = 60.0
    _stepped_at: float = field(default=0.0, init=False)
    _waited_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.wanted = self.pool.min_processes if self.pool.balance else self.pool.processes

    def step(self, now: float, waiting: int, oldest_seconds: float) -> int:
        """The number of workers wanted, given how many jobs wait and since when the oldest does."""
        if not self.pool.balance:
            return self.wanted
        if waiting:
            self._waited_at = now
        if now - self._stepped_at < self.cooldown_seconds:
            return self.wanted
        if waiting and oldest_seconds >= 0.5 and self.wanted < self.pool.processes:
            self._move(now, 1)
        elif now - self._waited_at >= self.calm_seconds and self.wanted > self.pool.min_processes:
            self._move(now, -1)
        return self.wanted

    def _move(self, now: float, by: int) -> None:
        self._stepped_at = now
        self.wanted += by


def slots_of(pools: Mapping[str, Pool]) -> list[Slot]:
    """Every place, numbered from 1 in each pool."""
    return [Slot(name, pool, number) for name, pool in pools.items() for number in range(1, pool.processes + 1)]
