"""The page of all runs that wait for somebody."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from conversations.console import waiting as waits
from conversations.models import Conversation, Message, Run, ToolCall
from maintenance.models import AuditEntry
from tests.services import Valkey

pytestmark = pytest.mark.django_db

PAGE = "/admin/waiting/"


def waiting(template: Conversation, waiting_for: str, *names: str, expires_in: int = 60) -> Run:
    """A run of a conversation of its own that waits; each name is a call of its reply."""
    conversation = Conversation.objects.create(
        user=template.user, agent=template.agent, title=f"About {names[0]}", status="paused", client_type="terminal"
    )
    asked = Message.objects.create(conversation=conversation, position=1, role="user", content="Hello")
    run = Run.objects.create(
        conversation=conversation, user_message=asked, status="waiting_for_tool", waiting_for=waiting_for,
        expires_at=timezone.now() + timedelta(minutes=expires_in),
    )  # fmt: skip
    said = Message.objects.create(conversation=conversation, run=run, position=2, role="assistant")
    for position, name in enumerate(names):
        ToolCall.objects.create(
            message=said, run=run, call_id=f"call_{said.pk}_{position}", position=position, name=name, kind="client",
            approval="wanted" if waiting_for == "approval" and position == 0 else "not_needed",
        )  # fmt: skip
    return run


def shown(client: Client, query: str = "") -> list[str]:
    return re.findall(r">Run (\d+)</a>", client.get(PAGE + query).content.decode())


def test_an_empty_page_says_what_would_stand_here(bobs: Client) -> None:
    assert "Nothing waits" in bobs.get(PAGE).content.decode()


def test_it_names_who_is_waited_for_and_what_was_asked(bobs: Client, conversation: Conversation) -> None:
    waiting(conversation, "approval", "orders_refund", "look")
    page = bobs.get(PAGE).content.decode()
    assert "an approval" in page
    assert "orders_refund" in page
    assert '<code class="tag">look' not in page  # it waits its turn behind the approval
    assert "About orders_refund" in page
    assert "alice" in page
    assert "in 59 min" in page


def test_what_is_given_up_first_stands_first_and_kinds_are_filtered(bobs: Client, conversation: Conversation) -> None:
    late = waiting(conversation, "approval", "pay", expires_in=90)
    soon = waiting(conversation, "tool_result", "look", expires_in=5)
    assert shown(bobs) == [str(soon.pk), str(late.pk)]
    assert shown(bobs, "?for=approval") == [str(late.pk)]
    assert shown(bobs, "?for=tool_result") == [str(soon.pk)]
    assert len(shown(bobs, "?for=nonsense")) == 2
    Run.objects.filter(pk=late.pk).update(status="completed")
    assert "Of the 1 that wait, none waits for this." in bobs.get(f"{PAGE}?for=approval").content.decode()


def test_a_run_is_stopped_from_here(bobs: Client, bob: User, conversation: Conversation, valkey: Valkey) -> None:
    run = waiting(conversation, "tool_result", "look")
    page = bobs.post(f"{PAGE}{run.pk}/stop/", follow=True).content.decode()
    assert f"Run {run.pk} was stopped." in page
    run.refresh_from_db()
    assert (run.status, run.tool_calls.get().status) == ("cancelled", "cancelled")
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.actor, entry.target) == ("run.stop", bob, f"conversation:{run.conversation_id}")


def test_a_run_that_was_answered_meanwhile_is_left_alone(bobs: Client, conversation: Conversation) -> None:
    run = waiting(conversation, "tool_result", "look")
    Run.objects.update(status="running", waiting_for="")
    page = bobs.post(f"{PAGE}{run.pk}/stop/", follow=True).content.decode()
    assert f"Run {run.pk} waits for nobody any more: it is running." in page
    run.refresh_from_db()
    assert run.status == "running"


def test_the_overview_and_the_sidebar_count_them(bobs: Client, conversation: Conversation, valkey: Valkey) -> None:
    waiting(conversation, "tool_result", "look")
    answer = bobs.get("/admin/")
    figures = {figure.title: (figure.value, figure.view) for figure in answer.context["figures"].figures}
    assert figures["Waiting runs"] == ("1", "waiting")
    lines = [line for _title, lines in answer.context["navigation"] for line in lines if line.title == "Waiting"]
    assert [(line.badge, line.url) for line in lines] == [("1", PAGE)]


def test_queries_do_not_grow_with_the_runs(
    bobs: Client, conversation: Conversation, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(20):
        waiting(conversation, "tool_result", "look", "peek")
    with django_assert_max_num_queries(8):
        assert len(shown(bobs)) == 20


def test_an_index_finds_them(conversation: Conversation) -> None:
    assert "SCAN" not in waits.runs().order_by()[:100].explain()


def test_a_viewer_looks_and_stops_nothing(with_role: Callable[[str], Client], conversation: Conversation) -> None:
    run = waiting(conversation, "approval", "pay")
    viewer = with_role("Viewer")
    page = viewer.get(PAGE).content.decode()
    assert "pay" in page
    assert f"{PAGE}{run.pk}/stop/" not in page
    assert viewer.post(f"{PAGE}{run.pk}/stop/").status_code == 403
    assert with_role("Operator").post(f"{PAGE}{run.pk}/stop/").status_code == 302


def test_staff_without_permission_are_refused(alices: Client, conversation: Conversation) -> None:
    run = waiting(conversation, "approval", "pay")
    assert alices.get(PAGE).status_code == 403
    assert alices.post(f"{PAGE}{run.pk}/stop/").status_code == 403
    run.refresh_from_db()
    assert run.status == "waiting_for_tool"


def test_looking_never_stops(bobs: Client, conversation: Conversation) -> None:
    run = waiting(conversation, "approval", "pay")
    assert bobs.get(f"{PAGE}{run.pk}/stop/").status_code == 405
