"""The page of the models of a backend."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from maintenance.models import AuditEntry, Job
from models_registry import sync
from models_registry.errors import BackendUnreachable
from models_registry.models import Model
from tests.models_registry.managing import Shelf, managed
from tests.services import Valkey, free_port

PAGE = "/admin/models/fake/"
NAME = "org/llama:7b"

pytestmark = pytest.mark.django_db


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """The models of the backend `fake`, which manages them here; one of them is in memory."""
    with managed(monkeypatch) as shelf:
        shelf.put(
            NAME, "sha256:0123456789abcdef", context_length=131_072, capabilities=("completion", "tools"), loaded=True,
            size_bytes=4_400_000_000, family="llama", parameter_size="7B", loaded_context_length=4096,
        )  # fmt: skip
        shelf.put("idle:latest")
        sync.sync("fake")
        yield shelf


def test_it_shows_what_the_registry_knows(bobs: Client, shelf: Shelf) -> None:
    page = bobs.get(PAGE).content.decode()
    for text in (NAME, "4.1\xa0GB", "131,072", "loaded 4,096", "7B", "tools", "0123456789ab", "idle:latest"):
        assert text in page
    assert page.count(">Unload<") == 1


def test_without_a_name_it_is_the_default_backend(bobs: Client, shelf: Shelf) -> None:
    assert bobs.get("/admin/models/").context["backend"].name == "fake"


def test_a_backend_of_which_nothing_is_known_says_what_to_do(bobs: Client, settings: Any) -> None:
    assert "Refresh asks it." in bobs.get(PAGE).content.decode()
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    page = bobs.get("/admin/models/openai/").content.decode()
    assert "openai could not be reached." in page
    assert "once it answers" in page
    assert "Delete" not in page


def test_a_refresh_is_a_job_that_the_page_shows(bobs: Client, bob: User, shelf: Shelf, valkey: Valkey) -> None:
    page = bobs.post(f"{PAGE}refresh/", follow=True).content.decode()
    job = Job.objects.get()
    assert (job.name, job.arguments, job.created_by) == ("sync_models", {"backend": "fake"}, bob)
    assert "fake is asked for its models." in page
    assert f"/admin/maintenance/job/{job.pk}/change/" in page
    assert AuditEntry.objects.get().verb == "backend.refresh"
    assert 'href="/admin/models/fake/"' in bobs.get(f"/admin/maintenance/job/{job.pk}/change/").content.decode()


def test_a_model_is_unloaded(bobs: Client, shelf: Shelf) -> None:
    page = bobs.post(f"{PAGE}unload/", {"model": NAME}, follow=True).content.decode()
    assert "is no longer in memory" in page
    assert ">Unload<" not in page
    assert shelf.asked[-1] == f"unload {NAME}"
    assert AuditEntry.objects.get().target == f"model:fake/{NAME}"


def test_a_model_is_deleted_after_a_question(bobs: Client, shelf: Shelf) -> None:
    question = bobs.get(f"{PAGE}delete/", {"model": NAME}).content.decode()
    assert "It is in memory now." in question
    assert NAME in shelf.models
    page = bobs.post(f"{PAGE}delete/", {"model": NAME}, follow=True).content.decode()
    assert f"{NAME} was deleted from fake." in page
    assert list(shelf.models) == ["idle:latest"]
    assert AuditEntry.objects.get().verb == "model.delete"


def test_a_server_that_does_not_answer_is_an_error_on_the_page(bobs: Client, shelf: Shelf) -> None:
    shelf.error = BackendUnreachable("fake could not be reached.")
    page = bobs.post(f"{PAGE}delete/", {"model": NAME}, follow=True).content.decode()
    assert "fake could not be reached." in page
    assert Model.objects.filter(name=NAME).exists()
    assert AuditEntry.objects.get().result == "fake could not be reached."


def test_what_there_is_not_is_not_found(bobs: Client, shelf: Shelf) -> None:
    assert bobs.get("/admin/models/nowhere/").status_code == 404
    assert bobs.get(f"{PAGE}delete/", {"model": "none"}).status_code == 404
    for verb in ("refresh", "unload", "delete"):
        assert bobs.post(f"/admin/models/nowhere/{verb}/", {"model": NAME}).status_code == 404


@pytest.mark.parametrize("verb", ["refresh", "unload"])
def test_looking_never_acts(bobs: Client, shelf: Shelf, verb: str) -> None:
    assert bobs.get(f"{PAGE}{verb}/").status_code == 405


@pytest.mark.parametrize(
    ("role", "changes", "deletes"), [("Viewer", False, False), ("Operator", True, False), ("Administrator", True, True)]
)
def test_who_may_refresh_and_unload_and_who_may_delete(
    with_role: Callable[[str], Client], shelf: Shelf, valkey: Valkey, role: str, changes: bool, deletes: bool
) -> None:
    client = with_role(role)
    page = client.get(PAGE).content.decode()
    assert (f"{PAGE}refresh/" in page, f"{PAGE}unload/" in page, f"{PAGE}delete/" in page) == (
        changes,
        changes,
        deletes,
    )
    posts = {"refresh": changes, "unload": changes, "delete": deletes}
    refused = {verb: client.post(f"{PAGE}{verb}/", {"model": NAME}).status_code == 403 for verb in posts}
    assert refused == {verb: not allowed for verb, allowed in posts.items()}
    assert (NAME in shelf.models) is not deletes


def test_staff_without_permission_are_refused(alices: Client, bob: User, shelf: Shelf) -> None:
    assert [alices.get(address).status_code for address in ("/admin/models/", PAGE)] == [403, 403]
    posts = [alices.post(f"{PAGE}{verb}/", {"model": NAME}).status_code for verb in ("refresh", "unload", "delete")]
    assert posts == [403] * 3
    assert not AuditEntry.objects.exists()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(bob)
    assert strict.post(f"{PAGE}delete/", {"model": NAME}).status_code == 403
