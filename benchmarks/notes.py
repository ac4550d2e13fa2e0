"""What jobs do while queues are compared: the same functions for every queue. Needs no Django."""

import os
import time
from pathlib import Path


def note(*, path: str) -> None:
    """Write the time at which it began, in seconds since 1970: as little as a job can do that is to be seen."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{time.time():.6f}\n".encode())
    finally:
        os.close(file)


def hold(*, path: str, until: str) -> None:
    """Note the time, and keep a worker busy until the file `until` is there, without using its processor."""
    note(path=path)
    while not Path(until).exists():
        time.sleep(0.005)


def noted(path: Path) -> list[float]:
    """What was noted there, in order."""
    return [float(line) for line in path.read_text().split()] if path.exists() else []
