"""What waits for whom."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from conversations.models import Agent, Conversation, Run
from tests.conversations.api.conftest import ask, ended_run, of
from tests.conversations.scripts import call, say

pytestmark = pytest.mark.usefixtures("valkey")

WAITS = "/api/v1/waits"


@pytest.mark.django_db(transaction=True)
def test_runs_that_wait_are_listed_with_what_they_wait_for(
    api: APIClient, stranger: APIClient, conversation: Conversation, scripted: Agent
) -> None:
    scripted.approvals = {"todo_add": "always"}
    scripted.save()
    other = Conversation.objects.create(user=scripted.user, agent=scripted, title="Rice")
    first = ask(api, conversation, [call("look", path="a"), call("peek", path="b")], [say("done")])
    second = ask(api, other, [call("todo_add", item="rice"), call("todo_list")], [say("done")])
    looked_for, approved = api.get(WAITS).json()["data"]
    assert (looked_for["run_id"], approved["run_id"]) == (first.pk, second.pk)
    assert (looked_for["waiting_for"], approved["waiting_for"]) == ("tool_result", "approval")
    assert looked_for["calls"] == api.get(of(conversation, "status")).json()["tool_requests"]
    assert approved["calls"] == api.get(of(other, "status")).json()["approvals"]
    assert approved.items() >= {
        "conversation_id": other.pk, "conversation_title": "Rice", "agent_id": scripted.pk, "agent_name": "Parrot",
    }.items()  # fmt: skip
    assert looked_for["since"] < looked_for["expires_at"] < approved["expires_at"]
    assert stranger.get(WAITS).json()["data"] == []
    api.post(of(conversation, "stop"))
    assert [one["run_id"] for one in api.get(WAITS).json()["data"]] == [second.pk]


@pytest.mark.django_db
def test_the_list_comes_in_pages_at_the_same_cost(
    api: APIClient, agent: Agent, django_assert_num_queries: Callable[..., Any]
) -> None:
    def waiting(minutes: int) -> Run:
        conversation = Conversation.objects.create(user=agent.user, agent=agent)
        expires_at = timezone.now() + timedelta(minutes=minutes)
        run = ended_run(conversation, status="waiting_for_tool", waiting_for="tool_result", expires_at=expires_at)
        run.tool_calls.update(status="pending")
        return run

    def listed() -> list[int]:
        with django_assert_num_queries(3):  # count, runs with conversations and agents, calls with messages
            body = api.get(f"{WAITS}?per_page=3").json()
        assert [len(one["calls"]) for one in body["data"]] == [1] * len(body["data"])
        return [one["run_id"] for one in body["data"]]

    late, soon = waiting(9), waiting(1)
    assert listed() == [soon.pk, late.pk]
    assert listed() == [soon.pk, late.pk]
    between = [waiting(minutes).pk for minutes in (2, 3, 4)]
    assert listed() == [soon.pk, *between[:2]]
    assert api.get(f"{WAITS}?per_page=3&page=2").json()["meta"]["total"] == 5
