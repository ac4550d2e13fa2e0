"""The job that pulls: what a server may do to it, and what may happen to its worker."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from maintenance import attempts, executor, outbox, progress, streams
from maintenance.attempts import Ending
from maintenance.models import Attempt, Job
from maintenance.streams.read import span
from models_registry import errors, jobs, pulls
from models_registry.models import Pull
from models_registry.pulling import events, publisher
from tests.models_registry.downloads import MANIFEST, SUCCESS, WHOLE, Warehouse, layer
from tests.models_registry.pull_fixtures import fresh, warehouse
from tests.queue import drain, take
from tests.services import Valkey
from tests.waiting import eventually

__all__ = ["warehouse"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]
Status = Pull.Status
Work = Callable[[], list[str]]


def told(pull: Pull) -> list[streams.Entry]:
    return span(events.key(pull.pk), count=10_000)


def names(pull: Pull) -> list[str]:
    return [entry.event for entry in told(pull)]


def start(user: User, model: str = "llama3") -> Pull:
    return pulls.start("ollama", model, user)[0]


@contextmanager
def under_way() -> Iterator[threading.Thread]:
    """The next job runs in a thread, as in another process."""

    def run() -> None:
        drain()
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield thread
    thread.join(10)
    assert not thread.is_alive()


def test_a_pull_from_start_to_end(work: Work, warehouse: Warehouse, alice: User) -> None:
    pull = start(alice)
    assert work() == ["succeeded"] * 2
    pull = fresh(pull)
    assert (pull.status, pull.percentage, pull.completed_bytes, pull.total_bytes) == (Status.COMPLETED, 100, 1000, 1000)
    assert pull.layers == [{"digest": "sha256:a", "total": 1000, "completed": 1000}]
    assert (pull.phase, pull.lease_token, pull.speed_bytes_per_second, pull.error) == ("", "", None, "")
    assert pull.finished_at
    assert names(pull)[0] == "started"
    assert names(pull)[-1] == "completed"
    assert names(pull).count("completed") == 1
    assert warehouse.pulled == ["llama3:latest"]
    # After it the list of models is asked for anew.
    assert Job.objects.filter(name="sync_models", arguments={"backend": "ollama"}, status="completed").exists()


def test_events_hold_numbers_or_nothing(work: Work, warehouse: Warehouse, alice: User) -> None:
    pull = start(alice)
    work()
    for entry in told(pull):
        assert None not in entry.data.values(), entry
        assert b"null" not in entry.line
    seqs = [entry.data["seq"] for entry in told(pull)]
    assert seqs == sorted(set(seqs))


@pytest.mark.parametrize(
    "error",
    [
        errors.DiskFull("The disk of ollama is full."),
        errors.ModelNotFound("There is no model 'x' that ollama could pull."),
        errors.BackendUnreachable("ollama could not be reached."),
        errors.PullStalled("The pull has not moved for 300 s."),
        errors.StreamEnded("ollama ended the pull before it was done."),
    ],
)
def test_each_failure_has_its_own_code_and_words(
    work: Work, warehouse: Warehouse, alice: User, error: errors.BackendError
) -> None:
    warehouse.scripts = [(*WHOLE[:-2], error)]
    pull = start(alice)
    work()
    pull = fresh(pull)
    assert (pull.status, pull.error_code, pull.error) == (Status.FAILED, error.code, error.message)
    last = told(pull)[-1]
    assert (last.event, last.data["error_code"], last.data["error"]) == ("failed", error.code, error.message)
    assert names(pull).count("failed") == 1
    assert 0 < pull.percentage < 100
    assert Job.objects.get(pk=pull.job_id).status == "failed"


def test_a_bug_in_a_driver_fails_the_pull_in_safe_words(work: Work, warehouse: Warehouse, alice: User) -> None:
    warehouse.scripts = [(MANIFEST, RuntimeError("http://user:secret@host"))]
    pull = start(alice)
    work()
    assert (fresh(pull).status, fresh(pull).error_code) == (Status.FAILED, "job_failed")
    assert "secret" not in fresh(pull).error


def test_f40_a_cancel_ends_the_download_at_once(work: Work, warehouse: Warehouse, alice: User) -> None:
    gate = threading.Event()
    warehouse.scripts = [(MANIFEST, layer("a", 1000, 400), gate)]
    pull = start(alice)
    with under_way():
        eventually(lambda: fresh(pull).completed_bytes == 400)
        assert pulls.cancel(fresh(pull), alice).status == Status.CANCELLING
        assert warehouse.cancelled.wait(1)
        eventually(lambda: fresh(pull).status == Status.CANCELLED)
    assert names(pull)[-1] == "cancelled"
    assert names(pull).count("cancelled") == 1
    assert Job.objects.get(pk=pull.job_id).status == "cancelled"


def test_how_far_it_is_can_be_seen_while_it_goes_on(work: Work, warehouse: Warehouse, alice: User) -> None:
    gate = threading.Event()
    warehouse.scripts = [(MANIFEST, layer("a", 1000, 400), gate, *WHOLE)]
    pull = start(alice)
    with under_way():
        eventually(lambda: fresh(pull).percentage == 40)
        row = fresh(pull)
        assert (row.status, row.phase, row.layers) == (
            Status.RUNNING,
            "pulling a",
            [{"digest": "sha256:a", "total": 1000, "completed": 400}],
        )
        eventually(lambda: Job.objects.get(pk=pull.job_id).progress.get("done") == 40)
        gate.set()
    assert fresh(pull).status == Status.COMPLETED


def test_events_come_four_times_a_second_at_most_and_nothing_is_missing_in_them(
    work: Work, warehouse: Warehouse, alice: User
) -> None:
    lines = [layer(digest, 1000, done) for digest in "abcdef" for done in range(0, 1001, 10)]
    warehouse.scripts = [(*lines, SUCCESS)]
    pull = start(alice)
    work()
    entries = told(pull)
    assert len(entries) < 12
    seen = {one["digest"]: one["completed"] for entry in entries for one in entry.data.get("layers", [])}
    assert seen == {f"sha256:{digest}": 1000 for digest in "abcdef"}


def test_f40_without_redis_the_pull_goes_on(work: Work, warehouse: Warehouse, alice: User, valkey: Valkey) -> None:
    gate = threading.Event()
    warehouse.scripts = [(MANIFEST, layer("a", 1000, 400), gate, *WHOLE)]
    pull = start(alice)
    with under_way():
        eventually(lambda: fresh(pull).percentage == 40)
        valkey.stop()
        gate.set()
        eventually(lambda: fresh(pull).status == Status.COMPLETED)
        valkey.start()


def test_a_pull_that_is_handed_back_waits_and_goes_on(
    work: Work, warehouse: Warehouse, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Drained:
        """A step that is reached as the worker is told to stop."""

        def wait(self, seconds: float) -> bool:
            eventually(lambda: Pull.objects.get().percentage == 40)
            executor.hand_back()
            return True

    warehouse.scripts = [(MANIFEST, layer("a", 1000, 400), Drained()), WHOLE]  # type: ignore[list-item]
    pull = start(alice)
    first = take()
    assert first
    assert executor.perform(job_id=first[0], dispatch=first[1], worker="test") == "handed_back"
    row = fresh(pull)
    assert (row.status, row.percentage, row.phase, row.lease_token) == (
        Status.QUEUED,
        40,
        "waiting for a worker",
        "",
    )
    assert told(pull)[-1].data["status"] == "waiting for a worker"
    assert work() == ["succeeded"] * 2
    assert fresh(pull).status == Status.COMPLETED
    percentages = [entry.data["percentage"] for entry in told(pull) if "percentage" in entry.data]
    assert percentages == sorted(percentages)
    assert names(pull).count("started") == 1


def claimed(pull: Pull, token: str = "t1") -> attempts.Execution:
    """Its job as a worker has it that is about to die."""
    row = Job.objects.get(pk=pull.job_id)
    found = take()
    execution = attempts.claim(row.pk, found[1] if found else row.dispatch, lease_token=token, worker="w")
    assert execution
    return execution


LOST = Ending(outcome=Attempt.Outcome.LOST, failure=attempts.WORKER_LOST)


def test_a_pull_whose_worker_dies_goes_on_elsewhere(work: Work, warehouse: Warehouse, alice: User) -> None:
    pull = start(alice)
    claimed(pull)
    held = jobs.execution.claim(pull.pk, "t1")
    assert held
    assert attempts.lose(pull.job_id, "t1", LOST)
    assert fresh(pull).status == Status.QUEUED
    outbox.relay()
    work()
    assert fresh(pull).status == Status.COMPLETED


def test_a_pull_is_continued_three_times_and_fails_with_the_fourth_death(
    work: Work, warehouse: Warehouse, alice: User
) -> None:
    pull = start(alice)
    for number in range(4):
        assert fresh(pull).status == Status.QUEUED
        token = f"t{number}"
        claimed(pull, token)
        assert jobs.execution.claim(pull.pk, token)
        assert attempts.lose(pull.job_id, token, LOST)
        outbox.relay()
    assert (fresh(pull).status, fresh(pull).error_code) == (Status.FAILED, "worker_lost")
    assert names(pull) == ["failed"]


def test_a_pull_that_was_to_be_cancelled_ends_with_its_dead_worker(
    work: Work, warehouse: Warehouse, alice: User
) -> None:
    pull = start(alice)
    claimed(pull)
    assert jobs.execution.claim(pull.pk, "t1")
    assert pulls.cancel(pull, alice).status == Status.CANCELLING
    assert attempts.lose(pull.job_id, "t1", LOST)
    assert fresh(pull).status == Status.CANCELLED
    assert Job.objects.get(pk=pull.job_id).status == "cancelled"


def test_a_late_writer_is_refused(work: Work, warehouse: Warehouse, alice: User) -> None:
    """A worker that was given up for dead comes to itself: it changes nothing, and its download ends."""
    gate = threading.Event()
    warehouse.scripts = [(MANIFEST, layer("a", 1000, 400), gate, *WHOLE), WHOLE]
    pull = start(alice)
    late = jobs.execution.claim(pull.pk, "late")
    assert late
    assert jobs.execution.claim(pull.pk, "new")
    with pytest.raises(jobs.JobError, match="Another execution"):
        jobs.execution.run(late, 60)
    row = fresh(pull)
    assert (row.status, row.lease_token, row.percentage) == (Status.RUNNING, "new", 0)
    assert warehouse.cancelled.is_set()


def test_an_execution_begins_where_readers_were_told_the_last_one_was(
    work: Work, warehouse: Warehouse, alice: User
) -> None:
    pull = start(alice)
    streams.append(events.key(pull.pk), [("progress", {"percentage": 61.5, **events.envelope(pull.pk, 12)})])
    again = jobs.execution.claim(pull.pk, "t")
    assert again
    assert (again.percentage, again.last_seq) == (61.5, 12)


def test_no_more_than_the_limit_are_pulled_at_a_time(work: Work, warehouse: Warehouse, alice: User) -> None:
    first, second = start(alice, "a"), start(alice, "b")
    assert [Job.objects.get(pk=pull.job_id).status for pull in (first, second)] == ["queued", "pending"]
    work()
    assert [fresh(pull).status for pull in (first, second)] == [Status.COMPLETED] * 2


def test_it_logs_how_far_it_is(work: Work, warehouse: Warehouse, alice: User, caplog: Any) -> None:
    caplog.set_level("INFO", logger=publisher.__name__)
    pull = start(alice)
    work()
    assert any("% of llama3:latest" in record.getMessage() for record in caplog.records), pull


def test_job_rows_are_written_once_a_second() -> None:
    assert publisher.SAVE_SECONDS >= progress.EVERY_SECONDS
