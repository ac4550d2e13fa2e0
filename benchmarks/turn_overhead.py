"""What a turn costs beside the model: `python -m benchmarks.turn_overhead [--quick] [--json]`.

Posts messages over HTTP to a private server and reads the answers from its event streams, in turns with asking its
model directly: a server without a model behind it, which answers at once, or a word every so many milliseconds.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median, quantiles
from typing import Any

from django.conf import settings

from benchmarks import inside, load, processes, steps, table, yardstick
from benchmarks.account import MODELS, Account
from benchmarks.inside import Inside
from benchmarks.load import Outcome, Scenario, Side
from benchmarks.stack import Stack
from benchmarks.steps import Step
from models_registry.fakes.openai import WORDS

AT_ONCE, PACED = MODELS
USERS = 20
PROFILE_LINES = 15


@dataclass(frozen=True)
class Row:
    """One line of the table. What it has no number for is None."""

    scenario: str
    what: str
    direct: float | None
    system: float
    aim: str = ""

    @property
    def ratio(self) -> float | None:
        return self.system / self.direct if self.direct else None


@dataclass(frozen=True)
class Report:
    """`yardstick`: the milliseconds of CPU time that a fixed piece of Python took, around each scenario."""

    machine: str
    yardstick: list[float]
    rows: list[Row]
    steps: list[Step]
    inside: Inside


def scenarios(quick: bool) -> list[Scenario]:
    """In this order. The first one is that whose steps are looked at."""
    many = 3 if quick else USERS
    full = [
        Scenario("1 user, model without delay", AT_ONCE, users=1, turns=30, rounds=5),
        Scenario(f"{many} users, model without delay", AT_ONCE, users=many, turns=120, rounds=4),
        Scenario("1 user, paced model", PACED, users=1, turns=3, rounds=2),
        Scenario(f"{many} users, paced model", PACED, users=many, turns=2 * many, rounds=2),
    ]
    return [replace(scenario, turns=scenario.users, rounds=2) for scenario in full] if quick else full


def measure(options: argparse.Namespace) -> Report:
    text = "".join(WORDS[number % len(WORDS)] for number in range(options.words))
    with Stack(tokens=options.words, delay_ms=options.delay_ms) as stack:
        account = Account()
        memory = _memory(stack, account, text, settings.WORKER_POOLS["ai-workers"].processes)
        stack.stop_workers()
        memory += _memory(stack, account, text, options.workers)
        yardsticks, outcomes = [yardstick.milliseconds()], []
        for scenario in scenarios(options.quick):
            outcomes.append(_run(stack, account, text, scenario))
            yardsticks.append(yardstick.milliseconds())
        split = steps.of(outcomes[0].system.answers)
        stack.stop_workers()
        profiled = 5 if options.quick else 100
        looked = inside.look(account.token, account.conversations(AT_ONCE, 20 + profiled), profiled=profiled)
    rows = [row for outcome in outcomes for row in _rows(outcome)]
    return Report(_machine(options), yardsticks, [*rows, *memory, *_inside_rows(looked)], split, looked)


def _run(stack: Stack, account: Account, text: str, scenario: Scenario) -> Outcome:
    conversations = account.conversations(scenario.model, max(scenario.users, scenario.turns))
    return load.run(scenario, token=account.token, text=text, conversations=conversations, parts=stack.parts)


def _memory(stack: Stack, account: Account, text: str, workers: int) -> list[Row]:
    """Once every part has worked."""
    stack.start_workers(workers)
    _run(stack, account, text, Scenario("warm-up", AT_ONCE, users=workers, turns=4 * workers, rounds=1))
    used = {name: processes.memory_mb([pid]) for name, pid in stack.parts.items()}
    title = f"{workers} workers for turns"
    parts = [Row(title, f"memory of {name}, MiB", None, used[name]) for name in sorted(used)]
    return [Row(title, "memory of all, MiB", None, sum(used.values()), "≤ 250" if workers == USERS else ""), *parts]


def _rows(outcome: Outcome) -> list[Row]:
    scenario, direct, system = outcome.scenario, outcome.direct, outcome.system
    at_once, alone = scenario.model == AT_ONCE, scenario.users == 1
    cpu_ms = sum(system.cpu_ms.values())

    def row(what: str, ours: float, theirs: float | None = None, aim: str = "") -> Row:
        return Row(scenario.name, what, theirs, ours, aim)

    rows = [
        row("post → first delta, ms", _first(system), _first(direct), "≤ 15" if at_once and alone else ""),
        row("… 95th percentile", _late(system), _late(direct)),
        row("post → completed, ms", _whole(system), _whole(direct)),
        row("CPU per turn, ms", cpu_ms, None, "≤ 14" if at_once and not alone else ""),
        *(row(f"… of {part}", used) for part, used in sorted(system.cpu_ms.items())),
    ]
    if not alone:
        rows.append(row("turns/s", system.per_second, direct.per_second, "≥ 120" if at_once else ""))
    if at_once and not alone:
        rows.append(row("turns/s that the CPU time allows", 1000 * (os.cpu_count() or 1) / cpu_ms))
    return rows


def _inside_rows(looked: Inside) -> list[Row]:
    return [
        Row("in one process", "statements per post", None, looked.statements_per_post),
        Row("in one process", "statements per turn", None, looked.statements_per_turn),
        Row("in one process", "function calls per turn", None, sum(line.calls for line in looked.lines)),
    ]


def _first(side: Side) -> float:
    return median(answer.first_ms for answer in side.answers)


def _whole(side: Side) -> float:
    return median(answer.whole_ms for answer in side.answers)


def _late(side: Side) -> float:
    return quantiles((answer.first_ms for answer in side.answers), n=20)[-1]


def _machine(options: argparse.Namespace) -> str:
    database = settings.DATABASES["default"]["ENGINE"].rsplit(".", 1)[1]
    return (
        f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}, {database}, "
        f"{options.workers} workers, answers of {options.words} words, paced: one every {options.delay_ms} ms"
    )


def shown(report: Report) -> str:
    return "\n\n".join(
        [
            f"{report.machine}\n{_yardstick(report.yardstick)}",
            _main_table(report.rows),
            _steps_table(report.steps),
            _profile_table(report.inside),
        ]
    )


def _yardstick(took: Sequence[float]) -> str:
    return f"yardstick (a fixed piece of Python): {median(took):.0f} ms of CPU, {min(took):.0f} to {max(took):.0f}"


def _main_table(rows: Sequence[Row]) -> str:
    lines = [["", "direct", "system", "ratio", "aim"]]
    for before, row in zip([None, *rows], rows, strict=False):
        if before is None or before.scenario != row.scenario:
            lines.append([row.scenario, "", "", "", ""])
        lines.append([f"  {row.what}", _cell(row.direct), _cell(row.system), _cell(row.ratio), row.aim])
    return table.render(lines)


def _cell(value: float | None) -> str:
    return "" if value is None else table.number(value)


def _steps_table(parts: Sequence[Step]) -> str:
    lines = [[step.name, table.number(step.milliseconds)] for step in parts]
    return table.render([["Where one turn's time goes (1 user)", "ms"], *lines])


def _profile_table(looked: Inside) -> str:
    head = ["Profile of a turn in the worker, ms", "own", "cumulative", "calls"]
    tables = []
    for attribute, lines in (("own_ms", looked.lines), ("cumulative_ms", [line for line in looked.lines if line.ours])):
        lines = sorted(lines, key=lambda line: -getattr(line, attribute))[:PROFILE_LINES]
        cells = [[line.function, *map(table.number, (line.own_ms, line.cumulative_ms, line.calls))] for line in lines]
        tables.append(table.render([head, *cells]))
    return "\n\n".join(tables)


def as_json(report: Report) -> dict[str, Any]:
    value = asdict(report)
    value["rows"] = [{**asdict(row), "ratio": row.ratio} for row in report.rows]
    value["inside"]["lines"] = sorted(value["inside"]["lines"], key=lambda line: -line["own_ms"])[:PROFILE_LINES]
    return value


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turn_overhead", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few turns of each: does it work at all?")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--workers", type=int, default=USERS, help="for turns")
    parser.add_argument("--words", type=int, default=50, help="in each answer")
    parser.add_argument("--delay-ms", type=int, default=20, help="before each word of the paced model")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = _options(arguments)
    report = measure(options)
    print(json.dumps(as_json(report), indent=1, ensure_ascii=False) if options.json else shown(report))


if __name__ == "__main__":
    main(sys.argv[1:])
