"""Where the queues are tried: a private Valkey and database, and processes that end with this one. Loads Django."""

import os
import subprocess
from collections.abc import Sequence
from functools import partial

from django.conf import settings

from benchmarks import database, environment
from maintenance.process import die_with_parent

DATABASE = database.NAME
DATABASE_PROCESSES = database.PROCESSES
FOLDER = environment.folder

# Workers know the job functions of the benchmarks.
_WORKERS = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings", "AI_WORKERS_BALANCE": "0", "WORKERS_DRAIN_SECONDS": "60"}


def start(name: str, command: Sequence[str], **variables: str) -> "subprocess.Popen[bytes]":
    """Start a process with a log of that name, in a group of its own."""
    with (FOLDER / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env={**os.environ, **_WORKERS, **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )


def start_valkey() -> "subprocess.Popen[bytes]":
    """With the data that it had, if any."""
    return start("valkey", environment.valkey.command)
