"""Waiting for something to become true, without sleeping longer than it takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(what: Callable[[], T], *, within: float = 30.0) -> T:
    """Ask again and again until the answer is true, and return it; AssertionError when that takes too long.

    An AssertionError of `what` counts as not yet, so a whole assertion can be retried.
    """
    until = time.monotonic() + within
    while True:
        try:
            answer = what()
            if answer:
                return answer
        except AssertionError:
            if time.monotonic() > until:
                raise
        if time.monotonic() > until:
            raise AssertionError(f"not true within {within} s")
        time.sleep(0.02)
