"""Answering from the console what a run waits for: results in a client's place, approvals and denials."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from conversations import answers, runs
from conversations.models import Agent, Conversation, Run, Snapshot, TodoItem, ToolCall
from maintenance.models import AuditEntry
from tests.conversations import events
from tests.conversations.scripts import call, say, turns

Work = Callable[[], list[str]]
JSON = {"Accept": "application/json"}
LOOK = {"name": "look", "description": "Look at a file.", "parameters": {
    "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}  # fmt: skip


@pytest.fixture
def scripted(conversation: Conversation) -> Agent:
    conversation.agent.model_config = {"model": "script"}
    conversation.agent.save()
    return conversation.agent


@pytest.fixture
def waiting(work: Work, conversation: Conversation, scripted: Agent) -> Run:
    """A run that waits for two results of its client."""
    conversation.client_tool_schemas = [LOOK]
    conversation.save()
    run = runs.start(conversation, turns([call("look", path="a"), call("look", path="b")], [say("seen")]))
    work()
    run.refresh_from_db()
    return run


@pytest.fixture
def unapproved(work: Work, conversation: Conversation, scripted: Agent) -> Run:
    """A run that waits for two approvals."""
    scripted.approvals = {"todo_add": "always"}
    scripted.save()
    run = runs.start(conversation, turns([call("todo_add", item="tea"), call("todo_add", item="milk")], [say("done")]))
    work()
    run.refresh_from_db()
    return run


def page_of(run: Run, tail: str) -> str:
    return f"/admin/conversations/conversation/{run.conversation_id}/{tail}"


def state_of(client: Client, run: Run) -> dict[str, Any]:
    found: dict[str, Any] = client.get(page_of(run, "state/")).json()
    return found


def ids(run: Run) -> list[str]:
    return [one.call_id for one in answers.wanted(run)]


def answer(client: Client, run: Run, call_id: str, outcome: str = "ok", output: str = "seen it") -> Any:
    body = {"call_id": call_id, "outcome": outcome, "output": output}
    return client.post(page_of(run, "answer/"), body, headers=JSON)


def decide(client: Client, run: Run, call_id: str, decision: str = "approve", **more: str) -> Any:
    body = {"call_id": call_id, "decision": decision, **more}
    return client.post(page_of(run, f"runs/{run.pk}/decide/"), body, headers=JSON)


def test_the_page_says_what_is_waited_for(bobs: Client, waiting: Run) -> None:
    first, second = state_of(bobs, waiting)["asks"]
    assert (first["waiting_for"], first["run_id"], bool(first["expires_at"])) == ("tool_result", waiting.pk, True)
    assert [one["call"]["arguments"]["path"] for one in (first, second)] == ["a", "b"]


def test_an_operator_answers_in_the_clients_place(bobs: Client, bob: User, work: Work, waiting: Run) -> None:
    first, second = ids(waiting)
    assert answer(bobs, waiting, first, output="line one\r\nline two").json()["ok"]
    assert [one["call"]["call_id"] for one in state_of(bobs, waiting)["asks"]] == [second]
    assert answer(bobs, waiting, second, "failed", "no such file").status_code == 200
    work()
    state = state_of(bobs, waiting)
    assert (state["runs"][0]["status"], state["asks"]) == ("completed", [])
    shown, failed = state["messages"][1]["tool_calls"]
    assert (shown["result"], shown["answered_by"], shown["status"]) == ("line one\nline two", "bob", "succeeded")
    assert (failed["result"], failed["is_error"], bool(failed["took"])) == ("Error: no such file", True, True)
    entry = AuditEntry.objects.filter(verb="call.answer").latest("pk")
    assert (entry.actor, entry.detail) == (bob, {"call_id": second, "outcome": "failed"})


def test_a_refusal_ends_the_run(bobs: Client, waiting: Run) -> None:
    said = answer(bobs, waiting, ids(waiting)[0], "refused", "").json()
    assert (said["run_status"], said["text"]) == ("completed", "The call was refused; the run has ended.")


def test_an_answer_that_comes_too_late_is_told_so(bobs: Client, waiting: Run) -> None:
    first, second = ids(waiting)
    answer(bobs, waiting, first)
    late = answer(bobs, waiting, first, output="something else")
    assert (late.status_code, late.json()["text"]) == (409, f"The call {first} has an answer: succeeded.")
    assert AuditEntry.objects.latest("pk").result == late.json()["text"]
    runs.cancel(waiting.conversation)
    assert answer(bobs, waiting, second).status_code == 409


@pytest.mark.parametrize(
    ("body", "status"), [({"outcome": "perhaps"}, 422), ({"call_id": "call_0_0"}, 409), ({"output": "x" * 2**21}, 413)]
)
def test_an_answer_that_is_none_changes_nothing(bobs: Client, waiting: Run, body: dict[str, str], status: int) -> None:
    whole = {"call_id": ids(waiting)[0], "outcome": "ok", "output": "", **body}
    refused = bobs.post(page_of(waiting, "answer/"), whole, headers=JSON)
    assert (refused.status_code, refused.json()["ok"]) == (status, False)
    assert len(ids(waiting)) == 2


def test_a_call_is_approved_with_other_arguments(bobs: Client, bob: User, work: Work, unapproved: Run) -> None:
    first, second = ids(unapproved)
    assert state_of(bobs, unapproved)["asks"][0]["waiting_for"] == "approval"
    assert decide(bobs, unapproved, first, arguments='{"item": "green tea"}').json()["ok"]
    assert decide(bobs, unapproved, second, arguments='{"item": "milk"}').json()["ok"]
    work()
    assert sorted(TodoItem.objects.values_list("item", flat=True)) == ["green tea", "milk"]
    edited, kept = state_of(bobs, unapproved)["messages"][1]["tool_calls"]
    assert (edited["asked_arguments"], edited["arguments"]) == ({"item": "tea"}, {"item": "green tea"})
    assert (kept["asked_arguments"], kept["approval"]) == (None, "approved")
    assert [(one["decided_by"], one["answered_by"]) for one in (edited, kept)] == [("bob", "the server")] * 2
    verbs = AuditEntry.objects.filter(actor=bob).values_list("verb", "detail")
    assert sorted(verbs, key=str) == [("call.approve", {"call_id": first}), ("call.approve", {"call_id": second})]


def test_one_approval_of_several_is_news_for_other_pages(bobs: Client, unapproved: Run) -> None:
    first, second = ids(unapproved)
    decide(bobs, unapproved, first)
    name, data = events.published(unapproved.conversation_id)[-1]
    assert (name, [one["call_id"] for one in data["approvals"]]) == ("approval_request", [second])
    numbers = [data["seq"] for _, data in events.published(unapproved.conversation_id)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_denial_tells_the_model_why(bobs: Client, work: Work, unapproved: Run) -> None:
    first, second = ids(unapproved)
    decide(bobs, unapproved, first, "deny", reason="We have tea.")
    decide(bobs, unapproved, second, "deny")
    work()
    denied = ToolCall.objects.get(call_id=first)
    assert (denied.status, denied.result) == ("refused", "Error: the user did not allow this call. We have tea.")
    assert not TodoItem.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("{", "not valid JSON"), ("[]", "must be a JSON object"), ('{"item": 7}', "7 is not of type 'string'")],
)
def test_arguments_that_cannot_be_are_refused_in_words(
    bobs: Client, unapproved: Run, arguments: str, said: str
) -> None:
    refused = decide(bobs, unapproved, ids(unapproved)[0], arguments=arguments)
    assert refused.status_code == 422
    assert said in refused.json()["text"]
    assert len(ids(unapproved)) == 2


def test_what_was_approved_cannot_be_denied(bobs: Client, unapproved: Run) -> None:
    first, _second = ids(unapproved)
    decide(bobs, unapproved, first)
    late = decide(bobs, unapproved, first, "deny")
    assert (late.status_code, late.json()["text"]) == (409, f"The call {first} wants no approval: approved.")
    assert decide(bobs, unapproved, first, "perhaps").status_code == 422


def test_a_message_may_interrupt_what_waits(bobs: Client, waiting: Run) -> None:
    send = page_of(waiting, "send/")
    refused = bobs.post(send, {"content": "x", "on_busy": "enqueue"}, headers=JSON)
    assert (refused.status_code, refused.json()["text"]) == (
        409,
        f"Run {waiting.pk} waits for an answer to look, look.",
    )
    assert bobs.post(send, {"content": "x", "on_busy": "interrupt"}, headers=JSON).status_code == 202
    waiting.refresh_from_db()
    assert waiting.status == "cancelled"
    assert bobs.post(send, {"content": "x", "on_busy": "never"}, headers=JSON).status_code == 422


@pytest.mark.django_db
def test_a_message_steers(bobs: Client, conversation: Conversation) -> None:
    run = runs.start(conversation, "first")
    body = {"content": "one\r\ntwo", "on_busy": "steer"}
    said = bobs.post(page_of(run, "send/"), body, headers=JSON).json()
    assert (said["run_id"], said["text"]) == (run.pk, "The run under way sees the message before its next model call.")
    assert conversation.messages.get(pk=said["message_id"]).content == "one\ntwo"


def test_a_viewer_sees_and_answers_nothing(with_role: Callable[[str], Client], waiting: Run) -> None:
    viewer = with_role("Viewer")
    assert len(state_of(viewer, waiting)["asks"]) == 2
    assert answer(viewer, waiting, ids(waiting)[0]).status_code == 403
    assert decide(viewer, waiting, ids(waiting)[0]).status_code == 403
    assert len(ids(waiting)) == 2


def test_an_operator_answers_in_somebody_elses_conversation(with_role: Callable[[str], Client], waiting: Run) -> None:
    assert answer(with_role("Operator"), waiting, ids(waiting)[0]).status_code == 200


def test_staff_without_permission_answer_nothing_not_even_their_own(alices: Client, waiting: Run) -> None:
    assert answer(alices, waiting, ids(waiting)[0]).status_code == 403
    assert decide(alices, waiting, ids(waiting)[0]).status_code == 403
    for tail in ("answer/", f"runs/{waiting.pk}/decide/"):
        assert alices.get(page_of(waiting, tail)).status_code == 405


@pytest.mark.django_db
def test_a_run_of_another_conversation_is_not_decided(bobs: Client, conversation: Conversation) -> None:
    run = runs.start(conversation, "first")
    other = Conversation.objects.create(user=conversation.user, agent=conversation.agent)
    address = f"/admin/conversations/conversation/{other.pk}/runs/{run.pk}/decide/"
    assert bobs.post(address, {"call_id": "x", "decision": "approve"}).status_code == 404


@pytest.mark.django_db
def test_the_list_of_what_is_to_be_done_is_shown(bobs: Client, conversation: Conversation) -> None:
    run = runs.start(conversation, "first")
    item = conversation.todo_items.create(item="buy rice", priority="high")
    assert state_of(bobs, run)["todo"] == [{"id": item.pk, "item": "buy rice", "priority": "high", "done": False}]


def test_a_long_result_is_shown_in_part(bobs: Client, work: Work, waiting: Run) -> None:
    answer(bobs, waiting, ids(waiting)[0], output="x" * 70_000)
    shown = state_of(bobs, waiting)["messages"][1]["tool_calls"][0]
    assert (len(shown["result"]), shown["truncated"]) == (65_536, True)
    assert max(len(one["content"]) for one in state_of(bobs, waiting)["messages"]) == 65_536


class TestSnapshotAndAgent:
    """What a run was made with, beside what its agent would be given now."""

    def changes(self, client: Client, run: Run) -> dict[str, Any]:
        found: dict[str, Any] = client.get(page_of(run, f"runs/{run.pk}/snapshot/")).json()
        return found

    @pytest.fixture
    def run(self, work: Work, conversation: Conversation) -> Run:
        run = runs.start(conversation, "Hello")
        work()
        return run

    def test_an_unchanged_agent_has_none(self, bobs: Client, run: Run) -> None:
        found = self.changes(bobs, run)
        assert found["snapshot"]["model"] == "echo"
        assert found["changes"] == {}
        assert Snapshot.objects.count() == 1

    def test_changes_are_named(self, bobs: Client, run: Run) -> None:
        agent = run.conversation.agent
        agent.name, agent.model_config, agent.system_tools = "Cockatoo", {"model": "slow"}, ["todo_add"]
        agent.save()
        found = self.changes(bobs, run)["changes"]
        assert found["model"] == {"from": "echo", "to": "slow"}
        assert "-You are Parrot." in found["system_prompt"]["diff"]
        assert "+You are Cockatoo." in found["system_prompt"]["diff"]
        assert '-    "name": "todo_list",' in found["tools"]["diff"]

    def test_an_agent_that_cannot_run_says_why(self, bobs: Client, run: Run) -> None:
        Agent.objects.update(ai_backend="nowhere")
        found = self.changes(bobs, run)
        assert found["snapshot"]["agent_name"] == "Parrot"
        assert "'nowhere' is not configured" in found["problem"]


def test_the_form_works_without_a_script(bobs: Client, waiting: Run) -> None:
    body = {"call_id": ids(waiting)[0], "outcome": "ok", "output": "seen"}
    page = bobs.post(page_of(waiting, "answer/"), body, follow=True).content.decode()
    assert "The result was taken." in page


def test_what_a_model_asks_for_cannot_leave_its_place_in_the_page(
    bobs: Client, work: Work, conversation: Conversation, scripted: Agent
) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    scripted.approvals = {"todo_add": "always"}
    scripted.save()
    run = runs.start(conversation, turns([call("todo_add", item=evil)]))
    work()
    page = bobs.get(page_of(run, "change/")).content.decode()
    assert "<img src=x" not in page
    assert json.loads(page.split('type="application/json">')[1].split("</script>")[0])["asks"]
