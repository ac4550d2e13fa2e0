"""Regenerating an answer, and replaying a snapshot."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from conversations import answers, history, replays, runs
from conversations.comparison import _unified, differences
from conversations.models import Agent, Conversation, Message, Run, Snapshot, SystemPrompt, TodoItem
from maintenance.errors import Invalid, Refusal
from tests.conversations.scripts import call, fail, say, script, turns

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]
LOOK = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def scripted(conversation: Conversation) -> Agent:
    conversation.agent.model_config = {"model": "script"}
    conversation.agent.save()
    return conversation.agent


def ask(conversation: Conversation, work: Work, content: str) -> Run:
    run = runs.start(conversation, content)
    work()
    return Run.objects.select_related("snapshot").get(pk=run.pk)


def done(run: Run, work: Work) -> Run:
    work()
    return Run.objects.select_related("snapshot", "conversation").get(pk=run.pk)


def seen(run: Run) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in history.of_run(Run.objects.get(pk=run.pk))]


class TestRegenerating:
    def test_the_new_run_sees_nothing_of_the_old_answer(
        self, work: Work, conversation: Conversation, scripted: Agent
    ) -> None:
        asked = turns([say("hm"), call("todo_add", item="rice")], [say("done")])
        old = ask(conversation, work, asked)
        new = runs.regenerate(old)
        assert seen(new) == [("user", asked)]
        new = done(new, work)
        assert (new.status, new.retry_of, new.turn_count) == ("completed", old, 2)
        assert TodoItem.objects.count() == 2

    def test_later_runs_see_the_new_answer_alone(self, work: Work, conversation: Conversation, scripted: Agent) -> None:
        old = ask(conversation, work, turns([call("todo_list")], [say("old")]))
        Message.objects.filter(run=old, content="old").update(content="outdated")
        new = done(runs.regenerate(old), work)
        later = ask(conversation, work, script(say("later")))
        said = [content for role, content in seen(later) if role != "user"]
        assert said == ["", "The list is empty.", "old", "later"]
        assert [message.run_id for message in history.of_run(later) if message.role == "tool"] == [new.pk]

    def test_a_regenerated_answer_can_be_regenerated(
        self, work: Work, conversation: Conversation, scripted: Agent
    ) -> None:
        run = ask(conversation, work, script(say("a")))
        for _ in range(3):
            run = done(runs.regenerate(run), work)
        later = ask(conversation, work, script(say("b")))
        assert [content for role, content in seen(later) if role == "assistant"] == ["a", "b"]
        assert next(message.run_id for message in history.of_run(later) if message.role == "assistant") == run.pk

    def test_what_a_retry_had_gone_on_from_is_left_out_with_it(
        self, work: Work, conversation: Conversation, scripted: Agent
    ) -> None:
        asked = turns([call("todo_add", item="rice")], [fail("backend_error")], [say("done")])
        failed = ask(conversation, work, asked)
        assert failed.status == "failed"
        Message.objects.filter(pk=failed.user_message_id).update(content=turns([call("todo_list")], [say("done")]))
        retry = done(runs.retry(failed), work)
        assert (retry.status, TodoItem.objects.count()) == ("completed", 1)
        new = runs.regenerate(retry)
        assert [role for role, _ in seen(new)] == ["user"]

    def test_the_retry_of_a_regenerated_run_goes_on_from_that_one(
        self, work: Work, conversation: Conversation, scripted: Agent
    ) -> None:
        old = ask(conversation, work, turns([call("todo_list")], [say("done")]))
        Message.objects.filter(pk=old.user_message_id).update(
            content=turns([call("todo_add", item="x")], [fail("backend_error")])
        )
        failed = done(runs.regenerate(old), work)
        assert failed.status == "failed"
        retry = runs.retry(failed)
        assert [content for role, content in seen(retry) if role == "tool"] == [
            f"Added [ ] {TodoItem.objects.get().pk}: x (medium)"
        ]

    def test_f16_it_is_made_with_what_the_agent_is_now(
        self, work: Work, conversation: Conversation, prompt: SystemPrompt
    ) -> None:
        old = ask(conversation, work, "hello")
        SystemPrompt.objects.filter(pk=prompt.pk).update(template="You are new.")
        new = done(runs.regenerate(old), work)
        assert (old.snapshot.system_prompt, new.snapshot.system_prompt) == ("You are Parrot.", "You are new.")

    def test_only_the_newest_and_completed_run_is_regenerated(
        self, work: Work, conversation: Conversation, scripted: Agent
    ) -> None:
        first = ask(conversation, work, script(say("a")))
        failed = ask(conversation, work, script(fail("backend_error")))
        for run, code in ((first, "not_newest"), (failed, "not_completed")):
            with pytest.raises(Refusal) as refusal:
                runs.regenerate(run)
            assert refusal.value.code == code
        waiting = runs.start(conversation, script(say("b")))
        with pytest.raises(Refusal) as refusal:
            runs.regenerate(waiting)
        assert refusal.value.code == "run_active"

    def test_what_was_said_to_steer_it_still_counts(
        self, work: Work, conversation: Conversation, scripted: Agent
    ) -> None:
        old = ask(conversation, work, script(say("a")))
        Message.objects.create(conversation=conversation, run=old, role="user", content="in Greek", position=3)
        new = runs.regenerate(old)
        assert [content for _, content in seen(new)][1:] == ["in Greek"]


class TestReplaying:
    def test_it_is_the_same_question_in_a_new_conversation_with_the_same_snapshot(
        self, work: Work, conversation: Conversation, scripted: Agent, prompt: SystemPrompt
    ) -> None:
        ask(conversation, work, script(say("before")))
        asked = script(say("now"))
        old = ask(conversation, work, asked)
        ask(conversation, work, script(say("after")))
        SystemPrompt.objects.filter(pk=prompt.pk).update(template="You are new.")
        Agent.objects.filter(pk=scripted.pk).update(model_config={"model": "echo"}, system_tools=[])
        new = done(replays.replay(old.snapshot), work)
        assert (new.status, new.replay_of, new.retry_of) == ("completed", old.snapshot, None)
        assert (new.conversation.forked_from, new.conversation.forked_at) == (conversation, 2)
        assert [content for _, content in seen(new)] == [script(say("before")), "before", asked, "now"]
        changes = differences(old.snapshot, new.snapshot)
        assert set(changes) == {"tools"}  # those that are not idempotent want an approval
        approvals = {tool["name"]: tool["approval"] for tool in new.snapshot.tools}
        assert (approvals["todo_list"], approvals["todo_add"]) == ("never", "always")
        assert Snapshot.objects.filter(run=new).count() == 1

    def test_the_first_question_of_a_conversation_is_replayed_too(self, work: Work, conversation: Conversation) -> None:
        old = ask(conversation, work, "hello")
        new = done(replays.replay(old.snapshot), work)
        assert seen(new) == [("user", "hello"), ("assistant", "hello")]

    def test_another_model_is_asked_with_a_configuration_of_its_own(
        self, work: Work, conversation: Conversation
    ) -> None:
        old = ask(conversation, work, "hello")
        run = replays.replay(old.snapshot, model="slow", model_config={"temperature": 9, "context_length": 300})
        taken = Snapshot.objects.get(run=run)
        assert (taken.model, taken.config["temperature"], taken.config["context_length"]) == ("slow", 2, 300)
        assert {warning["field"] for warning in taken.warnings} >= {"temperature"}
        assert taken.system_prompt == old.snapshot.system_prompt
        changes = differences(old.snapshot, taken)
        assert changes["model"] == {"from": "echo", "to": "slow"}
        assert changes["config"]["added"] >= 2

    @pytest.mark.parametrize(
        ("asked", "field"),
        [({"backend": "nowhere"}, "backend"), ({"model_config": {"temprature": 1}}, "model_config.temprature"),
         ({"model_config": {"temperature": "warm"}}, "model_config.temperature")],
    )  # fmt: skip
    def test_what_cannot_be_used_is_refused_and_nothing_is_made(
        self, work: Work, conversation: Conversation, asked: dict[str, Any], field: str
    ) -> None:
        old = ask(conversation, work, "hello")
        with pytest.raises(Invalid) as refusal:
            replays.replay(old.snapshot, **asked)
        assert field in refusal.value.errors
        assert Conversation.objects.count() == 1

    def test_what_a_tool_would_do_twice_wants_an_approval(
        self, work: Work, conversation: Conversation, scripted: Agent, alice: Any
    ) -> None:
        old = ask(conversation, work, turns([call("todo_list"), call("todo_add", item="rice")], [say("done")]))
        assert TodoItem.objects.count() == 1
        new = done(replays.replay(old.snapshot), work)
        assert (new.status, new.waiting_for) == ("waiting_for_tool", "approval")
        assert [one.name for one in answers.wanted(new)] == ["todo_add"]
        assert TodoItem.objects.filter(conversation=new.conversation).count() == 1  # the fork's copy
        answers.approve(new, answers.wanted(new)[0].call_id, by=alice)
        assert done(new, work).status == "completed"
        assert TodoItem.objects.filter(conversation=new.conversation).count() == 2
        assert TodoItem.objects.filter(conversation=conversation).count() == 1

    def test_a_client_is_asked_for_its_tools_again(
        self, work: Work, conversation: Conversation, scripted: Agent
    ) -> None:
        conversation.client_tool_schemas = [LOOK]
        conversation.save()
        run = ask(conversation, work, turns([call("look")], [say("done")]))
        answers.submit(conversation, [answers.Result(call_id=answers.wanted(run)[0].call_id, outcome="ok", text="a")])
        work()
        new = done(replays.replay(run.snapshot), work)
        assert (new.status, new.waiting_for) == ("waiting_for_tool", "tool_result")

    def test_a_failed_replay_is_retried_with_the_snapshot_that_it_was_given(
        self, work: Work, conversation: Conversation, scripted: Agent
    ) -> None:
        old = ask(conversation, work, script(fail("backend_error")))
        failed = done(replays.replay(old.snapshot, model_config={"temperature": 0.1}), work)
        assert failed.status == "failed"
        Agent.objects.filter(pk=scripted.pk).update(model_config={"model": "echo"})
        again = done(runs.retry(failed), work)
        assert (again.replay_of, again.snapshot.model) == (old.snapshot, "script")
        assert again.snapshot.config == failed.snapshot.config
        assert again.snapshot.config["temperature"] == 0.1

    def test_the_snapshot_that_is_there_is_the_one_that_is_used(self, work: Work, conversation: Conversation) -> None:
        old = ask(conversation, work, "hello")
        run = replays.replay(old.snapshot)
        Snapshot.objects.filter(run=run).update(system_prompt="Planted.")
        done(run, work)
        assert Snapshot.objects.get(run=run).system_prompt == "Planted."


def test_answers_are_compared_line_by_line(work: Work, conversation: Conversation, scripted: Agent) -> None:
    one = ask(conversation, work, script(say("rice\nand beans")))
    other = ask(conversation, work, script(say("rice\nand peas\nand salt")))
    changes = differences(one.snapshot, other.snapshot)
    assert set(changes) == {"answer", "variables"}  # the clock, and how many messages there were
    assert (changes["answer"]["added"], changes["answer"]["removed"]) == (2, 1)
    assert {"-and beans", "+and peas", "+and salt"} <= set(changes["answer"]["diff"])


def test_long_answers_without_end_in_common_are_compared_in_no_time() -> None:
    one, other = ("".join(f"{number * step % 101}\n" for number in range(20_000)) for step in (1, 7))
    began = time.process_time()
    compared = _unified(one, other)
    assert (compared["added"], compared["removed"]) == (20_000, 20_000)
    assert compared["diff"][2:4] == ["@@ -1,20000 +1,20000 @@", "-0"]
    assert time.process_time() - began < 5
