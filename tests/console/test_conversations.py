"""The list of conversations, and the page that its script draws from one JSON value."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from conversations import runs
from conversations.console import state
from conversations.console.explanations import NEXT_STEPS
from conversations.models import Conversation, Message, Run, Snapshot, ToolCall
from maintenance.models import AuditEntry
from tests.services import Valkey

pytestmark = pytest.mark.django_db

LIST = "/admin/conversations/conversation/"
JSON = {"Accept": "application/json"}


def page_of(conversation: Conversation, tail: str = "change/") -> str:
    return f"{LIST}{conversation.pk}/{tail}"


def drawn(client: Client, conversation: Conversation) -> dict[str, Any]:
    """What the page's script is given."""
    page = client.get(page_of(conversation)).content.decode()
    match = re.search(r'<script id="conversation-state" type="application/json">(.*?)</script>', page, re.S)
    assert match
    found: dict[str, Any] = json.loads(match[1])
    return found


def say(conversation: Conversation, position: int | None, role: str, content: str, **values: Any) -> Message:
    return Message.objects.create(conversation=conversation, position=position, role=role, content=content, **values)


def run_of(conversation: Conversation, status: str, **values: Any) -> Run:
    message = conversation.messages.filter(role="user").last() or say(conversation, 1, "user", "Hello")
    return Run.objects.create(conversation=conversation, user_message=message, status=status, **values)


def test_the_page_and_its_refresh_say_the_same(bobs: Client, conversation: Conversation) -> None:
    run = run_of(conversation, "completed")
    say(conversation, 2, "assistant", "Hi", run=run)
    assert drawn(bobs, conversation) == bobs.get(page_of(conversation, "state/")).json()


def test_messages_come_in_order_and_those_that_wait_last(bobs: Client, conversation: Conversation) -> None:
    say(conversation, None, "user", "third", status="queued")
    say(conversation, 1, "user", "first")
    say(conversation, 2, "assistant", "second")
    assert [one["content"] for one in drawn(bobs, conversation)["messages"]] == ["first", "second", "third"]


def test_earlier_messages_are_asked_for(
    bobs: Client, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MESSAGES_SHOWN", 2)
    for number in range(1, 6):
        say(conversation, number, "user", str(number))
    first = drawn(bobs, conversation)
    assert ([one["content"] for one in first["messages"]], first["earlier"]) == (["4", "5"], 4)
    second = bobs.get(page_of(conversation, "state/?before=4")).json()
    assert ([one["content"] for one in second["messages"]], second["earlier"]) == (["2", "3"], 2)
    assert bobs.get(page_of(conversation, "state/?before=2")).json()["earlier"] is None


def test_a_call_comes_with_its_message(bobs: Client, conversation: Conversation) -> None:
    run = run_of(conversation, "completed")
    message = say(conversation, 2, "assistant", "", run=run)
    ToolCall.objects.create(message=message, run=run, call_id="c1", name="look", kind="user", arguments={"a": 1},
                            status="succeeded", result="found")  # fmt: skip
    call = drawn(bobs, conversation)["messages"][1]["tool_calls"][0]
    assert (call["name"], call["arguments"], call["result"]) == ("look", {"a": 1}, "found")


def test_what_a_model_says_cannot_leave_its_place_in_the_page(bobs: Client, conversation: Conversation) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    say(conversation, 1, "assistant", evil)
    Conversation.objects.update(title=evil)
    page = bobs.get(page_of(conversation)).content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert drawn(bobs, conversation)["messages"][0]["content"] == evil


def test_a_run_tells_what_it_cost(bobs: Client, conversation: Conversation) -> None:
    start = timezone.now()
    run_of(
        conversation, "completed", turn_count=2, prompt_tokens=1200, completion_tokens=100, queued_at=start,
        started_at=start + timedelta(milliseconds=20), first_token_at=start + timezone.timedelta(seconds=1),
        finished_at=start + timedelta(seconds=3),
    )  # fmt: skip
    facts = {fact["name"]: fact["value"] for fact in drawn(bobs, conversation)["runs"][0]["facts"]}
    assert facts == {
        "Waited": "20 ms", "First token": "1.0 s", "Took": "3.0 s", "Turns": "2", "Prompt": "1,200", "Answer": "100",
        "Speed": "50 tokens/s",
    }  # fmt: skip


def test_estimated_tokens_are_marked(bobs: Client, conversation: Conversation) -> None:
    run_of(conversation, "completed", prompt_tokens=7, usage_estimated=True)
    assert {"name": "Prompt", "value": "≈ 7"} in drawn(bobs, conversation)["runs"][0]["facts"]


def test_a_failed_run_says_what_happened_and_what_to_do(bobs: Client, conversation: Conversation) -> None:
    run_of(conversation, "failed", error="It does not answer.", error_code="backend_unreachable")
    run = drawn(bobs, conversation)["runs"][0]
    assert run["error"] == "It does not answer. (backend_unreachable)"
    assert run["next_step"] == NEXT_STEPS["backend_unreachable"]


def test_an_unknown_error_has_a_next_step_too(bobs: Client, conversation: Conversation) -> None:
    run_of(conversation, "failed", error_code="never_heard_of")
    assert drawn(bobs, conversation)["runs"][0]["next_step"].startswith("Look at the attempts")


def test_a_snapshot_is_read_when_it_is_wanted(bobs: Client, conversation: Conversation) -> None:
    run = run_of(conversation, "completed")
    address = page_of(conversation, f"runs/{run.pk}/snapshot/")
    assert bobs.get(address).json() == {"snapshot": None}
    Snapshot.objects.create(run=run, agent_name="Parrot", system_prompt="You are Parrot.", backend="fake", model="echo")
    assert bobs.get(address).json()["snapshot"]["system_prompt"] == "You are Parrot."


def test_a_run_of_another_conversation_is_not_found(bobs: Client, conversation: Conversation) -> None:
    other = Conversation.objects.create(user=conversation.user, agent=conversation.agent)
    run = run_of(other, "failed")
    assert bobs.get(page_of(conversation, f"runs/{run.pk}/snapshot/")).status_code == 404
    assert bobs.post(page_of(conversation, f"runs/{run.pk}/retry/")).status_code == 404


def test_a_message_starts_a_run(bobs: Client, conversation: Conversation) -> None:
    answer = bobs.post(page_of(conversation, "send/"), {"content": "Hello"}, headers=JSON)
    assert answer.status_code == 202
    run = Run.objects.get()
    assert answer.json() == {
        "ok": True, "text": "The message was sent.", "run_id": run.pk, "message_id": run.user_message_id,
        "run_status": "queued", "status": "processing",
    }  # fmt: skip
    assert AuditEntry.objects.get().verb == "conversation.send"


def test_a_second_message_waits_and_says_so(bobs: Client, conversation: Conversation) -> None:
    runs.start(conversation, "first")
    answer = bobs.post(page_of(conversation, "send/"), {"content": "second"}, headers=JSON).json()
    assert (answer["run_status"], answer["text"]) == ("pending", "The message waits until the run under way has ended.")


@pytest.mark.parametrize("content", ["", "   "])
def test_a_message_that_is_none_is_refused_in_words(bobs: Client, conversation: Conversation, content: str) -> None:
    answer = bobs.post(page_of(conversation, "send/"), {"content": content}, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["text"].startswith("The message")
    assert not Run.objects.exists()


def test_a_form_without_script_works_too(bobs: Client, conversation: Conversation) -> None:
    page = bobs.post(page_of(conversation, "send/"), {"content": "Hello"}, follow=True).content.decode()
    assert "The message was sent." in page


def test_a_stop_cancels_the_run(bobs: Client, conversation: Conversation, valkey: Valkey) -> None:
    run = runs.start(conversation, "first")
    assert bobs.post(page_of(conversation, "stop/"), headers=JSON).json()["ok"]
    run.refresh_from_db()
    assert run.status == "cancelled"


def test_a_stop_with_nothing_running_says_so(bobs: Client, conversation: Conversation) -> None:
    answer = bobs.post(page_of(conversation, "stop/"), headers=JSON)
    assert (answer.status_code, answer.json()["text"]) == (409, "Nothing runs; there is nothing to stop.")


def test_a_failed_run_is_tried_again(bobs: Client, conversation: Conversation) -> None:
    run = run_of(conversation, "failed")
    answer = bobs.post(page_of(conversation, f"runs/{run.pk}/retry/"), headers=JSON).json()
    again = Run.objects.get(retry_of=run)
    assert answer["text"] == f"Run {run.pk} is tried again as run {again.pk}."
    assert again.status == "queued"


@pytest.mark.parametrize("tail", ["send/", "stop/"])
def test_looking_never_acts(bobs: Client, conversation: Conversation, tail: str) -> None:
    assert bobs.get(page_of(conversation, tail)).status_code == 405


def test_the_list_shows_the_newest_error(bobs: Client, conversation: Conversation) -> None:
    run_of(conversation, "failed", error="It broke.")
    assert "It broke." in bobs.get(LIST).content.decode()
    run_of(conversation, "completed")
    assert "It broke." not in bobs.get(LIST).content.decode()


def test_the_list_reads_all_errors_at_once(
    bobs: Client, conversation: Conversation, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(20):
        other = Conversation.objects.create(user=conversation.user, agent=conversation.agent)
        run_of(other, "failed", error="It broke.")
    with django_assert_max_num_queries(9):
        assert bobs.get(LIST).content.decode().count("It broke.") == 20


def test_a_run_leads_to_its_conversation(bobs: Client, conversation: Conversation) -> None:
    run = run_of(conversation, "completed")
    assert f"Run {run.pk}" in bobs.get("/admin/conversations/run/").content.decode()
    answer = bobs.get(f"/admin/conversations/run/{run.pk}/change/")
    assert answer["Location"] == page_of(conversation) + f"#run-{run.pk}"


def test_a_viewer_reads_and_says_nothing(with_role: Callable[[str], Client], conversation: Conversation) -> None:
    viewer = with_role("Viewer")
    run = run_of(conversation, "failed")
    page = viewer.get(page_of(conversation)).content.decode()
    assert 'id="composer"' not in page
    for tail in ("send/", "stop/", f"runs/{run.pk}/retry/"):
        assert viewer.post(page_of(conversation, tail), {"content": "x"}).status_code == 403
    assert Run.objects.count() == 1


@pytest.mark.parametrize("tail", ["change/", "state/", "send/", "stop/", "runs/{run}/retry/", "runs/{run}/snapshot/"])
def test_staff_without_permission_are_refused(
    alices: Client, conversation: Conversation, alice: User, tail: str
) -> None:
    """Even their own conversations: the console is for operators."""
    run = run_of(conversation, "failed")
    address = page_of(conversation, tail.format(run=run.pk))
    assert alices.get(address).status_code in (403, 405)
    assert alices.post(address).status_code == 403
    assert conversation.user == alice


def test_staff_without_permission_see_no_lists(alices: Client, conversation: Conversation) -> None:
    assert alices.get(LIST).status_code == 403
    assert alices.get("/admin/conversations/run/").status_code == 403
    assert alices.get(f"/admin/conversations/run/{run_of(conversation, 'failed').pk}/change/").status_code == 403


@pytest.mark.parametrize("pk", ["0", "999", "x", "²"])
def test_an_unknown_conversation_is_not_found(bobs: Client, pk: str) -> None:
    assert bobs.get(f"{LIST}{pk}/change/").status_code == 404


def test_the_page_never_shows_a_run_as_ended_with_its_answer_under_way(conversation: Conversation) -> None:
    """It reads again when an open run ends, and never again after one that it believes to have ended."""
    run = run_of(conversation, "running")
    say(conversation, 2, "assistant", "So", run=run, status="streaming")

    def end_after(count: int) -> Callable[..., Any]:
        left = iter(range(count, -1, -1))

        def wrapper(execute: Callable[..., Any], *call: Any) -> Any:
            answer = execute(*call)
            if next(left, None) == 0:
                Run.objects.update(status="cancelled")
                Message.objects.filter(role="assistant").update(status="incomplete")
                Conversation.objects.update(status="cancelled")
            return answer

        return wrapper

    for count in range(6):
        Run.objects.update(status="running")
        Message.objects.filter(role="assistant").update(status="streaming")
        Conversation.objects.update(status="active")
        with connection.execute_wrapper(end_after(count)):
            shown = state.describe(Conversation.objects.get())
        final = (shown["messages"][-1]["status"], shown["status"]) == ("incomplete", "cancelled")
        assert shown["open"] or final, f"ended after statement {count}"
