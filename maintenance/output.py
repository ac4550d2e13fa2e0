"""How operators' commands speak: tables for people, `--json` for programs, and one clear line when something is away.

With `--json`, stdout is one JSON value and nothing else. Notes, questions, progress and logs go to stderr always.
"""

import getpass
import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from redis.exceptions import RedisError

from maintenance.access import audit
from maintenance.errors import Refusal
from maintenance.tables import redis_parts
from maintenance.templatetags import console

NOTHING = console.NOTHING
USAGE = 2


class OperatorCommand(BaseCommand):
    """A command of the operations manual: `act` does it and answers with the exit code."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON value instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            code = self.act(options)
        except Refusal as refusal:
            raise CommandError(refusal.message) from None
        except RedisError:
            raise CommandError(f"{redis_name()} does not answer. Nothing more was done.") from None
        except DatabaseError as error:
            raise CommandError(f"The database refuses: {str(error).splitlines()[0]}") from None
        if code:
            sys.exit(code)

    def act(self, options: dict[str, Any]) -> int:
        raise NotImplementedError

    def show(self, options: dict[str, Any], value: object, lines: Iterable[str]) -> None:
        """Print the value as JSON where that is asked for, else the lines."""
        if options["json"]:
            lines = [json.dumps(value, indent=2, ensure_ascii=False, default=_written)]
        for line in lines:
            self.stdout.write(line.rstrip())

    def note(self, text: str) -> None:
        """Tell the person at the terminal something that is not the result."""
        self.stderr.write(text, style_func=str)

    def confirmed(self, options: dict[str, Any], question: str, *, unasked: bool) -> bool:
        """Whether to go on: with `--force` yes, at a terminal as it is answered, elsewhere `unasked`."""
        if options["force"]:
            return True
        if not sys.stdin.isatty():
            return unasked
        self.stderr.write(f"{question} [y/N] ", style_func=str, ending="")
        self.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def audit(self, verb: str, target: str, result: str = "ok", **detail: Any) -> None:
        """Leave a line in the audit. The command line knows no account, so the name at the machine is noted."""
        audit.record(verb, target, actor=None, result=result, detail={"command_line": _user(), **detail})


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines with aligned columns; numbers stand to the right. None is shown as a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(headings))]
    lines = [[heading.upper() for heading in headings], *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return ["  ".join(map(_padded, line, widths, right)).rstrip() for line in lines]


def counted(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def redis_name() -> str:
    """What to call Redis when it is away: its address, without user or password."""
    parts = redis_parts(settings.REDIS_URL)
    return f"Redis at {parts['HOST']}:{parts['PORT']}"


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _cell(value: object) -> str:
    if value is None or value == "":
        return NOTHING
    # What comes from outside must neither break the table nor control the terminal.
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def _padded(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _written(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
