"""The database, from an event loop: a few threads with a connection each, however many streams are open."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from django.db import close_old_connections, connections

THREADS = 4

Result = TypeVar("Result")


class DatabaseThreads:
    """Asked with `ask`; to be closed by whoever made it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="streams-database")

    async def ask(self, question: Callable[..., Result], *values: object) -> Result:
        """Call the function in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(_ask, question, *values))

    def close(self) -> None:
        """End the threads and their connections. Waits for questions that are being answered."""
        # A connection can be closed only by the thread that made it, and each thread must take one of these.
        everyone = threading.Barrier(THREADS)
        for _ in range(THREADS):
            self._executor.submit(_hang_up, everyone)
        self._executor.shutdown(wait=True)


def _ask(question: Callable[..., Result], *values: object) -> Result:
    close_old_connections()
    try:
        return question(*values)
    finally:
        close_old_connections()


def _hang_up(everyone: threading.Barrier) -> None:
    connections.close_all()
    everyone.wait()
