"""A turn under fire: whatever dies, stops or forgets, the run ends in a right state, with one terminal event."""

import os
import signal

import pytest

from conversations import runs
from conversations.models import Agent, Conversation, Message, Run
from maintenance import broker
from maintenance.models import Job
from tests.acceptance.conftest import Workers
from tests.conversations import events
from tests.conversations.scripts import say, script, wait
from tests.processes import until
from tests.services import Valkey

pytestmark = pytest.mark.acceptance

# Five times the promise of 30 s.
PROMISE = 150
TERMINAL = {"completed", "failed", "cancelled"}


@pytest.fixture
def scripted(agent: Agent) -> Agent:
    agent.model_config = {"model": "script"}
    agent.save()
    return agent


def ended(run: Run) -> Run:
    """The run once it has ended."""
    until(lambda: Run.objects.get(pk=run.pk).status in Run.TERMINAL, PROMISE)
    return Run.objects.get(pk=run.pk)


def streaming(run: Run, text: str = "half") -> None:
    """Wait until so much of the answer is in the stream."""
    until(lambda: text in events.text_of(run.conversation_id, run.pk))


def ends_in_stream(run: Run) -> list[str]:
    """The run's terminal events; the first one follows the commit that ended it."""

    def found() -> list[str]:
        return [n for n, d in events.published(run.conversation_id) if n in TERMINAL and d["run_id"] == run.pk]

    until(found)
    return found()


def slow_answer(seconds: float = 4.0) -> str:
    return script(say("half"), *[wait(100), say(" more")] * int(seconds * 10))


def horse_at_work(workers: Workers, run: Run) -> int:
    job_id = Run.objects.get(pk=run.pk).job_id
    return workers.named(f"rqworker: horse {job_id}")[0]


def test_a_horse_killed_in_the_middle_of_a_stream(
    workers: Workers, conversation: Conversation, scripted: Agent
) -> None:
    run = runs.start(conversation, slow_answer())
    streaming(run)
    os.kill(horse_at_work(workers, run), signal.SIGKILL)
    run = ended(run)
    assert (run.status, run.error_code) == ("failed", "worker_lost")
    message = run.messages.get()
    assert message.content.startswith("half")
    assert message.status == "incomplete"
    assert ends_in_stream(run) == ["failed"]
    after = runs.start(conversation, script(say("alive")))
    assert ended(after).status == "completed"


def test_a_horse_killed_before_the_first_word(workers: Workers, conversation: Conversation, scripted: Agent) -> None:
    run = runs.start(conversation, script(wait(1500), say("the answer")))
    until(lambda: Run.objects.get(pk=run.pk).status == "running")
    os.kill(horse_at_work(workers, run), signal.SIGKILL)
    run = ended(run)
    assert (run.status, run.attempt) == ("completed", 2)
    assert run.messages.get().content == "the answer"
    assert ends_in_stream(run) == ["completed"]


def test_a_worker_killed_in_the_middle_of_a_stream(
    workers: Workers, conversation: Conversation, scripted: Agent
) -> None:
    run = runs.start(conversation, slow_answer())
    streaming(run)
    job_id = Run.objects.get(pk=run.pk).job_id
    worker = [pid for pid in workers.named("rqworker: ai-workers") if str(job_id) in _title(pid)]
    os.kill(worker[0], signal.SIGKILL)
    run = ended(run)
    assert (run.status, run.error_code) == ("failed", "worker_lost")
    assert run.messages.get().content.startswith("half")
    assert ends_in_stream(run) == ["failed"]
    assert Job.objects.get(name="process_turn").executions.get().outcome == "lost"


def _title(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()


def test_the_whole_stack_killed_in_the_middle_of_a_stream_and_started_again(
    workers: Workers, valkey: Valkey, conversation: Conversation, scripted: Agent
) -> None:
    run = runs.start(conversation, slow_answer())
    waiting = runs.start(conversation, script(say("next")))
    streaming(run)
    workers.kill()
    valkey.stop()
    valkey.start()
    workers.start()
    run = ended(run)
    assert (run.status, run.error_code) == ("failed", "worker_lost")
    assert run.messages.get().content.startswith("half")
    assert ended(waiting).status == "completed"
    assert [ends_in_stream(each) for each in (run, waiting)] == [["failed"], ["completed"]]


def test_valkey_flushed_while_a_turn_waits(workers: Workers, conversation: Conversation, scripted: Agent) -> None:
    workers.kill()
    run = runs.start(conversation, script(say("late but there")))
    broker.quick().flushall()
    workers.start()
    assert ended(run).status == "completed"
    assert ends_in_stream(run) == ["completed"]


def test_valkey_flushed_in_the_middle_of_a_stream(
    workers: Workers, conversation: Conversation, scripted: Agent
) -> None:
    run = runs.start(conversation, slow_answer(1.0))
    streaming(run)
    broker.quick().flushall()
    run = ended(run)
    assert (run.status, run.attempt) == ("completed", 1)
    assert run.messages.get().content == "half" + " more" * 10
    assert ends_in_stream(run) == ["completed"]
    assert len(Job.objects.get(name="process_turn").executions.all()) == 1
    after = runs.start(conversation, script(say("alive")))
    assert ended(after).status == "completed"


def test_valkey_stopped_before_the_message(
    workers: Workers, valkey: Valkey, conversation: Conversation, scripted: Agent
) -> None:
    valkey.stop()
    run = runs.start(conversation, script(say("patience")))
    valkey.start()
    assert ended(run).status == "completed"
    assert Message.objects.filter(content="patience").count() == 1


def test_valkey_away_in_the_middle_of_a_stream(
    workers: Workers, valkey: Valkey, conversation: Conversation, scripted: Agent
) -> None:
    run = runs.start(conversation, slow_answer(3.0))
    streaming(run)
    valkey.stop()
    until(lambda: "more more more" in Message.objects.filter(run=run).values_list("content", flat=True)[0])
    valkey.start()
    run = ended(run)
    assert (run.status, run.attempt) == ("completed", 1)
    assert run.messages.get().content == "half" + " more" * 30
    assert events.text_of(conversation.pk, run.pk) == "half" + " more" * 30
    assert ends_in_stream(run) == ["completed"]


def test_valkey_away_at_the_end_of_a_turn(
    workers: Workers, valkey: Valkey, conversation: Conversation, scripted: Agent
) -> None:
    run = runs.start(conversation, slow_answer(1.0))
    streaming(run)
    valkey.stop()
    assert ended(run).status == "completed"
    until(lambda: Job.objects.get(name="process_turn").status == "completed")
    valkey.start()
    after = runs.start(conversation, script(say("alive")))
    assert ended(after).status == "completed"
    assert [job.executions.count() for job in Job.objects.all()] == [1, 1]


def test_a_stop_in_the_middle_of_a_stream_keeps_the_text(
    workers: Workers, conversation: Conversation, scripted: Agent
) -> None:
    run = runs.start(conversation, slow_answer(20.0))
    streaming(run)
    runs.cancel(conversation)
    run = ended(run)
    assert run.status == "cancelled"
    shown = events.text_of(conversation.pk, run.pk)
    message = run.messages.get()
    assert message.status == "incomplete"
    assert message.content.startswith(shown)
    assert ends_in_stream(run) == ["cancelled"]
    assert events.names(conversation.pk)[-1] == "cancelled"


def test_a_stop_while_the_backend_is_silent_is_quick(
    workers: Workers, conversation: Conversation, scripted: Agent
) -> None:
    run = runs.start(conversation, script(say("half"), wait(120_000)))
    streaming(run)
    runs.cancel(conversation)
    until(lambda: Run.objects.get(pk=run.pk).status == "cancelled", 5)
    assert run.messages.get().content == "half"
