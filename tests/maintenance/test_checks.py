import pytest
from django.core.checks import run_checks
from pytest_django.fixtures import Settings
from rest_framework.settings import api_settings

from maintenance import broker
from tests.services import Valkey


def ids() -> list[str | None]:
    return [found.id for found in run_checks() if str(found.id).startswith("maintenance.")]


def test_good_settings_give_no_finding() -> None:
    assert ids() == []


@pytest.mark.parametrize("rate", ["5", "many/min", "5/x"])
def test_a_rate_that_is_none_is_found_at_the_start(monkeypatch: pytest.MonkeyPatch, rate: str) -> None:
    rates = {**api_settings.DEFAULT_THROTTLE_RATES, "login": rate}
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", rates, raising=False)
    assert ids() == ["maintenance.E001"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"job_fails": ["maintenance.reactions.log"]},
        {"job_failed": ["no.such.module"]},
        {"poison": ["builtins.__doc__"]},
    ],
)
def test_a_reaction_that_could_not_follow_is_found_at_the_start(
    settings: Settings, wrong: dict[str, list[str]]
) -> None:
    settings.REACTIONS = wrong
    assert ids() == ["maintenance.E006"]


def test_f38_a_redis_that_evicts_is_found_at_the_start(valkey: Valkey) -> None:
    broker.quick().config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert ids() == ["maintenance.E007"]
    finally:
        broker.quick().config_set("maxmemory-policy", "noeviction")
    assert ids() == []


def test_a_redis_that_is_away_keeps_nothing_from_starting(valkey: Valkey) -> None:
    valkey.stop()
    assert ids() == []
