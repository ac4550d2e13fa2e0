from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from conversations.models import Agent, Conversation
from maintenance import broker, queues
from maintenance.models import Job, QueuePause
from tests.services import Valkey

pytestmark = pytest.mark.django_db


def job(status: str, **values: object) -> Job:
    terms = {"name": "write_line", "queue": "default", "max_attempts": 1, "timeout_seconds": 30}
    return Job.objects.create(status=status, **{**terms, **values})


def shown(client: Client) -> dict[str, str]:
    figures = client.get("/admin/").context["figures"].figures
    return {figure.title: figure.value for figure in figures}


def test_it_counts_what_is_true_now(bobs: Client, valkey: Valkey) -> None:
    yesterday = timezone.now() - timedelta(hours=25)
    for status in ("running", "queued", "pending", "pending", "scheduled", "completed"):
        job(status)
    job("failed", finished_at=timezone.now())
    job("failed", finished_at=yesterday)
    assert shown(bobs) == {
        "Running jobs": "1", "Waiting jobs": "3", "Failed jobs": "1", "Open runs": "0", "Waiting runs": "0",
    }  # fmt: skip


def test_it_says_which_queue_waits_longest(bobs: Client, valkey: Valkey) -> None:
    old = job("queued", queue="low")
    Job.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(hours=3))
    job("queued", queue="low")
    lines = {line.name: line for line in bobs.get("/admin/").context["figures"].queues}
    assert (lines["low"].waiting, lines["high"].waiting, lines["high"].oldest) == (2, 0, None)
    assert "3 h ago" in bobs.get("/admin/").content.decode()


def test_it_names_the_failed_jobs_with_their_reason(bobs: Client, failed_job: Job, valkey: Valkey) -> None:
    page = bobs.get("/admin/").content.decode()
    assert f"/admin/maintenance/job/{failed_job.pk}/change/" in page
    assert "job_failed: The job failed." in page


def test_an_empty_server_says_what_to_do_next(bobs: Client, valkey: Valkey) -> None:
    assert "There is no agent yet" in bobs.get("/admin/").content.decode()


def test_a_server_with_an_agent_says_how_to_talk_to_it(bobs: Client, agent: Agent, valkey: Valkey) -> None:
    page = bobs.get("/admin/").content.decode()
    assert f"/admin/conversations/agent/{agent.pk}/change/" in page
    assert "manage.py chat parrot" in page


def test_the_latest_conversations_stand_first(bobs: Client, conversation: Conversation, valkey: Valkey) -> None:
    now = timezone.now()
    for minutes, status in ((5, "failed"), (1, "active"), (9, "completed")):
        Conversation.objects.create(
            user=conversation.user, agent=conversation.agent, title=f"{minutes} ago", status=status,
            last_activity_at=now - timedelta(minutes=minutes),
        )  # fmt: skip
    listed = bobs.get("/admin/").context["figures"].conversations
    assert [one.title for one in listed] == ["1 ago", "5 ago", "9 ago"]


def test_it_works_while_redis_is_away(bobs: Client, valkey: Valkey) -> None:
    valkey.stop()
    queues.forget()
    page = bobs.get("/admin/").content.decode()
    assert "Redis does not answer" in page


def test_its_queries_do_not_grow_with_the_jobs(
    bobs: Client, valkey: Valkey, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(30):
        job("failed", finished_at=timezone.now())
    broker.quick().ping()
    with django_assert_max_num_queries(24):
        bobs.get("/admin/")


def test_staff_without_permission_see_no_figures(alices: Client, failed_job: Job) -> None:
    answer = alices.get("/admin/")
    assert answer.status_code == 403
    assert "write_line" not in answer.content.decode()
    assert "may see no operations" in answer.content.decode()


def test_strangers_are_sent_to_sign_in(client: Client) -> None:
    assert client.get("/admin/").url.startswith("/admin/login/")  # type: ignore[attr-defined]


def test_a_paused_queue_says_so_and_why(bobs: Client, bob: User, valkey: Valkey) -> None:
    QueuePause.objects.create(queue="low", reason="the disk is full", paused_by=bob, paused_at=timezone.now())
    page = bobs.get("/admin/").content.decode()
    assert 'title="the disk is full">paused' in page


def test_the_address_without_its_slash_leads_here(bobs: Client) -> None:
    assert bobs.get("/admin")["Location"] == "/admin/"


def test_dead_workers_are_not_counted(bobs: Client, valkey: Valkey) -> None:
    broker.quick().sadd("rq:workers:low", "rq:worker:alive", "rq:worker:dead")
    broker.quick().hset("rq:worker:alive", "state", "idle")
    lines = {line.name: line.workers for line in bobs.get("/admin/").context["figures"].queues}
    assert lines == {"high": 0, "default": 0, "low": 1}
    assert bobs.get("/admin/django-rq/stats.json").json()["queues"][2]["workers"] == 1
