"""How long a text a pattern may be searched in."""

import re
import time

import pytest

from conversations.tool_patterns import TEXT_MAX, longest

ENDLESS = [
    "^(a+)+$", "(a|aa)+$", "(a?){30}a{30}", "a?" * 30 + "a" * 30, "(ab|ab)*c", "(a*)*b", "(x+x+)+y", "(.*a){12}",
    "([a-z]+-?)+$", r"(\w+\s?)*$", "(?i)(a+)+", "(-a*a*)*$", "(-a?a?)*$", "((){65535}){65535}", "(?=(a+)+b)", r"(a)\1*",
    "(a|b|ab)*c", r"(.|\n)*x", "^(.*)*$", "(?:(?:a{1,20}){1,20}){1,20}b", r"(\d+,?)+$", "(-[^a]+)*$", "(", "a" * 2000,
]  # fmt: skip
FREE = [
    r"^\d{4}-\d{2}-\d{2}$", "^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$", "^https?://", r"^\S+$", "^(red|green|blue)$",
    r"^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$", "^.{1,500}$", "[a-z]", "",
]  # fmt: skip
BOUNDED = [
    "^[a-z0-9]+(-[a-z0-9]+)*$", r"^[^@\s]+@[^@\s]+\.[^@\s]+$", r"^/([\w.-]+/)*[\w.-]*$",
    r"^[\w.+-]+@[\w-]+(\.[\w-]+)+$",
    r"^(([a-z]+\.)*[a-z]+)$", r"^(?!.*\.\.).*$", "(foo|bar)+", "a*b", "(?m)^a*b",
]  # fmt: skip


@pytest.mark.parametrize("pattern", ENDLESS)
def test_it_refuses_a_pattern_that_can_take_for_ever(pattern: str) -> None:
    assert longest(pattern) == 0


@pytest.mark.parametrize("pattern", FREE)
def test_it_lets_a_simple_pattern_be_searched_in_everything(pattern: str) -> None:
    assert longest(pattern) == TEXT_MAX


@pytest.mark.parametrize("pattern", BOUNDED)
@pytest.mark.parametrize("piece", ["a", "-a", "a.", "1.", "/a", "@", "foo"])
def test_a_text_that_is_just_short_enough_is_searched_in_time(pattern: str, piece: str) -> None:
    most = longest(pattern)
    text = (piece * most)[: most - 1] + "!"
    started = time.process_time()
    re.search(pattern, text)
    assert 100 < most < TEXT_MAX
    assert time.process_time() - started < 2
