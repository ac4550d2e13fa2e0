"""An Ollama server in the registry: its models are listed, pulled, freed and deleted, all over its own API."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from maintenance.models import Job
from models_registry import catalog, inventory, pulls, sync
from models_registry.backends.base import Cancellation, Capabilities
from models_registry.fakes.ollama import CONTEXT_TOKENS, OllamaServer
from models_registry.models import Model, Pull
from tests.models_registry.conftest import Listener, chat

pytestmark = pytest.mark.django_db
Status = Pull.Status


@pytest.fixture
def server(settings: Any) -> Iterator[OllamaServer]:
    with OllamaServer(pull_seconds=0.2) as server:
        settings.OLLAMA_BASE_URL, settings.OLLAMA_MODEL = server.base_url, "stub"
        yield server


def pulled(model: str, by: User, work: Callable[[], list[str]]) -> Pull:
    pull, is_new = pulls.start("ollama", model, by)
    assert is_new
    work()
    pull.refresh_from_db()
    return pull


def test_the_window_of_a_call_is_the_one_that_the_server_shows(server: OllamaServer) -> None:
    assert catalog.resolve("ollama", {}).config.context_length == 4096
    sync.sync("ollama")
    row = Model.objects.get(backend="ollama", name="stub:latest")
    assert (row.context_length, row.capabilities) == (CONTEXT_TOKENS, ["completion", "tools", "vision"])
    resolved = catalog.resolve("ollama", {})
    resolved.backend.stream(chat(config=resolved.config), Listener(), Cancellation())
    assert server.received[-1].body["options"]["num_ctx"] == CONTEXT_TOKENS


def test_a_model_that_is_loaded_with_a_smaller_window_is_not_loaded_anew(server: OllamaServer) -> None:
    server.memory.windows["stub"] = 2048
    sync.sync("ollama")
    config = catalog.resolve("ollama", {}).config
    assert config.context_length == 2048
    assert catalog.manager("ollama").is_loaded("stub", config)


def test_it_can_all_that_a_backend_can(server: OllamaServer) -> None:
    everything = Capabilities(streaming=True, function_calling=True, vision=True, model_management=True)
    assert catalog.manager("ollama").capabilities == everything


@pytest.mark.parametrize("model", ["pull-ok", "pull-cached", "pull-backwards", "pull-slow"])
def test_a_model_is_pulled_by_a_job(
    server: OllamaServer, alice: User, work: Callable[[], list[str]], model: str
) -> None:
    pull = pulled(model, alice, work)
    assert (pull.status, pull.percentage, pull.error) == (Status.COMPLETED, 100, "")
    assert pull.total_bytes == pull.completed_bytes > 0
    sync.sync("ollama")
    assert Model.objects.filter(backend="ollama", name=f"{model}:latest").exists()


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("pull-unknown", "model_not_found"),
        ("pull-disk-full", "disk_full"),
        ("pull-eof", "stream_ended"),
        ("pull-stall", "pull_stalled"),
        ("pull-invalid", "bad_request"),
    ],
)
def test_f40_a_pull_that_fails_says_why(
    server: OllamaServer, alice: User, work: Callable[[], list[str]], settings: Any, model: str, code: str
) -> None:
    settings.MODEL_PULL_STALL_SECONDS = 0.3
    pull = pulled(model, alice, work)
    assert (pull.status, pull.error_code) == (Status.FAILED, code)
    assert (Job.objects.get(pk=pull.job_id).status, bool(pull.error)) == ("failed", True)


def test_a_model_is_deleted_at_its_server(server: OllamaServer, alice: User) -> None:
    sync.sync("ollama")
    inventory.delete("ollama", "STUB", by=alice)
    assert "stub" not in server.installed
    assert not Model.objects.filter(backend="ollama", name="stub:latest").exists()


def test_a_model_is_freed_at_its_server(server: OllamaServer, alice: User) -> None:
    inventory.unload("ollama", "stub", by=alice)
    assert "stub" not in server.memory.windows
