from typing import Any

import pytest
from django.core import checks


def found() -> set[str]:
    return {str(message.id) for message in checks.run_checks() if str(message.id).startswith("models_registry")}


def test_the_settings_of_the_tests_are_fine() -> None:
    assert found() == set()


def test_a_default_backend_that_is_not_configured_is_found(settings: Any) -> None:
    settings.DEFAULT_BACKEND = "claude"
    assert found() == {"models_registry.W001"}


def test_a_default_backend_that_an_operator_may_have_added_is_not_doubted(settings: Any) -> None:
    settings.DEFAULT_BACKEND = "vllm"
    assert found() == set()


@pytest.mark.parametrize("url", ["127.0.0.1:8080/v1", "ftp://host/v1", "http:///v1", "http://host:port/v1"])
def test_a_base_url_that_is_none_is_found(settings: Any, url: str) -> None:
    settings.OPENAI_BASE_URL = url
    assert found() == {"models_registry.E002"}


def test_a_limit_that_lets_nothing_through_is_found(settings: Any) -> None:
    settings.BACKEND_IDLE_TIMEOUT_SECONDS = 0
    assert found() == {"models_registry.E003"}


def test_pulls_that_could_take_every_worker_are_found(settings: Any) -> None:
    settings.MODEL_PULL_CONCURRENCY = settings.WORKER_POOLS["ai-workers"].processes
    assert found() == {"models_registry.W002"}
    settings.MODEL_PULL_CONCURRENCY -= 1
    assert found() == set()
