"""Failed jobs and queues in Chromium: everything that matches is retried, and it is seen how far that is."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from maintenance import pauses
from maintenance.models import AuditEntry, Job
from tests.acceptance.conftest import Workers
from tests.browser.conftest import OpenScreen
from tests.maintenance.commands import failed

PHONE = 390


@pytest.fixture
def broken(transactional_db: None) -> list[Job]:
    """Jobs that failed in two ways, of which each goes well the next time."""
    common = {"name": "write_line", "arguments": {"path": "/dev/null", "text": "x"}}
    disk = {"error": "job_failed: No space left on device.", "error_fingerprint": "a" * 16, **common}
    late = {"error": "timeout: The job took longer than 30 s.", "error_fingerprint": "b" * 16, **common}
    return [*(failed(**disk) for _ in range(30)), *(failed(queue="low", **late) for _ in range(5))]  # type: ignore[arg-type]


def test_all_failed_jobs_are_retried(screen_of: OpenScreen, workers: Workers, bob: User, broken: list[Job]) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto("/admin/")
    expect(page.locator("#nav-sidebar .count")).to_have_text("35")
    page.click("#nav-sidebar a:has-text('Failed jobs')")
    expect(page.locator("tbody tr td.error-text")).to_have_count(2)
    screen.shot("failed-groups")
    page.click("a:has-text('Retry all…')")
    expect(page.locator("#content")).to_contain_text("35 jobs match:")
    screen.shot("failed-retry-asked")
    page.click("button:has-text('Retry 35 jobs')")
    expect(page.locator(".messagelist")).to_contain_text("This job was started")
    expect(page.locator("h1 .badge")).to_have_text("completed")
    expect(page.locator("#job-progress")).to_contain_text("100 % 35 queued again")
    screen.shot("failed-retried")
    assert AuditEntry.objects.get().verb == "job.retry_matching"
    page.goto("/admin/maintenance/job/failed/")
    expect(page.locator("#content")).to_contain_text("No job has failed.")


def test_a_group_is_reached_on_a_phone(screen_of: OpenScreen, bob: User, broken: list[Job]) -> None:
    screen = screen_of(bob, width=PHONE, height=800)
    page = screen.page
    page.goto("/admin/maintenance/job/failed/")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    screen.shot("phone-failed-groups")
    page.click("tr:has-text('No space left') a:has-text('Forget group…')")
    expect(page.locator("#content")).to_contain_text("30 jobs match:")
    screen.shot("phone-failed-forget")


def test_old_failures_are_flushed_by_typing(
    screen_of: OpenScreen, workers: Workers, bob: User, broken: list[Job]
) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto("/admin/maintenance/job/failed/")
    page.click("a:has-text('Flush old ones…')")
    page.fill("#hours", "0")
    page.click("button:has-text('Count')")
    page.fill("#confirmation", "35")
    screen.shot("failed-flush")
    page.click("button:has-text('Flush')")
    expect(page.locator("h1 .badge")).to_have_text("completed")
    assert not Job.objects.filter(name="write_line").exists()


def test_a_queue_is_paused_and_resumed(screen_of: OpenScreen, bob: User, broken: list[Job]) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto("/admin/queues/")
    low = page.locator("#queue-low")
    low.locator("summary").click()
    low.locator("input[name=reason]").fill("The disk is full.")
    screen.shot("queues")
    low.locator("button:has-text('Pause')").click()
    expect(low).to_contain_text("Paused by bob")
    screen.shot("queue-paused")
    assert [*pauses.paused()] == ["low"]
    low.locator("button:has-text('Resume')").click()
    expect(page.locator(".messagelist")).to_contain_text("Workers take from low again.")
    page.goto("/admin/maintenance/job/?status__exact=failed")
    screen.shot("failed-jobs")
