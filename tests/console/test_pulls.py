"""Pulls in the console: who sees them, who starts and ends them, and what is said."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from maintenance.models import AuditEntry
from models_registry import pulls
from models_registry.models import Pull
from tests.models_registry.downloads import Warehouse
from tests.models_registry.pull_fixtures import fresh, warehouse
from tests.services import Valkey

__all__ = ["warehouse"]
pytestmark = pytest.mark.django_db
LIST = "/admin/models_registry/pull/"
Status = Pull.Status


@pytest.fixture
def pull(warehouse: Warehouse, alice: User, valkey: Valkey) -> Pull:
    return pulls.start("ollama", "llama3:8b", alice)[0]


def page(pull: Pull, verb: str = "change") -> str:
    return f"{LIST}{pull.pk}/{verb}/"


def test_an_empty_list_says_what_to_do(warehouse: Warehouse, bobs: Client) -> None:
    text = bobs.get(LIST).content.decode()
    assert "Nothing is being pulled." in text
    assert 'name="model"' in text


def test_without_a_backend_that_pulls_it_says_how_to_get_one(bobs: Client) -> None:
    text = bobs.get(LIST).content.decode()
    assert "OLLAMA_BASE_URL" in text
    assert 'name="model"' not in text


def test_a_pull_is_started_by_the_form(warehouse: Warehouse, bobs: Client, bob: User, valkey: Valkey) -> None:
    answer = bobs.post(f"{LIST}start/", {"backend": "ollama", "model": " llama3 "}, follow=True)
    pull = Pull.objects.get()
    assert answer.redirect_chain == [(page(pull), 302)]
    assert "The model llama3:latest is being pulled." in answer.content.decode()
    assert (pull.model, pull.created_by) == ("llama3:latest", bob)
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.target, entry.actor, entry.result) == ("pull.start", f"pull:{pull.pk}", bob, "ok")


def test_a_refusal_is_told_and_noted(warehouse: Warehouse, bobs: Client) -> None:
    answer = bobs.post(f"{LIST}start/", {"backend": "ollama", "model": "no name!"}, follow=True)
    assert "A name has letters" in answer.content.decode()
    assert not Pull.objects.exists()
    assert AuditEntry.objects.get().result != "ok"


def test_the_page_of_a_pull_under_way_is_live(pull: Pull, bobs: Client) -> None:
    Pull.objects.update(status=Status.RUNNING, percentage=42.4, phase="pulling a", total_bytes=10)
    text = bobs.get(page(pull)).content.decode()
    assert f'data-stream="/api/v1/ai-backends/ollama/models/pull/{pull.pk}/stream"' in text
    assert 'value="42.4"' in text
    assert "console/pull.js" in text
    assert page(pull, "cancel") in text
    assert page(pull, "retry") not in text


def test_a_failed_pull_says_why_and_what_to_do(pull: Pull, bobs: Client) -> None:
    Pull.objects.update(status=Status.FAILED, error_code="disk_full", error="The disk of <ollama> is full.")
    text = bobs.get(page(pull)).content.decode()
    assert "The disk of &lt;ollama&gt; is full." in text
    assert "Free space" in text
    assert page(pull, "retry") in text
    assert "console/pull.js" not in text


def test_a_pull_is_cancelled_and_tried_again(pull: Pull, bobs: Client, bob: User) -> None:
    assert "The pull was cancelled." in bobs.post(page(pull, "cancel"), follow=True).content.decode()
    assert fresh(pull).status == Status.CANCELLED
    answer = bobs.post(page(pull, "retry"), follow=True)
    again = Pull.objects.exclude(pk=pull.pk).get()
    assert answer.redirect_chain == [(page(again), 302)]
    assert set(AuditEntry.objects.values_list("verb", flat=True)) == {"pull.cancel", "pull.retry"}


def test_the_list_names_what_there_is(
    pull: Pull, bobs: Client, django_assert_max_num_queries: Callable[..., object]
) -> None:
    text = bobs.get(LIST).content.decode()
    assert all(word in text for word in ("llama3:8b", "ollama", "alice", "0 %"))
    for number in range(20):
        Pull.objects.create(backend="ollama", model=f"m{number}", status=Status.COMPLETED)
    with django_assert_max_num_queries(16):  # type: ignore[attr-defined]
        bobs.get(LIST)


def test_roles_see_and_do_what_they_may(pull: Pull, with_role: Callable[[str], Client], alices: Client) -> None:
    viewer = with_role("Viewer")
    assert alices.get(LIST).status_code == alices.get(page(pull)).status_code == 403
    text = viewer.get(page(pull)).content.decode()
    assert page(pull, "cancel") not in text
    assert 'name="model"' not in viewer.get(LIST).content.decode()
    for client in (viewer, alices):
        assert client.post(f"{LIST}start/", {"backend": "ollama", "model": "a"}).status_code == 403
        assert client.post(page(pull, "cancel")).status_code == client.post(page(pull, "retry")).status_code == 403
    assert fresh(pull).status == Status.QUEUED
    operator = with_role("Operator")
    assert operator.post(page(pull, "cancel")).status_code == 302
    assert fresh(pull).status == Status.CANCELLED


def test_changes_need_post_and_its_token(pull: Pull, bob: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    assert client.get(page(pull, "cancel")).status_code == 405
    assert client.post(page(pull, "cancel")).status_code == 403


def test_nothing_inline_is_in_the_pages(pull: Pull, bobs: Client) -> None:
    Pull.objects.update(layers=[{"digest": "sha256:abc", "total": 10, "completed": 5}])
    for address in (LIST, page(pull)):
        text = bobs.get(address).content.decode()
        assert " style=" not in text
        assert "<script>" not in text


def test_its_job_links_to_it(pull: Pull, bobs: Client) -> None:
    assert page(pull) in bobs.get(f"/admin/maintenance/job/{pull.job_id}/change/").content.decode()
