"""The stack of this installation, put together from the settings and the environment."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

from maintenance.stack.addresses import with_ports
from maintenance.stack.launch import Launcher
from maintenance.stack.part import Part, Step
from maintenance.stack.probes import is_up
from maintenance.stack.record import Record
from maintenance.stack.report import Report
from maintenance.stack.signals import StopSignals
from maintenance.stack.supervisor import Supervisor
from maintenance.stack.valkey import valkey
from maintenance.tables import redis_parts

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def run(report: Report) -> None:
    """Run the stack until a signal says stop. Raises StackError when it cannot start."""
    began = time.monotonic()
    record = Record(settings.DATA_DIR)
    lock = record.take(report.headline)
    record.clear()
    report.headline(f"{settings.APP_NAME}: data in {settings.DATA_DIR}, logs in {_logs()}")
    stack = with_ports([*_embedded(report), *settings.STACK])
    environment = _environment(stack, record)
    record.write(**_description(environment))
    launcher = Launcher(settings.BASE_DIR, environment, lock)
    signals = StopSignals(terminal=1 if os.isatty(1) else None)
    supervisor = Supervisor(launcher, signals, report, _logs(), changed=lambda pids: record.write(parts=pids))

    def ready() -> None:
        record.ready()
        report.headline(f"Ready in {time.monotonic() - began:.1f} s")
        _say_links(report)

    try:
        supervisor.run(stack, ready)
    finally:
        record.clear()


def _embedded(report: Report) -> list[Part]:
    if not (os.environ.get("REDIS_URL") or os.environ.get("REDIS_HOST")):
        return [valkey(settings.DATA_DIR)]
    address = "{HOST}:{PORT}".format(**redis_parts(settings.REDIS_URL))
    if is_up(settings.REDIS_URL):
        report.good("redis", "answers", address)
    else:
        report.warn("redis", "silent", f"{address}: jobs wait in the database until it answers")
    return []


def _environment(stack: Sequence[Step | Part], record: Record) -> dict[str, str]:
    given = {"REDIS_URL": settings.REDIS_URL}
    for entry in stack:
        given |= entry.gives if isinstance(entry, Part) and not entry.missing else {}
    return {
        **os.environ,
        **given,
        "DATA_DIR": str(settings.DATA_DIR),
        "STACK_READY_FILE": str(record.ready_path),
        "PYTHONUNBUFFERED": "1",
    }


def _description(environment: Mapping[str, str]) -> dict[str, object]:
    redis = redis_parts(environment["REDIS_URL"])
    return {
        "pid": os.getpid(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "url": f"{_url()}/",
        "parts": {},
        "redis": {"host": redis["HOST"], "port": redis["PORT"], "password": redis["PASSWORD"]},
        "environment": {name: environment[name] for name in settings.STACK_RECORDED if environment.get(name)},
    }


def _say_links(report: Report) -> None:
    for name, path in settings.STACK_LINKS.items():
        report.good(name, "", f"{_url()}{path}")
    if settings.HOST not in {"127.0.0.1", "localhost", "::1"}:
        report.warn("hosts", "", f"answers to {', '.join(settings.ALLOWED_HOSTS)}; others: set ALLOWED_HOSTS")


def _url() -> str:
    host = _ANY_ADDRESS.get(settings.HOST, settings.HOST)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.PORT}"


def _logs() -> Path:
    return Path(settings.DATA_DIR) / "logs"
