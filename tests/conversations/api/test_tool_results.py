"""A client's results: taken once, in every shape that clients send."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from rest_framework.settings import api_settings
from rest_framework.test import APIClient

from conversations import answers
from conversations.models import Agent, Conversation, Run
from tests.conversations.api.conftest import ask, calls_of, client_of, of
from tests.conversations.scripts import call, say
from tests.queue import drain

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases, pytest.mark.usefixtures("valkey")]

LOOK, PEEK = call("look", path="a"), call("peek", path="")


def send(api: APIClient, conversation: Conversation, body: Any, **headers: str) -> Any:
    return api.post(of(conversation, "tool-results"), body, headers=headers)


def ok(call_id: str, output: Any = "seen") -> dict[str, Any]:
    return {"call_id": call_id, "success": True, "output": output}


def no(call_id: str, **values: Any) -> dict[str, Any]:
    return {"call_id": call_id, "success": False, **values}


def state(api: APIClient, conversation: Conversation) -> str:
    return str(api.get(of(conversation, "status")).json()["status"])


def told(run: Run) -> list[str]:
    """What the model reads of its calls."""
    return list(run.messages.filter(role="tool").order_by("position").values_list("content", flat=True))


class TestAsking:
    def test_the_status_and_the_conversation_show_what_is_asked(
        self, api: APIClient, conversation: Conversation, scripted: Agent
    ) -> None:
        run = ask(api, conversation, [LOOK, PEEK], [say("done")])
        body = api.get(of(conversation, "status")).json()
        first, second = body["tool_requests"]
        assert body.items() >= {
            "status": "waiting_for_tool", "conversation_id": conversation.pk, "run_id": run.pk, "tool_request": first,
            "submit_url": of(conversation, "tool-results"),
        }.items()  # fmt: skip
        assert (first["name"], first["arguments"], second["name"]) == ("look", {"path": "a"}, "peek")
        assert set(first) == {"call_id", "name", "arguments"}
        shown = api.get(f"/api/v1/conversations/{conversation.pk}").json()
        assert (shown["status"], shown["waiting_for"], shown["approvals"]) == ("paused", "tool_result", [])
        assert shown["pending_tool_request"] == first
        asked = shown["messages"][-1]["tool_calls"]
        assert [(one["call_id"], one["status"], one["result"]) for one in asked] == [
            (first["call_id"], "pending", None), (second["call_id"], "pending", None),
        ]  # fmt: skip


class TestSending:
    def test_f04_the_run_goes_on_when_every_call_has_its_answer(
        self, api: APIClient, conversation: Conversation, scripted: Agent
    ) -> None:
        run = ask(api, conversation, [LOOK, call("todo_list"), PEEK], [say("done")])
        first, second = calls_of(api, conversation)
        answer = send(api, conversation, ok(first, "one"))
        assert answer.status_code == 200
        assert answer.json() == {
            "status": "waiting_for_tool", "conversation_id": conversation.pk, "run_id": run.pk, "pending": [second],
            "stats": answer.json()["stats"],
        }  # fmt: skip
        assert set(answer.json()["stats"]) == {"turns", "tokens"}
        answer = send(api, conversation, ok(second, "two"))
        assert (answer.json()["status"], answer.json()["pending"]) == ("processing", [])
        drain()
        assert told(run) == ["one", "The list is empty.", "two"]
        assert state(api, conversation) == "completed"

    @pytest.mark.parametrize("wrap", [lambda results: results, lambda results: {"results": results}])
    def test_several_are_sent_together(
        self, api: APIClient, conversation: Conversation, scripted: Agent, wrap: Any
    ) -> None:
        run = ask(api, conversation, [LOOK, PEEK], [say("done")])
        first, second = calls_of(api, conversation)
        assert send(api, conversation, wrap([ok(second, "two"), ok(first, "one")])).json()["status"] == "processing"
        drain()
        assert told(run) == ["one", "two"]

    def test_the_output_is_text_or_any_json(self, api: APIClient, conversation: Conversation, scripted: Agent) -> None:
        for output, text in (
            ("", ""), ("  two\n lines ", "  two\n lines "), ({"a": [1, "é"]}, '{"a": [1, "é"]}'), ([], "[]"), (7, "7"),
            (False, "false"), (None, ""), ("a\x00b", "a\ufffdb"),
        ):  # fmt: skip
            run = ask(api, conversation, [LOOK], [say("done")])
            (call_id,) = calls_of(api, conversation)
            assert send(api, conversation, ok(call_id, output)).status_code == 200
            assert told(run) == [text]
            drain()

    def test_a_failure_goes_to_the_model(self, api: APIClient, conversation: Conversation, scripted: Agent) -> None:
        for values, text in (
            ({"error": "no such file"}, "Error: no such file"),
            ({"output": "[Tool failed: no such file]"}, "Error: [Tool failed: no such file]"),
            ({"error": "exit 1", "output": "half"}, "Error: exit 1\nhalf"),
            ({"error": "same", "output": "same", "outcome": "failed"}, "Error: same"),
            ({}, "Error: the tool failed."),
        ):
            run = ask(api, conversation, [LOOK], [say("sorry")])
            (call_id,) = calls_of(api, conversation)
            assert send(api, conversation, no(call_id, **values)).json()["status"] == "processing"
            drain()
            assert told(run) == [text]
            made = run.tool_calls.get()
            assert (made.status, made.is_error, state(api, conversation)) == ("failed", True, "completed")

    def test_a_refusal_ends_the_run_without_asking_the_model(
        self, api: APIClient, conversation: Conversation, scripted: Agent
    ) -> None:
        for values in (
            {"error": answers.REFUSED_BY_USER}, {"output": answers.REFUSED_BY_USER}, {"outcome": "refused"},
            {"output": answers.REFUSED_BY_USER, "error": "whatever"},
        ):  # fmt: skip
            run = ask(api, conversation, [say("may I?"), LOOK, PEEK], [say("never said")])
            first, _ = calls_of(api, conversation)
            assert send(api, conversation, no(first, **values)).json()["status"] == "completed"
            assert drain() == []
            assert [*run.tool_calls.order_by("position").values_list("status", flat=True)] == ["refused", "cancelled"]
        assert ask(api, conversation, [say("and now?")]).status == "completed"

    def test_it_counts_as_no_new_run(
        self, api: APIClient, conversation: Conversation, scripted: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask(api, conversation, [LOOK], [say("done")])
        rates = {**api_settings.DEFAULT_THROTTLE_RATES, "runs": "1/min"}
        monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", rates, raising=False)
        body = ok(calls_of(api, conversation)[0])
        assert [send(api, conversation, body).status_code for _ in range(3)] == [200] * 3


class TestRefusing:
    def test_f03_the_same_result_again_is_fine_and_another_is_409(
        self, api: APIClient, conversation: Conversation, scripted: Agent
    ) -> None:
        run = ask(api, conversation, [LOOK], [say("done")])
        (call_id,) = calls_of(api, conversation)
        assert [send(api, conversation, ok(call_id)).json()["status"] for _ in range(2)] == ["processing"] * 2
        drain()
        assert send(api, conversation, ok(call_id)).json()["status"] == "completed"
        for other in (ok(call_id, "else"), no(call_id, error="seen")):
            answer = send(api, conversation, other)
            assert (answer.status_code, answer.json()["code"]) == (409, "already_answered")
            assert (answer.json()["status"], answer.json()["pending"]) == ("completed", [])
        run.refresh_from_db()
        assert (run.turn_count, told(run)) == (2, ["seen"])

    def test_f03_a_result_for_a_call_that_nobody_made_is_409(
        self, api: APIClient, conversation: Conversation, scripted: Agent
    ) -> None:
        ask(api, conversation, [LOOK], [say("done")])
        answer = send(api, conversation, ok("call_0_0"))
        assert (answer.status_code, answer.json()["code"]) == (409, "unknown_call")
        assert answer.json()["pending"] == calls_of(api, conversation)
        assert answer.json()["status"] == "waiting_for_tool"

    def test_f03_a_result_after_a_stop_is_409_and_the_conversation_stays_cancelled(
        self, api: APIClient, conversation: Conversation, scripted: Agent
    ) -> None:
        ask(api, conversation, [LOOK], [say("never said")])
        (call_id,) = calls_of(api, conversation)
        api.post(of(conversation, "stop"))
        answer = send(api, conversation, ok(call_id))
        assert answer.status_code == 409
        assert answer.json().items() >= {"code": "already_answered", "status": "cancelled", "pending": []}.items()
        assert drain() == []
        assert state(api, conversation) == "cancelled"
        conversation.refresh_from_db()
        assert conversation.status == "cancelled"

    def test_f04_a_list_with_one_wrong_result_changes_nothing(
        self, api: APIClient, conversation: Conversation, scripted: Agent
    ) -> None:
        run = ask(api, conversation, [LOOK, PEEK], [say("done")])
        first, second = calls_of(api, conversation)
        wrong = [([ok(first), ok("call_0_0")], 409), ([ok(first), {"call_id": second}], 422), ([ok(first)] * 2, 422)]
        for body, code in wrong:
            assert send(api, conversation, body).status_code == code
        assert set(run.tool_calls.values_list("status", flat=True)) == {"pending"}
        assert told(run) == []
        assert calls_of(api, conversation) == [first, second]

    def test_what_is_no_result_is_422(self, api: APIClient, conversation: Conversation) -> None:
        call_id = {"call_id": "c"}
        for body in (
            {}, [], {"results": []}, {"results": {}}, [7], call_id, {"success": True}, {**call_id, "success": 7},
            {**ok("c"), "outcome": "refused"}, {**no("c"), "outcome": "ok"}, {**ok("c"), "result": "x"}, ok(""),
            ok("c" * 129), {"results": [ok("c")], **call_id},
        ):  # fmt: skip
            answer = send(api, conversation, body)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), body
            assert answer.json()["errors"]

    def test_f51_what_is_too_long_or_too_much_is_413(
        self, api: APIClient, conversation: Conversation, scripted: Agent, settings: Any
    ) -> None:
        settings.TOOL_RESULT_MAX_BYTES = 100
        ask(api, conversation, [LOOK], [say("done")])
        (call_id,) = calls_of(api, conversation)
        for body in (ok(call_id, "é" * 51), ok(call_id, ["x" * 100]), [ok(f"c{number}") for number in range(1001)]):
            answer = send(api, conversation, body)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert send(api, conversation, ok(call_id, "é" * 50)).status_code == 200

    def test_the_same_key_gets_the_same_answer(
        self, api: APIClient, conversation: Conversation, scripted: Agent
    ) -> None:
        ask(api, conversation, [LOOK], [say("done")])
        body = [ok(calls_of(api, conversation)[0])]
        first = send(api, conversation, body, **{"Idempotency-Key": "k"})
        drain()
        again = send(api, conversation, body, **{"Idempotency-Key": "k"})
        assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")
        assert state(api, conversation) == "completed"


class TestLeaving:
    """F5: no wait outlives its run."""

    def test_f05_after_a_stop_nothing_is_asked_any_more(
        self, api: APIClient, conversation: Conversation, scripted: Agent
    ) -> None:
        ask(api, conversation, [LOOK], [say("never said")])
        api.post(of(conversation, "stop"))
        body = api.get(of(conversation, "status")).json()
        assert (body["status"], "tool_request" in body) == ("cancelled", False)
        shown = api.get(f"/api/v1/conversations/{conversation.pk}").json()
        assert (shown["waiting_for"], shown["pending_tool_request"], shown["active_run"]) == ("none", None, None)
        assert ask(api, conversation, [say("hello again")]).status == "completed"
        assert state(api, conversation) == "completed"

    def test_f05_an_interrupting_message_leaves_no_wait_behind(
        self, api: APIClient, conversation: Conversation, scripted: Agent
    ) -> None:
        first = ask(api, conversation, [LOOK], [say("never said")])
        for on_busy in (None, "enqueue", "reject", "steer"):
            refused = api.post(of(conversation, "messages"), {"content": "and?", "on_busy": on_busy})
            assert (refused.status_code, refused.json()["code"]) == (409, "waiting_for_tool")
            assert refused.json()["active_run"] == {"id": first.pk, "status": "waiting_for_tool"}
            assert [one["call_id"] for one in refused.json()["tool_requests"]] == calls_of(api, conversation)
        posted = api.post(of(conversation, "messages"), {"content": '{"script": []}', "on_busy": "interrupt"})
        assert posted.status_code == 202
        drain()
        assert (state(api, conversation), calls_of(api, conversation)) == ("completed", [])
        assert api.get(f"/api/v1/runs/{first.pk}").json()["status"] == "cancelled"


def test_f03_of_many_results_sent_at_once_exactly_one_is_taken(
    api: APIClient, alice: User, conversation: Conversation, scripted: Agent
) -> None:
    run = ask(api, conversation, [LOOK], [say("done")])
    (call_id,) = calls_of(api, conversation)
    barrier = Barrier(20)

    def post(number: int) -> int:
        barrier.wait(30)
        try:
            return int(send(client_of(alice), conversation, ok(call_id, f"result {number}")).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        codes = Counter(pool.map(post, range(20)))
    assert codes == {200: 1, 409: 19}
    assert run.tool_calls.get().status == "succeeded"
    assert len(told(run)) == 1
    assert drain() == ["succeeded"]
    run.refresh_from_db()
    assert (run.status, run.turn_count) == ("completed", 2)
