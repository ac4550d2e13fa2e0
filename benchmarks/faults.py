"""Jobs under fire: `python -m benchmarks.faults [--kills N] [--stops N] [--flushes N] [--seed N] [--redis]`.

A private server runs under a steady load of jobs that say themselves when they begin and end. Its parts are killed at
random and at chosen moments, its workers are stopped, its Valkey loses its data. When all is quiet again every job must
have run to its end once. Ends with 1 where one did not.
"""

import argparse
import os
import platform
import random
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from django.conf import settings
from django.db import connections

from benchmarks import ground, table, verdict
from benchmarks.host import START_SECONDS, Host
from benchmarks.marks import Marks
from benchmarks.strikes import Cell, Hindsight, Strike, Striker, Target, plan
from benchmarks.supply import Supply
from benchmarks.verdict import Verdict
from maintenance import broker

QUIET_SECONDS = 180.0
SWEPT_SECONDS = 30.0
PAUSE_SECONDS = (0.2, 2.0)
QUICK = {"kills": 10, "stops": 4, "flushes": 2}
LONG = {"kills": 200, "stops": 500, "flushes": 20}


@dataclass(frozen=True)
class Report:
    """What one kind of fire did. `blows` is how many there were, `rows` the table of a matrix."""

    name: str
    blows: int
    verdict: Verdict
    leftovers: list[str]
    seconds: float
    rows: list[list[str]]


class Field:
    """The host under load, while something is done to it."""

    def __init__(self, host: Host, options: argparse.Namespace) -> None:
        self.host, self.options = host, options
        self.dice = random.Random(options.seed)
        self.marks = Marks()
        self.strikes: list[Strike] = []

    def run(self, name: str, fire: Callable[["Field"], int]) -> Report:
        """Load the host, fire, wait until it is quiet, and judge."""
        began = time.monotonic()
        self.strikes = []
        with Supply(name, rate=self.options.rate, seed=self.options.seed) as supply:
            self.host.wait(2.0)
            blows = fire(self)
            self.host.wait(2.0)
        self.host.until(lambda: self.host.is_full() and not verdict.unfinished(supply.ids), QUIET_SECONDS)
        self.host.until(lambda: not verdict.leftovers(), SWEPT_SECONDS)
        judged = verdict.judge(supply.ids, self.marks)
        rows = _matrix(self.strikes, judged, Hindsight(self.marks)) if self.strikes else []
        return Report(name, blows, judged, verdict.leftovers(), time.monotonic() - began, rows)

    def pause(self) -> None:
        self.host.wait(self.dice.uniform(*PAUSE_SECONDS) * self.options.pause)


def kills(field: Field) -> int:
    """Every target in every phase with both signals."""
    striker = Striker(field.host, field.marks, field.dice)
    for cell in plan(field.options.kills, field.dice):
        master = field.host.master
        field.strikes.append(striker.strike(cell))
        _follow(field.host, cell.target, master)
        field.pause()
    return len(field.strikes)


def _follow(host: Host, target: Target, master: object) -> None:
    """Until what was struck is there again; a worker's place may be empty for a while when several died young."""
    if target in (Target.MASTER, Target.HOST):
        host.until(lambda: host.master is not master, START_SECONDS)
        host.until(host.is_full, START_SECONDS)
    host.until(lambda: host.is_full(missing=2), START_SECONDS)


def stops(field: Field) -> int:
    """Deploys, each of which ends every worker when the job in its hand is done."""
    stopped = 0
    while stopped < field.options.stops:
        stopped += field.host.deploy()
        field.pause()
    return stopped


def flushes(field: Field) -> int:
    """Valkey loses everything, now by a command, now by a restart."""
    for number in range(field.options.flushes):
        if number % 2:
            field.host.lose_data()
        else:
            broker.quick().flushall()
        field.pause()
        field.host.until(lambda: field.host.valkey.poll() is None, 60)
    return field.options.flushes


def _matrix(strikes: Sequence[Strike], judged: Verdict, hindsight: Hindsight) -> list[list[str]]:
    """A row for each cell that was hit: a fault counts for the last strike that had the job in hand."""
    by_cell: dict[Cell, list[Strike]] = defaultdict(list)
    last: dict[str, Cell] = {}
    for strike in strikes:
        cell = Cell(strike.target, strike.signal, hindsight.phase(strike.aimed, strike.at))
        by_cell[cell].append(strike)
        last |= {hand.job_id: cell for hand in strike.hands}
    return [_row(cell, by_cell[cell], last, judged, hindsight) for cell in sorted(by_cell, key=_order)]


def _order(cell: Cell) -> tuple[int, ...]:
    return list(Target).index(cell.target), -cell.signal, list(type(cell.phase)).index(cell.phase)


def _row(
    cell: Cell, strikes: Sequence[Strike], last: dict[str, Cell], judged: Verdict, hindsight: Hindsight
) -> list[str]:
    sets = _sets(judged)
    counts = [sum(last.get(job_id) == cell for job_id in jobs) for jobs in sets]
    hands = [(hand, strike.at) for strike in strikes for hand in strike.hands if hand.job_id]
    again = [each for hand, at in hands if (each := hindsight.recovery(hand, at))]
    found, begun = [each.queued for each in again], [each.begun for each in again]
    times = map(table.number, (median(found), max(found), median(begun), max(begun))) if again else [""] * 4
    name = f"{cell.target} {cell.signal.name[3:]}, {cell.phase}"
    return [name, *map(str, (len(strikes), len(hands), *counts, len(again))), *times]


def _sets(judged: Verdict) -> list[set[str]]:
    always = [judged.lost, judged.twice, judged.overlapped, judged.unclear, judged.returned]
    return [*always, judged.forgotten] if settings.QUEUE_CONNECTION == "redis" else always


FAULTS = ["lost", "twice", "at once", "unclear", "returned"]
if settings.QUEUE_CONNECTION == "redis":
    FAULTS.append("forgotten")
MATRIX_HEAD = ["killed", "times", "in hand", *FAULTS, "run again", "queued after s", "max", "begun after s", "max"]
TOTAL_HEAD = ["", "times", "jobs", *FAULTS, "recoveries", "left in Redis", "seconds"]


def shown(reports: Sequence[Report]) -> str:
    matrices = [table.render([MATRIX_HEAD, *report.rows]) for report in reports if report.rows]
    return "\n\n".join([*matrices, table.render([TOTAL_HEAD, *map(_total, reports)])])


def _total(report: Report) -> list[str]:
    judged = report.verdict
    sets = _sets(judged)
    counts = [report.blows, judged.jobs, *map(len, sets), judged.recoveries, len(report.leftovers)]
    return [report.name, *map(str, counts), f"{report.seconds:.0f}"]


def _details(reports: Sequence[Report]) -> str:
    lines = [
        f"{report.name}: {kind}: {' '.join(sorted(jobs))}"
        for report in reports
        for kind, jobs in vars(report.verdict).items()
        if isinstance(jobs, set) and jobs and kind not in ("returned", "forgotten")
    ]
    left = [f"{report.name}: left in Redis: {' '.join(report.leftovers)}" for report in reports if report.leftovers]
    return "\n".join([*lines, *left])


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed aims in the same order")
    for name, number in LONG.items():
        parser.add_argument(f"--{name}", type=int, help=f"how many; all three without any: {number}")
    parser.add_argument("--quick", action="store_true", help="a few of each")
    parser.add_argument("--rate", type=float, default=20.0, help="jobs per second")
    parser.add_argument("--workers", type=int, default=4, help="in the large pool")
    parser.add_argument("--pause", type=float, default=1.0, help="between two kills: so many times 0.2 to 2 s")
    parser.add_argument("--keep", metavar="FOLDER", help="leave logs, marks and the SQLite database in a new folder")
    parser.add_argument("--postgres", action="store_true", help="instead of SQLite")
    parser.add_argument("--redis", action="store_true", help="the driver `redis` instead of `database`")
    options = parser.parse_args(arguments)
    if all(getattr(options, name) is None for name in LONG):
        vars(options).update(QUICK if options.quick else LONG)
    return options


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    print(
        f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}, {ground.DATABASE}, driver "
        f"{settings.QUEUE_CONNECTION}, {options.workers} workers, {options.rate:.0f} jobs/s, seed {options.seed}\n"
    )
    with Host(options.workers, random.Random(options.seed)) as host:
        field = Field(host, options)
        chosen = [(name, fire) for name, fire in FIRES.items() if getattr(options, name)]
        reports = [field.run(name, fire) for name, fire in chosen]
    connections.close_all()
    if options.keep:
        shutil.copytree(ground.FOLDER, options.keep)
    print(shown(reports))
    if faulty := any(report.verdict.faults for report in reports):
        print(_details(reports), file=sys.stderr)
    return int(faulty)


FIRES: dict[str, Callable[[Field], int]] = {"kills": kills, "stops": stops, "flushes": flushes}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
