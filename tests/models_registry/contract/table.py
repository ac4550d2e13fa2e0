"""The tables at the end of a run: which driver does which case, with a test server and with a real one."""

import re
from collections.abc import Iterable, Iterator

import pytest

_TEST = re.compile(r"contract/test_\w+\.py::test_(?P<suite>\w+)\[(?P<driver>[a-z]+)-(?P<case>\w+)\]")
_SUITES = {"contract": "contract of the drivers", "real_server": "drivers with a real server"}
_SIGNS = {"passed": "✓", "skipped": "–", "failed": "✗"}
_WORST_LAST = list(_SIGNS.values())
Cells = dict[str, dict[str, str]]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    told = sorted((report for report in reports if isinstance(report, pytest.TestReport)), key=_row)
    for suite, title in _SUITES.items():
        cells, reasons = read(suite, told)
        if cells:
            terminalreporter.section(title, "=")
            for line in [*lines(cells), *legend(reasons)]:
                terminalreporter.write_line(line)


def _row(report: pytest.TestReport) -> int:
    return next((int(str(value)) for name, value in report.user_properties if name == "row"), 0)


def read(suite: str, reports: Iterable[pytest.TestReport]) -> tuple[Cells, dict[str, dict[str, list[str]]]]:
    """The sign of each case and driver, and per driver the cases that do not apply, by reason."""
    cells: Cells = {}
    reasons: dict[str, dict[str, list[str]]] = {}
    for report in reports:
        found = _TEST.search(report.nodeid)
        if not found or found["suite"] != suite or (report.when != "call" and report.outcome == "passed"):
            continue
        driver, case = found["driver"], found["case"]
        row = cells.setdefault(case, {})
        row[driver] = max(row.get(driver, "✓"), _SIGNS[report.outcome], key=_WORST_LAST.index)
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            reasons.setdefault(driver, {}).setdefault(reason, []).append(case)
    return cells, reasons


def lines(cells: Cells) -> Iterator[str]:
    drivers = list(dict.fromkeys(driver for row in cells.values() for driver in row))
    width = max(map(len, cells))
    yield " ".join([" " * width, *(driver.center(9) for driver in drivers)])
    for case, row in cells.items():
        yield " ".join([case.ljust(width), *(row.get(driver, " ").center(9) for driver in drivers)]).rstrip()


def legend(reasons: dict[str, dict[str, list[str]]]) -> Iterator[str]:
    for driver, given in reasons.items():
        for reason, cases in given.items():
            yield f"– {driver}: {reason} ({', '.join(cases)})"
