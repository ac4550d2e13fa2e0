"""How fast and how costly a queue is, measured alike for each."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from benchmarks import ground, notes, processes
from benchmarks.contenders import Contender

START_SECONDS = 120.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured: jobs to enqueue and to run, pick-ups, rounds of each, and numbers of workers."""

    jobs: int
    pick_ups: int
    rounds: int
    slots: tuple[int, ...]


Figures = dict[str, float]


class Files:
    """New files for what jobs note, and for what they wait for."""

    def __init__(self) -> None:
        self._number = 0

    def new(self) -> Path:
        self._number += 1
        return ground.FOLDER / f"notes-{self._number}"


files = Files()


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.001)


class Hold:
    """A context manager in which so many workers are busy, each with a job that waits."""

    def __init__(self, contender: Contender, workers: int) -> None:
        self._begun, self._end = files.new(), files.new()
        for _ in range(workers):
            contender.enqueue("hold", path=str(self._begun), until=str(self._end))
        until(lambda: len(notes.noted(self._begun)) == workers, f"{contender.name}: {workers} workers")

    def release(self) -> None:
        self._end.touch()


def pick_up(contender: Contender, sizes: Sizes) -> Figures:
    """Until a job's first line, with one worker that is idle: since enqueueing was called, and since it returned."""
    contender.start(1)
    try:
        Hold(contender, 1).release()
        path = files.new()
        asked, answered = [], []
        for number in range(sizes.pick_ups):
            time.sleep(random.uniform(0.02, 0.05))
            asked.append(time.time())
            contender.enqueue("note", path=str(path))
            answered.append(time.time())
            until(lambda number=number: len(notes.noted(path)) > number, "a pick-up")
    finally:
        contender.stop()
    begun = notes.noted(path)
    return {
        "pick-up p50, ms": _since(answered, begun, 50),
        "pick-up p99, ms": _since(answered, begun, 99),
        "enqueue and pick-up p50, ms": _since(asked, begun, 50),
        "enqueue and pick-up p99, ms": _since(asked, begun, 99),
    }


def _since(moments: Sequence[float], begun: Sequence[float], hundredth: int) -> float:
    waits = [(late - early) * 1000 for early, late in zip(moments, begun, strict=True)]
    return quantiles(waits, n=100)[hundredth - 1]


def throughput(contender: Contender, sizes: Sizes, servers: list[int]) -> Figures:
    """Jobs that wait already are run by two workers. CPU time is that of the workers and of the servers."""
    contender.start(2)
    try:
        hold, path = Hold(contender, 2), files.new()
        began = time.monotonic()
        for _ in range(sizes.jobs):
            contender.enqueue("note", path=str(path))
        enqueued = time.monotonic() - began
        roots = [contender.root, *servers]
        before, at = [processes.cpu_seconds([root]) for root in roots], time.time()
        hold.release()
        until(lambda: len(notes.noted(path)) == sizes.jobs, f"{contender.name}: {sizes.jobs} jobs")
        after, ended = [processes.cpu_seconds([root]) for root in roots], max(notes.noted(path))
    finally:
        contender.stop()
    cpu = [(late - early) / sizes.jobs * 1000 for early, late in zip(before, after, strict=True)]
    return {
        "enqueue, jobs/s": sizes.jobs / enqueued,
        "no-op jobs/s, 2 workers": sizes.jobs / (ended - at),
        "CPU per no-op job, ms": sum(cpu),
        "… of that in workers, ms": cpu[0],
    }


def memory(contender: Contender, sizes: Sizes) -> Figures:
    """Proportional set size of all workers, idle after they have worked once, and all busy."""
    figures: Figures = {}
    for slots in sizes.slots:
        contender.start(slots)
        try:
            Hold(contender, slots).release()
            time.sleep(1.0)
            idle = processes.memory_mb([contender.root])
            hold = Hold(contender, slots)
            name = "1 slot" if slots == 1 else f"{slots} slots"
            figures |= {f"{name} idle, MiB": idle, f"{name} busy, MiB": processes.memory_mb([contender.root])}
            hold.release()
        finally:
            contender.stop()
    return figures
