"""Time limits for code: a job's, by an alarm in the main thread, and one for pure Python in any thread."""

import _weakrefset
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Where callbacks of weak references are.
_FINALIZERS = {weakref.__file__, _weakrefset.__file__}


class JobTimeout(BaseException):
    """The job's time is over. Not an Exception, so that a job which catches those does not swallow it."""


class TimeOver(Exception):
    """A limit set with `time_limited` is over."""


def _raise(signum: int, frame: FrameType | None) -> None:
    raise JobTimeout


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise JobTimeout in the body after so many seconds; None, or a thread that gets no signals, means no limit.

    Code that blocks in C without returning to the interpreter is out of reach: the worker kills the process then.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGALRM, _raise)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextmanager
def time_limited(seconds: float, *, each_line: bool = True) -> Iterator[None]:
    """Raise TimeOver in the body once so many seconds have passed. For Python code that must end in any thread.

    By tracing, since a request's thread gets no signals: lines run slower meanwhile, so keep the body small. Without
    `each_line` the clock is looked at with each call of a function, which costs little, and misses loops without one.
    """
    until = time.monotonic() + seconds

    def look(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > until and not _is_finalizing(frame):
            raise TimeOver
        return look if each_line else None

    previous = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(previous)
    if time.monotonic() > until:  # whatever kept it from being noticed: what took too long does not count
        raise TimeOver


def _is_finalizing(frame: FrameType | None) -> bool:
    """Whether this is done for an object that goes away: Python swallows what is raised there, and traces no more."""
    while frame:
        if frame.f_code.co_name == "__del__" or frame.f_code.co_filename in _FINALIZERS:
            return True
        frame = frame.f_back
    return False
