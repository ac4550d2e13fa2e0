import threading
from collections.abc import Callable

import pytest
from django.db import connection

from conversations import removal, runs, stream
from conversations.models import Agent, Conversation, Message, Run
from maintenance import attempts, broker, ledger
from maintenance.attempts import Ending
from maintenance.errors import Refusal
from maintenance.models import Attempt, Job
from tests.conversations import events
from tests.conversations.scripts import say, script, wait
from tests.queue import take
from tests.waiting import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
Work = Callable[[], list[str]]


def test_f18_what_waits_is_withdrawn(conversation: Conversation) -> None:
    for text in ("one", "two"):
        runs.start(conversation, text)
    removal.delete(conversation)
    assert not Run.objects.exists()
    assert [job.status for job in Job.objects.all()] == ["cancelled"]
    assert not broker.quick().exists(stream.key(conversation.pk))


def test_f18_a_conversation_can_be_deleted_while_its_turn_runs(
    work: Work, agent: Agent, conversation: Conversation
) -> None:
    Agent.objects.update(model_config={"model": "script"})
    runs.start(conversation, script(say("one "), wait(20_000), say("two")))
    outcomes: list[str] = []

    def run() -> None:
        try:
            outcomes.extend(work())
        finally:
            connection.close()

    worker = threading.Thread(target=run)
    worker.start()
    eventually(lambda: "text_chunk" in events.names(conversation.pk))
    removal.delete(conversation)
    worker.join(timeout=15)
    assert not worker.is_alive()
    assert not Message.objects.exists()
    assert Job.objects.get().status == "cancelled"
    assert outcomes == ["failed"]


def test_deleting_an_agent_withdraws_the_work_of_all_its_conversations(agent: Agent) -> None:
    for _ in range(2):
        conversation = Conversation.objects.create(user=agent.user, agent=agent)
        runs.start(conversation, "hi")
    removal.delete_agent(agent)
    assert not Conversation.objects.exists()
    assert [job.status for job in Job.objects.all()] == ["cancelled", "cancelled"]


def test_f18_what_an_operator_does_to_the_job_of_a_deleted_run_is_refused_or_harmless(
    conversation: Conversation,
) -> None:
    runs.start(conversation, "hi")
    job = Job.objects.get()
    Conversation.objects.all().delete()
    assert ledger.cancel(job.pk)
    with pytest.raises(Refusal, match="deleted"):
        ledger.retry(job.pk)


def test_f18_the_death_of_a_worker_whose_run_was_deleted_needs_no_more_than_another_look(
    work: Work, conversation: Conversation
) -> None:
    run = runs.start(conversation, "hi")
    number, dispatch = take() or ("", 0)
    execution = attempts.claim(number, dispatch, lease_token="t", worker="w")
    assert execution
    assert run.pk == execution.job.arguments["run_id"]
    Conversation.objects.all().delete()
    assert attempts.lose(number, "t", Ending(outcome=Attempt.Outcome.LOST))
    work()
    assert Job.objects.get().status == "completed"
