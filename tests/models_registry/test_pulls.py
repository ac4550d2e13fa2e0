"""The verbs on pulls, and their API."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from maintenance import cleanup, ledger
from maintenance.access import tokens
from maintenance.access.scopes import Scope
from maintenance.errors import Refusal
from maintenance.models import AuditEntry, Job
from models_registry import pulls, recovery
from models_registry.models import Pull
from tests.models_registry.downloads import Warehouse
from tests.models_registry.pull_fixtures import PULLS, fresh, warehouse
from tests.services import Valkey
from tests.source import ROOT, rows

__all__ = ["warehouse"]
pytestmark = [pytest.mark.django_db, pytest.mark.databases]
Status = Pull.Status


@pytest.fixture
def operator(alice: User) -> APIClient:
    """Alice's client, who is an operator here."""
    return operator_client(alice)


def operator_client(user: User) -> APIClient:
    user.is_staff = True
    user.save()
    user.groups.add(Group.objects.get(name="Operator"))
    client = APIClient()
    client.force_authenticate(User.objects.get(pk=user.pk))
    return client


def post(client: APIClient, model: str = "llama3:8b", **more: Any) -> Any:
    return client.post(PULLS, {"model": model}, **more)


def test_a_pull_is_queued_with_its_job(warehouse: Warehouse, operator: APIClient, alice: User) -> None:
    answer = post(operator)
    assert answer.status_code == 202, answer.content
    body = answer.json()
    pull = Pull.objects.get()
    assert body["stream_url"] == f"{PULLS}/{pull.pk}/stream"
    assert (body["pull_id"], body["model"], body["backend"], body["status"]) == (
        pull.pk,
        "llama3:8b",
        "ollama",
        "queued",
    )
    job = Job.objects.get(pk=pull.job_id)
    assert (job.name, job.arguments, job.concurrency_key) == ("pull_model", {"pull_id": pull.pk}, "pulls")
    assert set(job.tags) == {"model-pull", f"pull:{pull.pk}", "backend:ollama", f"user:{alice.pk}"}
    assert AuditEntry.objects.get(verb="pull.start").target == f"pull:{pull.pk}"


def test_the_shape_of_a_pull(warehouse: Warehouse, operator: APIClient) -> None:
    pull_id = post(operator).json()["pull_id"]
    body = operator.get(f"{PULLS}/{pull_id}").json()
    assert {name: body[name] for name in body if not name.endswith("_at") and name not in ("job_id", "pull_id")} == {
        "model": "llama3:8b", "backend": "ollama", "status": "queued", "phase": "", "percentage": 0.0, "completed": 0,
        "total": 0, "speed_bytes_per_second": None, "eta_seconds": None, "layers": [], "error": None,
        "error_code": None, "stream_url": f"{PULLS}/{pull_id}/stream",
    }  # fmt: skip


def test_f40_a_model_that_is_being_pulled_is_not_pulled_twice(warehouse: Warehouse, operator: APIClient) -> None:
    first, second, other = post(operator, "llama3"), post(operator, "LLAMA3:latest"), post(operator, "mistral")
    assert (first.status_code, second.status_code, other.status_code) == (202, 200, 202)
    assert first.json()["pull_id"] == second.json()["pull_id"]
    assert Job.objects.filter(name="pull_model").count() == 2


def test_a_key_that_is_sent_again_gets_the_same_answer(warehouse: Warehouse, operator: APIClient) -> None:
    first = post(operator, headers={"Idempotency-Key": "k"})
    again = post(operator, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()) == (202, first.json())


@pytest.mark.parametrize("name", ["", "a b", "ö", "x" * 256, "a\nb", "$(x)"])
def test_a_name_that_no_model_has_is_refused(warehouse: Warehouse, operator: APIClient, name: str) -> None:
    answer = post(operator, name)
    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["model"])


def test_backends_that_cannot_pull(warehouse: Warehouse, operator: APIClient) -> None:
    unknown = operator.post("/api/v1/ai-backends/none/models/pull", {"model": "a"})
    fake = operator.post("/api/v1/ai-backends/fake/models/pull", {"model": "a"})
    assert (unknown.status_code, fake.status_code) == (404, 400)
    assert fake.json()["code"] == "no_model_management"


def test_without_workers_there_are_no_pulls(warehouse: Warehouse, alice: User, settings: Any) -> None:
    settings.QUEUE_CONNECTION = "sync"
    with pytest.raises(Refusal, match="needs a worker"):
        pulls.start("ollama", "a", alice)


def test_f39_not_everybody_may_pull_or_see_and_stop_the_pulls_of_others(
    warehouse: Warehouse, operator: APIClient, charlie: User, bob: User
) -> None:
    stranger = APIClient()
    stranger.force_authenticate(charlie)
    assert post(stranger).status_code == 403
    pull_id = post(operator).json()["pull_id"]
    assert stranger.get(f"{PULLS}/{pull_id}").status_code == 404
    assert stranger.post(f"{PULLS}/{pull_id}/cancel").status_code == 404
    assert stranger.get(PULLS).json()["data"] == []
    assert APIClient().get(PULLS).status_code == 401
    other = APIClient()
    other.force_authenticate(bob)
    assert [one["pull_id"] for one in other.get(PULLS).json()["data"]] == [pull_id]
    assert other.post(f"{PULLS}/{pull_id}/cancel").json()["status"] == "cancelled"


def test_f39_a_token_needs_the_scope_manage(warehouse: Warehouse, operator: APIClient, alice: User) -> None:
    _, text = tokens.issue(alice, "chatter", granted=[Scope.READ, Scope.CHAT])
    client = APIClient(headers={"Authorization": f"Bearer {text}"})
    assert post(client).status_code == 403
    assert client.get(PULLS).status_code == 200


def test_f40_unknown_pulls_are_not_found(warehouse: Warehouse, operator: APIClient) -> None:
    pull_id = post(operator).json()["pull_id"]
    assert operator.get(f"{PULLS}/{'0' * 32}").status_code == 404
    assert operator.get(f"/api/v1/ai-backends/fake/models/pull/{pull_id}").status_code == 404
    assert operator.post(f"{PULLS}/nonsense/cancel").status_code == 404


def test_a_queued_pull_is_cancelled_at_once_with_its_job(warehouse: Warehouse, operator: APIClient) -> None:
    pull_id = post(operator).json()["pull_id"]
    for _ in range(2):
        answer = operator.post(f"{PULLS}/{pull_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    pull = Pull.objects.get()
    assert pull.finished_at
    assert Job.objects.get(pk=pull.job_id).status == "cancelled"


def test_a_pull_that_has_ended_stays_as_it_is(warehouse: Warehouse, alice: User) -> None:
    pull, _ = pulls.start("ollama", "a", alice)
    Pull.objects.update(status=Status.COMPLETED)
    Job.objects.update(status="completed")
    assert pulls.cancel(pull, alice).status == Status.COMPLETED


def test_cancelling_its_job_cancels_a_pull(warehouse: Warehouse, alice: User) -> None:
    pull, _ = pulls.start("ollama", "a", alice)
    ledger.cancel(pull.job_id)
    assert fresh(pull).status == Status.CANCELLED


def test_retrying_its_job_makes_a_new_pull(warehouse: Warehouse, alice: User) -> None:
    pull, _ = pulls.start("ollama", "a", alice)
    pulls.cancel(pull, alice)
    job = ledger.retry(pull.job_id)
    again = Pull.objects.exclude(pk=pull.pk).get()
    assert (again.job_id, again.model, again.created_by, again.status) == (job.pk, "a:latest", alice, "queued")
    assert ledger.retry(pull.job_id).pk == job.pk  # it is under way


def test_only_what_went_wrong_is_retried(warehouse: Warehouse, alice: User) -> None:
    pull, _ = pulls.start("ollama", "a", alice)
    with pytest.raises(Refusal, match="only a failed or cancelled"):
        pulls.retry(pull, alice)
    again, created = pulls.retry(pulls.cancel(pull, alice), alice)
    assert created
    assert again.pk != pull.pk


def test_a_pull_whose_job_is_gone_gets_a_new_one(warehouse: Warehouse, alice: User, monkeypatch: Any) -> None:
    monkeypatch.setattr(recovery, "SETTLED", recovery.SETTLED * 0)
    pull, _ = pulls.start("ollama", "a", alice)
    recovery.reconcile()
    assert fresh(pull).job_id == pull.job_id  # all is well
    Job.objects.all().delete()
    recovery.reconcile()
    assert Job.objects.get().arguments == {"pull_id": pull.pk}
    assert Job.objects.get().pk == fresh(pull).job_id


@pytest.mark.parametrize(
    ("job", "state", "end"),
    [
        ("failed", "running", "failed"),
        ("cancelled", "queued", "cancelled"),
        ("failed", "cancelling", "cancelled"),
        ("completed", "cancelling", "cancelled"),
    ],
)
def test_a_pull_whose_job_has_ended_ends(
    warehouse: Warehouse, alice: User, monkeypatch: Any, job: str, state: str, end: str
) -> None:
    monkeypatch.setattr(recovery, "SETTLED", recovery.SETTLED * 0)
    pull, _ = pulls.start("ollama", "a", alice)
    Pull.objects.update(status=state)
    row = Job.objects.get()
    Job.objects.update(status=job, finished_at=row.created_at, error="timeout: The job took too long.")
    recovery.reconcile()
    pull = fresh(pull)
    assert pull.status == end
    assert pull.error_code == ("timeout" if end == "failed" else "")


def test_pulls_that_ended_long_ago_are_forgotten(warehouse: Warehouse, settings: Any) -> None:
    settings.JOB_HISTORY_DAYS, settings.JOB_FAILED_HISTORY_DAYS = 10, 20
    now = timezone.now()
    for name, status, days in (
        ("old", "completed", 11), ("new", "completed", 9), ("failed", "failed", 11), ("old failed", "failed", 21),
        ("endless", "running", 99),
    ):  # fmt: skip
        Pull.objects.create(
            backend="ollama",
            model=name,
            status=status,
            finished_at=None if status == "running" else now - timedelta(days=days),
        )
    report = cleanup.clean(cleanup.HISTORY)
    assert report["removed"] == 2
    assert set(Pull.objects.values_list("model", flat=True)) == {"new", "failed", "endless"}


@pytest.mark.django_db(transaction=True)
def test_f40_of_many_who_ask_at_once_one_starts_the_pull(warehouse: Warehouse, alice: User, valkey: Valkey) -> None:
    begun: list[tuple[str, bool]] = []
    everybody = threading.Barrier(4)

    def ask() -> None:
        everybody.wait()
        pull, created = pulls.start("ollama", "llama3", alice)
        begun.append((pull.pk, created))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len({pk for pk, _ in begun}) == 1
    assert sorted(created for _, created in begun) == [False, False, False, True]
    assert Job.objects.filter(name="pull_model").count() == 1


def test_pulls_work_without_redis(warehouse: Warehouse, operator: APIClient, valkey: Valkey) -> None:
    valkey.stop()
    pull_id = post(operator).json()["pull_id"]
    assert operator.post(f"{PULLS}/{pull_id}/cancel").json()["status"] == "cancelled"


def test_the_states_of_a_pull_are_documented() -> None:
    document = ROOT / "docs" / "models.md"
    assert [row[0].strip("`") for row in rows(document, "States of a pull")] == [status.value for status in Status]
