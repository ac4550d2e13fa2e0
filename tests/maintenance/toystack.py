"""A supervisor over small commands, in a process of its own: `python -m tests.maintenance.toystack FOLDER ENTRIES`.

ENTRIES is JSON: a list of steps (`{"step": {…}}`), parts (`{"part": {…}}`) and `{"valkey": true}`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import OutputWrapper

from maintenance.stack.errors import StackError
from maintenance.stack.launch import Launcher
from maintenance.stack.part import IfItFails, Part, Step
from maintenance.stack.record import Record
from maintenance.stack.report import Report
from maintenance.stack.signals import StopSignals
from maintenance.stack.supervisor import Supervisor
from maintenance.stack.valkey import valkey


def entry(values: dict[str, Any], folder: Path) -> Step | Part:
    if "valkey" in values:
        return valkey(folder)
    if "step" in values:
        return Step(**values["step"])
    fails = IfItFails(values["part"].pop("if_it_fails", "wait"))
    return Part(**values["part"], if_it_fails=fails)


def main(folder: Path, entries: list[dict[str, Any]]) -> None:
    report = Report(OutputWrapper(sys.stdout), colour=False)
    record = Record(folder)
    lock = record.take(report.headline)
    record.write(pid=os.getpid(), url="http://toy/")
    supervisor = Supervisor(
        Launcher(folder, dict(os.environ), lock),
        StopSignals(),
        report,
        folder / "logs",
        changed=lambda pids: record.write(parts=pids),
    )

    def ready() -> None:
        record.ready()
        report.headline("Ready")

    try:
        supervisor.run([entry(values, folder) for values in entries], ready)
    finally:
        record.clear()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), json.loads(sys.argv[2]))
    except StackError as error:
        sys.exit(str(error))
