import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from conversations import history, runs
from conversations.models import Agent, Conversation, Message, Run
from maintenance import outbox
from maintenance.errors import Invalid, Refusal
from maintenance.models import Job
from tests.conversations import events
from tests.conversations.scripts import call, fail, no_tool, say, script, turns
from tests.services import Valkey

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]


def statuses(conversation: Conversation) -> list[str]:
    return list(Run.objects.filter(conversation=conversation).order_by("id").values_list("status", flat=True))


def test_f02_a_second_message_waits_for_the_first_run(work: Work, conversation: Conversation) -> None:
    runs.start(conversation, "one")
    second = runs.start(conversation, "two")
    assert statuses(conversation) == ["queued", "pending"]
    assert (second.user_message.position, second.user_message.status) == (None, "queued")
    assert Job.objects.count() == 1
    work()
    assert statuses(conversation) == ["completed", "completed"]


def test_reject_refuses_a_second_message_and_names_the_active_run(work: Work, conversation: Conversation) -> None:
    first = runs.start(conversation, "one")
    with pytest.raises(Refusal) as refused:
        runs.start(conversation, "two", on_busy="reject")
    assert (refused.value.code, refused.value.status_code) == ("run_active", 409)
    assert refused.value.extra["active_run"]["id"] == first.pk
    assert Message.objects.count() == 1


def test_the_agent_decides_what_a_second_message_does(work: Work, conversation: Conversation, agent: Agent) -> None:
    agent.on_busy = "reject"
    agent.save()
    runs.start(conversation, "one")
    with pytest.raises(Refusal):
        runs.start(conversation, "two")


def test_too_many_waiting_messages_are_refused(work: Work, conversation: Conversation, settings: Settings) -> None:
    settings.RUN_PENDING_MAX = 2
    for n in range(3):
        runs.start(conversation, str(n))
    with pytest.raises(Refusal) as refused:
        runs.start(conversation, "one too many")
    assert refused.value.status_code == 429
    assert Message.objects.count() == 3


@pytest.mark.parametrize("content", ["", "   \n", "null\x00character"])
def test_a_message_without_usable_text_is_refused(conversation: Conversation, content: str) -> None:
    with pytest.raises(Invalid) as invalid:
        runs.start(conversation, content)
    assert "content" in (invalid.value.errors or {})
    assert not Message.objects.exists()


def test_f51_a_message_over_the_limit_is_refused(conversation: Conversation, settings: Settings) -> None:
    settings.MESSAGE_MAX_BYTES = 10
    with pytest.raises(Invalid) as invalid:
        runs.start(conversation, "äöüäöü")
    assert invalid.value.status_code == 413


def test_fifty_parallel_posts_give_one_open_run_and_keep_their_order(work: Work, conversation: Conversation) -> None:
    errors: list[BaseException] = []

    def post(number: int) -> None:
        try:
            runs.start(conversation, f"message {number}")
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=post, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(statuses(conversation)) == ["pending"] * 49 + ["queued"]
    work()
    assert statuses(conversation) == ["completed"] * 50
    asked = Message.objects.filter(conversation=conversation, role="user").order_by("position")
    in_order_of_runs = [run.user_message_id for run in Run.objects.order_by("id")]
    assert list(asked.values_list("pk", flat=True)) == in_order_of_runs
    positions = list(Message.objects.filter(conversation=conversation).values_list("position", flat=True))
    assert sorted(positions) == list(range(1, 101))
    for run in Run.objects.select_related("user_message"):
        assert run.messages.get().content == run.user_message.content


def test_a_queued_run_is_stopped_at_once_and_its_job_withdrawn(work: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, "hello")
    assert runs.cancel(conversation)
    run.refresh_from_db()
    assert run.status == "cancelled"
    assert Job.objects.get().status == "cancelled"
    assert work() == ["not claimed"]
    assert events.names(conversation.pk) == ["cancelled"]


def test_a_run_that_a_worker_takes_while_it_is_being_stopped_is_asked_to_stop(
    work: Work, conversation: Conversation
) -> None:
    """A claim takes no lock on the conversation: on PostgreSQL it may come between the stop's look and its update."""
    run = runs.start(conversation, "hello")
    free = Run.objects.filter(status="queued")
    lease = {"lease_token": "t" * 32, "lease_expires_at": timezone.now() + timedelta(seconds=18)}

    def claim_after_the_look(execute: Callable[..., Any], sql: str, *call: Any) -> Any:
        answer = execute(sql, *call)
        if sql.startswith("SELECT") and '"runs"."lease_expires_at"' in sql and free.exists():
            free.update(status="running", **lease)
        return answer

    with connection.execute_wrapper(claim_after_the_look):
        runs.stop(run)
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_at is not None) == ("cancelling", True)


def test_stopping_twice_changes_nothing(work: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, "hello")
    runs.cancel(conversation)
    assert runs.cancel(conversation) is None
    runs.stop(run)
    run.refresh_from_db()
    assert run.status == "cancelled"
    assert events.names(conversation.pk).count("cancelled") == 1


def test_stopping_lets_the_waiting_message_run_next(work: Work, conversation: Conversation) -> None:
    runs.start(conversation, "one")
    runs.start(conversation, "two")
    runs.cancel(conversation)
    assert statuses(conversation) == ["cancelled", "queued"]
    work()
    assert statuses(conversation) == ["cancelled", "completed"]


def test_a_pending_run_can_be_stopped_by_itself(work: Work, conversation: Conversation) -> None:
    runs.start(conversation, "one")
    second = runs.start(conversation, "two")
    runs.stop(second)
    work()
    assert statuses(conversation) == ["completed", "cancelled"]


def test_a_stopped_conversation_answers_the_next_message(work: Work, conversation: Conversation) -> None:
    runs.start(conversation, "one")
    runs.cancel(conversation)
    runs.start(conversation, "two")
    work()
    assert statuses(conversation) == ["cancelled", "completed"]
    conversation.refresh_from_db()
    assert conversation.status == "completed"


def failed_run(conversation: Conversation, work: Work) -> Run:
    conversation.agent.model_config = {"model": "script"}
    conversation.agent.save()
    run = runs.start(conversation, script(say("half"), fail("backend_unreachable")))
    work()
    run.refresh_from_db()
    assert run.status == "failed"
    return run


def test_a_retry_is_a_new_run_for_the_same_message(work: Work, conversation: Conversation) -> None:
    failed = failed_run(conversation, work)
    conversation.agent.model_config = {"model": "echo"}
    conversation.agent.save()
    again = runs.retry(failed)
    work()
    again.refresh_from_db()
    failed.refresh_from_db()
    assert (failed.status, again.status, again.retry_of_id) == ("failed", "completed", failed.pk)
    assert again.user_message_id == failed.user_message_id
    assert again.messages.get().content == failed.user_message.content


def test_the_half_answer_of_a_retried_run_is_not_part_of_the_history(work: Work, conversation: Conversation) -> None:
    failed = failed_run(conversation, work)
    conversation.agent.model_config = {"model": "echo"}
    conversation.agent.save()
    again = runs.retry(failed)
    work()
    seen = history.of_run(Run.objects.get(pk=again.pk))
    assert "half" not in [message.content for message in seen]


def test_a_retry_goes_on_from_the_tool_calls_that_were_answered(work: Work, conversation: Conversation) -> None:
    conversation.agent.model_config = {"model": "script"}
    conversation.agent.save()
    broken = [say("half"), fail("backend_unreachable")]
    failed = runs.start(conversation, turns([say("let me see"), call("f", x=1)], broken))
    work()
    failed.refresh_from_db()
    assert failed.status == "failed"
    again = runs.retry(failed)
    seen = [(message.role, message.content) for message in history.of_run(Run.objects.get(pk=again.pk))]
    assert [role for role, _ in seen] == ["user", "assistant", "tool"]
    assert seen[1:] == [("assistant", "let me see"), ("tool", no_tool("f"))]


def test_a_completed_run_cannot_be_retried(work: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, "hello")
    work()
    run.refresh_from_db()
    with pytest.raises(Refusal) as refused:
        runs.retry(run)
    assert refused.value.code == "not_retryable"


def test_a_run_is_retried_once_and_then_its_retry(work: Work, conversation: Conversation) -> None:
    failed = failed_run(conversation, work)
    again = runs.retry(failed)
    work()
    again.refresh_from_db()
    with pytest.raises(Refusal) as refused:
        runs.retry(failed)
    assert refused.value.code == "already_retried"
    assert again.status == "failed"
    assert runs.retry(again).retry_of_id == again.pk


def test_nothing_can_be_retried_while_a_run_is_open(work: Work, conversation: Conversation) -> None:
    failed = failed_run(conversation, work)
    runs.start(conversation, "next")
    with pytest.raises(Refusal) as refused:
        runs.retry(failed)
    assert refused.value.code == "run_active"


def test_a_message_is_accepted_while_redis_is_down(work: Work, conversation: Conversation, valkey: Valkey) -> None:
    valkey.stop()
    run = runs.start(conversation, "hello")
    assert Job.objects.get().status == "pending"
    valkey.start()
    Job.objects.update(created_at="2020-01-01T00:00:00Z")
    outbox.relay()
    work()
    run.refresh_from_db()
    assert run.status == "completed"


def test_the_database_itself_refuses_a_second_open_run(work: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, "one")
    with pytest.raises(IntegrityError):
        Run.objects.create(conversation=conversation, user_message=run.user_message, status="running")
