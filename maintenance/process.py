"""What a process owes its parent and whoever reads `ps`."""

import ctypes
import os
import signal
from pathlib import Path

from setproctitle import setproctitle

_PR_SET_PDEATHSIG = 1
# Loaded here, not after a fork: a child of a process with threads must not take the loader's lock.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process (SIGKILL) when its parent dies. To be called first thing after the fork.

    `parent_pid` is what the parent's `os.getpid()` said before the fork. The kernel counts the death of the
    *thread* that forked: fork from a thread that lives as long as its process. A child's own children do not
    inherit this, a program started by exec does. Does nothing where the kernel is not Linux.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the kernel was told
        os.kill(os.getpid(), signal.SIGKILL)


def title_of(pid: int) -> str:
    """The title or command line of a process; empty when there is none, or on a system without /proc."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def title(text: str) -> None:
    """What `ps` shows for this process."""
    setproctitle(text)
