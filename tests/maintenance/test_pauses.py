import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.utils import timezone

from maintenance import broker, pauses, reconciler
from maintenance.errors import Invalid
from maintenance.models import QueuePause
from maintenance.tables import Queue
from maintenance.taking import MIRRORED, PAUSED, Taker
from tests.maintenance import jobs
from tests.services import Valkey

Work = Callable[[], list[str]]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


@pytest.fixture
def taker(valkey: Valkey, transactional_db: None) -> Taker:
    return Taker(broker.quick(), broker.queue_names(), pauses.mirror)


def mirrored() -> set[bytes]:
    return set(broker.quick().smembers(PAUSED))


def test_a_pause_takes_effect_before_the_next_pop(taker: Taker, bob: User, path: str) -> None:
    rows = [jobs.write_line.enqueue(path=path, text=str(n)) for n in range(2)]
    assert taker.take(0) == ("default", f"{rows[0].pk}-1")
    assert pauses.pause("default", bob, "the backend is down")
    assert taker.take(0) is None
    assert pauses.resume("default", bob)
    assert taker.take(0) == ("default", f"{rows[1].pk}-1")


def test_the_other_queues_go_on(taker: Taker, bob: User, path: str) -> None:
    pauses.pause("high", bob, "no hurry today")
    jobs.write_line.on(Queue.HIGH).enqueue(path=path, text="waits")
    row = jobs.write_line.on(Queue.LOW).enqueue(path=path, text="goes")
    assert taker.take(0) == ("low", f"{row.pk}-1")
    assert taker.take(0) is None


def test_a_pause_says_who_why_and_until_when(taker: Taker, bob: User) -> None:
    until = timezone.now() + timedelta(minutes=10)
    pauses.pause("low", bob, "  cleaning later ", until)
    row = pauses.paused()["low"]
    assert (row.paused_by, row.reason, row.until) == (bob, "cleaning later", until)
    assert list(pauses.paused()) == ["low"]


def test_pausing_again_changes_the_terms(taker: Taker, bob: User, alice: User) -> None:
    pauses.pause("low", bob, "first", timezone.now() + timedelta(minutes=10))
    began = pauses.paused()["low"].paused_at
    pauses.pause("low", alice, "second")
    row = QueuePause.objects.get()
    assert (row.reason, row.paused_by, row.until) == ("second", alice, None)
    assert row.paused_at > began


def test_a_pause_that_is_over_lifts_itself(taker: Taker, bob: User, path: str) -> None:
    assert taker.take(0) is None
    row = jobs.write_line.enqueue(path=path, text="x")
    pauses.pause("default", bob, "for a while", timezone.now() + timedelta(hours=1))
    QueuePause.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert pauses.paused() == {}
    assert taker.take(0) is None
    pauses.mirror()
    assert taker.take(0) == ("default", f"{row.pk}-1")
    assert not pauses.resume("default", bob)


def test_a_flush_of_redis_does_not_lift_a_pause(taker: Taker, bob: User, path: str) -> None:
    pauses.pause("default", bob, "the backend is down")
    broker.quick().flushall()
    jobs.write_line.enqueue(path=path, text="waits")
    assert taker.take(0) is None
    assert mirrored() == {b"default"}


def test_a_mirror_that_redis_lost_delays_no_job(taker: Taker, path: str) -> None:
    assert taker.take(0) is None
    broker.quick().flushall()
    row = jobs.write_line.enqueue(path=path, text="at once")
    assert taker.take(0) == ("default", f"{row.pk}-1")


def test_nothing_is_taken_while_nobody_knows_what_is_paused(valkey: Valkey, transactional_db: None, path: str) -> None:
    def not_now() -> None:
        pass

    taker = Taker(broker.quick(), ["default"], not_now)
    jobs.write_line.enqueue(path=path, text="x")
    assert taker.take(0) is None
    pauses.mirror()
    assert taker.take(0) is not None


def test_a_new_worker_does_not_believe_an_old_mirror(taker: Taker, bob: User, path: str) -> None:
    pauses.pause("default", bob, "the backend is down")
    broker.quick().delete(PAUSED)  # as from a copy of Redis that is older than the pause
    jobs.write_line.enqueue(path=path, text="waits")
    assert taker.take(0) is None


def test_the_reconciler_writes_the_mirror(valkey: Valkey, transactional_db: None) -> None:
    QueuePause.objects.create(queue="low", reason="by hand")
    tick = reconciler.Tick("test")
    tick()
    tick.resign()
    assert mirrored() == {b"low"}
    assert broker.quick().exists(MIRRORED)


def test_an_older_reading_of_the_database_cannot_undo_a_pause(
    taker: Taker, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pauses.paused

    def overtaken() -> dict[str, QueuePause]:
        seen = read()
        monkeypatch.setattr(pauses, "paused", read)
        pauses.pause("default", bob, "while another process was about to write that nothing is paused")
        return seen

    monkeypatch.setattr(pauses, "paused", overtaken)
    pauses.mirror()
    assert mirrored() == {b"default"}


def test_a_pause_without_redis_holds_from_its_return(taker: Taker, bob: User, valkey: Valkey) -> None:
    valkey.stop()
    assert not pauses.pause("default", bob, "everything is down")
    assert list(pauses.paused()) == ["default"]
    valkey.start()
    pauses.mirror()
    assert mirrored() == {b"default"}


@pytest.mark.parametrize(
    ("queue", "reason", "minutes", "words"),
    [("slow", "x", 1, "no queue 'slow'"), ("low", " ", 1, "Say why"), ("low", "x", -1, "in the future")],
)
def test_it_refuses_what_makes_no_sense(
    taker: Taker, bob: User, queue: str, reason: str, minutes: int, words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        pauses.pause(queue, bob, reason, timezone.now() + timedelta(minutes=minutes))
    with pytest.raises(Invalid, match="no queue"):
        pauses.resume("slow", bob)
    assert not QueuePause.objects.exists()


def test_a_worker_whose_database_is_away_waits_with_the_next_try(valkey: Valkey, transactional_db: None) -> None:
    def away(*_: object) -> None:
        raise OperationalError

    taker = Taker(broker.quick(), ["default"], pauses.mirror_from_worker)
    began = time.monotonic()
    with connection.execute_wrapper(away):
        assert taker.take(1) is None
    assert time.monotonic() - began >= 1
    assert not broker.quick().exists(MIRRORED)


@pytest.mark.parametrize("served", [["default"], ["default", "low"]])
def test_the_tokens_of_a_paused_queue_do_not_spin_an_idle_worker(
    valkey: Valkey, transactional_db: None, bob: User, path: str, served: list[str]
) -> None:
    pauses.pause("default", bob, "the backend is down")
    for n in range(100):
        jobs.write_line.enqueue(path=path, text=str(n))
    taker = Taker(broker.patient(), served, pauses.mirror)
    taker.take(0)
    before, began = calls(), time.monotonic()
    takes = threading.Thread(target=lambda: [taker.take(1) for _ in range(2)])
    takes.start()
    takes.join(20)
    # Each take asks once, and then waits for a second.
    assert calls() - before == 2
    assert time.monotonic() - began >= 2


def calls() -> int:
    """How often a script was run."""
    return int(broker.quick().info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])
