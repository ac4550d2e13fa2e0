"""No key, no login of an address and no raw words of a server in what anybody is shown, nor in what is stored."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from maintenance.errors import Refusal
from maintenance.http import UserThrottle
from maintenance.streams.read import span
from models_registry import inventory, pulls, registration
from models_registry.fakes.http import chunk
from models_registry.fakes.ollama import OllamaServer
from models_registry.fakes.ollama_chat import LINES_HEAD, line, refusal
from models_registry.models import BackendRecord, Pull
from models_registry.pulling import events

KEY, LOGIN, BODY = "sk-planted-key-4711", "planted-login-0815", "/srv/planted/raw-body"
PLANTED = (KEY, LOGIN, BODY)
SAYS = f"no such thing: Bearer {KEY} at http://ops:{LOGIN}@10.0.0.1{BODY}"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(settings: Any) -> Iterator[OllamaServer]:
    """Two backends of one server: one with a key, one with a login in its address. It repeats all that it hears."""
    UserThrottle.counter.clear()
    with OllamaServer() as server:
        server.pull_scripts["in-a-line"] = [LINES_HEAD + chunk(line(error=SAYS)) + chunk(b"")]
        server.pull_scripts["as-status"] = refusal(500, SAYS)
        server.tags_script = refusal(500, SAYS)
        settings.OLLAMA_BASE_URL = server.base_url.replace("http://", f"http://ops:{LOGIN}@")
        record = BackendRecord(name="keyed", driver="ollama", base_url=server.base_url, model="stub")
        registration.save(record, key=KEY)
        yield server


def stored() -> str:
    """Every row there is, but for the key that is encrypted."""
    ours = [model for name in ("maintenance", "models_registry") for model in apps.get_app_config(name).get_models()]
    rows = [model._default_manager.values() for model in ours]
    return json.dumps([list(found) for found in rows], default=str)


@pytest.mark.parametrize("backend", ["keyed", "ollama"])
def test_nothing_that_was_planted_comes_to_light(
    server: OllamaServer, backend: str, bob: User, work: Any, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    caplog.set_level("DEBUG")
    started = [pulls.start(backend, model, bob)[0] for model in ("in-a-line", "as-status")]
    inventory.refresh(backend, bob)
    work()
    assert [Pull.objects.get(pk=pull.pk).status for pull in started] == ["failed", "failed"]
    with pytest.raises(Refusal):
        inventory.delete(backend, "nosuch", bob)
    with pytest.raises(SystemExit):
        call_command("check_backend", backend, stdout=None)
    shown = [stored(), caplog.text, *capsys.readouterr()]
    shown += [entry.line.decode() for pull in started for entry in span(events.key(pull.pk), count=100)]

    api, pages = APIClient(), Client()
    api.force_authenticate(bob)
    pages.force_login(bob)
    base = f"/api/v1/ai-backends/{backend}"

    def see(client: Client, path: str) -> None:
        answer = client.get(path)
        assert answer.status_code == 200, path
        shown.append(answer.content.decode())

    for path in ("/api/v1/ai-backends", base, f"{base}/models?detailed=1", f"{base}/models/pull"):
        see(api, path)
    for pull in started:
        see(api, f"{base}/models/pull/{pull.pk}")
        for page in (f"models_registry/pull/{pull.pk}/change/", f"maintenance/job/{pull.job_id}/change/"):
            see(pages, f"/admin/{page}")
    for page in ("models_registry/backendrecord/", f"models/{backend}/", "models_registry/pull/", "maintenance/job/"):
        see(pages, f"/admin/{page}")
    found = [(number, planted) for number, text in enumerate(shown) for planted in PLANTED if planted in text]
    assert found == []
