"""The page of the queues."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from maintenance import pauses
from maintenance.console import queues
from maintenance.models import AuditEntry, Job, QueuePause
from tests.maintenance.commands import waiting
from tests.services import Valkey

PAGE = "/admin/queues/"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _emptied(valkey: Valkey) -> None:
    """Pauses are mirrored in it."""


def test_it_shows_what_waits_since_when_and_who_serves(bobs: Client) -> None:
    waiting("low", timedelta(hours=3))
    waiting("low", status="scheduled", not_before=timezone.now() + timedelta(hours=1))
    page = bobs.get(PAGE)
    low = {queue.name: queue for queue in page.context["queues"]}["low"]
    assert (low.waiting, low.scheduled, low.workers) == (1, 1, 0)
    assert "<dd>3 h" in page.content.decode()
    assert "No worker runs." in page.content.decode()


def test_it_does_without_redis(bobs: Client, valkey: Valkey) -> None:
    valkey.stop()
    page = bobs.get(PAGE)
    assert page.status_code == 200
    assert "Redis does not answer" in page.content.decode()


def test_a_queue_is_paused_with_a_reason_and_resumed(bobs: Client, bob: User) -> None:
    page = bobs.post(f"{PAGE}low/pause/", {"reason": "disk is <full>", "until": "2h"}, follow=True).content.decode()
    pause = pauses.paused()["low"]
    assert pause.paused_by == bob
    assert pause.until is not None
    assert timedelta(hours=1) < pause.until - timezone.now() <= timedelta(hours=2)
    assert "The queue low is paused." in page
    assert "Paused by bob" in page
    assert "disk is &lt;full&gt;" in page
    assert "Workers take from low again." in bobs.post(f"{PAGE}low/resume/", follow=True).content.decode()
    assert pauses.paused() == {}
    noted = AuditEntry.objects.order_by("id").values_list("verb", "target", "result")
    assert [*noted] == [("queue.pause", "queue:low", "ok"), ("queue.resume", "queue:low", "ok")]
    assert AuditEntry.objects.earliest("id").detail == {"reason": "disk is <full>", "until": "2h"}


@pytest.mark.parametrize("form", [{"reason": " "}, {"reason": "x", "until": "soon"}])
def test_a_pause_without_reason_or_with_a_wrong_end_is_refused_and_noted(bobs: Client, form: dict[str, str]) -> None:
    page = bobs.post(f"{PAGE}low/pause/", form, follow=True)
    assert page.context["messages"]
    assert pauses.paused() == {}
    assert AuditEntry.objects.get().result != "ok"


def test_a_queue_is_cleared_by_typing_its_name(bobs: Client) -> None:
    waiting("low")
    other = waiting("high")
    running = waiting("low", status="running")
    assert "1 job</strong> waits in low" in bobs.get(f"{PAGE}low/clear/").content.decode()
    page = bobs.post(f"{PAGE}low/clear/", {"confirmation": "low"}, follow=True).content.decode()
    assert "1 job of low cancelled." in page
    assert {*Job.objects.exclude(status="cancelled")} == {other, running}
    assert AuditEntry.objects.get().verb == "queue.clear"


def test_what_a_request_has_no_time_for_is_cleared_by_a_job(
    bobs: Client, bob: User, work: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "CLEARED_AT_ONCE", 2)
    for _ in range(5):
        waiting("high")
    page = bobs.post(f"{PAGE}high/clear/", {"confirmation": "high"}, follow=True).content.decode()
    rest = Job.objects.get(name="clear_queue")
    assert f"2 jobs of high cancelled. The rest is being cancelled by the job {rest.pk}." in page
    assert (rest.queue, rest.created_by) == ("low", bob)
    later = waiting("high")
    assert work() == ["succeeded"]
    assert Job.objects.filter(status="cancelled").count() == 5
    later.refresh_from_db()
    assert later.status not in ("cancelled",)


@pytest.mark.parametrize("typed", ["", "high", "yes"])
def test_a_queue_is_not_cleared_by_anything_else(bobs: Client, typed: str) -> None:
    job = waiting("low")
    assert "Nothing was cancelled." in bobs.post(f"{PAGE}low/clear/", {"confirmation": typed}).content.decode()
    job.refresh_from_db()
    assert job.status == "queued"
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("verb", ["pause", "resume", "clear"])
def test_an_unknown_queue_is_not_found(bobs: Client, verb: str) -> None:
    assert bobs.post(f"{PAGE}nowhere/{verb}/", {"reason": "x", "confirmation": "nowhere"}).status_code == 404


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_looking_never_acts(bobs: Client, verb: str) -> None:
    assert bobs.get(f"{PAGE}low/{verb}/").status_code == 405


@pytest.mark.parametrize(
    ("role", "pauses_too", "clears_too"),
    [("Viewer", False, False), ("Operator", True, False), ("Administrator", True, True)],
)
def test_who_may_pause_and_who_may_clear(
    with_role: Callable[[str], Client], role: str, pauses_too: bool, clears_too: bool
) -> None:
    waiting("low")
    client = with_role(role)
    page = client.get(PAGE).content.decode()
    assert (f"{PAGE}low/pause/" in page, f"{PAGE}low/clear/" in page) == (pauses_too, clears_too)
    refused = {
        verb: client.post(f"{PAGE}low/{verb}/", {"reason": "x", "confirmation": "low"}).status_code == 403
        for verb in ("pause", "resume", "clear")
    }
    assert refused == {"pause": not pauses_too, "resume": not pauses_too, "clear": not clears_too}
    assert Job.objects.filter(status="cancelled").exists() is clears_too


def test_staff_without_permission_are_refused(alices: Client) -> None:
    assert alices.get(PAGE).status_code == 403
    assert [alices.post(f"{PAGE}low/{verb}/").status_code for verb in ("pause", "resume", "clear")] == [403] * 3
    assert not QueuePause.objects.exists()


def test_a_form_without_its_token_is_refused(bob: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(bob)
    assert strict.post(f"{PAGE}low/pause/", {"reason": "x"}).status_code == 403
