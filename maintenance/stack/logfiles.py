"""What the parts print: one file each in the data folder, two at most 10 MB each."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 10_000_000


class LogFile:
    """The output of one part. Writers append, so it may be cut while they run."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name.replace(' ', '-')}.log"
        self._mark = 0

    def open(self) -> BinaryIO:
        """For a new process to write to; `since_opened` shows what comes from here on."""
        self.trim()
        file = self.path.open("ab")
        self._mark = file.tell()
        return file

    def trim(self) -> None:
        """Move a full file's content to the one beside it."""
        if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
            shutil.copyfile(self.path, self.path.with_suffix(".log.1"))
            os.truncate(self.path, 0)
            self._mark = 0

    def since_opened(self, lines: int = 15) -> list[str]:
        """The last lines the newest process wrote."""
        with self.path.open("rb") as file:
            file.seek(self._mark)
            return file.read().decode(errors="replace").splitlines()[-lines:]
