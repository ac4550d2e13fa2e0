"""Backends that operators add, and what the catalogue makes of them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from maintenance.errors import Invalid, Refusal
from models_registry import catalog, health, records, registration
from models_registry.errors import BackendMisconfigured
from models_registry.models import BackendRecord, Model
from tests.models_registry.conftest import KEY

pytestmark = pytest.mark.django_db


def added(name: str = "vllm", *, key: str | None = None, **values: Any) -> BackendRecord:
    terms = {"driver": "openai", "base_url": "http://127.0.0.1:1234/v1", "model": "llama", **values}
    return registration.save(BackendRecord(name=name, **terms), key=key)


def listed(name: str, backend: str = "vllm", **values: Any) -> Model:
    return Model.objects.create(backend=backend, name=name, synced_at=timezone.now(), **values)


def test_an_enabled_record_is_configured_after_those_of_the_environment() -> None:
    added(key=KEY, options={"temperature": 0.1})
    added("idle", enabled=False)
    assert list(catalog.configured()) == ["fake", "vllm"]
    found = catalog.configured()["vllm"]
    assert (found.driver, found.base_url, found.api_key, found.extensions) == (
        "openai",
        "http://127.0.0.1:1234/v1",
        KEY,
        True,
    )
    assert catalog.find("vllm") == found
    assert catalog.find("idle") is None
    assert KEY not in repr(found)
    assert KEY not in str(BackendRecord.objects.values().get(name="vllm"))


def test_a_record_is_resolved_with_its_own_values() -> None:
    added(options={"temperature": 0.1})
    resolved = catalog.resolve("vllm", {})
    assert (resolved.name, resolved.config.model, resolved.config.temperature) == ("vllm", "llama", 0.1)


def test_a_name_of_the_environment_wins(settings: Any) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    BackendRecord.objects.create(name="openai", driver="openai", base_url="http://127.0.0.1:1/v1", model="m")
    assert catalog.configured()["openai"].base_url == "http://127.0.0.1:9/v1"
    assert catalog.find("openai") == catalog.configured()["openai"]


def test_without_anything_else_the_first_record_is_the_default(settings: Any) -> None:
    settings.FAKE_BACKEND, settings.DEFAULT_BACKEND = False, ""
    added("second")
    added("first")
    assert catalog.default_name() == "first"
    assert catalog.resolve("", {}).name == "first"
    settings.DEFAULT_BACKEND = "second"
    assert catalog.resolve("", {}).name == "second"


@pytest.mark.parametrize("name", ["embedded", "openai", "anthropic", "claude", "ollama", "fake", "Ollama"])
def test_names_of_the_environment_are_reserved(name: str) -> None:
    with pytest.raises(Invalid) as raised:
        added(name)
    assert list(raised.value.errors or {}) == ["name"]


@pytest.mark.parametrize(
    ("base_url", "reason"),
    [
        ("http://user:hidden@127.0.0.1/v1", "own field"),
        ("http://hidden@127.0.0.1/v1", "own field"),
        ("https://api.example.com/v1?key=hidden", "own field"),
        ("ftp://127.0.0.1/hidden", "address such as"),
        ("127.0.0.1:8080/hidden", "address such as"),
        ("http://host:port/hidden", "address such as"),
        ("http://a b/hidden", "address such as"),
    ],
)
def test_an_address_holds_no_login(base_url: str, reason: str) -> None:
    with pytest.raises(Invalid) as raised:
        added(base_url=base_url)
    assert reason in raised.value.message
    assert "hidden" not in raised.value.message


@pytest.mark.parametrize("key", ["two words", "новый", "line\nbreak", "k" * 5000])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(Invalid) as raised:
        added(key=key)
    assert list(raised.value.errors or {}) == ["key"]
    assert key not in raised.value.message


def test_options_follow_the_rules_of_an_agents_configuration() -> None:
    for options in ({"temprature": 1}, {"temperature": "hot"}, {"model": "m"}):
        with pytest.raises(Invalid) as raised:
            added(options=options)
        assert list(raised.value.errors or {}) == ["options"]


def test_a_stored_key_stays_is_replaced_or_is_removed() -> None:
    record = added(key="one")
    registration.save(record)
    assert catalog.configured()["vllm"].api_key == "one"
    registration.save(record, key="two")
    assert catalog.configured()["vllm"].api_key == "two"
    registration.save(record, key="")
    assert catalog.configured()["vllm"].api_key == ""
    assert record.encrypted_key == ""


@pytest.mark.parametrize("change", [{"base_url": "http://evil.example/v1"}, {"driver": "fake"}])
def test_a_stored_key_does_not_follow_to_another_address(change: dict[str, str]) -> None:
    record = added(key=KEY)
    for name, value in change.items():
        setattr(record, name, value)
    with pytest.raises(Invalid, match="enter it again"):
        registration.save(record)
    registration.save(record, key="another")


def test_a_path_on_the_same_server_keeps_the_key() -> None:
    record = added(key=KEY)
    record.base_url = "http://127.0.0.1:1234/other/v1"
    registration.save(record)
    assert catalog.configured()["vllm"].api_key == KEY


def test_a_key_that_cannot_be_read_is_a_misconfiguration_that_says_what_to_do(settings: Any) -> None:
    added(key=KEY)
    settings.SECRET_KEY = "another-one"
    with pytest.raises(BackendMisconfigured, match=r"SECRET_KEY has changed.*Enter the key again"):
        catalog.resolve("vllm", {})
    checked = health.status("vllm").health
    assert checked.status == "misconfigured"
    assert "Enter the key again" in checked.error
    with pytest.raises(Refusal):
        catalog.manager("vllm")
    catalog.check_name("vllm")


def test_a_removed_backend_takes_its_models_along() -> None:
    record = added()
    listed("llama")
    kept = listed("llama", backend="other")
    registration.remove(record)
    assert catalog.find("vllm") is None
    assert [*Model.objects.all()] == [kept]


# Windows


def test_a_turn_asks_one_statement(django_assert_num_queries: Callable[..., Any]) -> None:
    added()
    listed("llama", context_length=8192)
    with django_assert_num_queries(1):
        assert catalog.resolve("vllm", {}).config.context_length == 8192


def test_a_backend_of_the_environment_with_a_window_of_its_own_asks_none(
    settings: Any, django_assert_num_queries: Callable[..., Any]
) -> None:
    settings.OPENAI_BASE_URL, settings.OPENAI_MODEL = "http://127.0.0.1:9/v1", "m"
    listed("m", backend="openai", context_length=2048)
    with django_assert_num_queries(1):
        assert catalog.resolve("openai", {}).config.context_length == 2048
    settings.OPENAI_CONTEXT_TOKENS = 4096
    with django_assert_num_queries(0):
        assert catalog.resolve("openai", {}).config.context_length == 4096
        assert catalog.resolve("fake", {}).config.model == "echo"


def test_f28_what_the_server_said_goes_before_the_table_of_names() -> None:
    added(model="gpt-4")
    assert catalog.resolve("vllm", {}).config.context_length == 8192
    listed("gpt-4", context_length=32_768)
    assert catalog.resolve("vllm", {}).config.context_length == 32_768


def test_f28_an_agent_that_wants_more_than_there_is_is_warned() -> None:
    added()
    listed("llama", context_length=8192)
    resolved = catalog.resolve("vllm", {"context_length": 100_000})
    assert resolved.config.context_length == 8192
    [warning] = resolved.warnings
    assert (warning["field"], warning["given"], warning["used"]) == ("context_length", 100_000, 8192)


def test_the_window_that_a_model_is_loaded_with_is_used_and_limits_nobody() -> None:
    added()
    listed("llama", context_length=32_768, loaded_context_length=4096)
    assert catalog.resolve("vllm", {}).config.context_length == 4096
    assert catalog.resolve("vllm", {"context_length": 16_384}).config.context_length == 16_384


def test_a_name_without_a_tag_means_the_latest_and_the_exact_one_goes_first() -> None:
    added()
    listed("llama:latest", context_length=4096)
    assert catalog.resolve("vllm", {}).config.context_length == 4096
    listed("llama", context_length=8192)
    assert catalog.resolve("vllm", {}).config.context_length == 8192
    assert catalog.resolve("vllm", {"model": "llama:latest"}).config.context_length == 4096


@pytest.mark.parametrize("name", ["Llama3.2", "llama3.2", "LLAMA3.2:Latest", "library/llama3.2", "Mine", "mine:latest"])
def test_names_that_an_ollama_server_takes_for_one_find_its_row(name: str) -> None:
    added(driver="ollama", base_url="http://127.0.0.1:9")
    listed("llama3.2:latest", context_length=4096)
    listed("Mine:latest", context_length=4096)
    assert catalog.resolve("vllm", {"model": name}).config.context_length == 4096
    found = records.known("vllm", name)
    assert found
    assert records.is_meant(found.name, name)


def test_a_default_model_is_found_under_another_name_too() -> None:
    added(driver="ollama", base_url="http://127.0.0.1:9", model="Llama3.2")
    listed("llama3.2:latest", context_length=4096)
    assert catalog.resolve("vllm", {}).config.context_length == 4096


def test_other_servers_mind_the_case() -> None:
    listed("gpt-4o")
    assert records.known("vllm", "GPT-4o") is None
    assert not records.is_meant("gpt-4o", "GPT-4o")


@pytest.mark.parametrize(
    ("capabilities", "asked", "mode"),
    [(None, "auto", "native"), (["completion", "tools"], "auto", "native"), (["completion"], "auto", "json_schema"),
     (["completion"], "", "json_schema"), (["completion"], "native", "native"), ([], "auto", "json_schema")],
)  # fmt: skip
def test_tools_go_by_a_schema_where_the_model_is_known_to_call_none(
    settings: Any, capabilities: list[str] | None, asked: str, mode: str
) -> None:
    added()
    listed("llama", capabilities=capabilities)
    assert catalog.resolve("vllm", {}, asked).tool_mode == mode
    settings.OPENAI_BASE_URL, settings.OPENAI_MODEL = "http://127.0.0.1:9/v1", "m"
    listed("m", backend="openai", capabilities=capabilities)
    assert catalog.resolve("openai", {}, asked).tool_mode == mode
