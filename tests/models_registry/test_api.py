from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from maintenance.access import tokens
from maintenance.access.scopes import Scope
from models_registry import catalog, health
from models_registry.fakes.openai import OpenAIServer
from tests.services import free_port

BACKENDS = "/api/v1/ai-backends"


@pytest.fixture
def openai(server: OpenAIServer, settings: Any) -> OpenAIServer:
    """The stub server, configured as `openai` beside `fake`, which is the default."""
    health._known.clear()
    server.scripts["org/model:7b"] = server.scripts["stub"]
    settings.OPENAI_BASE_URL, settings.OPENAI_MODEL, settings.OPENAI_API_KEY = server.base_url, "stub", "sk-secret"
    settings.OPENAI_CONTEXT_TOKENS = 8192
    return server


def get(api: APIClient, path: str = "") -> dict[str, Any]:
    answer = api.get(BACKENDS + path)
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def test_every_backend_is_listed_with_its_health(api: APIClient, openai: OpenAIServer) -> None:
    body = get(api)
    assert body["data"] == body["backends"]
    assert body["default_backend"] == "fake"
    first, second = body["backends"]
    assert first.pop("checked_at").endswith("Z")
    assert first == {
        "name": "openai",
        "driver": "openai",
        "is_default": False,
        "model": "stub",
        "status": "available",
        "capabilities": {
            "streaming": True,
            "function_calling": True,
            "vision": True,
            "model_management": False,
        },
    }
    assert (second["name"], second["is_default"], second["status"]) == ("fake", True, "available")


def test_f43_a_dead_backend_is_listed_as_unreachable(api: APIClient, settings: Any) -> None:
    settings.OPENAI_BASE_URL = f"http://user:hidden@127.0.0.1:{free_port()}/v1"
    body = get(api)
    assert (body["backends"][0]["status"], body["backends"][0]["error"]) == (
        "unreachable",
        "openai could not be reached.",
    )


def test_nothing_secret_is_told(api: APIClient, openai: OpenAIServer) -> None:
    for path in ("", "/openai", "/openai/models?detailed"):
        assert "sk-secret" not in str(get(api, path))
        assert openai.base_url not in str(get(api, path))


def test_one_backend(api: APIClient, openai: OpenAIServer) -> None:
    assert get(api, "/openai") == get(api)["backends"][0]


def test_a_backend_is_found_by_its_alias(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.ALIASES, "pretended", "fake")
    assert get(api, "/pretended")["name"] == "fake"


def test_the_models_of_a_backend(api: APIClient, openai: OpenAIServer) -> None:
    body = get(api, "/openai/models")
    assert body["data"] == body["models"]
    assert {"name": "stub", "backend": "openai", "is_default": True} in body["models"]
    assert {"name": "org/model:7b", "backend": "openai", "is_default": False} in body["models"]


def test_models_in_detail_tell_their_limits(api: APIClient, openai: OpenAIServer) -> None:
    models = {model["name"]: model for model in get(api, "/openai/models?detailed=1")["models"]}
    assert (models["stub"]["context_length"], models["stub"]["max_tokens"]) == (8192, None)


def test_one_model_whose_name_holds_slashes_and_colons(api: APIClient, openai: OpenAIServer) -> None:
    assert get(api, "/openai/models/org/model:7b")["name"] == "org/model:7b"


def test_the_models_of_a_dead_backend_are_an_empty_list(api: APIClient, settings: Any) -> None:
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    assert get(api, "/openai/models") == {
        "models": [],
        "data": [],
        "status": "unreachable",
        "error": "openai could not be reached.",
    }


@pytest.mark.parametrize("path", ["/vllm", "/vllm/models", "/vllm/models/m", "/fake/models/none"])
def test_f43_what_is_unknown_is_not_found(api: APIClient, path: str) -> None:
    answer = api.get(BACKENDS + path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["", "/fake", "/fake/models", "/fake/models/echo"])
def test_a_token_must_be_allowed_to_read(alice: User, path: str) -> None:
    assert APIClient().get(BACKENDS + path).status_code == 401
    for scopes, status in (([Scope.CHAT], 403), ([Scope.READ], 200)):
        _, text = tokens.issue(alice, "test", granted=scopes)
        client = APIClient(headers={"authorization": f"Bearer {text}"})
        assert client.get(BACKENDS + path).status_code == status
