"""How long a text a regular expression can be searched in before it takes for ever.

A schema's patterns are somebody else's, the texts are a model's, and nothing stops Python's `re`: `^(a+)+$` needs years
for sixty letters. So its steps are counted beforehand, from how it is built, and rather too many than too few.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from re import _constants as op  # type: ignore[attr-defined]  # isort: skip
from re import _parser as parser  # type: ignore[attr-defined]  # isort: skip

# About a quarter of a second.
STEPS_MAX = 5_000_000
TEXT_MAX = 1_000_000
PATTERN_MAX = 1000
_UNROLLED = 10  # a repetition up to so many times is taken for so many copies
_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_CLASSES: dict[Any, Callable[[str], bool]] = {
    op.CATEGORY_DIGIT: str.isdigit,
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_WORD: lambda character: character.isalnum() or character == "_",
    op.CATEGORY_NOT_DIGIT: lambda character: not character.isdigit(),
    op.CATEGORY_NOT_SPACE: lambda character: not character.isspace(),
    op.CATEGORY_NOT_WORD: lambda character: not (character.isalnum() or character == "_"),
}


class _Endless(Exception):
    """The steps grow with the text by more than a power of its length."""


class Cost(NamedTuple):
    """Steps are `ways` times the length of the text, to the power of `loops`."""

    ways: int
    loops: int

    def __add__(self, other: "Cost") -> "Cost":  # type: ignore[override]
        """Of one after the other."""
        return Cost(self.ways * other.ways, self.loops + other.loops)


_ONE = Cost(1, 0)


@lru_cache(maxsize=1024)
def longest(pattern: str) -> int:
    """Characters of the longest text that may be searched; 0 where there is none, or it is no regular expression."""
    if len(pattern) > PATTERN_MAX:
        return 0
    try:
        items = parser.parse(pattern)
        cost = _sequence(items)
    except (_Endless, re.error, RecursionError, OverflowError):
        return 0
    # Without an anchor it is tried at every place of the text.
    anchored = _is_anchored(items) and not items.state.flags & re.MULTILINE
    loops = cost.loops + (not anchored)
    room = STEPS_MAX / cost.ways if cost.ways <= STEPS_MAX else 0
    return min(TEXT_MAX, int(room ** (1 / loops))) if loops else TEXT_MAX * (room > 0)


def _is_anchored(items: Any) -> bool:
    return bool(len(items)) and items[0] in ((op.AT, op.AT_BEGINNING), (op.AT, op.AT_BEGINNING_STRING))


def _sequence(items: Any) -> Cost:
    cost = _ONE
    for kind, given in items:
        cost += _item(kind, given)
        if cost.ways > STEPS_MAX:
            raise _Endless
    return cost


def _item(kind: Any, given: Any) -> Cost:
    if kind in _REPEATS:
        return _repeat(*given)
    if kind is op.BRANCH:
        costs = [_sequence(branch) for branch in given[1]]
        return _ONE if _are_distinct(given[1]) else Cost(sum(cost.ways for cost in costs), max(c.loops for c in costs))
    if kind in (op.SUBPATTERN, op.ASSERT, op.ASSERT_NOT):
        return _sequence(given[-1])
    if kind is op.ATOMIC_GROUP:
        return _sequence(given)
    if kind in (op.GROUPREF, op.GROUPREF_EXISTS):
        raise _Endless
    return _ONE


def _repeat(least: int, most: int, body: Any) -> Cost:
    inner = _sequence(body)
    if least == most == 1:
        return inner
    if body.getwidth()[0] == 0 and most > _UNROLLED:
        raise _Endless
    if inner == _ONE:
        if least == most:
            return _ONE
        return Cost(most - least + 1, 0) if most <= _UNROLLED else Cost(1, 1)
    if most <= _UNROLLED:
        return Cost((inner.ways + 1) ** most, inner.loops * most)
    if _is_separated(body):
        return Cost(1, 1)  # where each begins and ends is certain
    raise _Endless


def _are_distinct(branches: Sequence[Any]) -> bool:
    """Whether the first character says which of them it is, and each is of one length."""
    first = [branch[0] if len(branch) else (None, None) for branch in branches]
    if any(kind is not op.LITERAL for kind, _ in first) or len(set(first)) < len(first):
        return False
    return all(branch.getwidth()[0] == branch.getwidth()[1] for branch in branches)


def _is_separated(body: Any) -> bool:
    """Whether only one thing in it varies in length, and stands beside a character that it cannot hold: `-[a-z]+`."""
    items = list(body)
    if len(items) == 1 and items[0][0] is op.SUBPATTERN:
        return _is_separated(items[0][1][-1])
    varying = [given for kind, given in items if kind in _REPEATS and given[0] != given[1]]
    if len(varying) != 1 or any(_item(kind, given) != _ONE for kind, given in items if kind not in _REPEATS):
        return False
    inside = list(varying[0][2])
    edges = [given for kind, given in (items[0], items[-1]) if kind is op.LITERAL and not chr(given).isalnum()]
    return len(inside) == 1 and any(not _takes(inside[0], chr(edge)) for edge in edges)


def _takes(item: Any, character: str) -> bool:
    """Whether an item of one character may be this one; True where that is not known."""
    kind, given = item
    if kind is op.LITERAL:
        return bool(given == ord(character))
    if kind is op.IN:
        negated = given[0][0] is op.NEGATE
        return negated != any(_takes(one, character) for one in given[negated:])
    if kind is op.RANGE:
        return bool(given[0] <= ord(character) <= given[1])
    if kind is op.NOT_LITERAL:
        return bool(given != ord(character))
    return kind is not op.CATEGORY or bool(_CLASSES[given](character))
