"""The filters of commands on jobs."""

from typing import Any

from django.core.management.base import CommandParser

from maintenance import durations
from maintenance.models import Job
from maintenance.selection import Selection

NAMES = ("queue", "name", "tag", "exception", "since")


def add(parser: CommandParser) -> None:
    """Give a command `--queue --name --tag --exception --since`."""
    filters = parser.add_argument_group("filters")
    filters.add_argument("--queue", help="only jobs of this queue")
    filters.add_argument("--name", metavar="JOB", help="only calls of this job function")
    filters.add_argument("--tag", help="only jobs with this tag, such as conversation:7")
    filters.add_argument("--exception", help="only jobs that ended by this exception class or failure code")
    filters.add_argument("--since", metavar="TIME", help="only jobs that failed since then: 2h, or 2026-11-24T08:00")


def failed(options: dict[str, Any]) -> Selection:
    """The failed jobs that these options mean. Raises Invalid."""
    given = {name: options[name] for name in NAMES if options[name]}
    if "since" in given:
        given["since"] = durations.moment(given["since"])
    return Selection(status=Job.Status.FAILED, **given)


def given(options: dict[str, Any]) -> list[str]:
    """The filters that were used, as they are typed."""
    return [f"--{name}" for name in NAMES if options[name]]


def queue_named(name: str) -> str:
    """The name, where there is such a queue. Raises Invalid."""
    return Selection(queue=name).queue
