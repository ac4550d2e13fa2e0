from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from conversations import runs
from conversations.models import Agent, AgentPrompt, Conversation, Message, Run, Snapshot, SystemPrompt
from maintenance import executor
from maintenance.models import Job
from tests.conversations import events
from tests.conversations.scripts import CUT, call, fail, no_tool, say, script, think, turns
from tests.queue import take

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]


@pytest.fixture
def scripted(agent: Agent) -> Agent:
    """An agent whose model does what the message says."""
    agent.model_config = {"model": "script"}
    agent.save()
    return agent


def answer(conversation: Conversation, content: str, work: Work) -> Run:
    run = runs.start(conversation, content)
    work()
    run.refresh_from_db()
    return run


def test_a_message_is_answered(work: Work, conversation: Conversation) -> None:
    run = answer(conversation, "hello big world", work)
    assert (run.status, run.turn_count) == ("completed", 1)
    messages = list(Message.objects.filter(conversation=conversation))
    assert [(m.position, m.role, m.content, m.status) for m in messages] == [
        (1, "user", "hello big world", "complete"),
        (2, "assistant", "hello big world", "complete"),
    ]
    assert Job.objects.get().status == "completed"


def test_the_events_of_a_run_come_in_order_and_number_themselves(work: Work, conversation: Conversation) -> None:
    run = answer(conversation, "hello", work)
    assert events.names(conversation.pk) == ["status_changed", "turn_started", "text_chunk", "completed"]
    seqs = [data["seq"] for _, data in events.published(conversation.pk)]
    assert seqs == [1, 2, 3, 4]
    assert run.last_seq == 4
    assert run.first_event_id


def test_the_terminal_event_carries_usage_timings_and_the_answer(work: Work, conversation: Conversation) -> None:
    answer(conversation, "hello", work)
    name, data = events.published(conversation.pk)[-1]
    assert name == "completed"
    assert data["status"] == "completed"
    assert data["usage"]["total_tokens"] == data["stats"]["tokens"] > 0
    assert data["timings"]["first_token_seconds"] is not None
    assert [message["content"] for message in data["messages"]] == ["hello"]


def test_the_stored_text_is_exactly_the_streamed_one(work: Work, conversation: Conversation, scripted: Agent) -> None:
    run = answer(conversation, script(say("  one\n"), say(""), say("\ttwo 🐢 "), say("\n")), work)
    stored = run.messages.get(role="assistant").content
    assert stored == "  one\n\ttwo 🐢 \n"
    assert events.text_of(conversation.pk, run.pk) == stored


def test_thinking_is_kept_apart_from_content(work: Work, conversation: Conversation, scripted: Agent) -> None:
    run = answer(conversation, script(think("hm "), say("yes"), think("so")), work)
    message = run.messages.get()
    assert (message.content, message.thinking) == ("yes", "hm so")
    assert events.text_of(conversation.pk, run.pk, "thinking") == "hm so"


def test_a_snapshot_is_taken_on_the_first_turn_and_used_on_later_ones(
    work: Work, conversation: Conversation, scripted: Agent, prompt: SystemPrompt
) -> None:
    run = runs.start(conversation, turns([call("f")], [say("done")]))
    dispatch = take()
    assert dispatch
    executor.perform(job_id=dispatch[0], dispatch=dispatch[1])
    scripted.name, scripted.model_config = "Renamed", {"model": "echo"}
    scripted.save()
    prompt.template = "Changed."
    prompt.save()
    work()
    run.refresh_from_db()
    snapshot = Snapshot.objects.get()
    assert (run.status, run.turn_count) == ("completed", 2)
    assert run.messages.filter(role="assistant").last().content == "done"
    assert (snapshot.system_prompt, snapshot.model, snapshot.backend) == ("You are Parrot.", "script", "fake")


def test_an_unknown_tool_call_is_answered_with_an_error_and_the_model_goes_on(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    run = answer(conversation, turns([say("let me see"), call("f", x=1), call("g")], [say("done")]), work)
    assert [(m.role, m.content) for m in run.messages.order_by("position")] == [
        ("assistant", "let me see"),
        ("tool", no_tool("f")),
        ("tool", no_tool("g")),
        ("assistant", "done"),
    ]
    calls = list(run.tool_calls.all())
    assert [(c.name, c.arguments, c.status, c.is_error) for c in calls] == [
        ("f", {"x": 1}, "failed", True),
        ("g", {}, "failed", True),
    ]
    assert events.names(conversation.pk).count("tool_completed") == 2
    assert events.text_of(conversation.pk, run.pk) == "let me seedone"


def test_the_next_turn_goes_before_everything_that_waits(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    answer(conversation, turns([call("f")], [say("done")]), work)
    assert [job.queue for job in Job.objects.order_by("pk")] == ["default", "high"]


def test_f07_reaching_max_turns_ends_with_an_event(work: Work, conversation: Conversation, scripted: Agent) -> None:
    scripted.max_turns = 2
    scripted.save()
    run = answer(conversation, turns([call("f")]), work)
    assert (run.status, run.reason, run.turn_count) == ("incomplete", "max_turns", 2)
    name, data = events.published(conversation.pk)[-1]
    assert (name, data["reason"]) == ("completed", "max_turns")


def test_f12_metadata_of_a_client_cannot_raise_max_turns(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    scripted.max_turns = 1
    scripted.save()
    conversation.metadata = {"max_turns": 10**9, "request_turn_count": -5}
    conversation.save()
    run = answer(conversation, turns([call("f")]), work)
    assert (run.status, run.reason, run.turn_count) == ("incomplete", "max_turns", 1)


def test_f14_equal_call_ids_of_a_provider_do_not_collide(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    same = {"tool_call": {"name": "f", "arguments": {}, "id": "call_0"}}
    run = answer(conversation, turns([same, same], [same], [say("done")]), work)
    assert run.status == "completed"
    assert len({c.call_id for c in run.tool_calls.all()}) == 3
    assert {c.provider_id for c in run.tool_calls.all()} == {"call_0"}


def test_f25_an_answer_cut_off_after_some_text_is_incomplete(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    run = answer(conversation, script(say("half"), CUT), work)
    assert (run.status, run.reason) == ("incomplete", "stream_ended")
    message = run.messages.get()
    assert (message.content, message.status) == ("half", "incomplete")


def test_f25_an_answer_cut_off_before_any_text_failed(work: Work, conversation: Conversation, scripted: Agent) -> None:
    run = answer(conversation, script(CUT), work)
    assert (run.status, run.error_code) == ("failed", "stream_ended")
    assert not run.messages.exists()


def test_calls_of_a_reply_that_was_cut_off_are_not_run(work: Work, conversation: Conversation, scripted: Agent) -> None:
    run = answer(conversation, script(say("half"), call("f"), CUT), work)
    assert (run.status, run.tool_calls.count()) == ("incomplete", 0)


def test_f10_a_backend_error_keeps_the_text_and_is_stored(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    run = answer(conversation, script(say("half"), fail("backend_timeout")), work)
    assert (run.status, run.error_code) == ("failed", "backend_timeout")
    assert run.error
    message = run.messages.get()
    assert (message.content, message.status) == ("half", "incomplete")
    name, data = events.published(conversation.pk)[-1]
    assert (name, data["error_code"]) == ("failed", "backend_timeout")
    job = Job.objects.get()
    assert job.status == "failed"
    assert job.error.startswith("backend_timeout:")


def test_stopping_at_the_output_limit_is_incomplete(work: Work, conversation: Conversation, scripted: Agent) -> None:
    run = answer(conversation, script(say("so far"), {"finish": "length"}), work)
    assert (run.status, run.reason) == ("incomplete", "max_tokens")


def test_a_conversation_too_long_for_the_window_is_trimmed_and_says_so(
    work: Work, conversation: Conversation, agent: Agent
) -> None:
    agent.model_config = {"model": "echo", "context_length": 600, "max_tokens": 100}
    agent.save()
    for n in range(4):
        answer(conversation, f"{n} " + "word " * 150, work)
    run = answer(conversation, "last", work)
    assert run.status == "completed"
    assert run.context_trimmed > 0
    trimmed = [data for name, data in events.published(conversation.pk) if name == "context_trimmed"]
    assert trimmed[-1]["messages"] == run.context_trimmed


def test_a_question_larger_than_the_window_is_incomplete_before_the_call(
    work: Work, conversation: Conversation, agent: Agent
) -> None:
    agent.model_config = {"model": "echo", "context_length": 300, "max_tokens": 100}
    agent.save()
    run = answer(conversation, "word " * 500, work)
    assert (run.status, run.reason) == ("incomplete", "context_window")
    assert not run.messages.exists()


def test_f17_an_inactive_agent_fails_before_any_model_call(
    work: Work, conversation: Conversation, agent: Agent
) -> None:
    agent.status = Agent.Status.INACTIVE
    agent.save()
    run = answer(conversation, "hello", work)
    assert (run.status, run.error_code) == ("failed", "agent_inactive")
    assert not Snapshot.objects.exists()


def test_an_unknown_backend_fails_with_a_clear_error(work: Work, conversation: Conversation, agent: Agent) -> None:
    agent.ai_backend = "nowhere"
    agent.save()
    run = answer(conversation, "hello", work)
    assert (run.status, run.error_code) == ("failed", "backend_misconfigured")
    assert "nowhere" in run.error


def test_a_broken_prompt_fails_the_run_and_names_prompt_and_variable(
    work: Work, conversation: Conversation, prompt: SystemPrompt
) -> None:
    prompt.template = "fine\n{{ missing_one }}"
    prompt.save()
    run = answer(conversation, "hello", work)
    assert (run.status, run.error_code) == ("failed", "prompt_error")
    assert "Polite" in run.error
    assert "line 2" in run.error
    assert "missing_one" in run.error


def test_a_run_is_taken_once(work: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, "hello")
    dispatch = take()
    assert dispatch
    assert executor.perform(job_id=dispatch[0], dispatch=dispatch[1]) == "succeeded"
    assert executor.perform(job_id=dispatch[0], dispatch=dispatch[1]) == executor.NOT_CLAIMED
    assert run.messages.count() == 1


def test_the_history_that_the_model_sees_ends_with_the_runs_own_message(work: Work, conversation: Conversation) -> None:
    first = runs.start(conversation, "first question")
    second = runs.start(conversation, "second question")
    work()
    assert [run.messages.get().content for run in (first, second)] == ["first question", "second question"]
    positions = Message.objects.filter(conversation=conversation).order_by("position").values_list("content", flat=True)
    assert list(positions) == ["first question", "first question", "second question", "second question"]


def queries_of_a_turn(conversation: Conversation) -> int:
    runs.start(conversation, "hello")
    dispatch = take()
    assert dispatch
    with CaptureQueriesContext(connection) as queries:
        executor.perform(job_id=dispatch[0], dispatch=dispatch[1])
    return len(queries)


def test_f31_a_turn_takes_as_many_queries_in_a_long_conversation_as_in_a_short_one(
    work: Work, conversation: Conversation
) -> None:
    queries_of_a_turn(conversation)  # the first of all notes the model's window, once
    short = queries_of_a_turn(conversation)
    Message.objects.bulk_create(
        Message(conversation=conversation, position=100 + n, role="user" if n % 2 else "assistant", content="x")
        for n in range(100)
    )
    Run.objects.all().update(status="completed")
    assert queries_of_a_turn(conversation) == short
    assert short <= 40


def test_prompts_are_joined_in_order_and_inactive_ones_left_out(
    work: Work, conversation: Conversation, agent: Agent, alice: object
) -> None:
    for order, (slug, active) in enumerate([("second", True), ("silent", False), ("third", True)], start=1):
        prompt = SystemPrompt.objects.create(
            user=agent.user, name=slug, slug=slug, template=f"{slug}: {{{{ word }}}}", is_active=active,
            default_values={"word": "default"},
        )  # fmt: skip
        AgentPrompt.objects.create(
            agent=agent, system_prompt=prompt, order=order, variable_overrides={"word": slug} if slug == "third" else {}
        )
    answer(conversation, "hello", work)
    assert Snapshot.objects.get().system_prompt == "You are Parrot.\n\nsecond: default\n\nthird: third"


def test_the_crash_policy_is_a_known_word(settings: Settings) -> None:
    assert settings.TURN_CRASH_POLICY in ("fail", "retry")
