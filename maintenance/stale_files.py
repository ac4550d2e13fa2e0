"""Files that nobody has touched for a while, and removing them without ever following a link out of their folder.

Folders are held open while they are looked at, and everything is named relative to them: a folder that is exchanged for
a symbolic link meanwhile leads nowhere.
"""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from maintenance.sweep import BATCH, Sweep


@dataclass(frozen=True)
class Entry:
    """`path` is relative to the folder that is swept, with `/`; `name` to the one that holds it."""

    path: str
    name: str
    size: int
    is_folder: bool


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What to look for below `root`: what is older than `older_than` and `wanted`, which is given the path.

    `needed(folder, entries)` answers with the paths that must stay; `folder` is the open folder that holds them.
    """

    root: Path
    older_than: datetime
    wanted: Callable[[str], bool]
    needed: Callable[[int, list[Entry]], set[str]]


def remove_stale(sweep: Sweep, folder: Folder) -> None:
    """Remove them, links as links, and folders that are empty. A root that is a link is followed, nothing else is."""
    root = folder.root.resolve()
    if not root.is_dir():
        return

    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            sweep.failed(str(error.filename), error)

    for place, folders, files, descriptor in os.fwalk(root, topdown=False, onerror=unreadable):
        inside = Path(place).relative_to(root)
        stale = _stale(sweep, folder, inside, [*files, *folders], descriptor)
        while batch := list(islice(stale, BATCH)):
            if sweep.over:
                return
            _remove(sweep, folder, descriptor, batch)


def _stale(sweep: Sweep, folder: Folder, inside: Path, names: list[str], descriptor: int) -> Iterator[Entry]:
    for name in names:
        path = (inside / name).as_posix()
        if not folder.wanted(path):
            continue
        try:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            sweep.failed(path, error)
            continue
        if found.st_mtime < folder.older_than.timestamp():
            yield Entry(path, name, found.st_size, stat.S_ISDIR(found.st_mode))


def _remove(sweep: Sweep, folder: Folder, descriptor: int, batch: list[Entry]) -> None:
    files = [entry for entry in batch if not entry.is_folder]
    needed = folder.needed(descriptor, files) if files else set()
    sweep.keep(len(needed))
    for entry in batch:
        if entry.path not in needed:
            _remove_one(sweep, descriptor, entry)


def _remove_one(sweep: Sweep, descriptor: int, entry: Entry) -> None:
    try:
        if entry.is_folder:
            _remove_folder(sweep, descriptor, entry)
            return
        if not sweep.dry_run:
            os.unlink(entry.name, dir_fd=descriptor)
        sweep.count(1, size=entry.size)
    except FileNotFoundError:
        pass  # somebody else was faster
    except OSError as error:
        sweep.failed(entry.path, error)


def _remove_folder(sweep: Sweep, descriptor: int, entry: Entry) -> None:
    """It goes only where it is empty, which the kernel decides, and is not counted."""
    if sweep.dry_run:
        return
    try:
        os.rmdir(entry.name, dir_fd=descriptor)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def is_open(folder: int, name: str) -> bool:
    """Whether a process has this file open, whosever it is. Raises OSError where that cannot be found out.

    The kernel grants a write lease only on a file that nobody else has open.
    """
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        # Somebody who opens it in this instant makes the kernel send us a signal: one that does nothing.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
