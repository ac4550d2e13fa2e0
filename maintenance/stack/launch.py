"""Starting one process of the stack, and ending it with everything it started."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from maintenance.process import die_with_parent
from maintenance.stack.signals import StopSignals

Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Launcher:
    """Where and with what every process of the stack is started.

    `lock` is an open, locked file. Every process holds it open: it is free again when nothing of the stack is left.
    """

    folder: Path
    environment: Mapping[str, str]
    lock: int

    def start(self, command: Sequence[str], out: IO[bytes], errors: IO[bytes] | None = None) -> Process:
        """Raises OSError when there is no such program."""
        return subprocess.Popen(  # noqa: S603
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors or subprocess.STDOUT,
            pass_fds=(self.lock,),
            # A session of its own: Ctrl-C reaches the supervisor alone, which then stops things in order.
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )


def end(process: Process, seconds: float, signals: StopSignals) -> None:
    """SIGTERM; after this many seconds, or at a second request to stop, SIGKILL for whatever is left of its group."""
    process.terminate()
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and not signals.at_once:
        signals.wait(0.1)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def how_it_ended(process: Process) -> str:
    """`exit 1` or `SIGKILL`."""
    code = process.returncode
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
