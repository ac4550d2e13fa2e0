"""What nobody types, sent to the console's forms: each is refused or taken, and none is an error of the server."""

import json
from typing import Any

import pytest
from django.test import Client

from conversations.models import Conversation, Tool
from maintenance.console.typed_json import StorableJSON
from models_registry.models import BackendRecord, Pull

pytestmark = [pytest.mark.databases, pytest.mark.usefixtures("valkey")]

UNFIT_JSON = ["[" * 100_000, '{"a":' * 50_000, '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}',
              '{"a": ' + "9" * 5000 + "}",
              '{"a": "\\u0000"}', '{"\\u0000": 1}', '{"a": "\\ud800"}', '{"a":' * 101 + "1" + "}" * 101]  # fmt: skip
HOSTILE = [*UNFIT_JSON, "\x00", "a\x00b", "9" * 5000, "-1", "\u0663", "\u00b2", "<script>alert(1)</script>"]
TOOL = {"name": "a", "description": "d", "kind": "user", "parameters": '{"type":"object"}', "method": "GET",
        "url": "http://shop.example/", "headers": "{}", "timeout_seconds": "3"}  # fmt: skip
AGENT = {"name": "a", "slug": "a", "status": "active", "max_turns": "3", "on_busy": "reject", "tool_mode": "auto",
         "model_config": "{}", "context_variables": "{}", "prompt_links-TOTAL_FORMS": "0",
         "prompt_links-INITIAL_FORMS": "0"}  # fmt: skip
# By address, forms of which one field after the other, or only those named, is filled with what is hostile.
FORMS: list[tuple[str, dict[str, str], tuple[str, ...]]] = [
    ("conversations/conversation/{conversation}/send/", {"content": "hi", "on_busy": ""}, ("content", "on_busy")),
    ("conversations/conversation/{conversation}/answer/", {"outcome": "ok"}, ("call_id", "outcome", "output")),
    ("conversations/conversation/{conversation}/fork/", {}, ("position",)),
    ("conversations/tool/{tool}/preview/", {}, ("arguments",)),
    ("conversations/tool/{tool}/try/", {}, ("arguments",)),
    ("conversations/agent/preview/", {"name": "a"}, ("name", "context_variables", "prompt_links-TOTAL_FORMS")),
    ("conversations/systemprompt/preview/", {"template": "x"}, (
        "template", "preview_agent", "default_values", "required_variables")),
    ("conversations/tool/add/", TOOL, ("name", "parameters", "url", "headers", "secret_headers")),
    ("conversations/agent/{agent}/change/", AGENT, (
        "name", "model_config", "context_variables", "approvals-other", "max_turns")),
    ("models_registry/backendrecord/add/", {"name": "b", "driver": "ollama", "options": "{}"}, (
        "name", "options", "base_url", "key")),
    ("models_registry/backendrecord/test/", {}, ("name", "back")),
    ("models_registry/pull/start/", {"backend": "x", "model": "m"}, ("backend", "model")),
    ("models/x/unload/", {}, ("model",)),
    ("models/x/delete/", {}, ("model",)),
]  # fmt: skip
ADDRESSES = [
    "waiting/?for=%00", "models/%00/", "models_registry/pull/%00/change/", "models/x/delete/?model=%00",
    "conversations/tool/?q=%00", "conversations/tool/%00/change/", f"conversations/tool/{'9' * 100}/change/",
    f"conversations/run/{'9' * 100}/change/", f"conversations/conversation/{'9' * 100}/change/",
    "conversations/conversation/\u00b2/change/", "conversations/conversation/1/state/?before=\u0663",
]  # fmt: skip


@pytest.fixture
def numbers(conversation: Conversation) -> dict[str, int]:
    """Ids by name; there is an agent, a tool that leads nowhere, and a backend that nobody hears."""
    BackendRecord.objects.create(name="x", driver="ollama", base_url="http://127.0.0.1:1")
    Pull.objects.create(backend="x", model="a:b", status="failed")
    schema = {"type": "object", "properties": {"a": {}}}
    tool = Tool.objects.create(user=conversation.user, name="look", url="http://127.0.0.1:1/{a}", parameters=schema)
    return {"conversation": conversation.pk, "agent": conversation.agent_id, "tool": tool.pk}


@pytest.mark.parametrize(("address", "form", "fields"), FORMS)
def test_no_form_of_the_console_falls_over_what_nobody_types(
    address: str, form: dict[str, str], fields: tuple[str, ...], bobs: Client, numbers: dict[str, int]
) -> None:
    url = "/admin/" + address.format(**numbers)
    for field in fields:
        for text in HOSTILE:
            answer = bobs.post(url, {**form, field: text}, headers={"Accept": "application/json"})
            assert answer.status_code < 500, (field, text[:20])
            if answer["Content-Type"].startswith("text/html"):
                assert b"<script>alert(1)" not in answer.content


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_of_the_console_falls_over_what_nobody_types(
    address: str, bobs: Client, numbers: dict[str, int]
) -> None:
    assert bobs.get(f"/admin/{address}", follow=True).status_code in (200, 400, 404)


def test_a_null_character_in_an_address_of_the_api_is_refused(api: Any) -> None:
    answer = api.get("/api/v1/ai-backends/%00/models")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize("text", UNFIT_JSON)
def test_what_cannot_be_stored_is_not_read(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(text, cls=StorableJSON)


def test_what_can_be_stored_is_read() -> None:
    text = '{"a": [1, 2.5e3, null, "\\\\u0000 \\ud83d\\ude00"]}'
    assert json.loads(text, cls=StorableJSON) == {"a": [1, 2500.0, None, "\\u0000 \U0001f600"]}
