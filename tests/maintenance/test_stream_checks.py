import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from maintenance.streams.checks import LIMITS


def found() -> list[str]:
    return [message.msg for message in run_checks() if message.id == "maintenance.E012"]


def test_the_limits_that_are_given_let_people_read() -> None:
    assert found() == []


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_lets_nobody_read_is_found_at_the_start(settings: Settings, name: str) -> None:
    setattr(settings, name, 0)
    assert found() == [f"{name} is 0."]
