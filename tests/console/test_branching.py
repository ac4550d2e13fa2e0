"""Forks, regenerated answers and replays, from the console."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from conversations import runs
from conversations.models import Agent, Conversation, Run
from maintenance.models import AuditEntry

Work = Callable[[], list[str]]
JSON = {"Accept": "application/json"}


@pytest.fixture
def run(work: Work, conversation: Conversation) -> Run:
    """A completed run."""
    run = runs.start(conversation, "Hello")
    work()
    run.refresh_from_db()
    return run


def post(client: Client, run: Run, tail: str, **body: Any) -> Any:
    address = f"/admin/conversations/conversation/{run.conversation_id}/{tail}"
    return client.post(address, body, headers=JSON)


def of_run(client: Client, run: Run, verb: str, **body: Any) -> Any:
    return post(client, run, f"runs/{run.pk}/{verb}/", **body)


def newest() -> Conversation:
    return Conversation.objects.latest("pk")


def test_a_fork_takes_the_messages_along(bobs: Client, bob: User, alice: User, run: Run) -> None:
    answer = post(bobs, run, "fork/", position=2)
    begun = newest()
    assert answer.json()["url"] == f"/admin/conversations/conversation/{begun.pk}/change/"
    assert (begun.forked_from, begun.user, begun.messages.count()) == (run.conversation, alice, 2)
    page = bobs.get(answer.json()["url"]).content.decode()
    assert f'forked from <a href="/admin/conversations/conversation/{run.conversation_id}/change/">' in page
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.actor) == ("conversation.fork", bob)


@pytest.mark.parametrize("position", ["", "x", "9", "1" * 12])
def test_there_is_no_fork_where_there_is_no_message(bobs: Client, run: Run, position: str) -> None:
    assert post(bobs, run, "fork/", position=position).status_code == 422
    assert Conversation.objects.count() == 1


def test_a_form_without_script_leads_to_the_fork(bobs: Client, run: Run) -> None:
    address = f"/admin/conversations/conversation/{run.conversation_id}/fork/"
    assert bobs.post(address, {"position": 1})["Location"].endswith(f"/{newest().pk}/change/")


def test_an_answer_is_regenerated(bobs: Client, work: Work, run: Run) -> None:
    answer = of_run(bobs, run, "regenerate")
    again = Run.objects.latest("pk")
    assert answer.json()["text"] == f"What run {run.pk} answered is answered anew by run {again.pk}."
    assert of_run(bobs, run, "regenerate").status_code == 409
    work()
    again.refresh_from_db()
    assert again.status == "completed"


def test_a_snapshot_is_replayed_on_another_model(bobs: Client, work: Work, run: Run) -> None:
    Agent.objects.update(name="Cockatoo")
    assert of_run(bobs, run, "replay", backend="", model="slow").status_code == 201
    again = Run.objects.latest("pk")
    assert (again.conversation, again.replay_of) == (newest(), run.snapshot)
    assert (again.snapshot.model, again.snapshot.system_prompt) == ("slow", "You are Parrot.")
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.detail) == ("run.replay", {"run_id": run.pk, "backend": "", "model": "slow"})


def test_a_replay_that_cannot_be_says_why(bobs: Client, run: Run) -> None:
    refused = of_run(bobs, run, "replay", backend="nowhere")
    assert refused.status_code == 422
    assert "'nowhere' is not configured" in refused.json()["text"]
    unmade = Run.objects.create(conversation=run.conversation, user_message=run.user_message, status="cancelled")
    assert "has no snapshot" in of_run(bobs, unmade, "replay").json()["text"]


@pytest.mark.parametrize("role", ["Viewer", ""])
def test_who_may_not_send_may_do_none_of_it(
    with_role: Callable[[str], Client], alices: Client, run: Run, role: str
) -> None:
    client = with_role(role) if role else alices
    assert post(client, run, "fork/", position=1).status_code == 403
    for verb in ("regenerate", "replay"):
        assert of_run(client, run, verb).status_code == 403
    assert (Run.objects.count(), Conversation.objects.count()) == (1, 1)
