"""django-rq's pages inside the console: nobody comes in without permission, and looking changes nothing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django_rq.urls import get_admin_urlpatterns, get_api_urlpatterns
from redis import Redis
from rq import Queue as RQQueue
from rq.job import JobStatus
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer

from chinese_worker import rq_dashboard
from maintenance import broker, queues
from maintenance.models import AuditEntry, Job
from tests.services import Valkey

pytestmark = pytest.mark.django_db

HOME = "/admin/django-rq/"
ARGUMENTS = {
    "queue_index": 0, "job_id": "nothing-1", "result_id": "1-0", "key": "rq:worker:nobody", "scheduler_index": 0,
    "connection_index": 0, "scheduler_name": "cron", "cron_job_name": "job", "token": "abc",
}  # fmt: skip
CHANGING = {
    "requeue_job", "stop_job", "confirm_action", "actions", "enqueue_job", "delete_job", "delete_failed_jobs", "clear",
    "requeue_all",
}  # fmt: skip


def addresses() -> dict[str, str]:
    """Every address of django-rq in the console, by name; queue 0 is `default`."""
    found = {}
    for pattern in [*get_api_urlpatterns(), *get_admin_urlpatterns()]:
        names = pattern.pattern.regex.groupindex
        arguments = {name: ARGUMENTS[name] for name in names}
        try:
            found[f"{pattern.name} {len(names)}"] = reverse(f"admin:django_rq_{pattern.name}", kwargs=arguments)
        except NoReverseMatch:
            raise AssertionError(f"{pattern.name} is not served") from None
    return found


def named(name: str) -> str:
    return next(address for key, address in addresses().items() if key.split()[0] == name)


def of_job(name: str, rq_id: str) -> str:
    return reverse(f"admin:django_rq_{name}", kwargs={"queue_index": 0, "job_id": rq_id})


@pytest.fixture
def in_redis(valkey: Valkey) -> RQQueue:
    """The queue `default`, as the ledger fills it."""
    return RQQueue("default", connection=broker.quick(), serializer=JSONSerializer)


def put(queue: RQQueue, job: Job, status: JobStatus = JobStatus.QUEUED) -> str:
    """The job's dispatch in Redis, in this state; its RQ id."""
    rq_job = queue.enqueue(
        queues.PERFORM, kwargs={"job_id": job.pk, "dispatch": 1}, job_id=queues.rq_id(job.pk, 1), unique=True
    )
    if status != JobStatus.QUEUED:
        queue.connection.lrem(queue.key, 0, rq_job.id)
        rq_job.set_status(status)
    if status == JobStatus.FAILED:
        FailedJobRegistry(queue=queue).add(rq_job, ttl=3600, exc_string="Traceback: it broke in RQ")
    return str(rq_job.id)


def abandoned(queue: RQQueue, job: Job) -> str:
    """A started job whose worker died long ago: what RQ's clean-up would move."""
    rq_id = put(queue, job, JobStatus.STARTED)
    key = StartedJobRegistry(queue=queue).key
    queue.connection.zadd(key, {f"{rq_id}:execution": (timezone.now() - timedelta(hours=1)).timestamp()})
    return rq_id


def contents(redis: "Redis") -> dict[str, Any]:
    """Everything that is there, comparable."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        b"stream": redis.xrange,
    }
    return {key: readers[redis.type(key)](key) for key in redis.keys("*")}


@pytest.mark.parametrize("name", addresses())
@pytest.mark.parametrize("method", ["get", "post"])
def test_staff_without_permission_are_refused_everywhere(
    alices: Client, name: str, method: str, valkey: Valkey
) -> None:
    assert getattr(alices, method)(addresses()[name]).status_code == 403


@pytest.mark.parametrize("name", addresses())
def test_strangers_are_sent_to_sign_in(client: Client, name: str) -> None:
    answer = client.get(addresses()[name])
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("name", addresses())
def test_a_viewer_changes_nothing(with_role: Callable[[str], Client], name: str, valkey: Valkey) -> None:
    answer = with_role("Viewer").post(addresses()[name], {"action": "requeue", "job_ids": ["x-1"]})
    assert answer.status_code in ((403,) if name.split()[0] in CHANGING else (200, 404))


@pytest.mark.parametrize("name", addresses())
def test_looking_changes_nothing(bobs: Client, in_redis: RQQueue, failed_job: Job, name: str) -> None:
    abandoned(in_redis, failed_job)
    in_redis.connection.zadd(FailedJobRegistry(queue=in_redis).key, {"long-gone-1": 1})
    in_redis.connection.sadd("rq:workers:default", "rq:worker:gone")
    in_redis.connection.sadd("rq:workers", "rq:worker:gone")
    before = contents(in_redis.connection)
    answer = bobs.get(addresses()[name])
    assert answer.status_code in ((405,) if name.split()[0] in CHANGING else (200, 404))
    assert contents(in_redis.connection) == before


def test_looking_keeps_the_time_limit_of_the_connection(bobs: Client, in_redis: RQQueue) -> None:
    in_redis.connection.hset("rq:worker:w1", mapping={"state": "busy", "pid": "42", "queues": "default,high"})
    in_redis.connection.sadd("rq:workers:default", "rq:worker:w1")
    bobs.get(named("workers"))
    bobs.get(reverse("admin:django_rq_worker_details", kwargs={"queue_index": 0, "key": "rq:worker:w1"}))
    assert broker.quick().connection_pool.connection_kwargs["socket_timeout"] == 2


@pytest.mark.parametrize("name", ["queue_details", "jobs", "started_jobs", "failed_jobs", "workers", "clear"])
def test_an_unknown_queue_is_not_found(bobs: Client, valkey: Valkey, name: str) -> None:
    address = reverse(f"admin:django_rq_{name}", kwargs={"queue_index": 99})
    assert (bobs.post if name in CHANGING else bobs.get)(address).status_code == 404


@pytest.mark.parametrize("rq_id", ["nothing-1", "nothing", "ü.:x"])
def test_an_unknown_job_is_not_found(bobs: Client, valkey: Valkey, rq_id: str) -> None:
    assert bobs.get(of_job("job_detail", rq_id)).status_code == 404
    assert bobs.post(of_job("requeue_job", rq_id)).status_code == 404
    assert bobs.post(of_job("stop_job", rq_id)).status_code == 404


@pytest.mark.parametrize("key", ["rq:worker:nobody", "nobody", "rq:job:x", "rq:worker:w:executions", "session"])
def test_an_unknown_worker_is_not_found(bobs: Client, valkey: Valkey, key: str) -> None:
    broker.quick().hset("rq:job:x", "a", "b")
    broker.quick().sadd("rq:worker:w:executions", "a")
    address = reverse("admin:django_rq_worker_details", kwargs={"queue_index": 0, "key": key})
    assert bobs.get(address).status_code == 404


def test_counts_and_lists_show_what_redis_holds(bobs: Client, in_redis: RQQueue, failed_job: Job) -> None:
    rq_id = put(in_redis, failed_job)
    assert bobs.get(named("home_json")).json()["queues"][0] == {
        "name": "default", "index": 0, "queued": 1, "started": 0, "finished": 0, "failed": 0, "scheduled": 0,
        "deferred": 0, "workers": 0,
    }  # fmt: skip
    page = bobs.get(named("jobs")).content.decode()
    assert rq_id in page
    assert f"/admin/maintenance/job/{failed_job.pk}/change/" in page


def test_a_failed_job_shows_its_traceback(bobs: Client, in_redis: RQQueue, failed_job: Job) -> None:
    rq_job = in_redis.fetch_job(put(in_redis, failed_job, JobStatus.FAILED))
    assert rq_job is not None
    Result.create_failure(rq_job, 3600, "Traceback: it broke in RQ")
    assert "Traceback: it broke in RQ" in bobs.get(of_job("job_detail", rq_job.id)).content.decode()


def test_a_worker_is_shown_while_it_works(bobs: Client, in_redis: RQQueue, failed_job: Job) -> None:
    rq_id = put(in_redis, failed_job, JobStatus.STARTED)
    in_redis.connection.hset("rq:worker:w1", mapping={"state": "busy", "pid": "42", "hostname": "atlas"})
    in_redis.connection.sadd("rq:worker:w1:executions", f"{rq_id}:e1")
    page = bobs.get(reverse("admin:django_rq_worker_details", kwargs={"queue_index": 0, "key": "rq:worker:w1"}))
    assert "42 on atlas" in page.content.decode()
    assert rq_id in page.content.decode()


def test_a_requeue_goes_through_the_ledger(bobs: Client, in_redis: RQQueue, failed_job: Job) -> None:
    rq_id = put(in_redis, failed_job, JobStatus.FAILED)
    answer = bobs.post(of_job("requeue_job", rq_id))
    failed_job.refresh_from_db()
    assert failed_job.status == "pending"
    assert answer["Location"] == f"/admin/maintenance/job/{failed_job.pk}/change/"
    assert in_redis.job_ids == []
    assert AuditEntry.objects.get().verb == "job.retry"


def test_a_stop_goes_through_the_ledger(bobs: Client, in_redis: RQQueue, failed_job: Job) -> None:
    rq_id = put(in_redis, failed_job, JobStatus.STARTED)
    Job.objects.update(status="running")
    bobs.post(of_job("stop_job", rq_id))
    failed_job.refresh_from_db()
    assert failed_job.cancel_requested_at is not None


def test_selected_jobs_are_confirmed_then_retried(bobs: Client, in_redis: RQQueue, failed_job: Job) -> None:
    rq_id = put(in_redis, failed_job, JobStatus.FAILED)
    page = bobs.post(named("confirm_action"), {"action": "requeue", "_selected_action": [rq_id]}).content.decode()
    assert "Retry 1 job" in page
    failed_job.refresh_from_db()
    assert failed_job.status == "failed"
    bobs.post(named("actions"), {"action": "requeue", "job_ids": [rq_id]})
    failed_job.refresh_from_db()
    assert failed_job.status == "pending"


@pytest.mark.parametrize("name", ["confirm_action", "actions"])
@pytest.mark.parametrize("action", ["requeue", "stop", ""])
def test_it_redirects_to_nowhere_else(bobs: Client, valkey: Valkey, name: str, action: str) -> None:
    elsewhere = "https://evil.example/"
    form = {"action": action, "next_url": elsewhere}
    answer = bobs.post(named(name), form, headers={"Referer": elsewhere})
    assert answer.get("Location", "/admin/").startswith("/admin/")


@pytest.mark.parametrize("name", ["delete_job", "delete_failed_jobs", "clear", "requeue_all", "enqueue_job"])
def test_what_goes_round_the_ledger_is_refused_with_the_place_to_go_to(
    bobs: Client, in_redis: RQQueue, failed_job: Job, name: str
) -> None:
    rq_id = put(in_redis, failed_job)
    before = contents(in_redis.connection)
    answer = bobs.post(of_job(name, rq_id) if name in ("delete_job", "enqueue_job") else named(name))
    assert answer.status_code == 403
    assert 'href="/admin/maintenance/job/' in answer.content.decode()
    assert contents(in_redis.connection) == before


def test_deleting_selected_jobs_is_refused(bobs: Client, in_redis: RQQueue, failed_job: Job) -> None:
    rq_id = put(in_redis, failed_job)
    answer = bobs.post(named("actions"), {"action": "delete", "job_ids": [rq_id]})
    assert answer.status_code == 403
    assert in_redis.job_ids == [rq_id]


@pytest.mark.parametrize(
    ("role", "name", "status"),
    [("Operator", "clear", 403), ("Operator", "requeue_job", 302), ("Operator", "stop_job", 302)],
)
def test_a_role_may_what_it_says(
    with_role: Callable[[str], Client], in_redis: RQQueue, failed_job: Job, role: str, name: str, status: int
) -> None:
    rq_id = put(in_redis, failed_job, JobStatus.FAILED)
    address = named(name) if name == "clear" else of_job(name, rq_id)
    assert with_role(role).post(address).status_code == status


def test_redis_away_is_said_in_words(bobs: Client, valkey: Valkey) -> None:
    valkey.stop()
    queues.forget()
    answer = bobs.get(HOME)
    assert answer.status_code == 503
    assert "Jobs are safe in the ledger" in answer.content.decode()


def test_a_page_that_a_newer_django_rq_adds_is_closed(bobs: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(rq_dashboard.VIEWS, "home")
    request = RequestFactory().get(HOME)
    request.user = bobs.get("/admin/").wsgi_request.user
    assert rq_dashboard._guarded(admin.site, "home")(request).status_code == 403
