from collections.abc import Callable

import pytest
from django.test import Client

from maintenance.models import Job
from tests.services import Valkey

pytestmark = pytest.mark.django_db


def lines(client: Client, path: str = "/admin/password_change/") -> dict[str, object]:
    groups = client.get(path).context["navigation"]
    return {line.title: line for _title, shown in groups for line in shown}


def test_everyone_sees_what_they_may_open(with_role: Callable[[str], Client], alices: Client) -> None:
    assert "Failed jobs" in lines(with_role("Viewer"))
    assert "Users" not in lines(with_role("Operator"))
    assert "Users" in lines(with_role("Administrator"))
    assert lines(alices) == {}


def test_every_page_of_the_sidebar_opens(bobs: Client, valkey: Valkey) -> None:
    assert {line.url: bobs.get(line.url).status_code for line in lines(bobs).values()} == {  # type: ignore[attr-defined]
        line.url: 200
        for line in lines(bobs).values()  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/admin/", "Overview"),
        ("/admin/maintenance/job/", "Jobs"),
        ("/admin/maintenance/job/failed/", "Failed jobs"),
        ("/admin/maintenance/job/failed/flush/", "Failed jobs"),
        ("/admin/maintenance/job/?status__exact=failed", "Jobs"),
        ("/admin/maintenance/job/?status__exact=running", "Jobs"),
        ("/admin/django-rq/queues/0/details/", "RQ dashboard"),
        ("/admin/queues/low/clear/", "Queues"),
        ("/admin/conversations/agent/add/", "Agents"),
    ],
)
def test_one_line_is_the_current_one(bobs: Client, valkey: Valkey, path: str, title: str) -> None:
    current = [name for name, line in lines(bobs, path).items() if line.current]  # type: ignore[attr-defined]
    assert current == [title]


def test_the_filter_of_the_sidebar_stays(bobs: Client) -> None:
    assert 'id="nav-filter"' in bobs.get("/admin/password_change/").content.decode()


def test_failed_jobs_are_counted_up_to_a_limit(bobs: Client, failed_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(bobs)["Failed jobs"].badge == "1"  # type: ignore[attr-defined]
    monkeypatch.setattr("chinese_worker.console.navigation.BADGE_MAX", 0)
    assert lines(bobs)["Failed jobs"].badge == "0+"  # type: ignore[attr-defined]
