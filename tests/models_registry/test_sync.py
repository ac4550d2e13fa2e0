"""The registry of models: what the backends say, stored."""

import json
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from maintenance.errors import Refusal
from maintenance.models import Job
from models_registry import catalog, errors, inventory, jobs, sync
from models_registry.backends.base import ModelDetails
from models_registry.errors import BackendUnreachable
from models_registry.fakes.http import document
from models_registry.fakes.openai import OpenAIServer
from models_registry.models import Model
from tests.models_registry.managing import Shelf, managed
from tests.services import free_port

pytestmark = pytest.mark.django_db


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    with managed(monkeypatch) as shelf:
        yield shelf


@pytest.fixture
def openai(server: OpenAIServer, settings: Any) -> Iterator[OpenAIServer]:
    """The stub server as the backend `openai`, with two models, of which it tells the windows."""
    settings.OPENAI_BASE_URL, settings.OPENAI_MODEL = server.base_url, "a"
    usual = server.models_script
    listing(server, {"id": "a", "max_model_len": 4096}, {"id": "org/b:7b"})
    yield server
    server.models_script = usual


def listing(server: OpenAIServer, *models: dict[str, Any]) -> None:
    server.models_script = lambda: document(200, {"object": "list", "data": list(models)})


def stored(backend: str = "openai") -> dict[str, int]:
    return dict(Model.objects.filter(backend=backend).values_list("name", "context_length"))


def test_it_stores_what_the_backend_lists(openai: OpenAIServer) -> None:
    assert sync.sync("openai") == sync.Counts(models=2, added=2, removed=0)
    assert stored() == {"a": 4096, "org/b:7b": 0}
    assert catalog.resolve("openai", {}).config.context_length == 4096


def test_what_changed_is_changed_and_what_is_gone_is_forgotten(openai: OpenAIServer) -> None:
    sync.sync("openai")
    kept = Model.objects.get(name="a").pk
    listing(openai, {"id": "a", "max_model_len": 8192}, {"id": "c"})
    assert sync.sync("openai") == sync.Counts(models=2, added=1, removed=1)
    assert stored() == {"a": 8192, "c": 0}
    assert Model.objects.get(name="a").pk == kept


def test_other_backends_keep_theirs(openai: OpenAIServer, shelf: Shelf) -> None:
    shelf.put("llama:latest")
    sync.sync("fake")
    sync.sync("openai")
    assert list(stored("fake")) == ["llama:latest"]


def test_a_backend_that_does_not_answer_keeps_its_rows(openai: OpenAIServer, settings: Any) -> None:
    sync.sync("openai")
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(BackendUnreachable):
        sync.sync("openai")
    assert list(stored()) == ["a", "org/b:7b"]


def test_a_name_that_no_column_holds_is_left_out(shelf: Shelf) -> None:
    shelf.put("m" * 300)
    shelf.put("fits", family="f" * 500)
    assert sync.sync("fake").models == 1
    assert len(Model.objects.get().family) == 100


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(Refusal) as raised:
        sync.sync("nowhere")
    assert raised.value.status_code == 404


def test_details_are_asked_for_once_and_again_when_the_digest_changed(shelf: Shelf) -> None:
    shelf.put("llama:latest", context_length=8192, capabilities=("completion", "tools"), loaded=True)
    sync.sync("fake")
    sync.sync("fake")
    row = Model.objects.get()
    assert (row.context_length, row.capabilities, row.loaded) == (8192, ["completion", "tools"], True)
    assert shelf.asked == ["models", "show llama:latest", "models"]
    shelf.put("llama:latest", "d2", context_length=4096)
    sync.sync("fake")
    assert Model.objects.get().context_length == 4096


def test_a_model_that_vanishes_while_it_is_asked_about_is_left_out(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put("gone:latest")
    monkeypatch.setattr(
        "tests.models_registry.managing.ManagedBackend.models",
        lambda self: (shelf.models.clear(), [ModelDetails(name="gone:latest")])[1],
    )
    assert sync.sync("fake").models == 0


def test_one_broken_model_keeps_no_other_from_being_listed(shelf: Shelf) -> None:
    shelf.put("good:latest", context_length=8192, capabilities=("tools",))
    shelf.put("broken:latest", context_length=4096)
    sync.sync("fake")
    shelf.put("good:latest", "d2", context_length=2048)
    shelf.put("broken:latest", "d2")
    shelf.broken["broken:latest"] = errors.BackendError("fake answered with an error (HTTP 500).")
    assert sync.sync("fake").models == 2
    windows = dict(Model.objects.values_list("name", "context_length"))
    assert windows == {"good:latest": 2048, "broken:latest": 0}


@pytest.mark.parametrize("error", [errors.BackendTimeout("slow"), errors.BackendUnreachable("away")])
def test_a_server_that_goes_away_while_it_is_asked_keeps_its_rows(shelf: Shelf, error: errors.BackendError) -> None:
    shelf.put("llama:latest")
    shelf.broken["llama:latest"] = error
    with pytest.raises(type(error)):
        sync.sync("fake")
    assert not Model.objects.exists()


# Jobs and commands


@pytest.mark.django_db(transaction=True)
def test_a_refresh_is_one_job_however_often_it_is_asked_for(
    openai: OpenAIServer, work: Callable[[], list[str]], alice: User
) -> None:
    first, second = inventory.refresh("openai", alice), inventory.refresh("openai", alice)
    assert first.pk == second.pk
    assert work() == ["succeeded"]
    job = Job.objects.get()
    assert (job.status, job.queue, job.created_by, job.tags) == ("completed", "low", alice, ["backend:openai"])
    assert job.progress["note"] == "2 models, 2 new, 0 gone"
    assert list(stored()) == ["a", "org/b:7b"]


@pytest.mark.django_db(transaction=True)
def test_all_backends_are_synced_and_one_that_is_away_fails_nothing(
    openai: OpenAIServer, settings: Any, work: Callable[[], list[str]]
) -> None:
    settings.EMBEDDED_MODEL_URL = f"http://127.0.0.1:{free_port()}/v1"
    jobs.sync_models.enqueue()
    assert work() == ["succeeded"]
    assert Job.objects.get().progress["report"] == {
        "openai": "2 models, 2 new, 0 gone",
        "embedded": "embedded could not be reached.",
        "fake": "3 models, 3 new, 0 gone",
    }


@pytest.mark.django_db(transaction=True)
def test_one_backend_that_is_away_is_tried_again(settings: Any, work: Callable[[], list[str]]) -> None:
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    job = inventory.refresh("openai", None)
    work()
    job.refresh_from_db()
    assert (job.status, job.attempts) == ("scheduled", 1)
    assert "could not be reached" in job.executions.get().message


def test_a_first_start_has_every_backend_asked_soon(settings: Any) -> None:
    job = inventory.catch_up()
    assert job is not None
    assert (job.arguments, job.status) == ({}, "scheduled")
    assert inventory.catch_up() == job
    sync.sync("fake")
    assert inventory.catch_up() is None
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    assert inventory.catch_up() == job


def command(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("sync_models", *arguments, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def test_the_command_says_how_many_there_are(openai: OpenAIServer) -> None:
    assert command("openai") == (0, "openai: 2 models, 2 new, 0 gone\n")
    code, out = command("--json")
    assert code == 0
    assert json.loads(out)["openai"] == {"models": 2, "added": 0, "removed": 0}


def test_the_command_fails_for_what_did_not_answer(openai: OpenAIServer, settings: Any) -> None:
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    code, out = command()
    assert code == 1
    assert out == "openai: openai could not be reached.\nfake: 3 models, 3 new, 0 gone\n"
    assert command("nowhere") == (1, "nowhere: There is no backend 'nowhere'.\n")


# Deleting and unloading


def test_a_deleted_model_is_gone_from_the_server_and_from_the_registry(shelf: Shelf) -> None:
    shelf.put("llama:latest")
    shelf.put("other:latest")
    sync.sync("fake")
    inventory.delete("fake", "llama", None)
    assert list(shelf.models) == list(stored("fake")) == ["other:latest"]


def test_a_model_that_is_not_there_is_not_found_and_forgotten(shelf: Shelf) -> None:
    shelf.put("llama:latest")
    sync.sync("fake")
    shelf.models.clear()
    with pytest.raises(Refusal) as raised:
        inventory.delete("fake", "llama:latest", None)
    assert raised.value.status_code == 404
    assert stored("fake") == {}


def test_a_server_that_is_away_deletes_nothing(shelf: Shelf) -> None:
    shelf.put("llama:latest")
    sync.sync("fake")
    shelf.error = BackendUnreachable("fake could not be reached.")
    for verb in (inventory.delete, inventory.unload):
        with pytest.raises(Refusal) as raised:
            verb("fake", "llama", None)
        assert (raised.value.status_code, raised.value.code) == (502, "backend_unreachable")
    assert list(stored("fake")) == ["llama:latest"]


def test_an_unloaded_model_takes_no_memory_any_more(shelf: Shelf) -> None:
    shelf.put("llama:latest", loaded=True, loaded_context_length=4096, context_length=8192)
    sync.sync("fake")
    inventory.unload("fake", "llama", None)
    row = Model.objects.get()
    assert (row.loaded, row.loaded_context_length) == (False, 0)
    assert shelf.asked[-1] == "unload llama:latest"


def test_a_backend_that_does_not_manage_its_models_says_so(openai: OpenAIServer) -> None:
    sync.sync("openai")
    with pytest.raises(Refusal) as raised:
        inventory.delete("openai", "a", None)
    assert (raised.value.status_code, raised.value.code) == (400, "no_model_management")
