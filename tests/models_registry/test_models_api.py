"""The models of a backend over the API."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from rest_framework.test import APIClient

from maintenance.access import tokens
from maintenance.access.scopes import Scope
from maintenance.models import AuditEntry, Job
from models_registry import sync
from models_registry.errors import BackendUnreachable
from models_registry.models import Model
from tests.models_registry.managing import Shelf, managed
from tests.models_registry.test_records import added
from tests.services import free_port

BASE = "/api/v1/ai-backends/fake/models"
NAME = "org/llama:7b"

pytestmark = pytest.mark.django_db


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    with managed(monkeypatch) as shelf:
        shelf.put(
            NAME, "sha256:1", context_length=8192, capabilities=("completion", "tools"), size_bytes=4_000_000_000,
            family="llama", parameter_size="7B", quantisation="Q4_0", loaded=True, loaded_context_length=4096,
            modified_at=datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        sync.sync("fake")
        yield shelf


@pytest.fixture
def operators_api(bob: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(bob)
    return client


def test_models_in_detail_come_from_the_registry(api: APIClient, shelf: Shelf) -> None:
    body = api.get(f"{BASE}?detailed=1").json()
    assert body["status"] == "available"
    [model] = body["models"]
    assert model.pop("synced_at")
    assert model == {
        "name": NAME, "backend": "fake", "is_default": False, "context_length": 128_000, "max_tokens": None,
        "size_bytes": 4_000_000_000, "family": "llama", "parameter_size": "7B", "quantisation": "Q4_0",
        "loaded_context_length": 4096, "capabilities": ["completion", "tools"], "digest": "sha256:1", "loaded": True,
        "modified_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def test_what_is_not_known_is_null(api: APIClient, shelf: Shelf) -> None:
    Model.objects.update(family="", size_bytes=0, capabilities=None, loaded=False, modified_at=None)
    model = api.get(f"{BASE}/{NAME}").json()
    assert [model[name] for name in ("family", "size_bytes", "capabilities", "modified_at")] == [None] * 4
    assert model["loaded"] is False


def test_the_short_list_has_names_only(api: APIClient, shelf: Shelf) -> None:
    assert api.get(BASE).json()["data"] == [{"name": NAME, "backend": "fake", "is_default": False}]


def test_a_backend_that_is_away_still_has_its_stored_models(api: APIClient) -> None:
    added(base_url=f"http://127.0.0.1:{free_port()}/v1")
    Model.objects.create(backend="vllm", name="llama", synced_at=datetime.now(UTC), context_length=512)
    body = api.get("/api/v1/ai-backends/vllm/models?detailed").json()
    assert (body["status"], body["models"][0]["context_length"]) == ("unreachable", 512)


def test_f43_a_model_that_the_registry_does_not_have_is_not_found(api: APIClient, shelf: Shelf) -> None:
    assert api.get(f"{BASE}/{NAME}").json()["name"] == NAME
    assert api.get(f"{BASE}/echo").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_a_refresh_is_a_job(api: APIClient, alice: User, valkey: object) -> None:
    answer = api.post(f"{BASE}/refresh")
    assert answer.status_code == 202
    job = Job.objects.get()
    assert answer.json() == {"backend": "fake", "status": job.status, "job_id": job.pk}
    assert (job.name, job.arguments, job.created_by) == ("sync_models", {"backend": "fake"}, alice)
    assert AuditEntry.objects.get().verb == "backend.refresh"
    assert api.post("/api/v1/ai-backends/nowhere/models/refresh").status_code == 404


def test_f39_a_user_deletes_and_unloads_nothing(api: APIClient, shelf: Shelf) -> None:
    for answer in (api.delete(f"{BASE}/{NAME}"), api.post(f"{BASE}/{NAME}/unload")):
        assert answer.status_code == 403
        assert "models_registry." in answer.json()["message"]
    assert NAME in shelf.models
    assert not AuditEntry.objects.exists()


def test_an_operator_deletes_a_model(operators_api: APIClient, bob: User, shelf: Shelf) -> None:
    assert operators_api.delete(f"{BASE}/{NAME}").status_code == 204
    assert shelf.models == {}
    assert not Model.objects.exists()
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.verb, entry.target, entry.result) == (bob, "model.delete", f"model:fake/{NAME}", "ok")


def test_an_operator_unloads_a_model(operators_api: APIClient, shelf: Shelf) -> None:
    answer = operators_api.post(f"{BASE}/{NAME}/unload")
    assert (answer.status_code, answer.json()["loaded"]) == (200, False)
    assert shelf.asked[-1] == f"unload {NAME}"
    assert AuditEntry.objects.get().verb == "model.unload"


def test_a_token_needs_the_scope_manage_besides_the_permission(alice: User, shelf: Shelf) -> None:
    alice.user_permissions.add(*Permission.objects.filter(codename__in=["delete_model", "change_model"]))
    for scope, status in ((Scope.CHAT, 403), (Scope.MANAGE, 204)):
        _, text = tokens.issue(alice, "test", granted=[scope])
        client = APIClient(headers={"authorization": f"Bearer {text}"})
        assert client.post(f"{BASE}/{NAME}/unload").status_code == (403 if status == 403 else 200)
        assert client.delete(f"{BASE}/{NAME}").status_code == status


def test_a_refusal_says_why_and_is_noted(operators_api: APIClient, shelf: Shelf) -> None:
    assert operators_api.delete(f"{BASE}/none").status_code == 404
    shelf.error = BackendUnreachable("fake could not be reached.")
    answer = operators_api.delete(f"{BASE}/{NAME}")
    assert (answer.status_code, answer.json()["code"]) == (502, "backend_unreachable")
    assert [entry.result for entry in AuditEntry.objects.order_by("id")] == [
        "fake does not have the model 'none'.",
        "fake could not be reached.",
    ]


def test_a_backend_that_does_not_manage_its_models_refuses(operators_api: APIClient, settings: Any) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    for answer in (
        operators_api.delete("/api/v1/ai-backends/openai/models/m"),
        operators_api.post("/api/v1/ai-backends/openai/models/m/unload"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "no_model_management")


def test_the_default_model_is_marked_under_the_name_that_its_server_lists_it_by(api: APIClient, settings: Any) -> None:
    settings.OLLAMA_BASE_URL, settings.OLLAMA_MODEL = "http://127.0.0.1:9", "Llama3.2"
    for name in ("llama3.2:latest", "llama3.2:1b"):
        Model.objects.create(backend="ollama", name=name, synced_at=timezone.now())
    models = api.get("/api/v1/ai-backends/ollama/models").json()["models"]
    assert {model["name"]: model["is_default"] for model in models} == {"llama3.2:latest": True, "llama3.2:1b": False}
