from typing import Any

import pytest

from maintenance.errors import Invalid
from models_registry import catalog, environment
from models_registry.backends.fake import FakeBackend
from models_registry.backends.tool_mode import SchemaToolBackend
from models_registry.errors import BackendMisconfigured

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_configured(settings: Any) -> None:
    settings.OPENAI_BASE_URL = settings.OPENAI_API_KEY = settings.OPENAI_MODEL = ""
    settings.ANTHROPIC_API_KEY = settings.ANTHROPIC_MODEL = ""
    settings.ANTHROPIC_BASE_URL = environment.ANTHROPIC_URL
    settings.EMBEDDED_MODEL_URL = settings.DEFAULT_BACKEND = ""
    settings.OPENAI_CONTEXT_TOKENS = 0
    settings.FAKE_BACKEND = False


def test_what_the_environment_names_is_configured(settings: Any) -> None:
    assert catalog.configured() == {}
    settings.FAKE_BACKEND = True
    settings.EMBEDDED_MODEL_URL = "http://127.0.0.1:8081/v1"
    settings.OPENAI_API_KEY = "sk-1"
    assert {name: backend.driver for name, backend in catalog.configured().items()} == {
        "openai": "openai",
        "embedded": "openai",
        "fake": "fake",
    }


def test_a_key_alone_means_openai_itself(settings: Any) -> None:
    settings.OPENAI_API_KEY = "sk-1"
    found = catalog.configured()["openai"]
    assert (found.base_url, found.model, found.extensions) == ("https://api.openai.com/v1", "gpt-4o-mini", False)
    assert "sk-1" not in repr(found)


def test_a_base_url_alone_means_a_compatible_server(settings: Any) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:1234/v1"
    found = catalog.configured()["openai"]
    assert (found.base_url, found.api_key, found.extensions) == ("http://127.0.0.1:1234/v1", "", True)


def test_a_key_alone_means_anthropic_itself(settings: Any) -> None:
    settings.ANTHROPIC_API_KEY = "sk-ant-1"
    found = catalog.configured()["anthropic"]
    assert (found.base_url, found.model) == ("https://api.anthropic.com", "claude-haiku-4-5")
    assert "sk-ant-1" not in repr(found)


def test_another_address_alone_means_a_server_that_speaks_as_anthropic_does(settings: Any) -> None:
    settings.ANTHROPIC_BASE_URL = "http://127.0.0.1:1234"
    found = catalog.configured()["anthropic"]
    assert (found.base_url, found.api_key, found.model) == ("http://127.0.0.1:1234", "", "")


def test_f26_claude_is_another_name_of_anthropic(settings: Any) -> None:
    settings.ANTHROPIC_API_KEY = "sk-ant-1"
    catalog.check_name("claude")
    resolved = catalog.resolve("claude", {})
    assert (resolved.name, resolved.backend.driver) == ("anthropic", "anthropic")
    assert (resolved.config.temperature, resolved.config.max_tokens) == (1.0, 4096)


def test_the_shipped_model_is_the_default_while_nothing_else_is_configured(settings: Any) -> None:
    assert catalog.default_name() == ""
    settings.FAKE_BACKEND = True
    assert catalog.default_name() == "fake"
    settings.EMBEDDED_MODEL_URL = "http://127.0.0.1:8081/v1"
    assert catalog.default_name() == "embedded"
    settings.OPENAI_API_KEY = "sk-1"
    assert catalog.default_name() == "openai"
    settings.DEFAULT_BACKEND = "fake"
    assert catalog.default_name() == "fake"


def test_an_empty_name_resolves_to_the_default(settings: Any) -> None:
    settings.FAKE_BACKEND = True
    resolved = catalog.resolve("", {})
    assert (resolved.name, resolved.config.model) == ("fake", "echo")
    assert isinstance(resolved.backend, FakeBackend)


def test_the_embedded_model_has_the_window_of_its_servers_slots(settings: Any) -> None:
    settings.EMBEDDED_MODEL_URL = "http://127.0.0.1:8081/v1"
    settings.EMBEDDED_MODEL_CONTEXT_TOKENS = 2048
    resolved = catalog.resolve("embedded", {"context_length": 100_000})
    assert resolved.backend.name == "embedded"
    assert (resolved.config.model, resolved.config.context_length) == (environment.EMBEDDED_MODEL, 2048)
    assert resolved.config.max_tokens == 1024
    assert [warning["field"] for warning in resolved.warnings] == ["context_length"]


def test_a_window_can_be_set_for_servers_that_are_not_known(settings: Any) -> None:
    settings.OPENAI_BASE_URL, settings.OPENAI_MODEL = "http://127.0.0.1:1234/v1", "llama"
    settings.OPENAI_CONTEXT_TOKENS = 8192
    assert catalog.resolve("openai", {}).config.context_length == 8192


def test_f26_only_configured_names_are_accepted(settings: Any) -> None:
    settings.FAKE_BACKEND = True
    for name in ("", "fake"):
        catalog.check_name(name)
    for name in ("anthropic", "claude", "vllm", "Fake"):
        with pytest.raises(Invalid) as raised:
            catalog.check_name(name)
        assert raised.value.errors is not None
        assert list(raised.value.errors) == ["ai_backend"]
        assert "Configured: fake." in raised.value.message


def test_f26_an_alias_stands_for_its_backend(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FAKE_BACKEND = True
    monkeypatch.setitem(catalog.ALIASES, "pretended", "fake")
    catalog.check_name("pretended")
    assert catalog.resolve("pretended", {}).name == "fake"
    settings.DEFAULT_BACKEND = "pretended"
    assert catalog.default_name() == "fake"
    assert catalog.ALIASES["claude"] == "anthropic"


@pytest.mark.parametrize("name", ["openai", "vllm", ""])
def test_f26_a_backend_that_is_not_configured_is_a_clear_permanent_error(name: str) -> None:
    with pytest.raises(BackendMisconfigured) as raised:
        catalog.resolve(name, {})
    assert raised.value.permanent
    assert "Configured: none." in raised.value.message


def test_a_stored_configuration_that_is_not_valid_is_misconfigured(settings: Any) -> None:
    settings.FAKE_BACKEND = True
    with pytest.raises(BackendMisconfigured, match="temprature"):
        catalog.resolve("fake", {"temprature": 1})


def test_a_server_without_a_model_is_misconfigured_unless_the_agent_names_one(settings: Any) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:1234/v1"
    with pytest.raises(BackendMisconfigured, match="has no default model"):
        catalog.resolve("openai", {})
    assert catalog.resolve("openai", {"model": "llama"}).config.model == "llama"


def test_a_key_that_is_no_key_is_misconfigured(settings: Any) -> None:
    settings.OPENAI_API_KEY = "sk-“1”"
    with pytest.raises(BackendMisconfigured) as raised:
        catalog.resolve("openai", {})
    assert "sk-" not in raised.value.message


def test_f28_warnings_come_with_what_is_resolved(settings: Any) -> None:
    settings.OPENAI_API_KEY = "sk-1"
    [warning] = catalog.resolve("openai", {"temperature": 3}).warnings
    assert (warning["field"], warning["given"], warning["used"]) == ("temperature", 3, 2)


@pytest.mark.parametrize(
    ("name", "asked", "mode"),
    [("fake", "", "native"), ("fake", "auto", "native"), ("fake", "json_schema", "json_schema"),
     ("embedded", "", "json_schema"), ("embedded", "auto", "json_schema"), ("embedded", "native", "native")],
)  # fmt: skip
def test_tools_are_offered_as_the_agent_says_or_else_in_the_backends_way(
    settings: Any, name: str, asked: str, mode: str
) -> None:
    settings.FAKE_BACKEND, settings.EMBEDDED_MODEL_URL = True, "http://127.0.0.1:8081/v1"
    resolved = catalog.resolve(name, {}, asked)
    assert resolved.tool_mode == mode
    assert isinstance(resolved.backend, SchemaToolBackend) is (mode == "json_schema")


def test_the_embedded_model_can_call_tools_by_a_detour(settings: Any) -> None:
    settings.EMBEDDED_MODEL_URL = "http://127.0.0.1:8081/v1"
    chosen = catalog.find("embedded")
    assert chosen is not None
    assert catalog.capabilities(chosen).function_calling
    assert not catalog.backend(chosen).capabilities.function_calling
