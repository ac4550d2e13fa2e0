"""A menu of job functions for the tests of the ledger and the worker."""

import hashlib
import os
import signal
import sqlite3
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from django.db import OperationalError, connection

from maintenance.ledger import Failure, JobError, job
from maintenance.tables import Drain, Queue

TERMS = {"queue": Queue.DEFAULT, "timeout": timedelta(seconds=30)}


def mark(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text + "\n")


@job(**TERMS, max_attempts=1)
def write_line(*, path: str, text: str) -> None:
    mark(path, text)


@job(**TERMS, max_attempts=3)
def always_fails(*, path: str) -> None:
    mark(path, "tried")
    raise RuntimeError("it broke")


@job(**TERMS, max_attempts=3)
def fails_for_good(*, path: str) -> None:
    mark(path, "tried")
    raise JobError("It cannot work.", code="cannot_work", permanent=True)


def note_failure(failure: Failure, *, path: str, **_: object) -> None:
    mark(path, f"failed: {failure.code}")


@job(**TERMS, max_attempts=1, on_failure=note_failure)
def kills_its_worker(*, path: str) -> None:
    mark(path, "started")
    os.kill(os.getpid(), signal.SIGKILL)


@job(queue=Queue.DEFAULT, timeout=timedelta(seconds=1), max_attempts=1, on_failure=note_failure)
def blocks_in_c(*, path: str) -> None:
    """One call into C that takes minutes: no signal handler of Python's runs meanwhile."""
    mark(path, "started")
    hashlib.pbkdf2_hmac("sha512", b"x" * 64, b"salt", 10**9)


@job(queue=Queue.DEFAULT, timeout=timedelta(seconds=1), max_attempts=1, on_failure=note_failure)
def swallows_exceptions(*, path: str) -> None:
    mark(path, "started")
    for _ in range(600):
        try:
            time.sleep(0.1)
        except Exception:  # what a careless job does
            continue


@job(**TERMS, max_attempts=1)
def waits_for_file(*, path: str, until: str) -> None:
    """Marks its start, runs until the file `until` exists, and marks its end."""
    mark(path, f"started {os.getpid()}")
    while not Path(until).exists():
        time.sleep(0.01)
    mark(path, "ended")


@job(**TERMS, max_attempts=1, on_failure=note_failure)
def eats_memory(*, path: str, megabytes: int) -> None:
    """Holds so much memory for a while."""
    mark(path, "started")
    held = bytearray(megabytes * 1024 * 1024)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(60)


@job(queue=Queue.DEFAULT, timeout=timedelta(hours=2), max_attempts=1, drain=Drain.HAND_BACK)
def resumes_elsewhere(*, path: str, until: str) -> None:
    """Works for a long time, and goes on in another worker when its own is stopped."""
    mark(path, f"started {os.getpid()}")
    while not Path(until).exists():
        time.sleep(0.01)
    mark(path, "ended")


def raises_itself(failure: Failure, *, path: str) -> None:
    raise RuntimeError("a reaction that is broken")


@job(**TERMS, max_attempts=1, on_failure=raises_itself)
def fails_with_a_broken_reaction(*, path: str) -> None:
    raise RuntimeError("it broke")


@job(**TERMS, max_attempts=1)
def loses_the_database() -> None:
    """Ends while the database does not take what it is told: SQLite is locked, PostgreSQL has closed the connection."""
    with connection.cursor() as cursor, suppress(OperationalError):
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        else:
            cursor.execute("PRAGMA busy_timeout = 10")
            other = sqlite3.connect(connection.settings_dict["NAME"], check_same_thread=False)
            other.execute("BEGIN IMMEDIATE")
            threading.Timer(0.5, other.close).start()


@job(**TERMS, max_attempts=1)
def fails_unspeakably() -> None:
    """Its error has what a file's name may have, and a NUL."""
    raise RuntimeError("no \0 file \udcff")
