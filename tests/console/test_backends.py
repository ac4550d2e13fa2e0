"""The page of the backends and the form of one."""

import io
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from maintenance.models import AuditEntry, Job
from models_registry import catalog, health, registration
from models_registry.fakes.openai import FOR_EVER, OpenAIServer
from models_registry.models import BackendRecord, Model
from tests.console.conftest import Signed
from tests.services import free_port

PAGE = "/admin/models_registry/backendrecord/"
KEY = "sk-planted-key-6491"

pytestmark = pytest.mark.django_db


def form(**values: Any) -> dict[str, Any]:
    """A filled-in form of a backend."""
    usual = {"name": "vllm", "driver": "openai", "base_url": "http://127.0.0.1:1234/v1", "key": "", "model": "llama",
             "context_length": "0", "options": "{}", "enabled": "on"}  # fmt: skip
    return {**usual, **values}


@pytest.fixture
def record() -> BackendRecord:
    """A backend with a key; nothing listens at its address."""
    values = {"driver": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1", "model": "llama"}
    return registration.save(BackendRecord(name="vllm", **values), key=KEY)


def errors(answer: Any) -> dict[str, list[str]]:
    return dict(answer.context["adminform"].form.errors)


def test_a_backend_is_added_and_can_be_used_at_once(bobs: Client) -> None:
    assert bobs.post(f"{PAGE}add/", form(key=KEY, options='{"temperature": 0.1}')).status_code == 302
    resolved = catalog.resolve("vllm", {})
    assert (resolved.config.model, resolved.config.temperature) == ("llama", 0.1)
    assert catalog.configured()["vllm"].api_key == KEY
    job = Job.objects.get()
    assert (job.name, job.arguments) == ("sync_models", {"backend": "vllm"})
    bobs.post(f"{PAGE}add/", form(name="idle", enabled=""))
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("name", "openai", "stands for what the environment sets"),
        ("name", "two words", "Enter a valid"),
        ("driver", "telepathy", "Select a valid choice"),
        ("base_url", "http://user:s3cret@127.0.0.1/v1", "put the key into its own field"),
        ("base_url", "http://127.0.0.1/v1?key=s3cret", "put the key into its own field"),
        ("base_url", "http://user:s3cret@127.0.0.1/" + "v" * 600, "at most 500 characters"),
        ("base_url", "file:///etc/s3cret", "must be an address"),
        ("key", "with blank", "no key has"),
        ("options", '{"temperature": "hot"}', "temperature: Must be a number."),
        ("options", '{"model": "m"}', "It has a field of its own."),
        ("options", "[1]", "Must be an object."),
    ],
)
def test_a_mistake_is_named_at_its_field_and_no_login_is_repeated(
    bobs: Client, field: str, text: str, said: str
) -> None:
    answer = bobs.post(f"{PAGE}add/", form(**{field: text}))
    assert said in " ".join(errors(answer)[field])
    assert "s3cret" not in answer.content.decode()
    assert not BackendRecord.objects.exists()


def test_a_login_in_an_address_is_not_repeated_because_of_another_mistake(bobs: Client) -> None:
    page = bobs.post(f"{PAGE}add/", form(name="", base_url="http://user:s3cret@127.0.0.1/v1")).content.decode()
    assert "s3cret" not in page


def test_a_key_stays_is_replaced_or_is_removed(bobs: Client, record: BackendRecord) -> None:
    address = f"{PAGE}{record.pk}/change/"
    kept = form(base_url=record.base_url)
    for sent, stored in (({}, KEY), ({"key": "another"}, "another"), ({"remove_key": "on"}, "")):
        assert bobs.post(address, {**kept, **sent}).status_code == 302
        assert catalog.configured()["vllm"].api_key == stored


def test_a_stored_key_is_asked_for_again_for_another_address(bobs: Client, record: BackendRecord) -> None:
    answer = bobs.post(f"{PAGE}{record.pk}/change/", form(base_url="http://evil.example/v1"))
    assert "enter it again" in " ".join(errors(answer)["key"])


def test_the_name_stays(bobs: Client, record: BackendRecord) -> None:
    bobs.post(f"{PAGE}{record.pk}/change/", form(name="other", base_url=record.base_url, model="m2"))
    record.refresh_from_db()
    assert (record.name, record.model) == ("vllm", "m2")


def test_the_list_shows_where_each_comes_from_and_how_it_is(bobs: Client, record: BackendRecord, settings: Any) -> None:
    settings.OPENAI_BASE_URL = f"http://user:s3cret@127.0.0.1:{free_port()}/v1"
    registration.save(BackendRecord(name="idle", driver="fake", enabled=False))
    page = bobs.get(PAGE)
    lines = {line.name: line for line in page.context["lines"]}
    assert list(lines) == ["openai", "fake", "idle", "vllm"]
    assert (lines["fake"].is_default, lines["fake"].edit_url, lines["fake"].checked.health.status) == (
        True,
        "",
        "available",
    )
    assert (lines["idle"].enabled, lines["idle"].checked) == (False, None)
    assert lines["vllm"].checked.health.status == "unreachable"
    text = page.content.decode()
    assert record.base_url in text
    assert "s3cret" not in text


def test_without_a_backend_it_says_what_to_do(bobs: Client, settings: Any) -> None:
    settings.FAKE_BACKEND = False
    page = bobs.get(PAGE).content.decode()
    assert "No backend yet" in page
    assert f"{PAGE}add/" in page
    assert "No backend yet" in bobs.get("/admin/models/").content.decode()


def test_a_connection_is_tested_and_noted(bobs: Client, bob: User, record: BackendRecord) -> None:
    page = bobs.post(f"{PAGE}test/", {"name": "vllm", "back": record.pk}, follow=True)
    assert page.redirect_chain[-1][0] == f"{PAGE}{record.pk}/change/"
    assert "vllm is unreachable. vllm could not be reached." in page.content.decode()
    with OpenAIServer() as server:
        BackendRecord.objects.update(base_url=server.base_url)
        page = bobs.post(f"{PAGE}test/", {"name": "vllm"}, follow=True)
        assert "vllm is available and lists" in page.content.decode()
        assert server.received[0].headers["authorization"] == f"Bearer {KEY}"
    entries = AuditEntry.objects.order_by("id").values_list("actor", "verb", "target", "result")
    assert [*entries] == [
        (bob.pk, "backend.test", "backend:vllm", "vllm could not be reached."),
        (bob.pk, "backend.test", "backend:vllm", "ok"),
    ]


def test_f43_a_server_that_stays_silent_keeps_nobody_waiting(
    bobs: Client, record: BackendRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_registry.console.backends.TEST_SECONDS", 0.2)
    with OpenAIServer() as server:
        server.models_script = lambda: [FOR_EVER]
        BackendRecord.objects.update(base_url=server.base_url)
        page = bobs.post(f"{PAGE}test/", {"name": "vllm"}, follow=True)
        assert "vllm did not answer within 0.2 s." in page.content.decode()
        for probe in health._probes.values():
            probe.join()


def test_backends_of_the_environment_and_disabled_ones_are_tested_too(bobs: Client, record: BackendRecord) -> None:
    assert "fake is available" in bobs.post(f"{PAGE}test/", {"name": "fake"}, follow=True).content.decode()
    BackendRecord.objects.update(enabled=False)
    assert "vllm is unreachable" in bobs.post(f"{PAGE}test/", {"name": "vllm"}, follow=True).content.decode()
    assert bobs.post(f"{PAGE}test/", {"name": "nowhere"}).status_code == 404
    assert bobs.get(f"{PAGE}test/").status_code == 405


def test_a_key_that_cannot_be_read_breaks_no_page(bobs: Client, record: BackendRecord) -> None:
    BackendRecord.objects.update(encrypted_key="damaged")
    assert "Enter the key again" in bobs.get(PAGE).content.decode()
    assert bobs.get(f"{PAGE}{record.pk}/change/").status_code == 200
    assert bobs.get("/admin/models/vllm/").status_code == 200
    assert "Enter the key again" in bobs.post(f"{PAGE}test/", {"name": "vllm"}, follow=True).content.decode()


def test_a_deleted_backend_is_noted(bobs: Client, record: BackendRecord) -> None:
    Model.objects.create(backend="vllm", name="llama", synced_at=record.created_at)
    assert "Models known of it: 1" in bobs.get(f"{PAGE}{record.pk}/delete/").content.decode()
    bobs.post(f"{PAGE}{record.pk}/delete/", {"post": "yes"})
    assert not BackendRecord.objects.exists()
    assert not Model.objects.exists()
    assert AuditEntry.objects.get().verb == "backendrecord.delete"


def test_no_key_is_in_any_page_answer_log_or_row(
    bobs: Client, bob: User, signed_in: Signed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    health._known.clear()
    seen = [bobs.post(f"{PAGE}add/", form(key=KEY, base_url=f"http://127.0.0.1:{free_port()}/v1"), follow=True)]
    record = BackendRecord.objects.get()
    seen += [
        bobs.post(f"{PAGE}{record.pk}/change/", form(key=KEY, base_url="nonsense")),
        bobs.post(f"{PAGE}{record.pk}/change/", form(key=KEY, base_url=record.base_url, model="m"), follow=True),
        bobs.post(f"{PAGE}test/", {"name": "vllm"}, follow=True),
        *(bobs.get(f"{PAGE}{tail}") for tail in ("", f"{record.pk}/change/", f"{record.pk}/history/")),
        bobs.get("/admin/models/vllm/"),
        bobs.get("/admin/maintenance/auditentry/"),
        *(bobs.get(f"/api/v1/ai-backends{tail}") for tail in ("", "/vllm", "/vllm/models?detailed")),
    ]
    assert [answer.status_code for answer in seen] == [200] * len(seen)
    out = io.StringIO()
    call_command("dumpdata", stdout=out, exclude=["sessions", "django_rq"])
    texts = [answer.content.decode() for answer in seen] + [out.getvalue(), caplog.text]
    assert [text for text in texts if KEY in text] == []
    assert LogEntry.objects.count() == AuditEntry.objects.exclude(verb="backend.test").count() == 2
    assert catalog.configured()["vllm"].api_key == KEY


@pytest.mark.parametrize(
    ("role", "tests", "edits"), [("Viewer", False, False), ("Operator", True, False), ("Administrator", True, True)]
)
def test_who_may_test_and_who_may_edit(
    with_role: Callable[[str], Client], record: BackendRecord, role: str, tests: bool, edits: bool
) -> None:
    client = with_role(role)
    page = client.get(PAGE).content.decode()
    assert ("Test connection" in page, f"{PAGE}add/" in page) == (tests, edits)
    assert "A key is stored." in client.get(f"{PAGE}{record.pk}/change/").content.decode()
    assert client.post(f"{PAGE}test/", {"name": "vllm"}).status_code == (302 if tests else 403)
    posts = {
        "add/": form(name="second"),
        f"{record.pk}/change/": form(base_url=record.base_url, model="m"),
        f"{record.pk}/delete/": {"post": "yes"},
    }
    answers = {client.post(f"{PAGE}{tail}", sent).status_code for tail, sent in posts.items()}
    assert answers == ({302} if edits else {403})
    assert BackendRecord.objects.filter(name="second").exists() is edits


@pytest.mark.parametrize("tail", ["", "add/", "1/change/", "1/delete/", "1/history/", "test/"])
def test_staff_without_permission_are_refused(alices: Client, record: BackendRecord, tail: str) -> None:
    address = PAGE + tail.replace("1", str(record.pk))
    if tail != "test/":
        assert alices.get(address).status_code == 403
    assert alices.post(address, {"name": "vllm"}).status_code == 403
    assert not AuditEntry.objects.exists()


def test_a_form_without_its_token_is_refused(bob: User, record: BackendRecord) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(bob)
    assert strict.post(f"{PAGE}test/", {"name": "vllm"}).status_code == 403
    assert strict.post(f"{PAGE}add/", form(name="second")).status_code == 403
    assert not Model.objects.exists()
