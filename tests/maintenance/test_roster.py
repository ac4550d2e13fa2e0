import pytest

from maintenance import broker, roster
from maintenance.worker import make_worker
from tests.services import Valkey


def test_it_knows_who_serves_which_queue(valkey: Valkey) -> None:
    for served in (["high", "default"], ["default"], ["low"]):
        make_worker(served).register_birth()
    found = roster.alive()
    assert sorted(worker.queues for worker in found) == [("default",), ("high", "default"), ("low",)]
    assert roster.by_queue(found) == {"high": 1, "default": 2, "low": 1}


def test_a_worker_that_was_killed_is_not_counted(valkey: Valkey) -> None:
    worker = make_worker(["default"])
    worker.register_birth()
    assert len(roster.alive()) == 1
    broker.quick().hset(worker.key, "last_heartbeat", "2026-01-01T00:00:00.000000Z")
    assert roster.alive() == []


def test_a_worker_that_said_goodbye_is_not_counted(valkey: Valkey) -> None:
    worker = make_worker(["default"])
    worker.register_birth()
    worker.register_death()
    assert roster.alive() == []


@pytest.mark.parametrize("left", [[], ["hostname"]])
def test_a_name_without_a_worker_is_passed_over(valkey: Valkey, left: list[str]) -> None:
    worker = make_worker(["default"])
    worker.register_birth()
    broker.quick().delete(worker.key)
    for field in left:
        broker.quick().hset(worker.key, field, "x")
    assert roster.alive() == []
