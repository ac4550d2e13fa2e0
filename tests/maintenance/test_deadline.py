"""Limits for code that must end in any thread."""

import threading
import time

import pytest

from maintenance.deadline import TimeOver, time_limited


def _step() -> None:
    time.sleep(0)


def _calling() -> None:
    while True:
        _step()


class _Slow:
    """Going away takes longer than the limit."""

    def __del__(self) -> None:
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            _step()


def _outlived() -> None:
    slow = _Slow()
    del slow
    _calling()


@pytest.mark.parametrize("each_line", [True, False])
def test_it_ends_what_calls_functions_for_ever_in_a_thread(each_line: bool) -> None:
    ended = threading.Event()

    def work() -> None:
        try:
            with time_limited(0.05, each_line=each_line):
                _calling()
        except TimeOver:
            ended.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert ended.is_set()


@pytest.mark.parametrize("each_line", [True, False])
def test_an_object_that_goes_away_meanwhile_does_not_eat_the_limit(each_line: bool) -> None:
    with pytest.raises(TimeOver), time_limited(0.05, each_line=each_line):
        _outlived()
