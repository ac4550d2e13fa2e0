"""Titles: made from the first exchange by a job that nobody waits for."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from conversations import runs, titles
from conversations.models import Agent, Conversation, Run
from maintenance import executor
from maintenance.models import Job
from models_registry.fakes.http import Play, Received, Script
from models_registry.fakes.openai import OpenAIServer, completion, refusal, streamed
from tests.conversations.scripts import fail, say, script
from tests.queue import drain, take

Work = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def _switched_on(settings: Settings) -> None:
    settings.TITLES = True


@pytest.fixture
def said() -> list[str]:
    """What the model says when it is asked for a title."""
    return ["Cooking rice"]


@pytest.fixture
def server(
    settings: Settings, said: list[str], agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenAIServer]:
    with OpenAIServer(tokens=3) as running:

        def answer(received: Received) -> Script:
            if "title" not in str(received.body["messages"][0]["content"]):
                return running.scripts["stub"]
            if said == ["500"]:
                return refusal(500, "the backtrace with /secret/paths")
            end = [completion(finish_reason="stop"), b"data: [DONE]\n\n"]
            return streamed(*(completion(delta={"content": text}) for text in said), *end)

        monkeypatch.setattr(running, "answer", answer)
        settings.OPENAI_BASE_URL = running.base_url
        agent.ai_backend = "openai"
        agent.model_config = {"model": "stub", "temperature": 0.1, "stop_sequences": ["rice"], "context_length": 8000}
        agent.save()
        yield running


def title_of(conversation: Conversation) -> str:
    return Conversation.objects.values_list("title", flat=True).get(pk=conversation.pk)


def test_the_first_answer_gives_the_conversation_a_title(
    server: OpenAIServer, conversation: Conversation, work: Work
) -> None:
    runs.start(conversation, "How do I cook rice?")
    assert work() == ["succeeded", "succeeded"]
    assert title_of(conversation) == "Cooking rice"
    job = Job.objects.get(name="make_title")
    assert (job.queue, job.max_attempts, job.timeout_seconds) == ("low", 1, 120)
    assert Run.objects.count() == 1
    asked = server.received[-1].body
    assert (asked["max_tokens"], "tools" in asked, "stop" in asked) == (20, False, False)
    assert "How do I cook rice?" in json.dumps(asked["messages"])


def test_it_is_made_once(server: OpenAIServer, conversation: Conversation, work: Work) -> None:
    for text in ("one", "two"):
        runs.start(Conversation.objects.get(pk=conversation.pk), text)
        work()
    assert Job.objects.filter(name="make_title").count() == 1


def answered(conversation: Conversation) -> None:
    """A message is answered; the title is still to be made."""
    runs.start(conversation, "How do I cook rice?")
    dispatch = take()
    assert dispatch
    assert executor.perform(job_id=dispatch[0], dispatch=dispatch[1], worker="test") == "succeeded"


def test_a_title_that_was_given_meanwhile_stays(server: OpenAIServer, conversation: Conversation, work: Work) -> None:
    answered(conversation)
    Conversation.objects.filter(pk=conversation.pk).update(title="Mine")
    assert work() == ["succeeded"]
    assert title_of(conversation) == "Mine"


def test_a_title_that_is_given_while_the_model_is_asked_stays(
    server: OpenAIServer, conversation: Conversation, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(conversation)
    asking = server.answer

    def answer(received: Received) -> Script | Play:
        with ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(rename, conversation.pk).result()
        return asking(received)

    monkeypatch.setattr(server, "answer", answer)
    assert work() == ["succeeded"]
    assert title_of(conversation) == "Mine"


def rename(conversation_id: int) -> None:
    Conversation.objects.filter(pk=conversation_id).update(title="Mine")
    connection.close()


@pytest.mark.parametrize("answer", [["500"], ["  \n"], ['""']])
def test_without_a_title_from_the_model_the_first_words_will_do(
    server: OpenAIServer, conversation: Conversation, work: Work, said: list[str], answer: list[str]
) -> None:
    said[:] = answer
    runs.start(conversation, "How do I cook rice?\nI have a pot.")
    assert work() == ["succeeded", "succeeded"]
    assert title_of(conversation) == "How do I cook rice?"


def test_the_embedded_model_is_not_asked(
    settings: Settings, conversation: Conversation, work: Work, agent: Agent
) -> None:
    with OpenAIServer(tokens=2) as running:
        running.scripts["smollm2-135m-instruct"] = running.scripts["stub"]
        settings.EMBEDDED_MODEL_URL = running.base_url
        Agent.objects.filter(pk=agent.pk).update(ai_backend="embedded", model_config={})
        runs.start(conversation, "How do I cook rice?")
        assert work() == ["succeeded", "succeeded"]
        assert len(running.received) == 1
    assert title_of(conversation) == "How do I cook rice?"


def test_a_run_that_did_not_complete_gives_none(work: Work, conversation: Conversation, agent: Agent) -> None:
    Agent.objects.filter(pk=agent.pk).update(model_config={"model": "script"})
    runs.start(conversation, script(say("half"), fail("backend_error")))
    work()
    assert not Job.objects.filter(name="make_title").exists()


@pytest.mark.parametrize(("name", "value"), [("TITLES", False), ("QUEUE_CONNECTION", "sync")])
def test_it_can_be_switched_off_and_never_keeps_a_client_waiting(
    work: Work, conversation: Conversation, settings: Settings, name: str, value: object
) -> None:
    setattr(settings, name, value)
    runs.start(conversation, "hello")
    drain()
    assert Run.objects.get().status == "completed"
    assert not Job.objects.filter(name="make_title").exists()


def test_a_conversation_that_was_deleted_needs_no_title(work: Work, conversation: Conversation) -> None:
    answered(conversation)
    conversation.delete()
    assert drain() == ["succeeded"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Cooking rice", "Cooking rice"),
        (' "Cooking rice" ', "Cooking rice"),
        ("**Title: Cooking rice**", "Cooking rice"),
        ("\n\nCooking\trice\nand more", "Cooking rice"),
        ("„Reis kochen“", "Reis kochen"),
        ("Rice\x1b[31m\x07 red", "Rice [31m red"),
        ("# 炊飯の方法", "炊飯の方法"),
        ("", ""),
        ('"""', ""),
        ("word " * 40, "word word word word word word word word word word word word word word word…"),
        ("x" * 200, "x" * 79 + "…"),
    ],
)
def test_a_title_is_one_clean_line(text: str, title: str) -> None:
    assert titles.clean(text) == title
    assert len(titles.clean(text)) <= 80
