"""Tool calls: offered, made, answered, waited for."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from conversations import answers, recovery, runs
from conversations.answers import Result
from conversations.models import Agent, Conversation, Message, Run, TodoItem
from maintenance.errors import Invalid, Refusal
from tests.conversations import events
from tests.conversations.scripts import call, say, script, turns

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]
LOOK = {"name": "look", "description": "Look at a file.", "parameters": {
    "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}  # fmt: skip


@pytest.fixture
def scripted(conversation: Conversation) -> Agent:
    conversation.agent.model_config = {"model": "script"}
    conversation.agent.save()
    return conversation.agent


@pytest.fixture
def client_tool(conversation: Conversation) -> None:
    conversation.client_tool_schemas = [LOOK, {**LOOK, "name": "peek"}]
    conversation.save()


def ask(conversation: Conversation, work: Work, *each: list[dict[str, Any]]) -> Run:
    run = runs.start(conversation, turns(*each))
    work()
    run.refresh_from_db()
    return run


def ok(call_id: str, text: str = "seen") -> Result:
    return Result(call_id=call_id, outcome="ok", text=text)


def ids(run: Run) -> list[str]:
    return [one.call_id for one in answers.wanted(run)]


def told(run: Run) -> list[tuple[str, str]]:
    return list(run.messages.exclude(role="user").order_by("position").values_list("role", "content"))


def test_a_system_tool_runs_here_and_the_model_reads_its_result(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    run = ask(conversation, work, [call("todo_add", item="buy rice", priority="high")], [say("done")])
    item = TodoItem.objects.get()
    assert (item.conversation, item.item, item.priority) == (conversation, "buy rice", "high")
    assert told(run) == [("assistant", ""), ("tool", f"Added [ ] {item.pk}: buy rice (high)"), ("assistant", "done")]
    made = run.tool_calls.get()
    assert (made.kind, made.status, made.is_error, made.answered_by) == ("system", "succeeded", False, "server")
    assert made.started_at
    assert made.finished_at


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [({}, "'item' is a required property"), ({"item": 7}, "item: 7 is not of type 'string'"),
     ({"item": "x", "when": 1}, "Additional properties are not allowed ('when' was unexpected)")],
)  # fmt: skip
def test_f22_arguments_that_do_not_fit_are_answered_with_the_rule(
    work: Work, conversation: Conversation, scripted: Agent, arguments: dict[str, Any], fault: str
) -> None:
    run = ask(conversation, work, [call("todo_add", **arguments)], [say("sorry")])
    assert told(run)[1] == ("tool", f"Error: the arguments do not fit the tool's schema: {fault}")
    assert run.status == "completed"


def test_a_client_tool_makes_the_run_wait_and_its_result_lets_it_go_on(
    work: Work, conversation: Conversation, scripted: Agent, client_tool: None
) -> None:
    run = ask(conversation, work, [say("let me see"), call("look", path="a"), call("peek", path="")], [say("seen it")])
    assert (run.status, run.waiting_for, run.lease_token) == ("waiting_for_tool", "tool_result", "")
    assert run.expires_at
    assert run.expires_at > timezone.now() + timedelta(hours=23)
    first, second = ids(run)
    assert answers.submit(conversation, [ok(second, "two")]).status == "waiting_for_tool"
    assert answers.submit(conversation, [ok(first, "one")]).status == "queued"
    work()
    run.refresh_from_db()
    assert (run.status, run.turn_count) == ("completed", 2)
    assert told(run) == [("assistant", "let me see"), ("tool", "one"), ("tool", "two"), ("assistant", "seen it")]
    names = events.names(conversation.pk)
    assert [names.count(one) for one in ("tool_request", "tool_completed", "completed")] == [1, 2, 1]
    assert names[-1] == "completed"
    numbers = [data["seq"] for _, data in events.published(conversation.pk)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_f03_the_same_answer_again_is_fine_and_another_one_is_refused(
    work: Work, conversation: Conversation, scripted: Agent, client_tool: None
) -> None:
    run = ask(conversation, work, [call("look", path="a")], [say("seen it")])
    (call_id,) = ids(run)
    answers.submit(conversation, [ok(call_id)])
    assert answers.submit(conversation, [ok(call_id)]).status == "queued"
    work()
    assert answers.submit(conversation, [ok(call_id)]).status == "completed"
    with pytest.raises(Refusal) as refused:
        answers.submit(conversation, [ok(call_id, "something else")])
    assert (refused.value.code, refused.value.extra["pending"]) == ("already_answered", [])
    assert Run.objects.count() == 1
    assert told(run).count(("tool", "seen")) == 1


def test_a_list_with_one_unknown_call_changes_nothing(
    work: Work, conversation: Conversation, scripted: Agent, client_tool: None
) -> None:
    run = ask(conversation, work, [call("look", path="a")], [say("seen it")])
    (call_id,) = ids(run)
    with pytest.raises(Refusal) as refused:
        answers.submit(conversation, [ok(call_id), ok("call_0_0")])
    assert (refused.value.code, refused.value.extra["pending"]) == ("unknown_call", [call_id])
    assert run.tool_calls.get().status == "pending"


def test_a_tool_that_the_user_refuses_ends_the_run_without_another_word(
    work: Work, conversation: Conversation, scripted: Agent, client_tool: None
) -> None:
    run = ask(conversation, work, [say("may I?"), call("look", path="a"), call("peek", path="b")], [say("never said")])
    first, second = ids(run)
    refusal = Result(call_id=second, outcome="refused", text=answers.REFUSED_BY_USER)
    assert answers.submit(conversation, [refusal]).status == "completed"
    assert work() == []
    assert [one.status for one in run.tool_calls.order_by("position")] == ["cancelled", "refused"]
    assert [role for role, _ in told(run)] == ["assistant", "tool", "tool"]
    with pytest.raises(Refusal):
        answers.submit(conversation, [ok(first)])


def test_f05_a_stop_answers_what_waits_and_the_next_message_works(
    work: Work, conversation: Conversation, scripted: Agent, client_tool: None
) -> None:
    run = ask(conversation, work, [call("look", path="a")], [say("never said")])
    (call_id,) = ids(run)
    runs.cancel(conversation)
    run.refresh_from_db()
    assert (run.status, run.waiting_for, run.expires_at) == ("cancelled", "", None)
    assert told(run)[-1] == ("tool", "Error: The run was stopped before this call was answered.")
    with pytest.raises(Refusal) as refused:
        answers.submit(conversation, [ok(call_id)])
    assert refused.value.code == "already_answered"
    assert ask(conversation, work, [say("hello again")]).status == "completed"


def test_f08_a_wait_that_nobody_answers_expires(
    work: Work, conversation: Conversation, scripted: Agent, client_tool: None
) -> None:
    run = ask(conversation, work, [call("look", path="a")], [say("never said")])
    assert recovery.expire_waits() == 0
    Run.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert recovery.expire_waits() == 1
    run.refresh_from_db()
    conversation.refresh_from_db()
    assert (run.status, run.error_code, conversation.status) == ("expired", "expired", "failed")
    assert run.tool_calls.get().status == "expired"
    assert events.names(conversation.pk)[-1] == "failed"


def test_an_approval_is_asked_for_before_the_tool_runs(
    work: Work, conversation: Conversation, scripted: Agent, alice: User
) -> None:
    scripted.approvals = {"todo_add": "always"}
    scripted.save()
    run = ask(conversation, work, [call("todo_add", item="one"), call("todo_list")], [say("done")])
    assert (run.status, run.waiting_for) == ("waiting_for_tool", "approval")
    assert not TodoItem.objects.exists()
    assert [one.status for one in run.tool_calls.order_by("position")] == ["pending", "succeeded"]
    (call_id,) = ids(run)
    assert answers.approve(run, call_id, by=alice, arguments={"item": "two"}).status == "queued"
    assert answers.approve(run, call_id, by=alice).status == "queued"  # again
    work()
    run.refresh_from_db()
    assert (run.status, run.turn_count, TodoItem.objects.get().item) == ("completed", 2, "two")
    made = run.tool_calls.get(call_id=call_id)
    assert (made.asked_arguments, made.arguments, made.approval) == ({"item": "one"}, {"item": "two"}, "approved")
    assert events.names(conversation.pk).count("approval_request") == 1


def test_a_denied_call_tells_the_model_why(
    work: Work, conversation: Conversation, scripted: Agent, alice: User
) -> None:
    scripted.approvals = {"todo_add": "always"}
    scripted.save()
    run = ask(conversation, work, [call("todo_add", item="one")], [say("I see")])
    (call_id,) = ids(run)
    answers.deny(run, call_id, by=alice, reason="Not today.")
    with pytest.raises(Refusal) as refused:
        answers.approve(run, call_id, by=alice)
    assert refused.value.code == "already_answered"
    work()
    run.refresh_from_db()
    assert run.status == "completed"
    assert told(run)[1] == ("tool", "Error: the user did not allow this call. Not today.")
    assert not TodoItem.objects.exists()


def test_what_is_approved_once_is_not_asked_for_again_in_the_conversation(
    work: Work, conversation: Conversation, scripted: Agent, alice: User
) -> None:
    scripted.approvals = {"todo_add": "once"}
    scripted.save()
    run = ask(conversation, work, [call("todo_add", item="one"), call("todo_add", item="two")], [say("done")])
    answers.approve(run, ids(run)[0], by=alice)
    work()
    assert ask(conversation, work, [call("todo_add", item="three")], [say("done")]).status == "completed"
    assert list(TodoItem.objects.values_list("item", flat=True)) == ["one", "two", "three"]


def test_edited_arguments_must_fit_the_schema(
    work: Work, conversation: Conversation, scripted: Agent, alice: User
) -> None:
    scripted.approvals = {"todo_add": "always"}
    scripted.save()
    run = ask(conversation, work, [call("todo_add", item="one")], [say("done")])
    with pytest.raises(Invalid):
        answers.approve(run, ids(run)[0], by=alice, arguments={"item": ""})
    assert run.tool_calls.get().approval == "wanted"


def test_client_calls_are_asked_for_when_all_approvals_are_given(
    work: Work, conversation: Conversation, scripted: Agent, client_tool: None, alice: User
) -> None:
    scripted.approvals = {"look": "always"}
    scripted.save()
    run = ask(conversation, work, [call("look", path="a"), call("peek", path="b")], [say("done")])
    assert run.waiting_for == "approval"
    with pytest.raises(Refusal) as refused:
        answers.submit(conversation, [ok(run.tool_calls.get(name="peek").call_id)])
    assert refused.value.code == "not_waiting"
    answers.approve(run, ids(run)[0], by=alice)
    work()
    run.refresh_from_db()
    assert (run.waiting_for, run.turn_count) == ("tool_result", 1)
    answers.submit(conversation, [ok(one) for one in ids(run)])
    work()
    run.refresh_from_db()
    assert (run.status, run.turn_count) == ("completed", 2)


@pytest.mark.parametrize("on_busy", ["enqueue", "reject", "steer"])
def test_a_message_while_a_call_waits_is_refused_with_the_call(
    work: Work, conversation: Conversation, scripted: Agent, client_tool: None, on_busy: str
) -> None:
    run = ask(conversation, work, [call("look", path="a")], [say("done")])
    with pytest.raises(Refusal) as refused:
        runs.start(conversation, "and?", on_busy=on_busy)
    assert refused.value.status_code == 409
    assert Message.objects.filter(role="user").count() == 1
    assert run.tool_calls.get().status == "pending"


def test_an_interrupting_message_cancels_the_wait_and_runs(
    work: Work, conversation: Conversation, scripted: Agent, client_tool: None
) -> None:
    run = ask(conversation, work, [call("look", path="a")], [say("done")])
    later = runs.start(conversation, script(say("I am here")), on_busy="interrupt")
    assert later.status == "queued"
    work()
    run.refresh_from_db()
    later.refresh_from_db()
    assert (run.status, later.status) == ("cancelled", "completed")
    assert run.tool_calls.get().status == "cancelled"


def test_a_steering_message_is_seen_before_the_next_model_call(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    run = runs.start(conversation, "hello")
    steered = runs.start(conversation, script(say("as you wish")), on_busy="steer")
    assert (steered.pk, steered.steered_by) == (run.pk, Message.objects.latest("pk").pk)
    work()
    run.refresh_from_db()
    assert (run.status, run.turn_count) == ("completed", 1)
    assert told(run)[-1] == ("assistant", "as you wish")
    assert [*conversation.messages.values_list("role", "position")] == [("user", 1), ("user", 2), ("assistant", 3)]


def test_a_steering_message_that_comes_too_late_gets_a_run_of_its_own(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    run = runs.start(conversation, "hello")
    runs.start(conversation, script(say("answered")), on_busy="steer")
    runs.cancel(conversation)
    work()
    run.refresh_from_db()
    second = Run.objects.latest("pk")
    assert (run.status, second.status, told(second)) == ("cancelled", "completed", [("assistant", "answered")])


def test_the_tools_of_a_run_are_those_of_its_snapshot(
    work: Work, conversation: Conversation, scripted: Agent, client_tool: None
) -> None:
    run = ask(conversation, work, [call("look", path="a")], [call("todo_list")], [say("done")])
    scripted.system_tools = []
    scripted.save()
    answers.submit(conversation, [ok(ids(run)[0])])
    work()
    assert told(run)[3] == ("tool", "The list is empty.")
    later = ask(conversation, work, [call("todo_list")], [say("done")])
    assert told(later)[1][1].startswith('Error: there is no tool named "todo_list".')


def test_a_long_result_is_cut_and_says_so(
    work: Work, conversation: Conversation, scripted: Agent, settings: Any
) -> None:
    settings.TOOL_RESULT_MAX_BYTES = 20
    run = ask(conversation, work, [call("todo_add", item="漢字" * 20)], [say("done")])
    result = told(run)[1][1]
    assert result.startswith("Added [ ]")
    assert "bytes are left out]" in result


def test_a_message_that_steers_comes_after_the_answers_to_calls_that_were_just_approved(
    work: Work, conversation: Conversation, scripted: Agent, alice: User
) -> None:
    scripted.approvals = {"todo_add": "always"}
    scripted.save()
    run = ask(conversation, work, [call("todo_list"), call("todo_add", item="rice")], [say("done")])
    answers.approve(run, ids(run)[0], by=alice)
    steering = script(say("steered"))
    assert runs.start(conversation, steering, on_busy="steer").pk == run.pk
    work()
    run.refresh_from_db()
    rows = list(run.messages.order_by("position").values_list("role", "content"))
    assert run.status == "completed"
    assert [role for role, _ in rows] == ["assistant", "tool", "tool", "user", "assistant"]
    assert rows[-2:] == [("user", steering), ("assistant", "steered")]
