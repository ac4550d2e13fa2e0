"""What processes cost, by Linux's /proc: whole trees, so that no worker or horse is left out."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _CHILDREN_SYSTEM = 1, 11, 14  # fields of `stat` after the name


def _stat(pid: int) -> list[str] | None:
    """The fields after the name; None for a process that has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def tree(roots: Iterable[int]) -> list[int]:
    """The processes and all that they have started, as far as they are alive."""
    children: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields:
            children[int(fields[_PARENT])].append(int(folder.name))
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children[pid]
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """Used by the trees since they were started, by those children too that have ended. Counted in ticks of 10 ms."""
    stats = [fields for pid in tree(roots) if (fields := _stat(pid))]
    return sum(int(value) for fields in stats for value in fields[_USER : _CHILDREN_SYSTEM + 1]) / _TICKS_PER_SECOND


def memory_mb(roots: Iterable[int]) -> float:
    """Proportional set size of the trees in MiB: a page that n processes share counts 1/n for each."""
    return sum(map(_proportional_kb, tree(roots))) / 1024


def _proportional_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
