"""How much memory this process used at most, per job rather than since it started."""

import contextlib
import re
import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Start a new measurement. Writing 5 resets the high-water mark (proc(5), Linux 4.0 and later)."""
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text("5")


def peak_bytes() -> int | None:
    """Highest resident size since `forget_peak`; None where the system does not tell."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def resident_bytes(pid: int) -> int:
    """Resident size of a process; 0 where it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * resource.getpagesize()
