import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models_registry import health
from models_registry.fakes.http import document
from models_registry.fakes.openai import FOR_EVER, OpenAIServer
from tests.services import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """No result and no probe of another test."""
    health._known.clear()
    health._probes.clear()
    yield
    for probe in health._probes.values():
        probe.join()


@pytest.fixture
def openai(server: OpenAIServer, settings: Any) -> OpenAIServer:
    settings.OPENAI_BASE_URL = server.base_url
    return server


def test_the_first_question_is_answered_by_a_probe(openai: OpenAIServer) -> None:
    checked = health.status("openai")
    assert checked.health.status == "available"
    assert "stub" in checked.health.models
    assert datetime.now(UTC) - checked.checked_at < timedelta(seconds=5)


def test_f43_what_is_known_is_not_asked_again(openai: OpenAIServer) -> None:
    assert health.status("openai") is health.status("openai")
    assert len(openai.received) == 1


def test_f43_a_dead_server_does_not_keep_anybody_waiting(settings: Any) -> None:
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    checked = health.status("openai")
    assert checked.health.status == "unreachable"
    assert checked.health.error == "openai could not be reached."


def test_f43_a_silent_server_is_waited_for_a_second_and_only_once(openai: OpenAIServer, settings: Any) -> None:
    usual, openai.models_script = openai.models_script, lambda: [FOR_EVER]
    try:
        settings.EMBEDDED_MODEL_URL = f"{openai.url}/v1"
        began = time.monotonic()
        checked = health.statuses(["openai", "embedded"])
        assert {name: found.health.status for name, found in checked.items()} == {
            "openai": "unreachable",
            "embedded": "unreachable",
        }
        assert time.monotonic() - began < 1.8, "one after the other takes two"
        eventually(lambda: "did not begin" in health.status("openai").health.error, within=10)
        began = time.monotonic()
        health.status("openai")
        assert time.monotonic() - began < 0.5
    finally:
        openai.models_script = usual


def test_an_old_result_is_given_at_once_and_renewed_behind(openai: OpenAIServer, settings: Any) -> None:
    before = health.status("openai")
    settings.BACKEND_HEALTH_KEPT_SECONDS = 0
    usual, openai.models_script = openai.models_script, lambda: [0.2, *document(200, {"data": [{"id": "new"}]})]
    try:
        began = time.monotonic()
        assert health.status("openai") is before
        assert time.monotonic() - began < 0.15
        eventually(lambda: [*health.status("openai").health.models] == ["new"])
    finally:
        openai.models_script = usual


def test_only_one_probe_of_a_backend_is_under_way(openai: OpenAIServer, settings: Any) -> None:
    health.status("openai")
    settings.BACKEND_HEALTH_KEPT_SECONDS = 0
    usual, openai.models_script = openai.models_script, lambda: [FOR_EVER]
    try:
        eventually(lambda: health.status("openai") and len(openai.received) > 1)
        for _ in range(20):
            health.status("openai")
        assert len(openai.received) == 2
    finally:
        openai.models_script = usual


def test_other_settings_are_another_backend(openai: OpenAIServer, settings: Any) -> None:
    assert health.status("openai").health.status == "available"
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    assert health.status("openai").health.status == "unreachable"


def test_a_backend_that_is_not_configured_is_misconfigured() -> None:
    assert health.status("vllm").health.status == "misconfigured"
