"""Somebody else's object is not there: for every address that names one."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from conversations import picture_files, pictures
from conversations.api import urls as own
from conversations.models import Agent, AgentPrompt, Conversation, Run, SystemPrompt, Tool
from maintenance.access import tokens
from maintenance.access import urls as access
from tests.conversations.api.conftest import client_of
from tests.conversations.drawings import png

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]

# Method and route; the body is one that the owner could send.
MATRIX: list[tuple[str, str, Any]] = [
    ("get", "agents/<agent>", None),
    ("put", "agents/<agent>", {"name": "Mine"}),
    ("patch", "agents/<agent>", {"name": "Mine"}),
    ("delete", "agents/<agent>", None),
    ("post", "agents/<agent>/conversations", {}),
    ("get", "system-prompts/<prompt>", None),
    ("put", "system-prompts/<prompt>", {"name": "Mine"}),
    ("patch", "system-prompts/<prompt>", {"name": "Mine"}),
    ("delete", "system-prompts/<prompt>", None),
    ("post", "system-prompts/<prompt>/preview", {}),
    ("get", "tools/<tool>", None),
    ("put", "tools/<tool>", {"name": "mine"}),
    ("patch", "tools/<tool>", {"name": "mine"}),
    ("delete", "tools/<tool>", None),
    ("get", "conversations/<conversation>", None),
    ("patch", "conversations/<conversation>", {"title": "Mine"}),
    ("delete", "conversations/<conversation>", None),
    ("post", "conversations/<conversation>/messages", {"content": "hi"}),
    ("get", "conversations/<conversation>/messages/<message>/images/<image>", None),
    ("get", "conversations/<conversation>/status", None),
    ("post", "conversations/<conversation>/tool-results", {"call_id": "c1", "success": True, "output": "seen"}),
    ("post", "conversations/<conversation>/stop", None),
    ("get", "conversations/<conversation>/runs", None),
    ("post", "conversations/<conversation>/fork", {"position": 1}),
    ("get", "runs/<run>", None),
    ("post", "runs/<run>/regenerate", None),
    ("get", "runs/<run>/turns/<turn>/request", None),
    ("post", "runs/<run>/retry", None),
    ("post", "runs/<run>/approve", {"call_id": "c1", "decision": "approve"}),
    ("get", "snapshots/<snapshot>", None),
    ("get", "snapshots/<snapshot>/diff/<snapshot>", None),
    ("post", "snapshots/<snapshot>/replay", {}),
    ("delete", "auth/tokens/<token>", None),
]


@pytest.fixture
def addresses(agent: Agent, prompt: SystemPrompt, conversation: Conversation, run: Run) -> dict[str, Any]:
    return {
        "agent": agent.pk,
        "prompt": prompt.pk,
        "conversation": conversation.pk,
        "run": run.pk,
        "tool": Tool.objects.create(user=agent.user, name="weather", kind="client", parameters={"type": "object"}).pk,
        "snapshot": run.snapshot.pk,
        "turn": 1,
        **_pictured(run),
        "token": tokens.issue(agent.user, "mine")[0].pk,
    }


def _pictured(run: Run) -> dict[str, Any]:
    message = run.user_message
    message.images = picture_files.keep(pictures.check([png()]), run.conversation_id)
    message.save(update_fields=["images"])
    return {"message": message.pk, "image": message.images[0]["id"]}


def call(client: APIClient, method: str, route: str, body: Any, addresses: dict[str, Any]) -> Any:
    for name, number in addresses.items():
        route = route.replace(f"<{name}>", str(number))
    return getattr(client, method)(f"/api/v1/{route}", body)


@pytest.mark.parametrize(("method", "route", "body"), MATRIX)
def test_a_stranger_and_an_operator_find_nothing(
    method: str, route: str, body: Any, addresses: dict[str, Any], stranger: APIClient, bob: User
) -> None:
    for client in (stranger, client_of(bob)):
        answer = call(client, method, route, body, addresses)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert Conversation.objects.get().title == ""
    assert AgentPrompt.objects.count() == 1


@pytest.mark.parametrize(("method", "route", "body"), MATRIX)
def test_nobody_is_401(method: str, route: str, body: Any, addresses: dict[str, Any]) -> None:
    answer = call(APIClient(), method, route, body, addresses)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(("method", "route", "body"), MATRIX)
def test_a_token_without_scopes_is_403(
    method: str, route: str, body: Any, addresses: dict[str, Any], alice: User
) -> None:
    _, text = tokens.issue(alice, "powerless", granted=[])
    answer = call(APIClient(headers={"Authorization": f"Bearer {text}"}), method, route, body, addresses)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize(("method", "route", "body"), MATRIX)
def test_the_owner_finds_it(method: str, route: str, body: Any, addresses: dict[str, Any], api: APIClient) -> None:
    assert call(api, method, route, body, addresses).status_code in (200, 201, 202, 204, 409)


@pytest.mark.parametrize("number", [0, 10**30, "9" * 5000])
def test_a_number_that_nothing_has_is_404(api: APIClient, number: Any) -> None:
    for route in ("agents", "system-prompts", "tools", "conversations", "runs", "snapshots"):
        assert api.get(f"/api/v1/{route}/{number}").status_code == 404


def test_the_matrix_leaves_no_address_out() -> None:
    def bare(route: str) -> str:
        return re.sub("<[^>]+>", "<>", route)

    naming = {bare(str(pattern.pattern)) for module in (own, access) for pattern in module.urlpatterns}
    assert {route for route in naming if "<" in route} == {bare(route) for _, route, _ in MATRIX}
