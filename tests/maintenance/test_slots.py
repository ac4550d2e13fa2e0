from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from maintenance.slots import LONGEST_BACK_OFF_SECONDS, Balance, Slot, slots_of
from maintenance.tables import Pool, Queue


def pool(*, processes: int = 4, balance: bool = True, least: int = 1) -> Pool:
    return Pool(
        queues=(Queue.DEFAULT,),
        processes=processes,
        timeout=timedelta(seconds=330),
        memory_mb=256,
        balance=balance,
        min_processes=least,
    )


def test_a_pool_grows_by_one_worker_a_cooldown_while_jobs_wait() -> None:
    balance = Balance(pool())
    wanted = [balance.step(now, waiting=9, oldest_seconds=2) for now in (10, 11, 12, 13, 14, 16, 19, 22)]
    assert wanted == [2, 2, 2, 3, 3, 4, 4, 4]


def test_a_job_that_only_just_came_is_no_reason_to_grow() -> None:
    assert Balance(pool()).step(10, waiting=1, oldest_seconds=0.1) == 1


def test_a_pool_shrinks_after_a_calm_minute() -> None:
    balance = Balance(pool())
    assert balance.step(100, waiting=5, oldest_seconds=2) == 2
    assert balance.step(130, waiting=0, oldest_seconds=0) == 2
    assert balance.step(161, waiting=0, oldest_seconds=0) == 1
    assert balance.step(300, waiting=0, oldest_seconds=0) == 1


def test_a_pool_without_balance_keeps_its_size() -> None:
    balance = Balance(pool(balance=False))
    assert balance.step(10, waiting=0, oldest_seconds=0) == balance.step(999, waiting=0, oldest_seconds=0) == 4


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 50), st.floats(0, 100)), max_size=60))
def test_a_pool_never_leaves_its_bounds(steps: list[tuple[int, int, float]]) -> None:
    balance, now = Balance(pool(processes=5, least=2)), 1000.0
    for passed, waiting, oldest in steps:
        before, now = balance.wanted, now + passed
        after = balance.step(now, waiting, oldest)
        assert 2 <= after <= 5
        assert abs(after - before) <= 1


def test_a_worker_that_dies_young_is_replaced_more_and_more_slowly() -> None:
    slot = slots_of({"p": pool()})[0]
    waits = []
    for _ in range(9):
        slot.filled(1)
        slot.note_death("ended with status -9")
        waits.append(round(slot.not_before - slot.started))
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == LONGEST_BACK_OFF_SECONDS
    assert slot.crash_loop
    assert not slot.to_fill()


def test_a_worker_that_was_told_to_end_is_replaced_at_once() -> None:
    slot = Slot("p", pool(), 1)
    slot.filled(1)
    slot.leaving = True
    slot.note_death("ended with status 0")
    assert slot.to_fill()
    assert not slot.crash_loop
