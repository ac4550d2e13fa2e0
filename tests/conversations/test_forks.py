"""Forks: a new conversation with the messages up to one of them."""

from collections.abc import Callable

import pytest

from conversations import answers, forks, history, runs
from conversations.answers import Result
from conversations.models import Agent, Conversation, Message, Run, TodoItem, ToolCall
from maintenance.errors import Invalid
from tests.conversations.scripts import call, fail, say, script, turns

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]
LOOK = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def scripted(conversation: Conversation) -> Agent:
    conversation.agent.model_config = {"model": "script"}
    conversation.agent.save()
    conversation.client_tool_schemas = [LOOK]
    conversation.metadata, conversation.title = {"project": 7}, "Rice"
    conversation.save()
    return conversation.agent


def texts(conversation: Conversation) -> list[tuple[str, str]]:
    return list(conversation.messages.order_by("position").values_list("role", "content"))


def ask(conversation: Conversation, work: Work, content: str) -> Run:
    run = runs.start(conversation, content)
    work()
    return Run.objects.get(pk=run.pk)


def test_a_fork_has_copies_up_to_the_message_and_is_idle(work: Work, conversation: Conversation) -> None:
    for text in ("one", "two"):
        ask(conversation, work, text)
    fork = forks.fork(conversation, 2)
    assert texts(fork) == [("user", "one"), ("assistant", "one")]
    assert (fork.forked_from, fork.forked_at, fork.agent, fork.user) == (
        conversation, 2, conversation.agent, conversation.user,
    )  # fmt: skip
    assert (fork.status, fork.turn_count, fork.prompt_tokens, fork.runs.count()) == ("completed", 0, 0, 0)
    assert len(texts(conversation)) == 4


def test_a_fork_goes_on_by_itself(work: Work, conversation: Conversation) -> None:
    ask(conversation, work, "one")
    fork = forks.fork(conversation, 2)
    run = ask(fork, work, "three")
    assert [message.content for message in history.of_run(run)] == ["one", "one", "three", "three"]
    assert texts(conversation) == [("user", "one"), ("assistant", "one")]


def test_calls_are_copied_with_their_answers_under_ids_of_their_own(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    ask(conversation, work, turns([say("hm"), call("todo_list"), call("todo_add", item="rice")], [say("done")]))
    old = ToolCall.objects.filter(message__conversation=conversation)
    fork = forks.fork(conversation, 5)
    new = list(ToolCall.objects.filter(message__conversation=fork).order_by("position"))
    assert [(one.name, one.status, one.result, one.run) for one in new] == [
        (one.name, one.status, one.result, None) for one in old.order_by("position")
    ]
    assert not {one.call_id for one in new} & set(old.values_list("call_id", flat=True))
    answered = list(fork.messages.filter(role="tool").order_by("position").values_list("tool_call_id", flat=True))
    assert answered == [one.call_id for one in new]
    assert old.filter(run__isnull=True).count() == 0


@pytest.mark.parametrize("position", [2, 3, 4])
def test_a_fork_inside_calls_and_answers_takes_all_of_them(
    work: Work, conversation: Conversation, scripted: Agent, position: int
) -> None:
    ask(conversation, work, turns([call("todo_list"), call("todo_list")], [say("done")]))
    assert [role for role, _ in texts(forks.fork(conversation, position))] == ["user", "assistant", "tool", "tool"]


def test_what_the_client_brought_and_meant_goes_along(work: Work, conversation: Conversation, scripted: Agent) -> None:
    ask(conversation, work, turns([call("todo_add", item="rice", priority="high")], [say("done")]))
    fork = forks.fork(conversation, 4)
    assert (fork.client_tool_schemas, fork.metadata, fork.title) == ([LOOK], {"project": 7}, "Rice")
    item = TodoItem.objects.get(conversation=fork)
    assert (item.item, item.priority) == ("rice", "high")
    assert TodoItem.objects.filter(conversation=conversation).count() == 1


def test_a_conversation_under_way_is_forked_as_far_as_it_is_complete(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    ask(conversation, work, turns([call("todo_list")], [say("so"), call("look")]))
    assert conversation.runs.get().status == "waiting_for_tool"
    assert len(texts(forks.fork(conversation, 3))) == 3
    with pytest.raises(Invalid, match="has no answer yet"):
        forks.fork(conversation, 4)
    call_id = ToolCall.objects.get(name="look").call_id
    answers.submit(conversation, [Result(call_id=call_id, outcome="ok", text="seen")])
    assert texts(forks.fork(conversation, 4))[-1] == ("tool", "seen")


def test_what_is_being_written_and_what_is_not_there_cannot_be_forked_at(
    work: Work, conversation: Conversation
) -> None:
    ask(conversation, work, "one")
    with pytest.raises(Invalid, match="no message"):
        forks.fork(conversation, 3)
    Message.objects.filter(position=2).update(status="streaming")
    with pytest.raises(Invalid, match="being written"):
        forks.fork(conversation, 2)
    assert Conversation.objects.count() == 1


def test_of_two_answers_to_one_question_the_fork_has_the_one_it_is_made_at(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    first = ask(conversation, work, script(say("rice")))
    Message.objects.filter(run=first).update(content="old")
    runs.regenerate(first)
    work()
    ask(conversation, work, script(say("later")))
    assert [content for role, content in texts(forks.fork(conversation, 2)) if role == "assistant"] == ["old"]
    assert [content for role, content in texts(forks.fork(conversation, 3)) if role == "assistant"] == ["rice"]
    assert [content for role, content in texts(forks.fork(conversation, 5)) if role == "assistant"] == ["rice", "later"]


def test_what_a_failed_run_left_half_said_is_not_taken_along(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    failed = ask(conversation, work, script(say("half"), fail("backend_error")))
    runs.retry(failed)
    work()
    later = ask(conversation, work, script(say("later")))
    place = later.messages.get().position
    assert place
    said = [content for role, content in texts(forks.fork(conversation, place)) if role == "assistant"]
    assert said == ["half", "later"]  # the retry's half answer, not that of the run it retried


def test_a_fork_of_a_fork_and_the_end_of_the_first(work: Work, conversation: Conversation) -> None:
    ask(conversation, work, "one")
    second = forks.fork(conversation, 2)
    third = forks.fork(second, 1)
    conversation.delete()
    second.refresh_from_db()
    assert (second.forked_from, third.forked_from) == (None, second)
    assert texts(third) == [("user", "one")]


def test_a_fork_takes_as_many_queries_for_many_messages(
    work: Work, conversation: Conversation, django_assert_max_num_queries: Callable[..., object]
) -> None:
    Message.objects.bulk_create(
        Message(conversation=conversation, position=n, role="user" if n % 2 else "assistant", content="x")
        for n in range(1, 101)
    )
    with django_assert_max_num_queries(14):  # type: ignore[attr-defined]
        forks.fork(conversation, 100)
