"""How a backend of the driver `ollama` is configured."""

from typing import Any

import pytest
from django.core import checks
from django.utils import timezone

from models_registry import catalog
from models_registry.models import Model

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def ollama(settings: Any) -> None:
    settings.OLLAMA_BASE_URL = "http://127.0.0.1:11434"
    settings.OLLAMA_MODEL = "llama3.2"
    settings.OLLAMA_TIMEOUT = 90
    settings.OLLAMA_CONTEXT_TOKENS = 0


def stored(context_length: int, **values: Any) -> None:
    """What the server has told of the model."""
    values = {"name": "llama3.2:latest", "context_length": context_length, **values}
    Model.objects.create(backend="ollama", synced_at=timezone.now(), **values)


def test_the_environment_names_it() -> None:
    resolved = catalog.resolve("ollama", {})
    assert (resolved.name, resolved.backend.driver, resolved.config.model) == ("ollama", "ollama", "llama3.2")
    assert (resolved.config.timeout, resolved.config.temperature, resolved.config.think) == (90, 0.7, None)
    assert resolved.backend.capabilities.model_management
    assert resolved.warnings == []


def test_the_drivers_come_in_their_order(settings: Any) -> None:
    settings.OPENAI_API_KEY = settings.ANTHROPIC_API_KEY = "sk-1"
    settings.EMBEDDED_MODEL_URL = "http://127.0.0.1:8081/v1"
    settings.FAKE_BACKEND = True
    assert list(catalog.configured()) == ["openai", "anthropic", "ollama", "embedded", "fake"]


def test_f28_a_model_of_unknown_window_gets_a_small_one_and_the_reply_half_of_it() -> None:
    config = catalog.resolve("ollama", {}).config
    assert (config.context_length, config.max_tokens) == (4096, 2048)


def test_the_window_is_the_models_own_where_the_server_has_told_it() -> None:
    stored(8192)
    config = catalog.resolve("ollama", {}).config
    assert (config.context_length, config.max_tokens) == (8192, 4096)


def test_the_window_that_is_set_holds_for_agents_that_want_none_of_their_own(settings: Any) -> None:
    settings.OLLAMA_CONTEXT_TOKENS = 16384
    stored(131072)
    assert catalog.resolve("ollama", {}).config.context_length == 16384
    assert catalog.resolve("ollama", {"context_length": 32768}).config.context_length == 32768


def test_f28_a_window_wider_than_the_model_has_is_narrowed_with_a_warning() -> None:
    stored(8192)
    resolved = catalog.resolve("ollama", {"context_length": 100_000})
    assert resolved.config.context_length == 8192
    assert [warning["field"] for warning in resolved.warnings] == ["context_length"]


@pytest.mark.parametrize(("given", "used"), [(2.5, 2), (-1, 0), (1.5, 1.5)])
def test_f28_temperatures_are_moved_into_range(given: float, used: float) -> None:
    resolved = catalog.resolve("ollama", {"temperature": given})
    assert resolved.config.temperature == used
    assert bool(resolved.warnings) is (given != used)


@pytest.mark.parametrize("think", [True, False, "low", "max"])
def test_every_way_to_think_can_be_sent(think: Any) -> None:
    resolved = catalog.resolve("ollama", {"think": think, "top_k": 40})
    assert (resolved.config.think, resolved.config.top_k, resolved.warnings) == (think, 40, [])


def found() -> set[str]:
    return {str(message.id) for message in checks.run_checks() if str(message.id).startswith("models_registry")}


@pytest.mark.parametrize("duration", ["5m", "1h30m", "300", "-1", "0", "1.5h"])
def test_durations_that_the_server_knows_are_fine(settings: Any, duration: str) -> None:
    settings.OLLAMA_KEEP_ALIVE = duration
    assert found() == set()


@pytest.mark.parametrize("duration", ["", "5 m", "five minutes", "5d", "m"])
def test_a_duration_that_the_server_refuses_is_found(settings: Any, duration: str) -> None:
    settings.OLLAMA_KEEP_ALIVE = duration
    assert found() == {"models_registry.E004"}


def test_a_base_url_that_is_none_is_found(settings: Any) -> None:
    settings.OLLAMA_BASE_URL = "127.0.0.1:11434"
    assert found() == {"models_registry.E002"}
