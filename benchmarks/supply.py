"""A steady supply of jobs from a process of its own, as a web process makes them. It is never killed."""

import logging
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

from django.db import DatabaseError, connections, transaction

from benchmarks import ground, jobs
from maintenance import queues
from maintenance.models import Job
from maintenance.process import die_with_parent
from maintenance.tables import Queue

# A job that was in many hands that were killed is to end like the others, not as poison. With the driver `redis` it has
# no row yet that could say so.
RECOVERIES = 1000


class Supply:
    """A context manager: so many jobs a second while it is open; `ids` are the jobs whose enqueueing was answered."""

    def __init__(self, name: str, *, rate: float, seed: int) -> None:
        self._path = ground.FOLDER / f"supplied-{name}"
        self._path.touch()
        self._arguments = (self._path, rate, seed)

    def __enter__(self) -> "Supply":
        connections.close_all()
        queues.forget()
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=_supply, args=(*self._arguments, os.getpid()))
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    @property
    def ids(self) -> list[str]:
        return self._path.read_text().split()


def _supply(path: Path, rate: float, seed: int, parent: int) -> None:
    die_with_parent(parent)
    logging.disable()  # that Redis is away is no news here
    queues.forget()
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, frame: stops.append(signum))
    dice = random.Random(seed)
    due = time.monotonic()
    with path.open("a", buffering=1) as file:
        while not stops:
            try:
                file.write(f"{_enqueue(dice)}\n")
            except DatabaseError as error:
                print(f"enqueueing was refused: {error}")
            due += dice.expovariate(rate)
            time.sleep(max(0.0, due - time.monotonic()))


def _enqueue(dice: random.Random) -> str:
    queue = dice.choices([Queue.HIGH, Queue.DEFAULT, Queue.LOW], [2, 7, 1])[0]
    shortest, longest = dice.choices([(0.0, 0.0), (0.0, 0.02), (0.05, 0.3), (1.0, 4.0)], [30, 58, 10, 2])[0]
    seconds = min(longest, 0.5) if queue is Queue.LOW else dice.uniform(shortest, longest)
    with transaction.atomic():
        row = jobs.marked.on(queue).enqueue(seconds=seconds)
        Job.objects.filter(pk=row.pk).update(max_recoveries=RECOVERIES)
    return row.pk
