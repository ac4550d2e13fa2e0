"""What the death of a worker means for the run it held, phase by phase. The deaths themselves are in acceptance/."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from conversations import calls, history, jobs, journal, recovery, runs, turns
from conversations.models import Conversation, Message, Run
from maintenance import attempts, executor, ledger, reconciler
from maintenance.models import Job
from models_registry.backends.base import DeltaType, FinishReason, Reply, RequestedCall, Usage
from tests.conversations import events
from tests.conversations.scripts import no_tool, say, script
from tests.queue import take

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]
TOKEN = "t" * 32


@pytest.fixture
def claimed(work: Work, conversation: Conversation) -> Run:
    """A run whose worker has claimed job and run, and will now die."""
    conversation.agent.model_config = {"model": "script"}
    conversation.agent.save()
    runs.start(conversation, script(say("fresh")))
    dispatch = take()
    assert dispatch
    attempts.claim(*dispatch, lease_token=TOKEN, worker="doomed")
    run = turns.claim(Run.objects.get().pk, TOKEN)
    assert run
    return run


def die(run: Run) -> Run:
    """Let the leases run out and the reconciler notice."""
    long_ago = timezone.now() - timedelta(seconds=60)
    Job.objects.filter(status="running").update(lease_expires_at=long_ago)
    Run.objects.filter(pk=run.pk).update(lease_expires_at=long_ago)
    assert reconciler.end_expired() == 1
    return Run.objects.get(pk=run.pk)


def half_an_answer(run: Run, text: str = "half") -> None:
    draft = journal.Draft(position=2)
    draft.add(DeltaType.CONTENT, text)
    journal.save(run, draft, *draft.take(), seq=3)


def record(run: Run, reply: Reply) -> Message:
    """As the turn does when the reply is there."""
    messages = history.of_run(run)
    resolved = turns.resolve(run)
    draft = journal.Draft(position=2)
    turns.snapshot(run, resolved, messages)
    asked = turns.request(run, resolved, draft, messages)
    return turns.record(run, draft, reply, asked)


def test_before_any_word_the_turn_is_taken_again(claimed: Run, work: Work) -> None:
    run = die(claimed)
    assert (run.status, run.attempt, run.turn_count) == ("queued", 2, 0)
    assert work() == ["succeeded"]
    run.refresh_from_db()
    assert (run.status, run.turn_count) == ("completed", 1)
    assert run.messages.get().content == "fresh"
    assert "attempt_started" in events.names(run.conversation_id)


def test_before_any_word_the_turn_is_taken_again_at_most_twice(claimed: Run, work: Work) -> None:
    run = die(claimed)
    for turn in range(2):
        dispatch = take()
        assert dispatch
        attempts.claim(*dispatch, lease_token=f"{turn:032x}", worker="doomed")
        assert turns.claim(run.pk, f"{turn:032x}")
        run = die(run)
    assert (run.status, run.error_code) == ("failed", "poison")
    assert Job.objects.get().recoveries == 3


def test_with_half_a_text_shown_the_run_fails_and_keeps_it(claimed: Run, work: Work) -> None:
    half_an_answer(claimed)
    run = die(claimed)
    assert (run.status, run.error_code) == ("failed", "worker_lost")
    message = run.messages.get()
    assert (message.content, message.status) == ("half", "incomplete")
    assert events.names(run.conversation_id)[-1] == "failed"
    assert work() == []


def test_the_retry_policy_discards_half_a_text_and_says_from_where(
    claimed: Run, work: Work, settings: Settings
) -> None:
    settings.TURN_CRASH_POLICY = "retry"
    half_an_answer(claimed)
    run = die(claimed)
    assert run.status == "queued"
    work()
    run.refresh_from_db()
    assert run.status == "completed"
    assert run.messages.get().content == "fresh"
    started = [data for name, data in events.published(run.conversation_id) if name == "attempt_started"]
    assert [(data["attempt"], data["discard_from"]) for data in started] == [(2, 0)]


def test_once_the_reply_is_stored_the_model_is_not_asked_again(claimed: Run, work: Work) -> None:
    usage = Usage(prompt=3, completion=4)
    reply = Reply(content="stored before it died", finish_reason=FinishReason.STOP, usage=usage)
    record(claimed, reply)
    run = die(claimed)
    assert run.status == "queued"
    assert work() == ["succeeded"]
    run.refresh_from_db()
    assert (run.status, run.turn_count, run.prompt_tokens) == ("completed", 1, 3)
    assert run.messages.get().content == "stored before it died"


def test_a_reply_cut_off_and_stored_stays_incomplete_after_a_crash(claimed: Run, work: Work) -> None:
    record(claimed, Reply(content="half", whole=False))
    die(claimed)
    work()
    claimed.refresh_from_db()
    assert (claimed.status, claimed.reason) == ("incomplete", "stream_ended")


def test_tool_calls_that_were_stored_are_answered_after_a_crash(claimed: Run, work: Work) -> None:
    requested = [RequestedCall(provider_id="", name=name, arguments={}) for name in ("f", "g")]
    message = record(claimed, Reply(tool_calls=requested))
    calls.fail(message.tool_calls.order_by("position")[0], "answered before it died")
    die(claimed)
    work()
    claimed.refresh_from_db()
    answers = claimed.messages.filter(role="tool").order_by("position").values_list("content", flat=True)
    assert list(answers) == ["Error: answered before it died", no_tool("g")]
    assert claimed.status == "completed"


def test_a_worker_that_died_between_job_and_run_lets_the_turn_be_taken_again(
    work: Work, conversation: Conversation
) -> None:
    run = runs.start(conversation, "hello")
    dispatch = take()
    assert dispatch
    attempts.claim(*dispatch, lease_token=TOKEN, worker="doomed")
    die(run)
    assert work() == ["succeeded"]
    run.refresh_from_db()
    assert run.status == "completed"


def test_a_worker_that_died_after_the_end_changes_nothing(claimed: Run, work: Work) -> None:
    jobs._end(claimed, Run.Status.COMPLETED)
    run = die(claimed)
    assert run.status == "completed"
    assert work() == ["succeeded"]
    assert events.names(run.conversation_id) == ["completed"]


def test_f01_a_late_worker_is_fenced_off(claimed: Run, work: Work) -> None:
    late = Run.objects.select_related("conversation__agent").get(pk=claimed.pk)
    die(claimed)
    work()
    draft = journal.Draft(position=3)
    draft.add(DeltaType.CONTENT, "too late")
    assert journal.save(late, draft, *draft.take(), seq=9) is journal.Standing.LOST
    assert not turns.renew(late)
    jobs._end(late, Run.Status.FAILED, error_code="late")
    late.refresh_from_db()
    assert late.status == "completed"
    assert "too late" not in Message.objects.values_list("content", flat=True)


def test_a_run_asked_to_stop_whose_worker_died_is_cancelled(claimed: Run, work: Work) -> None:
    half_an_answer(claimed)
    runs.stop(claimed)
    assert Run.objects.get().status == "cancelling"
    run = die(claimed)
    assert run.status == "cancelled"
    assert Job.objects.get().status == "cancelled"
    assert events.names(run.conversation_id)[-1] == "cancelled"


def test_stopping_with_a_dead_worker_ends_the_run_once_the_lease_is_over(claimed: Run, work: Work) -> None:
    Run.objects.filter(pk=claimed.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    runs.cancel(claimed.conversation)
    run = Run.objects.get()
    assert run.status == "cancelled"
    assert events.names(run.conversation_id) == ["cancelled"]


def test_f08_a_queued_run_whose_job_is_gone_gets_a_new_one(work: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, "hello")
    Job.objects.all().delete()
    assert recovery.revive_queued() == 0
    Run.objects.update(queued_at=timezone.now() - timedelta(minutes=1))
    assert recovery.revive_queued() == 1
    work()
    run.refresh_from_db()
    assert run.status == "completed"


def test_a_queued_run_whose_job_failed_fails_with_it(work: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, "hello")
    Job.objects.update(status="failed", error="poison: It killed.")
    Run.objects.update(queued_at=timezone.now() - timedelta(minutes=1))
    recovery.reconcile()
    run.refresh_from_db()
    assert (run.status, run.error_code, run.error) == ("failed", "poison", "It killed.")


def test_a_running_run_without_a_running_job_does_not_run_for_ever(claimed: Run, work: Work) -> None:
    Job.objects.update(status="completed", lease_token="")
    assert recovery.end_orphaned() == 0
    Run.objects.update(lease_expires_at=timezone.now() - timedelta(minutes=1))
    assert recovery.end_orphaned() == 1
    claimed.refresh_from_db()
    assert (claimed.status, claimed.error_code) == ("failed", "worker_lost")


def test_a_promotion_that_was_missed_is_made_up_for(work: Work, conversation: Conversation) -> None:
    first = runs.start(conversation, "one")
    second = runs.start(conversation, "two")
    Run.objects.filter(pk=first.pk).update(status="completed")
    assert recovery.promote_missed() == 1
    assert recovery.promote_missed() == 0
    work()
    second.refresh_from_db()
    assert second.status == "completed"


def test_an_operators_retry_of_the_job_makes_a_new_run(work: Work, conversation: Conversation) -> None:
    conversation.agent.model_config = {"model": "script"}
    conversation.agent.save()
    run = runs.start(conversation, script({"error": "backend_unreachable"}))
    work()
    job = Job.objects.get()
    assert job.status == "failed"
    again = ledger.retry(job.pk)
    assert again.pk != job.pk
    assert Run.objects.get(retry_of=run.pk).status == "queued"


def test_an_operators_cancel_of_the_job_stops_the_run(work: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, "hello")
    ledger.cancel(Job.objects.get().pk)
    run.refresh_from_db()
    assert run.status == "cancelled"
    assert executor.current() is None


def test_what_steers_a_run_comes_after_the_answers_to_calls_that_a_dead_worker_left(claimed: Run, work: Work) -> None:
    """Its place would be that of an answer otherwise."""
    record(claimed, Reply(tool_calls=[RequestedCall(provider_id="", name=name, arguments={}) for name in ("f", "g")]))
    die(claimed)
    runs.start(claimed.conversation, script(say("steered")), on_busy="steer")
    work()
    said = claimed.conversation.messages.order_by("position").values_list("position", "role")
    assert list(said) == [(1, "user"), (2, "assistant"), (3, "tool"), (4, "tool"), (5, "user"), (6, "assistant")]
    claimed.refresh_from_db()
    assert claimed.status == "completed"
