"""When a cron expression is due, by the wall clock of one zone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterBadDateError, croniter

FIELDS = 5
Step = Callable[[Any, type[datetime]], datetime]


@dataclass(frozen=True)
class Cron:
    """Minute, hour, day of month, month, day of week. Raises ValueError for what is none, and for an unknown zone.

    Where the clocks go forward, a time that the day has not is due once, at the first moment after the gap. Where they
    go back, an expression that names its hours is due at the first of two equal times only; one that does not, such
    as `*/30 * * * *`, goes on without a hole.
    """

    expression: str
    zone: str

    def __post_init__(self) -> None:
        # Croniter also takes seconds and nicknames, which no crontab line would.
        if len(self.expression.split()) != FIELDS or not croniter.is_valid(self.expression):
            raise ValueError(f"{self.expression!r} is no cron expression of five fields")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{self.zone!r} is no time zone") from None

    def after(self, moment: datetime) -> datetime | None:
        """The first time it is due after this moment, in UTC; None for what no calendar has, as 30 February."""
        times = self._walk(moment, croniter.get_next)
        return next((due for due in times if due > moment), None)

    def latest(self, moment: datetime) -> datetime | None:
        """The last time it was due, up to and with this moment."""
        return next(self._back_from(moment), None)

    def between(self, after: datetime, until: datetime, *, at_most: int) -> list[datetime]:
        """The newest times it was due in this span, `until` included, in order."""
        found: list[datetime] = []
        for due in self._back_from(until):
            if due <= after or len(found) == at_most:
                break
            found.append(due)
        return found[::-1]

    def _back_from(self, moment: datetime) -> Iterator[datetime]:
        # Croniter looks strictly before its start, and knows whole seconds.
        start = moment.replace(microsecond=0) + timedelta(seconds=1)
        return (due for due in self._walk(start, croniter.get_prev) if due <= moment)

    def _walk(self, start: datetime, step: Step) -> Iterator[datetime]:
        zone = ZoneInfo(self.zone)
        times = croniter(self.expression, start.astimezone(zone))
        while True:
            try:
                due = step(times, datetime).astimezone(UTC)
            except CroniterBadDateError:
                return
            if not (self._names_hours and due.astimezone(zone).fold):
                yield due

    @property
    def _names_hours(self) -> bool:
        return not self.expression.split()[1].startswith("*")
