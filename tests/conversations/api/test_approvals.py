"""Calls that somebody allows or forbids, over the API."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from rest_framework.test import APIClient

from conversations.models import Agent, Conversation, Run, TodoItem
from tests.conversations.api.conftest import ask, calls_of, client_of, of
from tests.conversations.scripts import call, say
from tests.queue import drain

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]

ADD = call("todo_add", item="buy rice")


@pytest.fixture
def careful(scripted: Agent) -> Agent:
    """An agent that asks before it adds to the list, and before its client looks at a file."""
    scripted.approvals = {"todo_add": "always", "look": "once"}
    scripted.save()
    return scripted


def decide(api: APIClient, run: Run, call_id: str, decision: str = "approve", **values: Any) -> Any:
    return api.post(f"/api/v1/runs/{run.pk}/approve", {"call_id": call_id, "decision": decision, **values})


def wanted(api: APIClient, conversation: Conversation) -> list[str]:
    return [one["call_id"] for one in api.get(of(conversation, "status")).json().get("approvals", [])]


def test_a_call_that_waits_is_shown_and_never_as_one_for_the_client(
    api: APIClient, conversation: Conversation, careful: Agent
) -> None:
    run = ask(api, conversation, [call("look", path="a"), call("peek", path="b")], [say("done")])
    body = api.get(of(conversation, "status")).json()
    assert body["status"] == "processing"
    assert not {"tool_request", "tool_requests", "submit_url"} & set(body)
    assert [(one["name"], one["arguments"]) for one in body["approvals"]] == [("look", {"path": "a"})]
    shown = api.get(f"/api/v1/conversations/{conversation.pk}").json()
    assert (shown["waiting_for"], shown["pending_tool_request"]) == ("none", None)
    assert (shown["status"], shown["approvals"]) == ("paused", body["approvals"])
    assert api.get("/api/v1/conversations").json()["data"][0]["approvals"] == body["approvals"]
    told = api.get(f"/api/v1/runs/{run.pk}").json()
    assert told["waiting_for"] == "approval"
    assert [one["approval"] for one in told["turns"][0]["tool_calls"]] == ["wanted", "not_needed"]


def test_an_approved_call_is_made_and_the_run_goes_on(
    api: APIClient, conversation: Conversation, careful: Agent
) -> None:
    run = ask(api, conversation, [ADD, ADD], [say("done")])
    first, second = wanted(api, conversation)
    answer = decide(api, run, first)
    assert answer.status_code == 200
    assert answer.json().items() >= {
        "status": "processing", "conversation_id": conversation.pk, "run_id": run.pk,
    }.items()  # fmt: skip
    assert [one["call_id"] for one in answer.json()["approvals"]] == [second]
    assert not TodoItem.objects.exists()
    assert decide(api, run, second).json()["approvals"] == []
    drain()
    assert TodoItem.objects.count() == 2
    told = api.get(f"/api/v1/runs/{run.pk}").json()
    assert (told["status"], told["waiting_for"]) == ("completed", "none")
    made = told["turns"][0]["tool_calls"][0]
    assert (made["approval"], made["status"], made["asked_arguments"]) == ("approved", "succeeded", None)
    assert made["started_at"] <= made["finished_at"]
    assert made["run_seconds"] >= 0


def test_arguments_can_be_edited_and_what_was_asked_is_kept(
    api: APIClient, conversation: Conversation, careful: Agent
) -> None:
    run = ask(api, conversation, [ADD], [say("done")])
    (call_id,) = wanted(api, conversation)
    for wrong in ({"item": ""}, {"item": "x", "when": 1}):
        answer = decide(api, run, call_id, arguments=wrong)
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["arguments"])
    assert decide(api, run, call_id, arguments={"item": "buy tea"}).status_code == 200
    drain()
    assert TodoItem.objects.get().item == "buy tea"
    made = api.get(f"/api/v1/runs/{run.pk}").json()["turns"][0]["tool_calls"][0]
    assert (made["arguments"], made["asked_arguments"]) == ({"item": "buy tea"}, {"item": "buy rice"})


def test_a_denial_is_told_to_the_model_with_its_reason(
    api: APIClient, conversation: Conversation, careful: Agent
) -> None:
    run = ask(api, conversation, [ADD], [say("I see")])
    (call_id,) = wanted(api, conversation)
    assert decide(api, run, call_id, "deny", reason="Not today.").json()["status"] == "processing"
    drain()
    assert run.messages.get(role="tool").content == "Error: the user did not allow this call. Not today."
    made = api.get(f"/api/v1/runs/{run.pk}").json()["turns"][0]["tool_calls"][0]
    assert (made["approval"], made["status"]) == ("denied", "refused")
    assert not TodoItem.objects.exists()


def test_a_decision_is_taken_once(api: APIClient, conversation: Conversation, careful: Agent) -> None:
    run = ask(api, conversation, [ADD], [say("done")])
    (call_id,) = wanted(api, conversation)
    edited = {"arguments": {"item": "buy tea"}}
    assert [decide(api, run, call_id, **edited).status_code for _ in range(2)] == [200, 200]
    assert decide(api, run, call_id).status_code == 200
    for other in (decide(api, run, call_id, "deny"), decide(api, run, call_id, arguments={"item": "sell tea"})):
        assert (other.status_code, other.json()["code"]) == (409, "already_answered")
    drain()
    assert TodoItem.objects.get().item == "buy tea"


def test_what_cannot_be_decided_is_409(api: APIClient, conversation: Conversation, careful: Agent) -> None:
    run = ask(api, conversation, [ADD, call("peek", path="b")], [say("done")])
    (call_id,) = wanted(api, conversation)
    peek = run.tool_calls.get(name="peek").call_id
    for unfit, code in (("call_0_0", "unknown_call"), (peek, "already_answered")):
        answer = decide(api, run, unfit)
        assert (answer.status_code, answer.json()["code"]) == (409, code)
        assert (answer.json()["pending"], answer.json()["approvals"]) == ([], [call_id])
    answer = api.post(of(conversation, "tool-results"), {"call_id": peek, "success": True, "output": "x"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_waiting")
    assert (answer.json()["pending"], answer.json()["approvals"]) == ([], [call_id])
    assert "approval" in answer.json()["message"]
    api.post(of(conversation, "stop"))
    answer = decide(api, run, call_id)
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (409, "not_waiting", "cancelled")
    assert not TodoItem.objects.exists()


def test_what_is_no_decision_is_422(api: APIClient, run: Run) -> None:
    for body in (
        {}, {"call_id": "c1"}, {"call_id": "c1", "decision": "maybe"}, {"call_id": "c1", "decision": "deny", "by": 1},
        {"call_id": "c1", "decision": "deny", "arguments": {}}, {"call_id": "c1", "decision": "approve", "reason": "x"},
        {"call_id": "c1", "decision": "approve", "arguments": "x"},
    ):  # fmt: skip
        assert api.post(f"/api/v1/runs/{run.pk}/approve", body).status_code == 422, body


def test_nobody_else_decides_not_even_an_operator(
    api: APIClient, stranger: APIClient, bob: Any, conversation: Conversation, careful: Agent
) -> None:
    run = ask(api, conversation, [ADD], [say("done")])
    (call_id,) = wanted(api, conversation)
    for client in (stranger, client_of(bob)):
        assert decide(client, run, call_id).status_code == 404
    assert run.tool_calls.get().approval == "wanted"


def test_once_is_asked_once_in_a_conversation_and_then_it_is_the_clients_turn(
    api: APIClient, conversation: Conversation, careful: Agent
) -> None:
    look = call("look", path="a")
    run = ask(api, conversation, [look, look], [look], [say("done")])
    decide(api, run, wanted(api, conversation)[0])
    drain()
    asked = calls_of(api, conversation)
    assert (len(asked), wanted(api, conversation)) == (2, [])
    results = [{"call_id": call_id, "success": True, "output": "seen"} for call_id in asked]
    assert api.post(of(conversation, "tool-results"), results).json()["status"] == "processing"
    drain()
    assert (len(calls_of(api, conversation)), wanted(api, conversation)) == (1, [])


def test_a_message_meanwhile_is_refused_with_what_waits(
    api: APIClient, conversation: Conversation, careful: Agent
) -> None:
    ask(api, conversation, [ADD], [say("done")])
    answer = api.post(of(conversation, "messages"), {"content": "and?", "on_busy": "steer"})
    assert (answer.status_code, answer.json()["code"]) == (409, "waiting_for_tool")
    assert [one["call_id"] for one in answer.json()["approvals"]] == wanted(api, conversation)
    assert "tool_requests" not in answer.json()


def test_of_many_decisions_made_at_once_exactly_one_counts(
    alice: User, api: APIClient, conversation: Conversation, careful: Agent
) -> None:
    run = ask(api, conversation, [ADD], [say("done")])
    (call_id,) = wanted(api, conversation)
    barrier = Barrier(20)

    def post(number: int) -> tuple[str, int]:
        decision = "approve" if number % 2 else "deny"
        barrier.wait(30)
        try:
            return decision, int(decide(client_of(alice), run, call_id, decision).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        codes = Counter(pool.map(post, range(20)))
    won = {decision for decision, code in codes if code == 200}
    assert len(won) == 1
    assert codes[won.pop(), 200] == 10  # the same again is no error
    assert sum(codes.values()) == 20
    assert {code for _, code in codes} == {200, 409}
    approved = run.tool_calls.get().approval == "approved"
    assert drain() == ["succeeded"] * (1 + approved)  # an approved call is made first
    assert TodoItem.objects.count() == (1 if approved else 0)
    run.refresh_from_db()
    assert (run.status, run.turn_count) == ("completed", 2)
