"""Acting on all jobs that the list's filter means."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client

from maintenance import selection
from maintenance.models import AuditEntry, Job
from tests.console.test_jobs import LIST, act, make
from tests.services import Valkey

pytestmark = pytest.mark.django_db
VERBS = ("retry", "forget")


def address(verb: str, query: str = "") -> str:
    return f"{LIST}all/{verb}/{query}"


def content(answer: HttpResponse) -> str:
    return answer.content.decode()


@pytest.mark.parametrize("verb", VERBS)
def test_it_asks_first_with_number_and_filter(bobs: Client, failed_job: Job, verb: str) -> None:
    make(status="failed", queue="low")
    page = bobs.get(address(verb, "?status__exact=failed&queue=low"))
    assert "1 job</strong> matches" in content(page)
    assert page.context["filters"] == [("Status", "failed"), ("Queue", "low")]
    assert not Job.objects.filter(name=f"{verb}_matching").exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_confirming_starts_a_job_and_leads_to_its_page(
    bobs: Client, bob: User, failed_job: Job, valkey: Valkey, verb: str
) -> None:
    answer = bobs.post(address(verb, "?status__exact=failed"), follow=True)
    row = Job.objects.get(name=f"{verb}_matching")
    assert answer.redirect_chain == [(f"{LIST}{row.pk}/change/", 302)]
    assert "This job was started" in content(answer)
    assert (row.queue, row.created_by, row.arguments["filters"]["status"]) == ("low", bob, "failed")
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.actor, entry.detail["job"]) == (f"job.{verb}_matching", bob, row.pk)


@pytest.mark.django_db(transaction=True)
def test_all_that_match_are_retried(bobs: Client, valkey: Valkey, work: Callable[[], list[str]]) -> None:
    low = [make(name="always_fails", status="failed", queue="low", finished_at="2026-01-01T00:00Z",
                arguments={"path": "/dev/null"}) for _ in range(3)]  # fmt: skip
    other = make(status="failed", finished_at="2026-01-01T00:00Z")
    bobs.post(address("retry", "?status__exact=failed&queue=low"))
    assert work().count("failed") == len(low)
    other.refresh_from_db()
    assert other.status == "failed"
    assert Job.objects.get(name="retry_matching").progress["note"] == "3 queued again"


@pytest.mark.django_db(transaction=True)
def test_all_that_match_are_forgotten(bobs: Client, valkey: Valkey, work: Callable[[], list[str]]) -> None:
    make(status="failed", error="disk full", finished_at="2026-01-01T00:00Z")
    kept = make(status="failed", error="no network", finished_at="2026-01-01T00:00Z")
    bobs.post(address("forget", "?q=disk full"))
    work()
    assert [*Job.objects.filter(name="write_line")] == [kept]


@pytest.mark.parametrize(
    ("query", "number"),
    [("?q=conversation:7", 1), ("?q=write_line", 1), ("?q=THE job", 1), ("?q=elsewhere", 0), ("", 2)],
)
def test_a_search_means_what_it_finds(bobs: Client, failed_job: Job, query: str, number: int) -> None:
    make(status="cancelled", name="always_fails")
    assert bobs.get(address("retry", query)).context["number"].number == number


def test_an_id_is_no_filter(bobs: Client, failed_job: Job) -> None:
    answer = bobs.get(address("retry", f"?q={failed_job.pk}"), follow=True)
    assert "An id means one job" in content(answer)


@pytest.mark.parametrize("query", ["?odd=1", "?q=write_line&name=always_fails"])
def test_a_filter_that_the_list_does_not_have_is_refused(bobs: Client, failed_job: Job, query: str) -> None:
    assert bobs.post(address("forget", query)).status_code == 400
    assert Job.objects.count() == 1


def test_an_unknown_queue_is_refused_in_words(bobs: Client, failed_job: Job) -> None:
    assert "There is no queue" in content(bobs.post(address("forget", "?queue=nowhere"), follow=True))
    assert Job.objects.count() == 1


def test_the_number_is_counted_up_to_a_limit(bobs: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection.count, "__defaults__", (2,))
    for _ in range(3):
        make(status="failed")
    assert "2+ jobs</strong> match" in content(bobs.get(address("retry")))


def test_nothing_that_matches_offers_no_button(bobs: Client) -> None:
    page = content(bobs.get(address("forget")))
    assert "There is nothing to forget" in page
    assert "danger-button" not in page


@pytest.mark.parametrize(("query", "offered"), [("", True), ("?status__exact=failed", True),
                                                ("?status__exact=completed", False)])  # fmt: skip
def test_the_list_offers_it_where_something_can_be_done(
    bobs: Client, failed_job: Job, query: str, offered: bool
) -> None:
    make()
    page = content(bobs.get(LIST + query))
    assert (f'href="/admin/maintenance/job/all/retry/{query or "?"}"' in page) is offered


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("role", "allowed"), [("Viewer", False), ("Operator", True), ("Administrator", True)])
def test_operators_may_and_viewers_may_not(
    with_role: Callable[[str], Client], failed_job: Job, role: str, allowed: bool, verb: str, method: str
) -> None:
    answer = getattr(with_role(role), method)(address(verb))
    assert (answer.status_code == 403) is not allowed
    assert Job.objects.filter(name=f"{verb}_matching").exists() is (allowed and method == "post")


@pytest.mark.parametrize("verb", VERBS)
def test_staff_without_permission_and_strangers_are_refused(alices: Client, charlie: User, verb: str) -> None:
    assert alices.post(address(verb)).status_code == 403
    assert Client().post(address(verb)).status_code == 302  # to the page where one signs in
    assert not Job.objects.exists()


@pytest.mark.parametrize("tail", ["all/retry/", "all/forget/", "failed/flush/"])
def test_a_form_without_its_token_is_refused(bob: User, failed_job: Job, tail: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(bob)
    assert strict.post(LIST + tail, {"confirmation": "flush"}).status_code == 403
    assert Job.objects.count() == 1


def test_selected_jobs_are_forgotten_unless_they_have_not_ended(bobs: Client, failed_job: Job) -> None:
    running, done, cancelled = make(status="running"), make(), make(status="cancelled")
    page = act(bobs, "forget_selected", [failed_job, running, done, cancelled])
    assert "2 jobs were forgotten." in page
    assert "2 not: Only a failed or cancelled job can be forgotten." in page
    assert {*Job.objects.all()} == {running, done}
    assert AuditEntry.objects.filter(verb="job.forget", result="ok").count() == 2


def test_a_viewer_forgets_no_selected_job(with_role: Callable[[str], Client], failed_job: Job) -> None:
    act(with_role("Viewer"), "forget_selected", [failed_job])
    assert Job.objects.exists()
