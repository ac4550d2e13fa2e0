from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from maintenance import durations
from maintenance.errors import Invalid


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), (" 3 H ", 10800), ("0m", 0)]
)
def test_it_reads_durations_as_people_type_them(text: str, seconds: int) -> None:
    assert durations.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "1.5h", "10 minutes", "999999d", "١m"])
def test_it_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(Invalid, match="no duration, such as"):
        durations.parse(text)


def test_a_moment_is_a_time_or_so_long_ago() -> None:
    assert durations.moment("2026-11-24T08:00+01:00") == datetime(2026, 11, 24, 7, tzinfo=UTC)
    assert durations.moment("2026-11-24") == datetime(2026, 11, 24, tzinfo=timezone.get_current_timezone())
    assert abs(timezone.now() - timedelta(hours=2) - durations.moment("2h")) < timedelta(seconds=5)
    with pytest.raises(Invalid, match="neither"):
        durations.moment("yesterday")
