"""Failed jobs by what broke them, and the flush."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from maintenance.console import failures
from maintenance.models import AuditEntry, Job
from tests.console.test_jobs import LIST
from tests.maintenance.commands import failed
from tests.services import Valkey

pytestmark = pytest.mark.django_db
PAGE = f"{LIST}failed/"
FLUSH = f"{PAGE}flush/"
HOUR = timedelta(hours=1)
A, B = "a" * 16, "b" * 16


def shown(client: Client) -> Sequence[failures.Group]:
    groups: Sequence[failures.Group] = client.get(PAGE).context["groups"]
    return groups


def test_an_empty_page_says_so(bobs: Client) -> None:
    assert "No job has failed." in bobs.get(PAGE).content.decode()


def test_jobs_are_grouped_by_what_broke_them(bobs: Client) -> None:
    first = failed(id="1".zfill(32), ago=5 * HOUR, error_fingerprint=A)
    last = failed(id="2".zfill(32), ago=2 * HOUR, error_fingerprint=A)
    lone = failed(ago=HOUR, name="always_fails", error_fingerprint=B, error="timeout: Too long.")
    failed(error_fingerprint=B, status="cancelled")
    found = shown(bobs)
    assert [(group.fingerprint, group.number, group.sample) for group in found] == [(B, 1, lone), (A, 2, last)]
    assert (found[1].first, found[1].last) == (first.finished_at, last.finished_at)
    page = bobs.get(PAGE).content.decode()
    assert f"{LIST}{lone.pk}/change/" in page
    assert "timeout: Too long." in page


def test_a_group_leads_to_its_jobs_and_to_what_is_done_to_all_of_them(bobs: Client) -> None:
    meant = failed(error_fingerprint=A)
    failed(error_fingerprint=B)
    query = f"?status__exact=failed&fingerprint={A}"
    page = bobs.get(PAGE).content.decode().replace("&amp;", "&")
    for address in (f"{LIST}{query}", f"{LIST}all/retry/{query}", f"{LIST}all/forget/{query}"):
        assert f'href="{address}"' in page
    assert [*bobs.get(f"{LIST}{query}").context["cl"].result_list] == [meant]
    assert bobs.get(f"{LIST}all/retry/{query}").context["number"].number == 1


@pytest.mark.django_db(transaction=True)
def test_a_group_is_forgotten(bobs: Client, valkey: Valkey, work: Callable[[], list[str]]) -> None:
    failed(error_fingerprint=A)
    other = failed(error_fingerprint=B)
    bobs.post(f"{LIST}all/forget/?status__exact=failed&fingerprint={A}")
    work()
    assert [*Job.objects.filter(name="write_line")] == [other]


def test_a_flood_is_counted_to_its_end_and_looked_into_no_further_than_a_limit(
    bobs: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "GROUPED_MAX", 2)
    for hours in range(3, 0, -1):
        failed(ago=hours * HOUR, error_fingerprint=A)
    (group,) = shown(bobs)
    assert (group.number, group.older) == (3, True)
    page = bobs.get(PAGE).content.decode()
    assert "2+ failed jobs" in page
    assert "or before" in page


def test_no_more_groups_are_shown_than_can_be_read(bobs: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "GROUPS_MAX", 1)
    failed(ago=HOUR, error_fingerprint=A)
    failed(error_fingerprint=B)
    assert [group.fingerprint for group in shown(bobs)] == [B]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="looks at SQLite's plan; PostgreSQL has statistics to go by")
def test_groups_walk_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a million jobs, reading all of them would take seconds."""
    monkeypatch.setattr(failures, "GROUPED_MAX", 1)
    failed(error_fingerprint=A)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        failures.groups()
    plans = []
    with connection.cursor() as cursor:
        for query in queries.captured_queries:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plans.append(" ".join(str(row[3]) for row in cursor.fetchall()))
    assert "jobs_by_status (status=?)" in plans[0]
    assert "jobs_by_status (status=? AND id>?)" in plans[1]
    assert "jobs_fingerprint" in plans[3]
    assert not any("SCAN jobs" in plan and "INDEX" not in plan for plan in plans)


def test_a_flush_says_how_many_are_old_enough(bobs: Client) -> None:
    failed(ago=30 * HOUR)
    failed(ago=2 * HOUR)
    assert "1 failed job</strong> is older" in bobs.get(FLUSH).content.decode()
    assert "2 failed jobs</strong> are older" in bobs.get(f"{FLUSH}?hours=1").content.decode()
    assert "There is nothing to flush" in bobs.get(f"{FLUSH}?hours=99").content.decode()


@pytest.mark.parametrize("typed", ["", "yes", "2", "flush it"])
def test_a_flush_without_its_confirmation_does_nothing(bobs: Client, typed: str) -> None:
    failed(ago=30 * HOUR)
    page = bobs.post(FLUSH, {"hours": "24", "confirmation": typed}).content.decode()
    assert "Nothing was deleted." in page
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("typed", ["flush", " Flush", "1"])
def test_a_flush_deletes_what_failed_before(
    bobs: Client, valkey: Valkey, work: Callable[[], list[str]], typed: str
) -> None:
    failed(ago=30 * HOUR)
    kept = {failed(ago=2 * HOUR), failed(ago=30 * HOUR, status="cancelled")}
    bobs.post(FLUSH, {"hours": "24", "confirmation": typed})
    work()
    assert {*Job.objects.filter(name="write_line")} == kept
    entry = AuditEntry.objects.get()
    assert entry.verb == "job.forget_matching"
    assert entry.detail["filters"]["before"] < str(timezone.now() - 23 * HOUR)


@pytest.mark.parametrize("hours", ["-1", "x", "9999999"])
def test_an_age_is_a_number_of_hours(bobs: Client, hours: str) -> None:
    assert bobs.post(FLUSH, {"hours": hours, "confirmation": "flush"}).status_code == 400


@pytest.mark.parametrize(("role", "expected"), [("Viewer", 403), ("Operator", 302), ("Administrator", 302)])
def test_who_may_forget_may_flush(with_role: Callable[[str], Client], role: str, expected: int) -> None:
    client = with_role(role)
    failed(ago=30 * HOUR, error_fingerprint=A)
    page = client.get(PAGE).content.decode()
    assert (FLUSH in page) is (expected == 302)
    assert ("all/retry" in page) is (expected == 302)
    assert client.get(FLUSH).status_code == (200 if expected == 302 else 403)
    assert client.post(FLUSH, {"hours": "24", "confirmation": "flush"}).status_code == expected


def test_staff_without_permission_are_refused(alices: Client) -> None:
    assert [alices.get(page).status_code for page in (PAGE, FLUSH)] == [403, 403]
