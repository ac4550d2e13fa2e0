"""What is put into Redis is what RQ would have put there: its pages and its worker class read it."""

from django.utils import timezone
from rq import Queue as RQQueue
from rq.job import Job as RQJob
from rq.serializers import JSONSerializer

from maintenance import broker, queues, taking
from tests.maintenance import jobs
from tests.services import Valkey


def test_rq_finds_the_job_in_its_queue(valkey: Valkey, transactional_db: None) -> None:
    before = timezone.now()
    row = jobs.write_line.enqueue(path="/nowhere", text="x")
    queue = RQQueue("default", connection=broker.quick(), serializer=JSONSerializer)
    assert queue.job_ids == [f"{row.pk}-1"]
    assert [each.name for each in RQQueue.all(connection=broker.quick())] == ["default"]
    rq_job = RQJob.fetch(f"{row.pk}-1", connection=broker.quick(), serializer=JSONSerializer)
    assert (rq_job.get_status(), rq_job.origin, rq_job.timeout) == ("queued", "default", 90)
    assert (rq_job.func_name, rq_job.kwargs) == (queues.PERFORM, {"job_id": row.pk, "dispatch": 1})
    assert (rq_job.result_ttl, rq_job.failure_ttl) == (0, queues.FAILED_KEPT_SECONDS)
    assert rq_job.description == "write_line(path=/nowhere, text=x)"
    assert rq_job.enqueued_at is not None
    assert before <= rq_job.enqueued_at <= timezone.now()


def test_a_dispatch_is_put_into_its_queue_once(valkey: Valkey, transactional_db: None) -> None:
    row = jobs.write_line.enqueue(path="/nowhere", text="x")
    row.refresh_from_db()
    queues.carry(row)
    assert broker.quick().llen(taking.queue_key("default")) == 1


def test_each_job_wakes_a_worker_and_old_wakings_are_forgotten(valkey: Valkey, transactional_db: None) -> None:
    row = jobs.write_line.enqueue(path="/nowhere", text="x")
    assert broker.quick().llen(taking.tokens_key("default")) == 1
    broker.quick().rpush(taking.tokens_key("default"), *range(taking.TOKENS_KEPT))
    row.dispatch = 2
    queues.carry(row)
    assert broker.quick().llen(taking.tokens_key("default")) == taking.TOKENS_KEPT
