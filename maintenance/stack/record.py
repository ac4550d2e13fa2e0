"""What the data folder says of the stack: who holds it, `stack.json` for other commands, whether it is ready."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maintenance.stack.errors import StackError

_A_LOOK_SECONDS = 1.0  # a command that starts holds the lock for an instant, to see whether a stack runs
_REMAINS_SECONDS = 15.0


class Record:
    """`stack.json`, `stack.ready` and `runstack.lock` in one data folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "stack.json"
        self.ready_path = folder / "stack.ready"
        self.lock_path = folder / "runstack.lock"
        self._values: dict[str, Any] = {}

    def take(self, say: Callable[[str], None]) -> int:
        """The open file that holds the data folder for this stack. Raises StackError when another one runs in it.

        Waits for the remains of a stack whose supervisor was killed: its parts hold the lock until they are gone.
        """
        lock = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._locked(lock, _A_LOOK_SECONDS):
            return lock
        owner = self._owner()
        if not _alive(int(owner.get("pid", 0))):
            say("Waiting for the remains of the previous stack to end")
            if self._locked(lock, _REMAINS_SECONDS):
                return lock
        os.close(lock)
        raise StackError(f"A stack runs already in {self.path.parent}: {_named(owner)}.")

    def write(self, **values: Any) -> None:
        """Set these values of `stack.json`; the others stay. Readable by its owner only: it holds passwords."""
        self._values |= values
        draft = self.path.with_suffix(".draft")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._values, file, indent=2)
        draft.replace(self.path)

    def clear(self) -> None:
        """Nothing of the stack runs."""
        self.path.unlink(missing_ok=True)
        self.not_ready()

    def ready(self) -> None:
        self.ready_path.touch()

    def not_ready(self) -> None:
        self.ready_path.unlink(missing_ok=True)

    def _locked(self, lock: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)

    def _owner(self) -> Mapping[str, Any]:
        try:
            values: dict[str, Any] = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return values


def _alive(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()


def _named(owner: Mapping[str, Any]) -> str:
    return f"pid {owner['pid']}, {owner['url']}" if owner else "it is just starting or stopping"
