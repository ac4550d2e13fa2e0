"""The ledger's list and its pages."""

from collections.abc import Callable
from itertools import count

import pytest
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from conversations.models import Conversation
from maintenance import selection, tags
from maintenance.console import lists
from maintenance.console.jobs import JobAdmin
from maintenance.console.masking import COVER, masked
from maintenance.models import AuditEntry, Job
from tests.maintenance import jobs as menu
from tests.services import Valkey

pytestmark = pytest.mark.django_db

LIST = "/admin/maintenance/job/"
numbers = count(1)


def make(**values: object) -> Job:
    terms = {
        "id": f"{next(numbers):032x}",
        "name": "write_line",
        "queue": "default",
        "status": "completed",
        "max_attempts": 1,
        "timeout_seconds": 30,
    }
    job = Job.objects.create(**{**terms, **values})
    tags.write([job])
    return job


def listed(client: Client, query: str = "") -> list[str]:
    return [job.pk for job in client.get(LIST + query).context["cl"].result_list]


def page_of(job: Job) -> str:
    return f"{LIST}{job.pk}/change/"


def test_the_newest_job_stands_first(bobs: Client) -> None:
    made = [make().pk for _ in range(3)]
    assert listed(bobs) == made[::-1]


def test_it_filters_by_status_queue_and_name(bobs: Client, failed_job: Job) -> None:
    low = make(queue="low")
    other = make(name="always_fails")
    assert listed(bobs, "?status__exact=failed") == [failed_job.pk]
    assert listed(bobs, "?queue=low") == [low.pk]
    assert listed(bobs, "?name=always_fails") == [other.pk]


@pytest.mark.parametrize("field", ["arguments", "created_by", "error"])
def test_it_filters_by_nothing_else(bobs: Client, failed_job: Job, field: str) -> None:
    assert bobs.get(f"{LIST}?{field}=x").status_code == 400


def test_it_finds_a_job_by_id_tag_name_and_error(bobs: Client, failed_job: Job) -> None:
    make(tags=["conversation:77"])
    other = make(name="always_fails")
    for text in (
        failed_job.pk,
        failed_job.pk[:20],
        f"{failed_job.pk}-3",
        "conversation:7",
        "the JOB failed",
        "job_failed",
    ):
        assert listed(bobs, f"?q={text}") == [failed_job.pk], text
    assert listed(bobs, "?q=always_fails") == [other.pk]
    assert listed(bobs, "?q=conversation:777") == []


def test_errors_are_searched_in_the_newest_jobs_only(bobs: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make(status="failed", error="it broke")
    monkeypatch.setattr(selection, "SEARCHED_MAX", 2)
    new = make(status="failed", error="it broke")
    assert listed(bobs, "?q=broke") == [new.pk, old.pk]
    make()
    assert listed(bobs, "?q=broke") == [new.pk]


def test_it_counts_no_further_than_a_page_can_show(bobs: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "COUNT_MAX", 2)
    for _ in range(3):
        make()
    assert "2+ jobs" in bobs.get(LIST).content.decode()


def test_the_list_does_not_read_arguments(bobs: Client, failed_job: Job) -> None:
    job = bobs.get(LIST).context["cl"].result_list[0]
    assert {"arguments", "tags", "progress"} <= job.get_deferred_fields()


def test_a_page_tells_the_whole_story(bobs: Client, failed_job: Job) -> None:
    page = bobs.get(page_of(failed_job)).content.decode()
    for text in ("job_failed: The job failed.", "ai-workers/1", "42 on atlas", "12 ms", "1.5 s", "0.2 s", "70.0",
                 "builtins.RuntimeError", "it broke", "conversation:7"):  # fmt: skip
        assert text in page, text


def test_a_traceback_is_text(bobs: Client, failed_job: Job) -> None:
    page = bobs.get(page_of(failed_job)).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


def test_secrets_among_the_arguments_are_covered(bobs: Client, failed_job: Job) -> None:
    page = bobs.get(page_of(failed_job)).content.decode()
    assert "/dev/null" in page
    assert "sk-secret" not in page


def test_masking_goes_to_any_depth_and_spares_numbers() -> None:
    given = {
        "max_tokens": 5,
        "Authorization": "Bearer x",
        "nested": [{"db_password": "x", "path": "p"}],
        "tokens": ["a"],
    }
    assert masked(given) == {
        "max_tokens": 5, "Authorization": COVER, "nested": [{"db_password": COVER, "path": "p"}], "tokens": COVER,
    }  # fmt: skip


def test_a_job_leads_to_its_conversation(bobs: Client, conversation: Conversation) -> None:
    job = make(tags=[f"conversation:{conversation.pk}"])
    assert (
        f'href="/admin/conversations/conversation/{conversation.pk}/change/"' in bobs.get(page_of(job)).content.decode()
    )


def test_progress_is_shown(bobs: Client) -> None:
    job = make(status="running", progress={"done": 1, "total": 4, "note": "layer 2"})
    page = bobs.get(page_of(job)).content.decode()
    assert '<progress max="100" value="25">' in page
    assert "layer 2" in page


def test_an_unknown_job_is_not_found(bobs: Client) -> None:
    assert bobs.get(f"{LIST}{'0' * 32}/change/").status_code == 404


def test_a_retry_queues_the_job_and_says_so(bobs: Client, failed_job: Job, valkey: Valkey) -> None:
    answer = bobs.post(f"{LIST}{failed_job.pk}/retry/", follow=True)
    failed_job.refresh_from_db()
    assert failed_job.status in ("pending", "queued")
    assert "Queued again: write_line." in answer.content.decode()
    assert answer.redirect_chain == [(page_of(failed_job), 302)]


def test_a_retry_leaves_a_row_in_the_audit(bobs: Client, failed_job: Job) -> None:
    bobs.post(f"{LIST}{failed_job.pk}/retry/")
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.target, entry.result) == ("job.retry", f"job:{failed_job.pk}", "ok")
    assert entry.actor is not None
    assert entry.actor.username == "bob"


def test_a_refused_retry_says_why_and_is_noted(bobs: Client) -> None:
    job = make(status="running")
    page = bobs.post(f"{LIST}{job.pk}/retry/", follow=True).content.decode()
    assert "only a failed or cancelled one can be retried" in page
    assert "only a failed or cancelled" in AuditEntry.objects.get().result


def test_a_waiting_job_is_cancelled_for_good(bobs: Client) -> None:
    job = make(status="queued")
    bobs.post(f"{LIST}{job.pk}/cancel/")
    job.refresh_from_db()
    assert job.status == "cancelled"


@pytest.mark.parametrize("verb", ["retry", "cancel"])
def test_looking_never_acts(bobs: Client, failed_job: Job, verb: str) -> None:
    assert bobs.get(f"{LIST}{failed_job.pk}/{verb}/").status_code == 405
    failed_job.refresh_from_db()
    assert failed_job.status == "failed"


def test_a_form_without_its_token_is_refused(bob: object, failed_job: Job) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(bob)  # type: ignore[arg-type]
    assert strict.post(f"{LIST}{failed_job.pk}/retry/").status_code == 403


def act(client: Client, action: str, jobs: list[Job], **more: str) -> str:
    form = {"action": action, "_selected_action": [job.pk for job in jobs], **more}
    return client.post(LIST, form, follow=True).content.decode()


@pytest.mark.django_db(transaction=True)
def test_selected_jobs_are_retried_together(bobs: Client, valkey: Valkey, work: Callable[[], list[str]]) -> None:
    broken = [make(name="always_fails", status="failed", arguments={"path": "/dev/null"}) for _ in range(2)]
    done = make()
    page = act(bobs, "retry_selected", [*broken, done])
    assert "2 jobs were queued again." in page
    assert "1 not: The job is completed" in page
    assert len(work()) == 2


def test_selected_jobs_are_cancelled_together(bobs: Client) -> None:
    waiting = [make(status="queued"), make(status="scheduled")]
    assert "2 jobs were cancelled." in act(bobs, "cancel_selected", waiting)
    assert Job.objects.filter(status="cancelled").count() == 2


def test_one_page_at_most_is_acted_on(bobs: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobAdmin, "list_per_page", 2)
    for _ in range(3):
        make(status="scheduled")
    bobs.post(LIST, {"action": "cancel_selected", "_selected_action": [Job.objects.all()[0].pk], "select_across": "1"})
    assert Job.objects.filter(status="cancelled").count() == 2


def test_nothing_is_added_changed_or_deleted_by_hand(bobs: Client, failed_job: Job) -> None:
    assert bobs.get(f"{LIST}add/").status_code == 403
    assert bobs.post(page_of(failed_job), {"status": "completed"}).status_code == 405
    assert bobs.post(f"{LIST}{failed_job.pk}/delete/", {"post": "yes"}).status_code == 403
    failed_job.refresh_from_db()
    assert failed_job.status == "failed"


def test_a_viewer_looks_and_does_not_touch(with_role: Callable[[str], Client], failed_job: Job) -> None:
    viewer = with_role("Viewer")
    page = viewer.get(page_of(failed_job))
    assert page.status_code == 200
    assert "/retry/" not in page.content.decode()
    assert "retry_selected" not in viewer.get(LIST).content.decode()
    assert viewer.post(f"{LIST}{failed_job.pk}/retry/").status_code == 403
    act(viewer, "retry_selected", [failed_job])
    failed_job.refresh_from_db()
    assert failed_job.status == "failed"


def test_an_operator_retries(with_role: Callable[[str], Client], failed_job: Job) -> None:
    assert with_role("Operator").post(f"{LIST}{failed_job.pk}/retry/").status_code == 302
    failed_job.refresh_from_db()
    assert failed_job.status == "pending"


@pytest.mark.parametrize("tail", ["", "{pk}/change/", "{pk}/retry/", "{pk}/cancel/", "{pk}/history/", "{pk}/delete/"])
def test_staff_without_permission_are_refused(alices: Client, failed_job: Job, tail: str) -> None:
    address = LIST + tail.format(pk=failed_job.pk)
    expected = {403} if "retry" not in tail and "cancel" not in tail else {403, 405}
    assert alices.get(address).status_code in expected
    assert alices.post(address).status_code == 403


def test_the_menu_of_the_tests_is_known(bobs: Client) -> None:
    assert f"name={menu.write_line.name}" in bobs.get(LIST).content.decode()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="looks at SQLite's plan; PostgreSQL has statistics to go by")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "sqlite_autoindex_jobs_1"),
        ("?status__exact=failed", "jobs_by_status"),
        ("?queue=low", "jobs_by_queue"),
        ("?name=write_line", "jobs_by_name"),
        ("?status__exact=pending&queue=low&name=write_line", "jobs_by_status"),
        ("?q=0123456789abcdef", "sqlite_autoindex_jobs_1"),
    ],
)
def test_every_list_walks_an_index(bobs: Client, failed_job: Job, query: str, index: str) -> None:
    """With a million jobs, sorting or reading all of them would take seconds."""
    rows = bobs.get(LIST + query).context["cl"].queryset[:50]
    plan = rows.explain()
    assert index in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.skipif(connection.vendor != "sqlite", reason="looks at SQLite's plan; PostgreSQL has statistics to go by")
def test_a_tag_is_found_by_its_index(bobs: Client, failed_job: Job) -> None:
    """What is sorted afterwards is no more than a list counts."""
    assert "(tag=?)" in bobs.get(f"{LIST}?q=conversation:7").context["cl"].queryset[:50].explain()


def test_an_empty_list_is_looked_for_once(
    bobs: Client, failed_job: Job, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    bobs.get(LIST)
    with django_assert_max_num_queries(5):
        bobs.get(f"{LIST}?queue=high")
