import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone
from redis.exceptions import RedisError

from maintenance import broker, executor, leftovers, outbox, pauses, queues
from maintenance.commits import after_commit
from maintenance.models import Job
from maintenance.tables import Queue
from maintenance.taking import Taker
from tests.maintenance import jobs
from tests.queue import take
from tests.services import Valkey
from tests.waiting import eventually

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


def age(row: Job, seconds: float) -> None:
    then = timezone.now() - timedelta(seconds=seconds)
    Job.objects.filter(pk=row.pk).update(created_at=then)
    Job.objects.filter(pk=row.pk, pushed_at__isnull=False).update(pushed_at=then)


def test_redis_down_leaves_the_row_pending_and_the_relay_pushes_it_later(work: Work, valkey: Valkey, path: str) -> None:
    valkey.stop()
    row = jobs.write_line.enqueue(path=path, text="late")
    row.refresh_from_db()
    assert (row.status, row.pushed_at) == ("pending", None)
    age(row, 5)
    assert outbox.relay() == 0
    valkey.start()
    assert outbox.relay() == 1
    assert work() == ["succeeded"]
    assert Path(path).read_text() == "late\n"


def test_the_relay_leaves_fresh_rows_to_the_process_that_committed_them(valkey: Valkey, transactional_db: None) -> None:
    Job.objects.create(name="write_line", queue="default", max_attempts=1, timeout_seconds=5)
    assert outbox.relay() == 0


def test_a_due_row_is_pushed_and_an_early_one_is_not(work: Work, path: str) -> None:
    due = jobs.write_line.after(timedelta(hours=1)).enqueue(path=path, text="due")
    jobs.write_line.after(timedelta(hours=1)).enqueue(path=path, text="early")
    Job.objects.filter(pk=due.pk).update(not_before=timezone.now() - timedelta(seconds=1))
    assert outbox.relay() == 1
    assert work() == ["succeeded"]
    assert Path(path).read_text() == "due\n"


def test_a_flushed_redis_gets_every_queued_job_again(work: Work, valkey: Valkey, path: str) -> None:
    rows = [jobs.write_line.enqueue(path=path, text=str(n)) for n in range(5)]
    broker.quick().flushall()
    for row in rows:
        age(row, 11)
    assert outbox.recover_lost() == 5
    assert work() == ["succeeded"] * 5
    assert sorted(Path(path).read_text().split()) == ["0", "1", "2", "3", "4"]


def test_a_job_that_was_committed_and_never_carried_is_pushed_under_a_new_number(work: Work, path: str) -> None:
    """As when the process is killed between the two."""
    row = jobs.write_line.row({"path": path, "text": "late"})
    assert outbox.dispatch(row)
    row.save(force_insert=True)
    assert outbox.recover_lost() == 0  # it may still be on its way
    age(row, 11)
    assert outbox.recover_lost() == 1
    assert work() == ["succeeded"]
    row.refresh_from_db()
    assert (row.status, row.dispatch) == ("completed", 2)


def test_a_job_popped_by_a_dying_worker_is_pushed_again_and_the_old_copy_cannot_start(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="once")
    popped = take()
    assert popped == (row.pk, 1)
    age(row, 11)
    assert outbox.recover_lost() == 1
    assert executor.perform(job_id=row.pk, dispatch=1) == executor.NOT_CLAIMED
    assert work() == ["succeeded"]
    assert Path(path).read_text() == "once\n"


def test_what_waits_in_redis_is_left_alone_however_old(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    age(row, 3600)
    assert outbox.recover_lost() == 0
    row.refresh_from_db()
    assert row.dispatch == 1


def test_the_same_dispatch_pushed_again_is_in_redis_once(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="once")
    row.refresh_from_db()
    for _ in range(3):
        queues.carry(row)
    assert queues.sizes()["default"] == 1
    assert work() == ["succeeded"]


def test_two_copies_of_one_dispatch_run_once(work: Work, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="once")
    broker.quick().rpush("rq:queue:default", f"{row.pk}-1", f"{row.pk}-1")
    assert work() == ["succeeded", "not claimed", "not claimed"]
    assert Path(path).read_text() == "once\n"


def test_recovery_without_redis_changes_no_row(work: Work, valkey: Valkey, path: str) -> None:
    row = jobs.write_line.enqueue(path=path, text="x")
    age(row, 60)
    valkey.stop()
    with pytest.raises(RedisError):
        outbox.recover_lost()
    row.refresh_from_db()
    assert (row.status, row.dispatch) == ("queued", 1)


def test_the_pause_after_an_error_grows_and_is_bounded() -> None:
    pauses = [outbox.back_off(n).total_seconds() for n in (1, 2, 3, 20)]
    assert pauses == [10, 20, 40, 3600]


def test_what_a_dead_worker_left_in_redis_is_swept_and_what_is_at_work_stays(work: Work, path: str) -> None:
    rows = [jobs.write_line.enqueue(path=path, text=str(n)) for n in range(2)]
    taker = Taker(broker.quick(), ["high", "default"], pauses.mirror)
    for row in rows:
        assert taker.take(0) == ("default", f"{row.pk}-1")
    executor.perform(job_id=rows[0].pk, dispatch=1)
    assert leftovers.sweep() == 1
    assert queues.leftovers("default") == [f"{rows[1].pk}-1"]


def test_the_most_urgent_queue_is_served_first(work: Work, path: str) -> None:
    order = [Queue.LOW, Queue.DEFAULT, Queue.HIGH, Queue.DEFAULT]
    rows = [jobs.write_line.on(queue).enqueue(path=path, text="x") for queue in order]
    taker = Taker(broker.quick(), ["high", "default", "low"], pauses.mirror)
    taken = [taker.take(0) for _ in range(5)]
    assert taken == [
        ("high", f"{rows[2].pk}-1"),
        ("default", f"{rows[1].pk}-1"),
        ("default", f"{rows[3].pk}-1"),
        ("low", f"{rows[0].pk}-1"),
        None,
    ]


def test_a_waiting_worker_is_woken_by_a_job(work: Work, path: str) -> None:
    found: list[tuple[str, str] | None] = []
    taker = Taker(broker.patient(), ["high", "default"], pauses.mirror)
    assert taker.take(0) is None
    waiting = threading.Thread(target=lambda: found.append(taker.take(60)))
    waiting.start()
    eventually(lambda: any(client["cmd"] == "blpop" for client in broker.quick().client_list()))
    row = jobs.write_line.enqueue(path=path, text="x")
    waiting.join(30)
    assert found == [None]
    assert taker.take(60) == ("default", f"{row.pk}-1")


def test_what_fails_after_a_commit_keeps_nothing_else_from_being_done(
    transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []

    def broken() -> None:
        raise RuntimeError("it broke")

    with transaction.atomic():
        after_commit(broken)
        after_commit(done.append, 7)
    assert done == [7]
    assert "broken" in caplog.text
