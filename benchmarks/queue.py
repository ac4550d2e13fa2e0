"""What the queues cost beside others: `python -m benchmarks.queue [--celery FOLDER] [--quick] [--json]`.

Ours on SQLite and on PostgreSQL, plain RQ with a fork for each job and in the worker's own process, and Celery with
forked workers, if it can be imported or is in that folder. All have the same Valkey and load the same Django.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

from django.core.management import call_command
from redis.exceptions import RedisError

from benchmarks import ground, table
from benchmarks.contenders import others, ours
from benchmarks.measurements import Figures, Sizes, memory, pick_up, throughput, until
from maintenance import broker
from tests import services

FULL = Sizes(jobs=1000, pick_ups=150, rounds=3, slots=(1, 10, 20, 50))
QUICK = Sizes(jobs=10, pick_ups=3, rounds=1, slots=(2,))
AIMS = {
    "enqueue, jobs/s": "≥ 500",
    "pick-up p50, ms": "≤ 5",
    "CPU per no-op job, ms": "≤ 6",
    "20 slots idle, MiB": "≤ 250",
    "20 slots busy, MiB": "≤ 250",
}
CONTENDERS = ("SQLite", "PostgreSQL", "RQ, fork", "RQ, simple", "Celery")
COMPARED = ("RQ, fork", "Celery")


def measure(sizes: Sizes, celery_folder: str, *, alone: bool) -> dict[str, Figures]:
    """Figures by contender: ours, and the others unless it is `alone`. What is not installed is not there."""
    valkey = ground.start_valkey()
    until(_answers, "Valkey")
    call_command("migrate", verbosity=0)
    contenders = {ground.DATABASE: ours(), **({} if alone else {each.name: each for each in others(celery_folder)})}
    servers = [valkey.pid, *ground.DATABASE_PROCESSES]
    rounds = [
        {name: pick_up(each, sizes) | throughput(each, sizes, servers) for name, each in contenders.items()}
        for _ in range(sizes.rounds)
    ]
    figures = {name: _medians([each[name] for each in rounds]) for name in contenders}
    return {name: figures[name] | memory(each, sizes) for name, each in contenders.items()}


def _medians(rounds: Sequence[Figures]) -> Figures:
    return {what: median(each[what] for each in rounds) for what in rounds[0]}


def _answers() -> bool:
    try:
        return bool(broker.quick().ping())
    except RedisError:
        return False


def on_postgres(options: argparse.Namespace) -> dict[str, Figures]:
    """Ours once more, in a process with the other database."""
    if services.postgres_folder() is None:
        return {}
    command = [sys.executable, "-m", "benchmarks.queue", "--postgres", "--json", *(["--quick"] * options.quick)]
    figures: dict[str, Figures] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return figures


def shown(figures: dict[str, Figures]) -> str:
    columns = [name for name in CONTENDERS if name in figures]
    ratios = [name for name in COMPARED if name in figures]
    rows = [["", *columns, *(f"SQLite : {name}" for name in ratios), "aim"]]
    for what, value in figures["SQLite"].items():
        cells = [table.number(figures[name][what]) for name in columns]
        beside = [table.number(value / figures[name][what]) for name in ratios]
        rows.append([what, *cells, *beside, AIMS.get(what, "")])
    missing = [f"{name}: not installed" for name in CONTENDERS if name not in figures]
    return "\n".join([table.render(rows), *missing])


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=__doc__)
    parser.add_argument("--celery", metavar="FOLDER", default="", help="where Celery is, made by pip install --target")
    parser.add_argument("--quick", action="store_true", help="a few jobs of each: does it work at all?")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--postgres", action="store_true", help="ours alone, on PostgreSQL")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = _options(arguments)
    figures = measure(QUICK if options.quick else FULL, options.celery, alone=options.postgres)
    if not options.postgres:
        figures |= on_postgres(options)
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    print(f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}\n")
    print(shown(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
