"""When a task is due, above all where the clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from maintenance.cron import Cron

SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 24, 12, tzinfo=UTC)
CHANGES = [
    ("Europe/Berlin", SPRING),
    ("Europe/Berlin", AUTUMN),
    ("America/New_York", datetime(2026, 3, 7, 18, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 10, 31, 18, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 6, tzinfo=UTC)),  # by half an hour
    ("Africa/Cairo", datetime(2026, 4, 23, 12, tzinfo=UTC)),  # at midnight
    ("Africa/Cairo", datetime(2026, 10, 29, 12, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 28, 12, tzinfo=UTC)),  # by two hours
    ("Asia/Kathmandu", datetime(2026, 3, 28, 12, tzinfo=UTC)),  # never
]
NAMED = {
    "30 2 * * *": {"02:30"},
    "0 0 * * *": {"00:00"},
    "0 3 * * *": {"03:00"},
    "15,45 1-3 * * *": {"01:15", "01:45", "02:15", "02:45", "03:15", "03:45"},
}
OFTEN = ["*/10 * * * *", "*/30 * * * *", "30 * * * *", "0 */2 * * *"]


def due(expression: str, zone: str, after: datetime, hours: int = 24) -> list[datetime]:
    return Cron(expression, zone).between(after, after + timedelta(hours=hours), at_most=2000)


def wall(moments: list[datetime], zone: str = "Europe/Berlin") -> list[str]:
    return [moment.astimezone(ZoneInfo(zone)).strftime("%d. %H:%M %z") for moment in moments]


def minutes(after: datetime, hours: int = 24) -> list[datetime]:
    return [after + timedelta(minutes=number) for number in range(1, hours * 60 + 1)]


def test_a_time_in_the_spring_gap_is_due_once_at_the_next_valid_time() -> None:
    assert wall(due("30 2 * * *", "Europe/Berlin", SPRING)) == ["29. 03:00 +0200"]
    assert wall(due("0 0 * * *", "Africa/Cairo", CHANGES[5][1]), "Africa/Cairo") == ["24. 01:00 +0300"]


def test_a_time_that_autumn_has_twice_is_due_once() -> None:
    assert wall(due("30 2 * * *", "Europe/Berlin", AUTUMN)) == ["25. 02:30 +0200"]


@pytest.mark.parametrize("start", [SPRING, AUTUMN])
@pytest.mark.parametrize(("expression", "step"), [("*/30 * * * *", 30), ("30 * * * *", 60), ("* * * * *", 1)])
def test_what_names_no_hour_has_no_hole(expression: str, step: int, start: datetime) -> None:
    found = due(expression, "Europe/Berlin", start)
    gaps = {later - earlier for earlier, later in pairwise(found)}
    assert gaps == {timedelta(minutes=step)}


@pytest.mark.parametrize(("zone", "start"), CHANGES)
@pytest.mark.parametrize(("expression", "times"), NAMED.items())
def test_a_task_with_hours_is_due_at_each_time_of_the_wall_clock_once(
    expression: str, times: set[str], zone: str, start: datetime
) -> None:
    local = {moment: moment.astimezone(ZoneInfo(zone)) for moment in minutes(start)}
    named = [moment for moment, at in local.items() if at.strftime("%H:%M") in times and not at.fold]
    found = due(expression, zone, start)
    assert [moment for moment in found if moment in named] == named
    extra = [moment for moment in found if moment not in named]
    # At most one, for all that fell into the gap, and that at its end.
    assert len(extra) == len([moment for moment in extra if _ends_a_gap(moment, zone)]) <= 1


def _ends_a_gap(moment: datetime, zone: str) -> bool:
    before, after = ((moment + timedelta(minutes=step)).astimezone(ZoneInfo(zone)).utcoffset() for step in (-1, 0))
    assert before is not None
    assert after is not None
    return after > before


@pytest.mark.parametrize(("zone", "start"), CHANGES)
@pytest.mark.parametrize("expression", [*NAMED, *OFTEN])
def test_looking_ahead_and_back_agree(expression: str, zone: str, start: datetime) -> None:
    cron = Cron(expression, zone)
    found = due(expression, zone, start)
    ahead, moment = [], start
    while (following := cron.after(moment)) and following <= start + timedelta(hours=24):
        ahead.append(following)
        moment = following
    assert ahead == found
    for moment in minutes(start)[::61]:
        earlier = [one for one in found if one <= moment]
        if earlier:
            assert cron.latest(moment) == earlier[-1]


def test_the_moment_itself_has_come_and_is_not_to_come() -> None:
    cron = Cron("0 2 * * *", "UTC")
    two = datetime(2026, 5, 1, 2, tzinfo=UTC)
    assert cron.latest(two) == cron.latest(two + timedelta(microseconds=1)) == two
    assert cron.latest(two - timedelta(microseconds=1)) == two - timedelta(days=1)
    assert cron.after(two) == two + timedelta(days=1)
    assert cron.between(two - timedelta(days=1), two, at_most=9) == [two]


def test_of_many_times_the_newest_are_given_in_order() -> None:
    until = datetime(2026, 5, 1, tzinfo=UTC)
    found = Cron("* * * * *", "UTC").between(until - timedelta(days=9), until, at_most=3)
    assert found == [until - timedelta(minutes=number) for number in (2, 1, 0)]


def test_a_day_that_never_comes_is_none() -> None:
    assert Cron("0 0 30 2 *", "UTC").after(SPRING) is None
    assert Cron("0 0 30 2 *", "UTC").latest(SPRING) is None


@pytest.mark.parametrize("expression", ["", "61 * * * *", "* * * *", "* * * * * *", "@daily", "often"])
def test_it_refuses_what_is_no_expression(expression: str) -> None:
    with pytest.raises(ValueError, match="no cron expression"):
        Cron(expression, "UTC")


@pytest.mark.parametrize("zone", ["", "Nowhere/At_All", "../etc/passwd", "Europe"])
def test_it_refuses_what_is_no_zone(zone: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Cron("* * * * *", zone)
