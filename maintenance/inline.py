"""The driver `sync`: a job runs in the process that enqueued it, right after the commit. For debugging and tests."""

import threading
from collections import deque

from django.utils.module_loading import import_string

# By name, as a worker finds it: the executor stands above those who enqueue.
PERFORM = "maintenance.executor.perform"


class _Loop(threading.local):
    def __init__(self) -> None:
        self.waiting: deque[tuple[str, int]] = deque()
        self.busy = False


_loop = _Loop()


def run(job_id: str, dispatch: int) -> None:
    """Run this dispatch, and whatever it enqueues, one after another: the turns of a run are a loop, not recursion."""
    _loop.waiting.append((job_id, dispatch))
    if _loop.busy:
        return
    _loop.busy = True
    try:
        while _loop.waiting:
            next_id, next_dispatch = _loop.waiting.popleft()
            import_string(PERFORM)(job_id=next_id, dispatch=next_dispatch, worker="sync")
    finally:
        _loop.busy = False
