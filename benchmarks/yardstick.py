"""How fast this machine is just now: where others use it too, the same work costs more at some times than at others."""

import json
import time
from statistics import median

PIECES = 200
_VALUE = {"words": ["The", "quick", "brown", "fox"] * 20, "numbers": list(range(100)), "deep": {"a": [{"b": 1.5}] * 20}}


def milliseconds() -> float:
    """CPU time of a fixed piece of Python: the median of three tries."""
    return median(_once() for _ in range(3))


def _once() -> float:
    began = time.thread_time()
    for number in range(PIECES):
        value = json.loads(json.dumps(_VALUE))
        sorted(f"{word}{number}" for word in value["words"])
    return (time.thread_time() - began) * 1000
